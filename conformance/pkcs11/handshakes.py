"""A load of TLS connections, each with a full handshake: RSA and EC keys of the server by turns, TLS 1.2 and 1.3."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType

_LIMIT_S = 30.0  # of one connection
# What makes the server use the one key or the other; TLS 1.3 leaves the choice to it.
_KINDS = (
    ("RSA", ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256"),
    ("EC", ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS 1.3", ssl.TLSVersion.TLSv1_3, ""),
)


class Handshakes:
    """Threads that connect all the time while the block runs; `done` and `failed` count what came of it."""

    def __init__(self, port: int, authorities: list[Path], threads: int = 3) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._port = port
        self._contexts = [(name, _context(version, ciphers, authorities)) for name, version, ciphers in _KINDS]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._connect_all_the_time) for _ in range(threads)]

    def __enter__(self) -> Handshakes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * _LIMIT_S)

    def more(self, number: int, limit_s: float = 60.0) -> None:
        """Wait for so many more handshakes, well or not. Raises AssertionError."""
        wanted, until = self._count() + number, time.monotonic() + limit_s
        while self._count() < wanted:
            assert time.monotonic() < until, f"no {number} handshakes in {limit_s:.0f} s: {self}"
            time.sleep(0.02)

    def __str__(self) -> str:
        failures = "; ".join(f"{count} x {what}" for what, count in self.failed.items())
        return f"{self.done.total()} handshakes, {self.failed.total()} failed{f' ({failures})' if failures else ''}"

    def _count(self) -> int:
        return self.done.total() + self.failed.total()

    def _connect_all_the_time(self) -> None:
        for name, context in itertools.cycle(self._contexts):
            if self._over.is_set():
                return
            try:
                self._connect(context)
            except OSError as error:  # ssl.SSLError is one
                self.failed[f"{name}: {type(error).__name__} {error}"] += 1
            else:
                self.done[name] += 1

    def _connect(self, context: ssl.SSLContext) -> None:
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=_LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if not tls.recv(4096).startswith(b"HTTP/1.1 "):
                raise ConnectionError("no answer")


def _context(version: ssl.TLSVersion, ciphers: str, authorities: list[Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    for file in authorities:
        context.load_verify_locations(file)
    return context
