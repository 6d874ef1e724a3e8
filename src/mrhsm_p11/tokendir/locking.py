"""One writer at a time in a folder, of all threads and processes: a lock file, and a thread lock before it."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable

from mrhsm_p11 import hostcalls
from mrhsm_p11.tokendir import posix

LOCK = ".lock"
POLL_S = 0.02


class FolderLock:
    """Re-entrant for the thread that holds it; the kernel lets go of it when its process ends."""

    def __init__(self) -> None:
        self._threads = threading.RLock()
        self._depth = 0
        self._fd = -1

    def acquire(self, open_folder: Callable[[], int], *, exclusive: bool, timeout_s: float) -> None:
        """Wait for the lock. Raises TimeoutError, or OSError where the lock file cannot be opened."""
        until = time.monotonic() + timeout_s
        if not self._threads.acquire(blocking=False):
            self._wait_for_thread(timeout_s)
        try:
            if self._depth == 0:
                self._wait_for_process(open_folder, exclusive, until)
            self._depth += 1
        except BaseException:
            if self._depth == 0:
                self._close()
            self._threads.release()
            raise

    def _wait_for_thread(self, timeout_s: float) -> None:
        if not hostcalls.wait(lambda seconds: self._threads.acquire(timeout=seconds), timeout_s):
            raise TimeoutError

    def _wait_for_process(self, open_folder: Callable[[], int], exclusive: bool, until: float) -> None:
        while not self._locked(open_folder, exclusive):
            if time.monotonic() >= until:
                raise TimeoutError
            hostcalls.pause(POLL_S)

    def _locked(self, open_folder: Callable[[], int], exclusive: bool) -> bool:
        """Lock the file unless another process has it; then no descriptor stays, for a fork would share the lock."""
        self._fd = _open_exclusive(open_folder()) if exclusive else _open_shared(open_folder())
        try:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_NB | (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH))
        except BlockingIOError:
            self._close()
            return False
        return True

    def release(self) -> None:
        """Undo one `acquire`."""
        self._depth -= 1
        if self._depth == 0:
            self._close()
        self._threads.release()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _open_exclusive(folder_fd: int) -> int:
    try:
        fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder_fd)
        posix.own(fd, folder_fd)
        return fd
    finally:
        os.close(folder_fd)


def _open_shared(folder_fd: int) -> int:
    """Return -1 where nobody has ever written."""
    try:
        return os.open(LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
    except FileNotFoundError:
        return -1
    finally:
        os.close(folder_fd)
