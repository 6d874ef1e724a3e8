"""Waits for several servers at once, on the calling thread: what talks to one is a generator that says what it awaits.

It yields an Awaited and is sent the descriptors that are ready: none where its time is over, or the process ends.
"""

from __future__ import annotations

import select
import time
from collections.abc import Generator, Iterable
from typing import NamedTuple, TypeVar

from mrhsm_p11 import hostcalls

T = TypeVar("T")

Wait = tuple[int, int]  # a descriptor, and for which of poll's events


class Awaited(NamedTuple):
    """Any of these descriptors, or a point in monotonic time."""

    waits: tuple[Wait, ...]
    until: float

    def come(self, ready: set[int]) -> bool:
        """Tell whether who waits can go on."""
        here = any(descriptor in ready for descriptor, _ in self.waits)
        return here or time.monotonic() >= self.until or hostcalls.ending()


Steps = Generator[Awaited, "set[int]", T]


def any_of(awaited: Iterable[Awaited], until: float) -> Awaited:
    """Return what several wait for together, until the first one's time is over or another time has come."""
    several = tuple(awaited)
    return Awaited(
        tuple(wait for each in several for wait in each.waits), min([until, *(each.until for each in several)])
    )


def run(steps: Steps[T]) -> T:
    """Take steps to their end; forks of the host pass while they wait."""
    with hostcalls.around_io():
        try:
            awaited = next(steps)
            while True:
                awaited = steps.send(_look(awaited))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        finally:
            steps.close()


def _look(awaited: Awaited) -> set[int]:
    poll = select.poll()
    for wait in awaited.waits:
        poll.register(*wait)
    ready: set[int] = set()

    def look(seconds: float) -> bool:
        ready.update(descriptor for descriptor, _ in poll.poll(seconds * 1000 + 1))
        return bool(ready)

    hostcalls.wait(look, max(0.0, awaited.until - time.monotonic()))
    return ready
