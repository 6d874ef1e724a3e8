"""What code that uses a socket asks of the process it runs in.

In an embedded interpreter a write to a closed connection raises SIGPIPE in the host, and a fork() of the host must
wait for calls that are inside a library. The C front deals with both; in a process of our own these do nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

Around = Callable[[], AbstractContextManager[None]]

_around_wait: Around = contextlib.nullcontext
_around_io: Around = contextlib.nullcontext


def around_wait() -> AbstractContextManager[None]:
    """Surround a wait on a bare descriptor (poll, select, connect, send, recv), and nothing else.

    A fork of the host may happen inside, so no lock of OpenSSL or of another library may be held: not a call of an
    SSLSocket. SIGPIPE is held back as well.
    """
    return _around_wait()


def around_io() -> AbstractContextManager[None]:
    """Hold back SIGPIPE around anything that may write to a socket; may surround `around_wait`."""
    return _around_io()


def install(*, around_wait: Around, around_io: Around) -> None:
    """Take the C front's ways of doing both."""
    global _around_wait, _around_io
    _around_wait, _around_io = around_wait, around_io
