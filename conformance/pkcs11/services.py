"""Servers that a step needs: started in a place, ready when they say or take connections, gone afterwards."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from places import Place

_READY_S = 30.0
_LOOK_AGAIN_S = 0.05


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def serving(place: Place, at: int | Path, *command: object, **more: str) -> Iterator[Path]:
    """Run a server at a port of loopback, or at a socket's path, while the block runs; give the file of its output.

    Raises AssertionError.
    """
    log = place.folder / f"server-{at if isinstance(at, int) else at.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=place.environment | more,
            cwd=place.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(process, at, log)
        yield log
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _wait_until_ready(process: subprocess.Popen[bytes], at: int | Path, log: Path) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            _connect(at)
            return
        time.sleep(_LOOK_AGAIN_S)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-400:]}")


def _connect(at: int | Path) -> None:
    if isinstance(at, Path):
        at.stat()
        return
    socket.create_connection(("127.0.0.1", at), timeout=1).close()
