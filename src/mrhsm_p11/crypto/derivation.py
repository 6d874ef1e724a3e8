"""What the ways to derive keys share: cutting and combining bytes.

Keys are never turned into numbers: Python's large integers leave copies that nobody can wipe. Single bytes are safe:
the interpreter has one constant object for each.
"""

from __future__ import annotations

from mrhsm_p11.errors import KeySizeRange
from mrhsm_p11.secret import Secret

Lengths = tuple[int | None, ...]  # in bytes, of each key that is asked for; None: as long as the mechanism gives


def leading(value: bytes | bytearray | memoryview, length: int | None) -> Secret:
    """Return the first `length` bytes, or all. Raises KeySizeRange where there are not so many."""
    if length is not None and length > len(value):
        raise KeySizeRange(f"the mechanism gives {len(value)} bytes, not {length}")
    return Secret(value[:length])


def trailing(value: bytes | bytearray | memoryview, length: int | None) -> Secret:
    """Return the last `length` bytes, or all. Raises KeySizeRange where there are not so many."""
    if length is not None and length > len(value):
        raise KeySizeRange(f"the mechanism gives {len(value)} bytes, not {length}")
    return Secret(value[len(value) - length :] if length is not None else value)


def xor(first: bytes | bytearray | memoryview, second: bytes | bytearray | memoryview) -> bytearray:
    """Return the exclusive or of two strings, as long as the shorter one."""
    return bytearray(a ^ b for a, b in zip(first, second, strict=False))


def bits_from(value: bytes | bytearray, bit: int, length: int) -> bytearray:
    """Return `length` bytes that start with bit number `bit`, the first being 0; after the last comes the first again.

    PKCS #11, "Extraction of one key from another key".
    """
    start, shift = divmod(bit, 8)
    turned = bytearray(value[start:] + value[:start])
    if not shift:
        return turned[:length]
    highs = turned.translate(bytes((byte << shift) & 0xFF for byte in range(256)))
    lows = (turned[1:] + turned[:1]).translate(bytes(byte >> (8 - shift) for byte in range(256)))
    return xor(highs, lows)[:length]
