"""A second server is asked where the first is much later than it uses to be; the first good answer wins."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mrhsm_p11.kmip.errors import KMIPError
from mrhsm_p11.kmip.transport import Endpoint
from mrhsm_p11.kmip.waiting import Awaited, Steps, any_of

T = TypeVar("T")

SAMPLES, FEWEST = 32, 8  # of the last answers: how many count, and how many there must be
PERCENTILE = 0.95
LATE = 4  # times the percentile
FLOOR_S = 0.25
UNKNOWN_S = 1.0  # where too few answers were seen
EARNED = 0.1  # second questions that one answer pays for

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A request that leaves no trace at a server, so that two may be asked at once."""

    kind: str  # requests of one kind take about as long
    good: Callable[[T], bool]  # tells whether an answer gives what was asked


class Latencies:
    """How long the last answers took of each server to each kind of question. Safe from any thread."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Endpoint, str], deque[float]] = {}
        self._lock = threading.Lock()

    def note(self, endpoint: Endpoint, kind: str, seconds: float) -> None:
        with self._lock:
            self._seen.setdefault((endpoint, kind), deque(maxlen=SAMPLES)).append(seconds)

    def patience_s(self, endpoint: Endpoint, kind: str) -> float:
        """Return after how many seconds an answer is late."""
        with self._lock:
            seen = sorted(self._seen.get((endpoint, kind), ()))
        if len(seen) < FEWEST:
            return UNKNOWN_S
        return max(FLOOR_S, LATE * seen[math.ceil(PERCENTILE * len(seen)) - 1])


class Budget:
    """Of second questions: a few at once, and no more than EARNED of all in the long run. Safe from any thread."""

    def __init__(self, most: int) -> None:
        self._most = self._left = float(most)
        self._lock = threading.Lock()

    def earn(self) -> None:
        with self._lock:
            self._left = min(self._most, self._left + EARNED)

    def spend(self) -> bool:
        with self._lock:
            enough = self._left >= 1
            self._left -= enough
            return enough


class Contender(Generic[T]):
    """One server and its way to an answer. `endpoint` is None while it is not known who is there first."""

    def __init__(self, steps: Callable[[Contender[T]], Steps[T]]) -> None:
        self.endpoint: Endpoint | None = None
        self.asked_at = time.monotonic()
        self.answer: T | None = None
        self.error: KMIPError | None = None
        self.awaited = Awaited((), -math.inf)  # to begin with: nothing
        self.over = False
        self._steps = steps(self)
        self._begun = False

    def advance(self, ready: set[int]) -> None:
        try:
            self.awaited = self._steps.send(ready) if self._begun else next(self._steps)
            self._begun = True
        except StopIteration as done:
            self.answer, self.over = done.value, True
        except KMIPError as error:
            self.error, self.over = error, True

    def close(self) -> None:
        self._steps.close()


class Contest(Generic[T]):
    """A question to one server and, from `late_at` on, to the one that `second` gives, if it gives any.

    An answer of the second that is not `good` counts only when the first has none.
    """

    def __init__(
        self, first: Contender[T], late_at: float, second: Callable[[], Contender[T] | None], good: Callable[[T], bool]
    ) -> None:
        self.first = first
        self.second: Contender[T] | None = None
        self._late_at = late_at
        self._ask_second = second
        self._good = good

    @property
    def contenders(self) -> list[Contender[T]]:
        return [self.first] if self.second is None else [self.first, self.second]

    def steps(self) -> Steps[Contender[T] | None]:
        """Return who answered, or None where each failed."""
        running, due = [self.first], [self.first]
        ready: set[int] = set()
        try:
            while True:
                for each in due:
                    each.advance(ready)
                    if each.over:
                        running.remove(each)
                        if each.error is None and self._counts(each):
                            return each
                if not running:
                    return next((each for each in self.contenders if each.error is None), None)
                if self._late_at <= time.monotonic() and (due := self._reinforced()):
                    running += due
                    continue
                ready = yield any_of((each.awaited for each in running), self._late_at)
                due = [each for each in running if each.awaited.come(ready)]
        finally:
            for each in running:
                each.close()

    def _reinforced(self) -> list[Contender[T]]:
        self._late_at = NEVER
        self.second = self._ask_second()
        return [self.second] if self.second is not None else []

    def _counts(self, contender: Contender[T]) -> bool:
        return contender is self.first or self._good(contender.answer)  # type: ignore[arg-type]  # it has answered
