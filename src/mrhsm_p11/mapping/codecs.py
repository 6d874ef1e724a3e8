"""How attribute values look in C and in Python, one codec a shape; templates nest these: see attributes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from struct import calcsize
from typing import NamedTuple, TypeVar

from mrhsm_p11.errors import AttributeValueInvalid

# C form: the bytes behind pValue, or for CKF_ARRAY_ATTRIBUTE templates the nested attributes.
Raw = bytes | dict[int, "Raw"]
# Natural form; the same as store.base.Value.
Value = bool | int | str | bytes | tuple[int, ...] | dict[int, "Value"]

ULONG_BYTES = calcsize("L")

_Shape = TypeVar("_Shape")


class Codec(NamedTuple):
    """One shape of value. `decode` raises AttributeValueInvalid; `encode` TypeError on a value of another shape."""

    name: str
    decode: Callable[[Raw], Value]
    encode: Callable[[Value], Raw]


def _plain(raw: Raw) -> bytes:
    if isinstance(raw, dict):
        raise AttributeValueInvalid("a template stands where bytes are due")
    return bytes(raw)


def expect(shape: type[_Shape], value: Value) -> _Shape:
    """Return the value if it has the shape that its attribute's codec makes. Raises TypeError."""
    if not isinstance(value, shape):
        raise TypeError(f"{type(value).__name__} stands where {shape.__name__} is due")
    return value


def _decode_bool(raw: Raw) -> Value:
    value = _plain(raw)
    if value not in (b"\0", b"\1"):
        raise AttributeValueInvalid("CK_BBOOL is one byte, CK_FALSE or CK_TRUE")
    return value == b"\1"


def _encode_bool(value: Value) -> Raw:
    return b"\1" if expect(bool, value) else b"\0"


def _decode_ulong(raw: Raw) -> Value:
    value = _plain(raw)
    if len(value) != ULONG_BYTES:
        raise AttributeValueInvalid(f"CK_ULONG has {ULONG_BYTES} bytes, not {len(value)}")
    return int.from_bytes(value, sys.byteorder)


def _encode_ulong(value: Value) -> Raw:
    return expect(int, value).to_bytes(ULONG_BYTES, sys.byteorder)


def _encode_bytes(value: Value) -> Raw:
    return expect(bytes, value)


def _decode_text(raw: Raw) -> Value:
    return _plain(raw).decode("utf-8", "surrogateescape")


def _encode_text(value: Value) -> Raw:
    return expect(str, value).encode("utf-8", "surrogateescape")


def _decode_date(raw: Raw) -> Value:
    value = _plain(raw)
    if value and not (
        len(value) == 8 and value.isdigit() and b"01" <= value[4:6] <= b"12" and b"01" <= value[6:] <= b"31"
    ):
        raise AttributeValueInvalid("CK_DATE is empty or YYYYMMDD")
    return value


def _decode_bigint(raw: Raw) -> Value:
    return _plain(raw).lstrip(b"\0")


def _decode_ulongs(raw: Raw) -> Value:
    value = _plain(raw)
    if len(value) % ULONG_BYTES:
        raise AttributeValueInvalid(f"an array of CK_ULONG has a multiple of {ULONG_BYTES} bytes, not {len(value)}")
    parts = range(0, len(value), ULONG_BYTES)
    return tuple(int.from_bytes(value[at : at + ULONG_BYTES], sys.byteorder) for at in parts)


def _encode_ulongs(value: Value) -> Raw:
    return b"".join(item.to_bytes(ULONG_BYTES, sys.byteorder) for item in expect(tuple, value))


BOOL = Codec("BOOL", _decode_bool, _encode_bool)
ULONG = Codec("ULONG", _decode_ulong, _encode_ulong)
BYTES = Codec("BYTES", _plain, _encode_bytes)
TEXT = Codec("TEXT", _decode_text, _encode_text)  # undecodable bytes survive as surrogates
DATE = Codec("DATE", _decode_date, _encode_bytes)
BIGINT = Codec("BIGINT", _decode_bigint, _encode_bytes)  # unsigned big-endian bytes without leading zeros
ULONGS = Codec("ULONGS", _decode_ulongs, _encode_ulongs)
