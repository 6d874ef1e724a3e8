"""A pool without KMIP: canned servers that answer texts, and short ways to ask for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from fix_appliance import Certificates

from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip.hedging import Reading
from mrhsm_p11.kmip.pool import ANYWHERE, Pool, Route
from mrhsm_p11.kmip.transport import Endpoint, Identity
from mrhsm_p11.secret import Secret

LIMIT_S = 3.0


def message(tag: str, text: str) -> bytes:
    body = bytes.fromhex("42007D07") + len(text).to_bytes(4, "big") + text.encode() + bytes(-len(text) % 8)
    return bytes.fromhex(tag) + len(body).to_bytes(4, "big") + body


def reply(text: str) -> bytes:
    return message("42007B01", text)


def echo(request: bytes) -> bytes:
    return bytes.fromhex("42007B01") + request[4:]


REQUEST = message("42007801", "?")


def read(view: memoryview, server: str) -> str:
    """Return the text of a reply."""
    length = int.from_bytes(view[12:16], "big")
    return bytes(view[16 : 16 + length]).decode()


class Asking:
    """A pool, and short ways to ask through it."""

    def __init__(self, certificates: Certificates, *servers: object, **options: object) -> None:
        self.endpoints = [Endpoint("127.0.0.1", server.port) for server in servers]  # type: ignore[attr-defined]
        identity = Identity(
            certificates.ca.read_bytes(),
            certificates.certificate().read_bytes(),
            Secret(certificates.key().read_bytes()),
        )
        options.setdefault("head_start_s", 30.0)  # a slow machine must not change the order
        self.pool = Pool(self.endpoints, identity, (1, 2), **options)  # type: ignore[arg-type]

    def ask(
        self,
        *,
        write: bool = False,
        limit_s: float = LIMIT_S,
        route: Route = ANYWHERE,
        reading: Reading[str] | None = None,
    ) -> str:
        return self.pool.exchange(REQUEST, read, Deadline(limit_s), route, idempotent=not write, reading=reading)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        s = self.pool.statistics
        return s.messages, s.round_trips, s.connects, s.retries


@pytest.fixture
def asking(certificates: Certificates) -> Iterator[Callable[..., Asking]]:
    made: list[Asking] = []

    def make(*servers: object, **options: object) -> Asking:
        made.append(Asking(certificates, *servers, **options))
        return made[-1]

    yield make
    for each in made:
        each.pool.close()


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        threading.Event().wait(0.01)
