"""Whether the key managers answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One configured server; an empty fault means that it is active."""

    address: str
    fault: str = ""
