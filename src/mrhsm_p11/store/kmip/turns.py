"""Who reads an object from the servers, when several threads find at once that its time in memory is over."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mrhsm_p11 import deadline, hostcalls

SHORTEST = 0.8


def shortened(seconds: float) -> float:
    """Return up to a fifth less, by chance: processes that started together do not read again together."""
    return seconds * (SHORTEST + (1 - SHORTEST) * int.from_bytes(os.urandom(2)) / 0xFFFF)


class Turns:
    """One thread reads an object; the others wait, and find in memory what it has read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading: dict[str, threading.Event] = {}

    @contextmanager
    def turn(self, uid: str) -> Iterator[None]:
        """Go on when no other thread reads this object, or when the call's time is over. Nothing is promised of memory:
        the other may have failed."""
        mine, until = threading.Event(), deadline.current()
        while (other := self._take(uid, mine)) is not mine:
            if not hostcalls.wait(other.wait, until.remaining_s()):
                yield  # the caller's own attempt will say that its time is over
                return
        try:
            yield
        finally:
            with self._lock:
                del self._reading[uid]
            mine.set()

    def _take(self, uid: str, mine: threading.Event) -> threading.Event:
        with self._lock:
            return self._reading.setdefault(uid, mine)
