"""C structures to values and back, from the structure's own description: nothing here names a member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mrhsm_p11.errors import MechanismParamInvalid
from mrhsm_p11.parameters import Member, Parameter

LONGEST = 1 << 30  # of any input, in bytes: beyond it a length is a mistake and the buffer is not touched

MOST_PARTS = 1024  # of an array of structures in a parameter

# A second layout under which callers pass the same structure; the size tells which it is.
OTHER_FORMS = {"CK_GCM_PARAMS": "CK_GCM_PARAMS_WITHOUT_IV_BITS"}


def parameter_reader(ffi: Any, parameter: type[Parameter]) -> Callable[[Any, int], Parameter]:
    """Return what turns (pointer, length) into a `parameter`. Raises MechanismParamInvalid on another size."""
    forms = {}
    for name in (parameter.struct, OTHER_FORMS.get(parameter.struct)):
        if name:
            forms[ffi.sizeof(name)] = ffi.typeof(f"{name} *")
    value = _struct_reader(ffi, parameter)

    def read(pointer: Any, length: int) -> Parameter:
        if not pointer or length not in forms:
            raise MechanismParamInvalid(f"{length} bytes are not a {parameter.struct}")
        return value(ffi.cast(forms[length], pointer))

    return read


def _struct_reader(ffi: Any, parameter: type[Parameter]) -> Callable[[Any], Parameter]:
    takes = [_member_reader(ffi, member) for member in parameter.members.values()]
    return lambda struct: parameter(*[take(struct) for take in takes])


def _member_reader(ffi: Any, member: Member) -> Callable[[Any], object]:
    first, length = member.names[0], member.names[1] if len(member.names) == 2 else None
    inner = _struct_reader(ffi, member.shape) if member.shape else None

    def number(struct: Any) -> object:
        value = getattr(struct, first)
        return value if isinstance(value, int) else bytes(ffi.buffer(value))  # an array such as an initial counter

    def pointed(struct: Any) -> object:
        return pointed_bytes(ffi, getattr(struct, first), getattr(struct, str(length)))

    def one(struct: Any) -> object:
        value = getattr(struct, first)
        return inner(value) if inner and value != ffi.NULL else None

    def several(struct: Any) -> object:
        array, count = getattr(struct, first), getattr(struct, str(length))
        if count > MOST_PARTS or (count and not array):
            raise MechanismParamInvalid(f"{count} structures at {'its address' if array else 'NULL'}")
        return tuple(inner(array[index]) for index in range(count)) if inner else ()

    if inner:
        return several if length else one
    return pointed if length else number


def pointed_bytes(ffi: Any, pointer: Any, length: int) -> bytes:
    """Copy a mechanism parameter's bytes. Raises MechanismParamInvalid where there can be none."""
    if not length:
        return b""
    if not pointer or length > LONGEST:
        raise MechanismParamInvalid(f"a parameter of {length} bytes at {'NULL' if not pointer else 'its address'}")
    return bytes(ffi.buffer(pointer, length))


def info_writer(ffi: Any, pointer_type: str) -> Callable[[Any, Sequence[object]], None]:
    """Return what fills a structure from a tuple in member order: str for blank-padded text, int, tuple for nested."""
    shapes = [
        field.type.length if field.type.kind == "array" else None
        for _, field in ffi.typeof(pointer_type.removesuffix("_PTR")).fields
    ]

    def write_numbers(struct: Any, values: Sequence[object]) -> None:
        struct[0] = values

    def write(struct: Any, values: Sequence[object]) -> None:
        struct[0] = [
            value if width is None else _padded(str(value), width) for value, width in zip(values, shapes, strict=True)
        ]

    return write if any(shapes) else write_numbers


def _padded(text: str, width: int) -> bytes:
    """Fill a character array of the standard: UTF-8, blank-padded, no terminator, cut between characters."""
    raw = text.encode("utf-8", "replace")
    if len(raw) > width:
        raw = raw[:width].decode("utf-8", "ignore").encode()
    return raw.ljust(width)
