"""One time limit for everything that a call does, however many attempts and messages that takes."""

from __future__ import annotations

import threading
import time


class Deadline:
    """A point in monotonic time."""

    __slots__ = ("at",)

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def remaining_s(self) -> float:
        """Return the seconds left, 0.0 when it has passed."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.at


DEFAULT_S = 10.0
_thread = threading.local()


class limit:  # noqa: N801 - read as the verb that it is: `with deadline.limit(10.0):`
    """Give this thread's current call one deadline; an outer, earlier one still holds."""

    __slots__ = ("_outer", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> Deadline:
        outer: Deadline | None = getattr(_thread, "deadline", None)
        mine = Deadline(self._seconds)
        if outer is not None and outer.at < mine.at:
            mine = outer
        self._outer, _thread.deadline = outer, mine
        return mine

    def __exit__(self, *failure: object) -> None:
        _thread.deadline = self._outer


def current() -> Deadline:
    """Return the deadline of the call this thread is in, else a fresh default one."""
    deadline: Deadline | None = getattr(_thread, "deadline", None)
    return deadline if deadline is not None else Deadline(DEFAULT_S)
