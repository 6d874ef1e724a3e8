"""Items: the examples of the standard, and what is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrhsm_p11.kmip import ttlv
from mrhsm_p11.kmip.ttlv import Item, TTLVError
from mrhsm_p11.kmip.vocabulary import ItemType

TAG = 0x420020
# KMIP 1.4, "Examples" of "TTLV Encoding".
EXAMPLES = (
    (ItemType.INTEGER, 8, "42002002000000040000000800000000"),
    (ItemType.LONG_INTEGER, 123456789000000000, "420020030000000801B69B4BA5749200"),
    (ItemType.BIG_INTEGER, 1234567890000000000000000000, "42002004000000100000000003FD35EB6BC2DF4618080000"),
    (ItemType.ENUMERATION, 255, "4200200500000004000000FF00000000"),
    (ItemType.BOOLEAN, True, "42002006000000080000000000000001"),
    (ItemType.TEXT_STRING, "Hello World", "420020070000000B48656C6C6F20576F726C640000000000"),
    (ItemType.BYTE_STRING, b"\x01\x02\x03", "42002008000000030102030000000000"),
    (ItemType.DATE_TIME, 1205495800, "42002009000000080000000047DA67F8"),
    (ItemType.INTERVAL, 864000, "4200200A00000004000D2F0000000000"),
    (
        ItemType.STRUCTURE,
        (Item(0x420004, ItemType.ENUMERATION, 254), Item(0x420005, ItemType.INTEGER, 255)),
        "42002001000000204200040500000004000000FE000000004200050200000004000000FF00000000",
    ),
    (ItemType.DATE_TIME_EXTENDED, 2**40, "4200200B000000080000010000000000"),  # of 2.0: no example there
)


@pytest.mark.parametrize(("type_", "value", "encoding"), EXAMPLES)
def test_examples(type_: int, value: ttlv.Value, encoding: str) -> None:
    item = Item(TAG, type_, value)
    assert ttlv.encode(item).hex().upper() == encoding
    assert ttlv.decode(bytes.fromhex(encoding)) == item


REFUSED = {
    "short header": "420020020000",
    "overruns": "4200200700000010" + "41" * 8,
    "padding overruns": "4200200700000001" + "41",
    "length of a number": "42002002000000080000000000000008",
    "length of a Boolean": "42002006000000040000000100000000",
    "Boolean of 2": "42002006000000080000000000000002",
    "Big Integer of 4": "42002004000000040000000100000000",
    "empty Big Integer": "4200200400000000",
    "unknown type": "4200200C000000040000000100000000",
    "type 0": "42002000000000040000000100000000",
    "padding not zero": "42002002000000040000000800000001",
    "two items": "42002002000000040000000800000000" * 2,
    "nothing": "",
    "huge length": "42002008FFFFFFFF0000000000000000",
}


@pytest.mark.parametrize("encoding", REFUSED.values(), ids=REFUSED.keys())
def test_refused(encoding: str) -> None:
    with pytest.raises(TTLVError):
        ttlv.decode(bytes.fromhex(encoding))


def test_depth_is_limited() -> None:
    def nested(depth: int) -> bytes:
        data = b""
        for _ in range(depth):
            data = bytes.fromhex("42002001") + len(data).to_bytes(4, "big") + data
        return data

    assert ttlv.decode(nested(ttlv.MAXIMUM_DEPTH)).value
    with pytest.raises(TTLVError, match="deep"):
        ttlv.decode(nested(100_000))


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (ItemType.INTEGER, 1 << 31),
        (ItemType.ENUMERATION, -1),
        (ItemType.INTERVAL, 1 << 32),
        (ItemType.DATE_TIME, 1 << 63),
    ],
)
def test_a_number_that_does_not_fit(type_: int, value: int) -> None:
    with pytest.raises(TTLVError):
        ttlv.encode(Item(TAG, type_, value))


@given(st.integers())
def test_big_integers(value: int) -> None:
    item = Item(TAG, ItemType.BIG_INTEGER, value)
    assert ttlv.decode(ttlv.encode(item)) == item


def test_text_that_is_not_utf_8_survives() -> None:
    encoding = bytes.fromhex("4200200700000003") + b"\xff\xfea" + bytes(5)
    assert ttlv.encode(ttlv.decode(encoding)) == encoding


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        ttlv.decode(data)
    except TTLVError:
        return


def test_a_mebibyte_is_quick() -> None:
    item = Item(TAG, ItemType.BYTE_STRING, bytes(1 << 20))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        ttlv.decode(ttlv.encode(item))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02
