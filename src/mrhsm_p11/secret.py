"""Bytes that must not be seen: keys, PINs, private keys."""

from __future__ import annotations

import hmac
from typing import NoReturn


class SecretWiped(Exception):
    """The bytes are no longer there."""


class Secret:
    """Owned, wipeable secret bytes; shows only its length, compares in constant time, refuses to be copied by accident.

    `view()` lends the bytes without a copy for the length of one call. Wiping is best effort: Python or a library may
    have copied what it was lent.
    """

    __slots__ = ("_bytes", "_wiped")

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._bytes = bytearray(value)
        self._wiped = False

    def view(self) -> memoryview:
        """Lend the bytes, read-only."""
        return memoryview(self._bytes).toreadonly()

    def copy(self) -> Secret:
        """Return a copy, which a wipe by another thread leaves alone. Raises SecretWiped."""
        copied = Secret(self._bytes)
        if self._wiped:  # asked after the copy was taken, and set before the bytes go
            raise SecretWiped
        return copied

    def reveal(self) -> bytes:
        """Return a copy, for interfaces that take nothing but bytes."""
        return bytes(self._bytes)

    def wipe(self) -> None:
        """Overwrite the bytes with zeros; the length stays."""
        self._wiped = True
        self._bytes[:] = bytes(len(self._bytes))

    @property
    def is_wiped(self) -> bool:
        return self._wiped

    def __len__(self) -> int:
        return len(self._bytes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]  # a hash would outlive a wipe

    def __repr__(self) -> str:
        return f"<secret {len(self._bytes)} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised")
