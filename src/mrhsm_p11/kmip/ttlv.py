"""TTLV: the encoding of KMIP messages, as items of tag, type, length and value.

Strict about lengths, bounds, padding and depth; knows nothing of what tags and enumerations mean. Time is linear.
KMIP 1.4, "TTLV Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mrhsm_p11.kmip.vocabulary import ItemType, tag_name

MAXIMUM_DEPTH = 32

# Without the one of BYTE_STRING these are the Python types of a value: int, bool, str, tuple of items.
Value = int | bool | str | bytes | tuple["Item", ...]

_HEADER = struct.Struct("!II")
_FIXED = {
    ItemType.INTEGER: 4,
    ItemType.LONG_INTEGER: 8,
    ItemType.ENUMERATION: 4,
    ItemType.BOOLEAN: 8,
    ItemType.DATE_TIME: 8,
    ItemType.INTERVAL: 4,
    ItemType.DATE_TIME_EXTENDED: 8,
}
_FORMATS = {
    ItemType.INTEGER: struct.Struct("!i"),
    ItemType.LONG_INTEGER: struct.Struct("!q"),
    ItemType.ENUMERATION: struct.Struct("!I"),
    ItemType.BOOLEAN: struct.Struct("!Q"),
    ItemType.DATE_TIME: struct.Struct("!q"),
    ItemType.INTERVAL: struct.Struct("!I"),
    ItemType.DATE_TIME_EXTENDED: struct.Struct("!q"),
}
_PADDING = tuple(bytes(-n % 8) for n in range(8))


class TTLVError(ValueError):
    """Bytes that are not a TTLV encoding of what was expected, or a value that has none."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item; the value of a structure is a tuple of items."""

    tag: int
    type: int
    value: Value


def headers(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (tag, type, first, last) of each item from `start` to `end`; its value is `view[first:last]`."""
    unpack = _HEADER.unpack_from
    while start < end:
        if end - start < 8:
            raise TTLVError(f"{end - start} bytes where an item's 8-byte header was expected")
        tag_and_type, length = unpack(view, start)
        type_, first = tag_and_type & 0xFF, start + 8
        last = first + length
        start = last + (-length % 8)
        if start > end:
            raise TTLVError(f"{tag_name(tag_and_type >> 8)} of {length} bytes overruns the {end - first} that are left")
        if not ItemType.STRUCTURE <= type_ <= ItemType.DATE_TIME_EXTENDED:
            raise TTLVError(f"{tag_name(tag_and_type >> 8)} has the unknown type 0x{type_:02X}")
        if _FIXED.get(type_, length) != length:
            raise TTLVError(f"{tag_name(tag_and_type >> 8)} has {length} bytes, its type {_FIXED[type_]}")
        if start != last and view[last:start] != _PADDING[length % 8]:
            raise TTLVError(f"{tag_name(tag_and_type >> 8)} has padding that is not zero")
        yield tag_and_type >> 8, type_, first, last


def _read_boolean(view: memoryview, first: int, last: int) -> bool:
    value = _FORMATS[ItemType.BOOLEAN].unpack_from(view, first)[0]
    if value > 1:
        raise TTLVError(f"the Boolean {value} is neither 0 nor 1")
    return bool(value)


def _read_big_integer(view: memoryview, first: int, last: int) -> int:
    if (last - first) % 8 or first == last:
        raise TTLVError(f"a Big Integer of {last - first} bytes: the length must be a multiple of 8")
    return int.from_bytes(view[first:last], "big", signed=True)


def _read_text(view: memoryview, first: int, last: int) -> str:
    # Text of a careless server must survive being read and written again.
    return str(view[first:last], "utf-8", "surrogateescape")


def _read_bytes(view: memoryview, first: int, last: int) -> bytes:
    return bytes(view[first:last])


def _number_reader(type_: int) -> Callable[[memoryview, int, int], int]:
    unpack = _FORMATS[type_].unpack_from

    def read(view: memoryview, first: int, last: int) -> int:
        value: int = unpack(view, first)[0]
        return value

    return read


READERS: dict[int, Callable[[memoryview, int, int], int | bool | str | bytes]] = {
    **{type_: _number_reader(type_) for type_ in _FIXED},
    ItemType.BIG_INTEGER: _read_big_integer,
    ItemType.BOOLEAN: _read_boolean,
    ItemType.TEXT_STRING: _read_text,
    ItemType.BYTE_STRING: _read_bytes,
}


def read(view: memoryview, tag: int, type_: int, first: int, last: int, depth: int = 0) -> Item:
    """Return the item whose header said this, with all that is inside."""
    if type_ != ItemType.STRUCTURE:
        return Item(tag, type_, READERS[type_](view, first, last))
    if depth > MAXIMUM_DEPTH:
        raise TTLVError(f"structures are nested more than {MAXIMUM_DEPTH} deep")
    inside = headers(view, first, last)
    return Item(tag, type_, tuple(read(view, *header, depth + 1) for header in inside))


def decode(data: bytes | bytearray | memoryview) -> Item:
    """Return the one item that `data` is."""
    view = memoryview(data)
    items = [read(view, *header) for header in headers(view, 0, len(view))]
    if len(items) != 1:
        raise TTLVError(f"{len(items)} items where one was expected")
    return items[0]


def write_bytes(out: bytearray, tag: int, type_: int, value: bytes | bytearray | memoryview) -> None:
    """Append an item of any length whose value is these bytes."""
    length = len(value)
    if length > 0xFFFFFFFF:
        raise TTLVError(f"{tag_name(tag)} of {length} bytes is longer than a length can say")
    out += _HEADER.pack(tag << 8 | type_, length)
    out += value
    out += _PADDING[length % 8]


def write_number(out: bytearray, tag: int, type_: int, value: int) -> None:
    """Append an item of any type that holds a number, a Boolean and a date included."""
    if type_ == ItemType.BIG_INTEGER:
        length = value.bit_length() // 64 * 8 + 8
        write_bytes(out, tag, type_, value.to_bytes(length, "big", signed=True))
        return
    packing = _FORMATS[type_]
    try:
        packed = packing.pack(value)
    except struct.error:
        raise TTLVError(f"{tag_name(tag)} cannot hold {value} as {ItemType.name(type_)}") from None
    out += _HEADER.pack(tag << 8 | type_, packing.size)
    out += packed
    out += _PADDING[packing.size % 8]


def open_structure(out: bytearray, tag: int) -> int:
    """Append the header of a structure; return its mark for close_structure()."""
    out += _HEADER.pack(tag << 8 | ItemType.STRUCTURE, 0)
    return len(out)


def close_structure(out: bytearray, mark: int) -> None:
    """Set the length of the structure that was opened at `mark` to what came since."""
    out[mark - 4 : mark] = (len(out) - mark).to_bytes(4, "big")


def write(out: bytearray, item: Item) -> None:
    """Append an item."""
    value = item.value
    if isinstance(value, tuple):
        mark = open_structure(out, item.tag)
        for inner in value:
            write(out, inner)
        close_structure(out, mark)
    elif isinstance(value, int):
        write_number(out, item.tag, item.type, value)
    elif isinstance(value, str):
        write_bytes(out, item.tag, item.type, value.encode("utf-8", "surrogateescape"))
    else:
        write_bytes(out, item.tag, item.type, value)


def encode(item: Item) -> bytes:
    """Return an item's encoding."""
    out = bytearray()
    write(out, item)
    return bytes(out)
