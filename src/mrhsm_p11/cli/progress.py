"""What goes on, for whoever watches: one line on the terminal once it has taken a second, gone when it is over."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

AFTER_S = 1.0
_ERASE = "\r\x1b[K"


class Progress:
    """A line that each step replaces; nothing is ever written where the stream is no terminal."""

    def __init__(self, stream: TextIO | None = None, after_s: float = AFTER_S) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._watched = self._stream.isatty()
        self._after_s = after_s
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._shown = False

    def step(self, text: str) -> None:
        """Say from now on, if it takes long, what is being done."""
        self.clear()
        if self._watched:
            self._timer = threading.Timer(self._after_s, self._show, (text,))
            self._timer.daemon = True
            self._timer.start()

    def clear(self) -> None:
        """Leave the terminal to what is printed next."""
        with self._lock:
            timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
            if self._shown:
                self._write(_ERASE)
                self._shown = False

    def _show(self, text: str) -> None:
        with self._lock:
            if self._timer is threading.current_thread():
                self._write(f"{_ERASE}{text} ...")
                self._shown = True

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


@contextmanager
def during(text: str) -> Iterator[None]:
    """Say what is being done until the block ends."""
    progress = Progress()
    progress.step(text)
    try:
        yield
    finally:
        progress.clear()
