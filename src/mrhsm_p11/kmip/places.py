"""A bounded number of places, first come, first served."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from mrhsm_p11 import hostcalls
from mrhsm_p11.deadline import Deadline


class NoPlace(Exception):
    """None was free until the deadline."""


class Places:
    """Safe from any thread. `busy` are taken, `queue` holds a lock for each who waits: released when it is its turn."""

    def __init__(self, size: int) -> None:
        self.busy = 0
        self.queue: deque[threading.Lock] = deque()
        self._size = size
        self._changed = threading.Lock()

    @contextlib.contextmanager
    def one(self, deadline: Deadline) -> Iterator[None]:
        """Hold a place. Raises NoPlace."""
        with self._changed:
            turn = None
            if self.busy < self._size:
                self.busy += 1
            else:
                turn = threading.Lock()
                turn.acquire()
                self.queue.append(turn)
        try:
            if turn is not None and not hostcalls.wait(lambda s: turn.acquire(timeout=s), deadline.remaining_s()):
                raise NoPlace
            yield
        finally:
            with self._changed:
                if turn is not None and turn in self.queue:
                    self.queue.remove(turn)  # it never had its turn
                elif self.queue:
                    self.queue.popleft().release()
                else:
                    self.busy -= 1
