"""How the servers of a group stand in this process: who failed last, and who knows of the last change."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mrhsm_p11.kmip.transport import Endpoint

# Seconds until a server that failed once, twice, ... is again tried in its turn; until then it comes last.
PAUSES_S = (1, 2, 5, 10, 30, 60)
REPLICATION_S = 60.0  # after a change its server is asked first for so long: by then the others know too


@dataclass(slots=True)
class _Failed:
    failures: int = 0
    paused_until: float = 0.0

    def pause(self) -> int:
        """Let others come first, the longer the more often it failed; return the seconds."""
        pause_s = PAUSES_S[min(self.failures, len(PAUSES_S) - 1)]
        self.paused_until = time.monotonic() + pause_s
        return pause_s


class Standing:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Lock()
        self._failed: dict[Endpoint, _Failed] = {}
        self._written: Endpoint | None = None
        self._written_at = 0.0

    def order(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Return the servers to try: where the last change was made, a failed one whose pause is over, the others."""
        now = time.monotonic()
        with self._changed:
            first = self.last_written()
            paused = [one for one in endpoints if one in self._failed]
            over = [one for one in paused if self._failed[one].paused_until <= now]
            if over and first is None:
                # This call finds out; others need not wait to see how that ends.
                first = over[0]
                self._failed[first].pause()
            return sorted(endpoints, key=lambda one: (one in paused and one != first, one != first))

    def last_written(self) -> Endpoint | None:
        """Return the server that knows of a change which others may not know of yet."""
        return self._written if time.monotonic() - self._written_at < REPLICATION_S else None

    def on_probation(self, endpoint: Endpoint) -> bool:
        """Tell whether the server failed last."""
        return endpoint in self._failed

    def failed(self, endpoint: Endpoint) -> int:
        """Let others come first, and return for how many seconds."""
        with self._changed:
            health = self._failed.setdefault(endpoint, _Failed())
            pause_s = health.pause()
            health.failures += 1
            if self._written == endpoint:
                self._written = None
        return pause_s

    def succeeded(self, endpoint: Endpoint, *, written: bool) -> None:
        with self._changed:
            self._failed.pop(endpoint, None)
            if written:
                self._written, self._written_at = endpoint, time.monotonic()
