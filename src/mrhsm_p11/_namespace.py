"""The base of the generated constant classes."""

from __future__ import annotations

from functools import cache


class Namespace:
    """A family of named integers, such as CKR: `CKR.OK` is the value, `CKR.name(0)` is "OK"."""

    @classmethod
    def name(cls, value: int) -> str:
        """Return the first member with this value, else its hexadecimal form."""
        return _names(cls).get(value) or f"0x{value:08X}"


@cache
def _names(family: type[Namespace]) -> dict[int, str]:
    names: dict[int, str] = {}
    for name, value in vars(family).items():
        if isinstance(value, int):
            names.setdefault(value, name)
    return names
