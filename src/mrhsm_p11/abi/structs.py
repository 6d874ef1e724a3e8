"""C structures from values, and bytes behind pointers: nothing here names a member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mrhsm_p11.errors import MechanismParamInvalid

LONGEST = 1 << 30  # of any input, in bytes: beyond it a length is a mistake and the buffer is not touched


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
