"""What code that uses a socket asks of the process it runs in.

In an embedded interpreter a write to a closed connection raises SIGPIPE in the host, and a fork() of the host must
wait for calls that are inside a library. The C front deals with both; in a process of our own these do nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

Around = Callable[[], AbstractContextManager[None]]

SLICE_S = 0.2  # of a wait: what an ending process has to be patient for

_around_wait: Around = contextlib.nullcontext
_around_io: Around = contextlib.nullcontext
_ending: Callable[[], bool] = bool
_threads_allowed = True


def around_wait() -> AbstractContextManager[None]:
    """Surround a wait on a bare descriptor (poll, select, connect, send, recv) or for another thread, and nothing else.

    A fork of the host may happen inside, so no lock of OpenSSL or of another library may be held: not a call of an
    SSLSocket. A lock of Python's that is taken inside must be let go of inside: to come out means to wait for a fork,
    which waits for every call that waits for that lock. SIGPIPE is held back as well.
    """
    return _around_wait()


def wait(attempt: Callable[[float], object], seconds: float) -> bool:
    """Call `attempt`, which waits for at most as many seconds as it is given, until it succeeds or the time is over.

    Forks pass meanwhile, as in `around_wait`. The wait also fails when the process ends.
    """
    until = time.monotonic() + seconds
    while True:
        remaining_s = max(0.0, until - time.monotonic())
        with _around_wait():
            succeeded = attempt(min(remaining_s, SLICE_S))
        if succeeded or remaining_s <= SLICE_S or _ending():
            return bool(succeeded)


def pause(seconds: float) -> None:
    """Sleep, and let forks pass."""
    wait(time.sleep, seconds)


def ending() -> bool:
    """Tell whether the process is in exit(): a call that can wait no longer should give up."""
    return _ending()


def around_io() -> AbstractContextManager[None]:
    """Hold back SIGPIPE around anything that may write to a socket; may surround `around_wait`."""
    return _around_io()


def allow_threads(allowed: bool) -> None:
    """Say whether the host lets us have threads of our own (CKF_LIBRARY_CANT_CREATE_OS_THREADS)."""
    global _threads_allowed  # noqa: PLW0603
    _threads_allowed = allowed


def start_thread(name: str, work: Callable[[], None]) -> bool:
    """Run `work` on a thread that no signal of the host lands on and that no exit waits for; False where none may be.

    A fork passes it at any time, and leaves the child without it: it must hold no lock of another library.
    """
    import signal

    if not _threads_allowed:
        return False
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # a thread begins with its maker's
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:  # the system has no more
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return True


def install(*, around_wait: Around, around_io: Around, ending: Callable[[], bool]) -> None:
    """Take the C front's ways of doing these."""
    global _around_wait, _around_io, _ending
    _around_wait, _around_io, _ending = around_wait, around_io, ending
