"""As much DER as keys and certificates need: definite lengths, tags of one byte, INTEGERs as unsigned bytes.

Malformed input raises ValueError. Private numbers pass through as bytes: Python integers could not be wiped.
"""

from __future__ import annotations

from collections.abc import Iterator

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OID = 0x06
PRINTABLE_STRING = 0x13
SEQUENCE = 0x30
NULL = b"\x05\x00"


def encode(tag: int, *parts: bytes) -> bytes:
    """Return one element whose content is the parts joined."""
    length = sum(map(len, parts))
    if length < 0x80:
        return b"".join((bytes((tag, length)), *parts))
    count = (length.bit_length() + 7) // 8
    return b"".join((bytes((tag, 0x80 | count)), length.to_bytes(count, "big"), *parts))


def integer(unsigned: bytes) -> bytes:
    """Return an INTEGER from unsigned big-endian bytes."""
    content = unsigned.lstrip(b"\0")
    if not content or content[0] & 0x80:
        content = b"\0" + content
    return encode(INTEGER, content)


def bit_string(content: bytes) -> bytes:
    """Return a BIT STRING of whole bytes."""
    return encode(BIT_STRING, b"\0", content)


def take(whole: bytes) -> tuple[int, bytes, bytes]:
    """Split off the first element: its tag, its content, and what follows."""
    if len(whole) < 2 or whole[0] & 0x1F == 0x1F:
        raise ValueError("no DER element")
    length, at = whole[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(whole[2:at], "big")
        if not 2 < at <= 6:
            raise ValueError("a DER length of no or too many bytes")
    if len(whole) < at + length:
        raise ValueError("a DER element is cut short")
    return whole[0], whole[at : at + length], whole[at + length :]


def only(whole: bytes, tag: int) -> bytes:
    """Return the content of the one element there is, which must have this tag."""
    found, content, rest = take(whole)
    if rest or found != tag:
        raise ValueError("another DER element than the one expected")
    return content


def elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element."""
    while content:
        tag, inner, content = take(content)
        yield tag, inner


def unsigned(element: tuple[int, bytes]) -> bytes:
    """Return a non-negative INTEGER as unsigned big-endian bytes without leading zeros."""
    tag, content = element
    if tag != INTEGER or not content or content[0] & 0x80:
        raise ValueError("no non-negative INTEGER")
    return content.lstrip(b"\0")


def whole_bits(element: tuple[int, bytes]) -> bytes:
    """Return the content of a BIT STRING of whole bytes."""
    tag, content = element
    if tag != BIT_STRING or not content or content[0]:
        raise ValueError("no BIT STRING of whole bytes")
    return content[1:]


def is_whole(value: bytes, tag: int) -> bool:
    """Tell whether the bytes are exactly one element of this tag."""
    try:
        only(value, tag)
    except ValueError:
        return False
    return True
