"""CK_ATTRIBUTE arrays: read as dictionaries, filled from lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from mrhsm_p11.abi.structs import LONGEST
from mrhsm_p11.constants import CK, CKA, CKR
from mrhsm_p11.errors import ArgumentsBad, AttributeValueInvalid, CryptokiError, TemplateInconsistent

Template = dict[int, "bytes | Template"]
Wanted = Sequence["bytes | Template | CryptokiError"]

MOST_ATTRIBUTES = 1024
DEEPEST = 3  # a template in a template in a template is more than any attribute of the standard means

# Attributes whose value is itself an array of attributes. CKF_ARRAY_ATTRIBUTE does not tell: CKA_ALLOWED_MECHANISMS
# has it and holds numbers, the templates of 3.2 have it not.
NESTED = frozenset(value for name, value in vars(CKA).items() if name.endswith("_TEMPLATE"))
# Which failure C_GetAttributeValue reports when there are several, worst first.
_WORST_FIRST = (CKR.ATTRIBUTE_SENSITIVE, CKR.ATTRIBUTE_TYPE_INVALID, CKR.BUFFER_TOO_SMALL)


HEAD = Struct("@LL")  # type and length of an attribute, as cdef/templates.c puts them down
FLAT_BYTES = 512  # of a template that is read in one piece: most are

Flat = Callable[[Any, int, Any, int, Any, int], int]
_flat: Flat | None = None  # the C front's, once there is one


def install(flat: Flat) -> None:
    """Take the C front's template_flat."""
    global _flat  # noqa: PLW0603
    _flat = flat


def checked_count(pointer: Any, count: int) -> None:
    """Refuse an array that cannot be read. Raises ArgumentsBad."""
    if count > MOST_ATTRIBUTES or (count and not pointer):
        raise ArgumentsBad(f"{count} attributes{'' if pointer else ' at NULL'}")


def template_reader(
    ffi: Any, contradiction: type[CryptokiError] = TemplateInconsistent
) -> Callable[[Any, int], Template]:
    """Return what turns (CK_ATTRIBUTE_PTR, count) into a template."""
    buffer, cast = ffi.buffer, ffi.cast
    pointer_type, size = ffi.typeof("CK_ATTRIBUTE *"), ffi.sizeof("CK_ATTRIBUTE")

    def value(attribute: Any, depth: int) -> bytes | Template:
        kind, place, length = attribute.type, attribute.pValue, attribute.ulValueLen
        if not length:
            return {} if kind in NESTED else b""
        if not place:
            raise ArgumentsBad(f"{CKA.name(kind)} has {length} bytes at NULL")
        if length > LONGEST:
            raise AttributeValueInvalid(f"{CKA.name(kind)} has {length} bytes")
        if kind not in NESTED:
            return bytes(buffer(place, length))
        if length % size or depth == DEEPEST:
            raise AttributeValueInvalid(f"{CKA.name(kind)}: {length} bytes at depth {depth} are no template")
        return read(cast(pointer_type, place), length // size, depth + 1)

    def read(pointer: Any, count: int, depth: int = 1) -> Template:
        checked_count(pointer, count)
        template: Template = {}
        for index in range(count):
            attribute = pointer[index]
            new = value(attribute, depth)
            if template.setdefault(attribute.type, new) != new:
                raise contradiction(f"{CKA.name(attribute.type)} has two values")
        return template

    return _flat_reader(ffi, read, contradiction)


def _flat_reader(
    ffi: Any, read: Callable[[Any, int], Template], contradiction: type[CryptokiError]
) -> Callable[[Any, int], Template]:
    """Return what reads a short template in one piece, and has any other read by `read`, which says what is wrong."""
    from_buffer, nothing = ffi.from_buffer, bytes(FLAT_BYTES)
    nested, nested_count = ffi.new("CK_ULONG[]", list(NESTED)), len(NESTED)

    def read_flat(pointer: Any, count: int) -> Template:
        flat = bytearray(FLAT_BYTES)
        if not (_flat and _flat(pointer, count, nested, nested_count, from_buffer(flat), FLAT_BYTES)):
            return read(pointer, count)
        template: Template = {}
        view, at = memoryview(flat), count * HEAD.size
        try:
            for kind, length in HEAD.iter_unpack(view[:at]):
                new = bytes(view[at : at + length])
                at += length
                if template.setdefault(kind, new) != new:
                    raise contradiction(f"{CKA.name(kind)} has two values")
        finally:
            flat[:] = nothing  # a key may have been among the values
        return template

    return read_flat


def wanted_reader(ffi: Any) -> Callable[[Any, int], list[int]]:
    """Return what turns (CK_ATTRIBUTE_PTR, count) into the types that are asked for."""

    def read(pointer: Any, count: int) -> list[int]:
        checked_count(pointer, count)
        return [pointer[index].type for index in range(count)]

    return read


def wanted_writer(ffi: Any) -> Callable[[Any, Wanted], int]:
    """Return what fills a CK_ATTRIBUTE array with the values found and answers the CKR of C_GetAttributeValue.

    PKCS #11, "C_GetAttributeValue": each attribute is processed whatever became of the others.
    """
    memmove, cast = ffi.memmove, ffi.cast
    pointer_type, size = ffi.typeof("CK_ATTRIBUTE *"), ffi.sizeof("CK_ATTRIBUTE")

    def one(attribute: Any, value: bytes | Template | CryptokiError) -> int:
        if isinstance(value, CryptokiError):
            attribute.ulValueLen = CK.UNAVAILABLE_INFORMATION
            return value.ckr
        length = len(value) * size if isinstance(value, dict) else len(value)
        if not attribute.pValue:
            attribute.ulValueLen = length
            return CKR.OK
        if attribute.ulValueLen < length:
            attribute.ulValueLen = CK.UNAVAILABLE_INFORMATION
            return CKR.BUFFER_TOO_SMALL
        attribute.ulValueLen = length
        if isinstance(value, dict):
            return nested(cast(pointer_type, attribute.pValue), value)
        memmove(attribute.pValue, value, length)
        return CKR.OK

    def nested(pointer: Any, template: Template) -> int:
        for index, kind in enumerate(template):
            pointer[index].type = kind
        return write(pointer, list(template.values()))

    def write(pointer: Any, values: Wanted) -> int:
        codes = {one(pointer[index], value) for index, value in enumerate(values)}
        return next((code for code in _WORST_FIRST if code in codes), max(codes, default=CKR.OK))

    return write
