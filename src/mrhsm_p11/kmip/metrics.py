"""What this process asked of key managers, counted: written as Prometheus text for who wants it.

There is no thread and no signal: a call that ends writes the file when it has grown old, and so does the last one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from mrhsm_p11 import log

EVERY_S = 15.0
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Tally:
    """Calls of one operation at one server."""

    __slots__ = ("errors", "slots", "total_s")

    def __init__(self) -> None:
        self.errors = 0
        self.total_s = 0.0
        self.slots = [0] * (len(BOUNDS_S) + 1)


class Meters:
    """Counters of one process. Safe from any thread."""

    def __init__(self, file: Path, pid: int) -> None:
        self._file = Path(str(file).replace("%p", str(pid)))
        self._label = f'pid="{pid}"'
        self._lock = threading.Lock()
        self._tallies: dict[tuple[str, str, str], _Tally] = {}
        self._hedges: dict[str, int] = {}
        self._paused: dict[str, bool] = {}
        self._due_at = time.monotonic() + EVERY_S

    def count(self, operation: str, server: str, seconds: float, *, good: bool, method: str = "") -> None:
        """Count a call, and write the file if it is time. `method` is how something was computed."""
        with self._lock:
            tally = self._tallies.setdefault((operation, method, server), _Tally())
            tally.errors += not good
            tally.total_s += seconds
            tally.slots[sum(seconds > bound for bound in BOUNDS_S)] += 1
            now = time.monotonic()
            due = now >= self._due_at
            if due:
                self._due_at = now + EVERY_S
        if due:
            self.write()

    def pause(self, server: str, paused: bool) -> None:
        """Note whether others are asked before this server, because it failed."""
        with self._lock:
            self._paused[server] = paused

    def hedge(self, server: str) -> None:
        """Count a read that another server was asked as well, because this one was late."""
        with self._lock:
            self._hedges[server] = self._hedges.get(server, 0) + 1

    def text(self) -> str:
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def write(self) -> None:
        """Replace the file at once and whole. A file that cannot be written is not worth a failed call."""
        new = self._file.with_name(f".{self._file.name}.{threading.get_native_id()}")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            with open(descriptor, "w", encoding="utf-8") as target:
                target.write(self.text())
            os.replace(new, self._file)
        except OSError as error:
            log.debug(f"{self._file} cannot be written: {error}")
            with contextlib.suppress(OSError):
                os.unlink(new)

    def _lines(self) -> Iterable[str]:
        tallies = sorted(self._tallies.items())
        yield "# TYPE mrhsm_kmip_errors_total counter"
        for series, tally in tallies:
            yield f"mrhsm_kmip_errors_total{{{self._labels(*series)}}} {tally.errors}"
        yield "# TYPE mrhsm_kmip_call_seconds histogram"
        for series, tally in tallies:
            labels, so_far = self._labels(*series), 0
            for bound, number in zip((*BOUNDS_S, "+Inf"), tally.slots, strict=True):
                so_far += number
                yield f'mrhsm_kmip_call_seconds_bucket{{{labels},le="{bound}"}} {so_far}'
            yield f"mrhsm_kmip_call_seconds_sum{{{labels}}} {tally.total_s:.6f}"
            yield f"mrhsm_kmip_call_seconds_count{{{labels}}} {so_far}"
        yield "# TYPE mrhsm_kmip_hedged_reads_total counter"
        for server, number in sorted(self._hedges.items()):
            yield f'mrhsm_kmip_hedged_reads_total{{{self._label},server="{server}"}} {number}'
        yield "# TYPE mrhsm_kmip_server_paused gauge"
        for server, paused in sorted(self._paused.items()):
            yield f'mrhsm_kmip_server_paused{{{self._label},server="{server}"}} {int(paused)}'

    def _labels(self, operation: str, method: str, server: str) -> str:
        how = f'method="{method}",' if method else ""
        return f'{self._label},operation="{operation}",{how}server="{server}"'


_made: dict[tuple[int, str], Meters] = {}
_making = threading.Lock()


def meters(file: Path | None) -> Meters | None:
    """Return the counters of this process for a file; None where no file is wanted."""
    if file is None:
        return None
    with _making:
        return _made.setdefault((os.getpid(), str(file)), Meters(file, os.getpid()))


os.register_at_fork(after_in_child=lambda: globals().update(_making=threading.Lock()))
