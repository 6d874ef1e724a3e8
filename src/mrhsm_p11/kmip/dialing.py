"""Ways to servers, tried side by side on the calling thread: the first whose TLS handshake is done is taken.

Each way is a generator that yields the descriptor it waits for; the race waits for all of them. So an address where
nothing answers costs the head start that it had, not the deadline (RFC 8305, with the handshake as part of the race:
a balancer takes connections for servers that are gone).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from mrhsm_p11 import hostcalls
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import faults
from mrhsm_p11.kmip.errors import KMIPError
from mrhsm_p11.kmip.waiting import Awaited, Steps, Wait

if TYPE_CHECKING:
    import socket
    import ssl

    from mrhsm_p11.kmip.transport import Endpoint

HEAD_START_S = 0.25  # "Connection Attempt Delay" of RFC 8305, section 5
_KEEPALIVE_IDLE_S, _KEEPALIVE_EVERY_S, _KEEPALIVE_TRIES = 30, 10, 3

Address = tuple[int, "tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]"]
Way = Generator[Wait, None, "ssl.SSLSocket | list[Lane]"]


class Sessions:
    """The last TLS session with each server, to be resumed; safe from any thread, for one SSLContext."""

    def __init__(self) -> None:
        self._kept: dict[Endpoint, ssl.SSLSession] = {}

    def get(self, endpoint: Endpoint) -> ssl.SSLSession | None:
        return self._kept.get(endpoint)

    def keep(self, endpoint: Endpoint, session: ssl.SSLSession | None) -> None:
        if session is not None and session.has_ticket:
            self._kept[endpoint] = session

    def forget(self, endpoint: Endpoint) -> None:
        self._kept.pop(endpoint, None)


class Lane:
    """One way to one server."""

    __slots__ = ("endpoint", "head_start_s", "limit", "started_at", "steps", "wait")

    def __init__(self, endpoint: Endpoint, steps: Way, head_start_s: float) -> None:
        self.endpoint = endpoint
        self.steps = steps
        self.head_start_s = head_start_s  # that it has over the next
        self.started_at = 0.0
        self.limit: Deadline | None = None
        self.wait: Wait = (-1, 0)


class Race:
    """Ways to several servers, of which one is wanted. After steps(): why those failed that did, and who was slow."""

    def __init__(self, context: ssl.SSLContext, sessions: Sessions, connect_s: float) -> None:
        self._context = context
        self._sessions = sessions
        self._connect_s = connect_s
        self._waiting: deque[Lane] = deque()
        self._running: list[Lane] = []
        self._next_at = 0.0
        self.failures: dict[Endpoint, KMIPError] = {}
        self.beaten: tuple[Endpoint, ...] = ()  # had begun before the winner

    def add(self, endpoint: Endpoint, head_start_s: float = HEAD_START_S) -> None:
        self._waiting.append(Lane(endpoint, self._look_up(endpoint, head_start_s), head_start_s))

    def steps(self, deadline: Deadline) -> Steps[tuple[Endpoint, ssl.SSLSocket] | None]:
        """Return the winner with its connection, or None: then each has its failure."""
        try:
            while self._waiting or self._running:
                for lane in (yield from self._ready(deadline)):
                    secured = self._advance(lane)
                    if secured is not None:
                        others = [other.endpoint for other in self._running if other.started_at < lane.started_at]
                        self.beaten = tuple(dict.fromkeys(one for one in others if one != lane.endpoint))
                        self.failures.pop(lane.endpoint, None)
                        return lane.endpoint, secured
            return None
        finally:
            for lane in (*self._running, *self._waiting):
                lane.steps.close()

    def _ready(self, deadline: Deadline) -> Steps[list[Lane]]:
        """Return the ways that can go on, after the wait for them; a new one begins when its time has come."""
        now = time.monotonic()
        if self._waiting and (not self._running or now >= self._next_at):
            lane = self._waiting.popleft()
            lane.limit = lane.limit or Deadline(min(deadline.remaining_s(), self._connect_s))
            lane.started_at, self._next_at = now, now + lane.head_start_s
            self._running.append(lane)
            return [lane]
        until = min(lane.limit.at for lane in self._running if lane.limit)
        if self._waiting:
            until = min(until, self._next_at)
        found = yield Awaited(tuple(lane.wait for lane in self._running), until)
        if hostcalls.ending():
            for lane in (*self._running, *self._waiting):
                lane.limit = Deadline(0)
        return [lane for lane in self._running if lane.wait[0] in found or (lane.limit and lane.limit.passed)]

    def _advance(self, lane: Lane) -> ssl.SSLSocket | None:
        """Take a way one step further; return its connection at its end."""
        late = lane.limit is not None and lane.limit.passed and lane.wait[0] >= 0
        try:
            lane.wait = lane.steps.throw(TimeoutError()) if late else next(lane.steps)
        except StopIteration as done:
            self._running.remove(lane)
            if not isinstance(done.value, list):
                return done.value  # type: ignore[no-any-return]
            for address in reversed(done.value):
                address.limit = lane.limit  # looking up the name is part of the attempt
                self._waiting.appendleft(address)
        except KMIPError as error:
            self._running.remove(lane)
            self.failures[lane.endpoint] = error
        else:
            return None
        self._next_at = 0.0
        return None

    def _look_up(self, endpoint: Endpoint, head_start_s: float) -> Way:
        """Return a lane for each address of a server."""
        addresses = yield from _resolved(endpoint)
        return [
            Lane(endpoint, self._open(endpoint, family, address), head_start_s)
            for family, address in _alternated(addresses)
        ]

    def _open(self, endpoint: Endpoint, family: int, address: object) -> Way:
        """Return a TLS connection; a server that chokes on the session it once gave is met as a stranger."""
        session = self._sessions.get(endpoint)
        while True:
            plain = yield from _connected(endpoint, family, address)
            try:
                return (yield from _secured(endpoint, plain, self._context, session))
            except OSError as error:
                plain.close()
                if session is None or isinstance(error, TimeoutError):
                    raise faults.handshaking(error, str(endpoint), endpoint.expected_name) from None
                self._sessions.forget(endpoint)
                session = None
            except BaseException:
                plain.close()
                raise


def _secured(
    endpoint: Endpoint, plain: socket.socket, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> Generator[Wait, None, ssl.SSLSocket]:
    import ssl

    secured = context.wrap_socket(
        plain, server_hostname=endpoint.expected_name, do_handshake_on_connect=False, session=session
    )
    try:
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                yield secured.fileno(), select.POLLIN
            except ssl.SSLWantWriteError:
                yield secured.fileno(), select.POLLOUT
            else:
                return secured
    except BaseException:
        secured.close()
        raise


def _connected(endpoint: Endpoint, family: int, address: object) -> Generator[Wait, None, socket.socket]:
    import socket

    try:
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.setblocking(False)
            for level, option, value in (
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EVERY_S),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_TRIES),
            ):
                plain.setsockopt(level, option, value)
            status = plain.connect_ex(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
            if status == errno.EINPROGRESS:
                yield plain.fileno(), select.POLLOUT
                status = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            _require(status)
        except BaseException:
            plain.close()
            raise
    except OSError as error:
        raise faults.connecting(error, str(endpoint)) from None
    return plain


def _require(status: int) -> None:
    if status:
        raise OSError(status, os.strerror(status))


def _alternated(addresses: Sequence[Address]) -> Iterator[Address]:
    """Yield addresses so that their families alternate, the first one's first: one family may lead nowhere."""
    families = [[one for one in addresses if one[0] == family] for family in dict.fromkeys(a[0] for a in addresses)]
    for place in range(max(map(len, families))):
        yield from (family[place] for family in families if place < len(family))


def _look_up(endpoint: Endpoint, flags: int) -> list[Address]:
    import socket

    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


def _resolved(endpoint: Endpoint) -> Generator[Wait, None, list[Address]]:
    """Return the addresses of the endpoint, at least one.

    The system's look-up has no time limit of its own: a name, unlike a literal, is looked up on a thread that is left
    to itself when time has run out.
    """
    import socket

    with contextlib.suppress(OSError, UnicodeError):
        return _look_up(endpoint, socket.AI_NUMERICHOST)
    asked = _LookUp(endpoint)
    try:
        yield from asked.on_thread()
    except TimeoutError as error:
        raise faults.connecting(error, str(endpoint)) from None
    if asked.failure is not None:
        why = getattr(asked.failure, "strerror", None) or str(asked.failure)
        raise faults.unresolved(str(endpoint), endpoint.host, why)
    return asked.addresses


class _LookUp:
    """A name that is looked up by the system; one of `addresses` and `failure` is set at its end."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.addresses: list[Address] = []
        self.failure: Exception | None = None

    def on_thread(self) -> Generator[Wait, None, None]:
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            own = os.dup(bell)
            if hostcalls.start_thread("kmip-resolve", lambda: self._run(own)):
                yield bell, select.POLLIN
            else:  # the system's own time limit holds
                os.close(own)
                with hostcalls.around_wait():
                    self._ask()
        finally:
            os.close(bell)

    def _run(self, bell: int) -> None:
        try:
            self._ask()
        finally:
            os.eventfd_write(bell, 1)
            os.close(bell)

    def _ask(self) -> None:
        try:
            self.addresses = _look_up(self._endpoint, 0)
        except (OSError, UnicodeError) as error:
            self.failure = error
