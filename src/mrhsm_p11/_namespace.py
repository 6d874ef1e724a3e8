"""The base of the generated constant classes."""

from __future__ import annotations

from typing import ClassVar


class Namespace:
    """A family of named integers, such as CKR: `CKR.OK` is the value, `CKR.name(0)` is "OK"."""

    _by_value: ClassVar[dict[int, str]]

    @classmethod
    def name(cls, value: int) -> str:
        """Return the newest name of this value, else its hexadecimal form: old aliases come first in the header."""
        if "_by_value" not in vars(cls):
            cls._by_value = {value: name for name, value in vars(cls).items() if isinstance(value, int)}
        return cls._by_value.get(value) or f"0x{value:08X}"
