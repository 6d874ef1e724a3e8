"""Servers of a master process and workers that it forks: their reload, and that nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from places import Place

WORKERS = 4
_LIMIT_S = 60.0


@dataclass(frozen=True)
class Server:
    """A server under way; `place` is where its module has its token, `reloading` asks it to begin anew."""

    program: str
    reloading: signal.Signals
    place: Place
    port: int
    master: subprocess.Popen[bytes]

    def workers(self) -> set[int]:
        """Return the processes that the master has forked and not yet seen off."""
        assert self.master.poll() is None, f"the server ended: {self.said()[-600:]}"
        listed = Path(f"/proc/{self.master.pid}/task/{self.master.pid}/children").read_text()
        return {int(word) for word in listed.split()}

    def reload(self) -> None:
        """Have new workers made, which load the keys anew, and wait until the former have gone."""
        former = self.workers()
        self.master.send_signal(self.reloading)
        self.until(lambda: not former & self.workers(), "the former workers have not gone")
        self.until(lambda: len(self.workers()) >= WORKERS, "there are not as many workers as before")

    def helpers(self) -> list[int]:
        """Return the processes that serve isolated hosts of this place."""
        home = f"MAPR_HOME={self.place.folder}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile
                named = home in (folder / "environ").read_bytes().split(b"\0")
                if named and b"mrhsm_p11.abi.isolated" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return found

    def stop(self) -> None:
        """End it; nothing of it may be left. Raises AssertionError."""
        former = self.workers() if self.master.poll() is None else set()
        self.master.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.master.wait(_LIMIT_S)
        left = [pid for pid in former if _lives(pid, self.program)]
        for pid in (*left, self.master.pid) if self.master.poll() is None or left else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.master.wait(_LIMIT_S)
        assert not left, f"{len(left)} workers outlived the server"
        self.until(lambda: not self.helpers(), "a process of the library outlived the server")

    def until(self, true: Callable[[], bool], otherwise: str) -> None:
        """Wait until it is so. Raises AssertionError."""
        until = time.monotonic() + _LIMIT_S
        while not true():
            assert time.monotonic() < until, f"{otherwise} after {_LIMIT_S:.0f} s"
            time.sleep(0.02)

    def said(self) -> str:
        """Return the server's own log."""
        log = self.place.folder / "server.log"
        return log.read_text(errors="replace") if log.exists() else ""


def _lives(pid: int, program: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == program
    except OSError:
        return False


@contextlib.contextmanager
def started(
    place: Place, port: int, program: str, reloading: signal.Signals, command: list[str], **more: str
) -> Iterator[Server]:
    """Run a server while the block runs, from when it has its workers. Raises AssertionError."""
    log = place.folder / "server.log"
    log.write_bytes(b"")
    with log.open("ab") as output:
        master = subprocess.Popen(
            command,
            env=place.environment | more,
            cwd=place.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Apache that stops ends its whole process group, another Apache's too
        )
    server = Server(program, reloading, place, port, master)
    try:
        server.until(lambda: len(server.workers()) >= WORKERS, "there are no workers")
        yield server
    finally:
        server.stop()
