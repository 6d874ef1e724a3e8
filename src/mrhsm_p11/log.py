"""The library's log: one line an event, written at once, never to the host's stdout or stderr.

Small on purpose: the logging package costs C_Initialize 5 ms and shares its state with a Python host.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

LEVELS = ("debug", "info", "warning", "error")

_threshold = len(LEVELS)  # silent until opened
_path: Path | None = None
_descriptor: int | None = None
_opening = threading.Lock()


def open_target(path: Path, level: str) -> None:
    """Send lines of at least `level` to `path`, which is opened at the first line; its folder must exist."""
    global _threshold, _path
    close()
    _path, _threshold = path, LEVELS.index(level)


def close() -> None:
    """Let go of the file, for C_Finalize and for a forked child."""
    global _descriptor, _threshold
    with _opening:
        if _descriptor is not None:
            os.close(_descriptor)
        _descriptor, _threshold = None, len(LEVELS)


def _forget_after_fork() -> None:
    """Another thread may have been opening the file."""
    global _opening  # noqa: PLW0603
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)


def debug(text: str) -> None:
    _write(0, text)


def info(text: str) -> None:
    _write(1, text)


def warning(text: str) -> None:
    _write(2, text)


def error(text: str) -> None:
    _write(3, text)


def enabled(level: str) -> bool:
    """Tell whether a line of this level would be written: ask before building a costly one."""
    return LEVELS.index(level) >= _threshold


def _write(level: int, text: str) -> None:
    if level < _threshold:
        return
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    line = f"{stamp} {LEVELS[level]} {os.getpid()}.{threading.get_native_id()} {text}"
    try:
        os.write(_target(), (line.replace("\n", "\\n") + "\n").encode("utf-8", "backslashreplace"))
    except OSError:
        return  # a log that cannot be written must not fail the call that it tells of


def _target() -> int:
    global _descriptor  # noqa: PLW0603
    if _descriptor is None:
        with _opening:
            if _descriptor is None and _path is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
                _descriptor = os.open(_path, flags, 0o640)
    if _descriptor is None:
        raise OSError("no log file")
    return _descriptor
