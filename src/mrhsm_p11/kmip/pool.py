"""A few connections to a group of servers that hold the same objects.

What to do is decided under a lock, the network is used outside it. There is no thread: a server that failed is tried
again by a call that comes after its pause, or that finds no other. A forked child starts with a pool of its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mrhsm_p11 import log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip.errors import KMIPError, TimedOut, Unreachable, combined
from mrhsm_p11.kmip.transport import Connection, Endpoint, Identity, Transport
from mrhsm_p11.kmip.vocabulary import Version

T = TypeVar("T")

# Seconds until a server that failed once, twice, ... is again tried in its turn; until then it comes last.
PAUSES_S = (1, 2, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class Route:
    """Which server may be asked (None: any), and whether over a new connection."""

    endpoint: Endpoint | None = None
    fresh: bool = False


ANYWHERE = Route()


@dataclass(slots=True)
class Statistics:
    """What a pool did in this process: counters that only grow."""

    messages: int = 0  # requests sent, those that failed included
    round_trips: int = 0  # requests with a reply
    connects: int = 0  # connections opened
    retries: int = 0  # requests sent again, after a reused connection broke or to another server


@dataclass(slots=True)
class _Health:
    failures: int = 0
    paused_until: float = 0.0


@dataclass(slots=True)
class _State:
    """All that changes, one for each process: a child of a fork must not touch its parent's."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    busy: int = 0
    idle: list[Connection] = field(default_factory=list)  # the latest used last
    opened: set[Connection] = field(default_factory=set)
    health: dict[Endpoint, _Health] = field(default_factory=dict)
    written: Endpoint | None = None  # where the last change was made: it surely knows of it
    closed: bool = False
    statistics: Statistics = field(default_factory=Statistics)


class Pool:
    """Lends connections to servers that speak for one identity, in one version; safe from any thread."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        identity: Identity,
        version: Version,
        *,
        size: int = 4,
        idle_s: float = 60.0,
        connect_s: float = 3.0,
        response_limit: int = 8 << 20,
    ) -> None:
        if not endpoints:
            raise ValueError("a pool needs at least one server")
        self.endpoints = tuple(endpoints)
        self.version = version
        self._size = size
        self._idle_s = idle_s
        self._transport = Transport(identity, connect_s=connect_s, response_limit=response_limit)
        self._states = {os.getpid(): _State()}

    @property
    def statistics(self) -> Statistics:
        return self._state().statistics

    def exchange(
        self,
        request: bytes | bytearray,
        read: Callable[[memoryview, str], T],
        deadline: Deadline,
        route: Route = ANYWHERE,
        *,
        idempotent: bool,
    ) -> T:
        """Send a request to a server and return what `read` makes of its reply and the server's name.

        A request that has not been sent, or is idempotent, goes to every server in turn until one answers; each has
        its share of the time. Raises KMIPError: what `read` raises counts as a failure of the server.
        """
        state = self._state()
        failures: list[KMIPError] = []
        with self._slot(state, deadline):
            order = self._order(state, route)
            for i, endpoint in enumerate(order):
                share = Deadline(deadline.remaining_s() / (len(order) - i)) if idempotent else deadline
                try:
                    result = self._ask(state, endpoint, request, read, share, idempotent, route.fresh)
                except KMIPError as error:
                    self._failed(state, endpoint, error)
                    failures.append(error)
                    if (error.sent and not idempotent) or deadline.passed:
                        break
                    state.statistics.retries += error.sent
                else:
                    self._succeeded(state, endpoint, written=not idempotent)
                    return result
        raise combined(failures)

    def close(self) -> None:
        """Close idle connections now and those in use when they are given back."""
        state = self._state()
        with state.changed:
            state.closed = True
            idle, state.idle = state.idle, []
        for connection in idle:
            self._drop(state, connection)

    def _ask(
        self,
        state: _State,
        endpoint: Endpoint,
        request: bytes | bytearray,
        read: Callable[[memoryview, str], T],
        deadline: Deadline,
        idempotent: bool,
        fresh: bool,
    ) -> T:
        connection = None if fresh else self._reuse(state, endpoint)
        if connection is not None:
            try:
                return self._use(state, connection, request, read, deadline)
            except Unreachable:
                # The server may have closed it after the last look at it; anything else is an answer of a kind.
                if not idempotent or deadline.passed:
                    raise
                state.statistics.retries += 1
        return self._use(state, self._connect(state, endpoint, deadline), request, read, deadline)

    def _use(
        self,
        state: _State,
        connection: Connection,
        request: bytes | bytearray,
        read: Callable[[memoryview, str], T],
        deadline: Deadline,
    ) -> T:
        state.statistics.messages += 1
        try:
            reply = connection.exchange(request, deadline)
            state.statistics.round_trips += 1
            try:
                result = read(memoryview(reply), str(connection.endpoint))
            finally:
                reply[:] = bytes(len(reply))
        except BaseException:
            self._drop(state, connection)
            raise
        self._give_back(state, connection)
        return result

    def _connect(self, state: _State, endpoint: Endpoint, deadline: Deadline) -> Connection:
        connection = self._transport.connect(endpoint, deadline)
        with state.changed:
            state.opened.add(connection)
            state.statistics.connects += 1
        return connection

    def _reuse(self, state: _State, endpoint: Endpoint) -> Connection | None:
        """Return an idle connection that is still good, if there is one."""
        while True:
            with state.changed:
                found = next((c for c in reversed(state.idle) if c.endpoint == endpoint), None)
                if found is None:
                    return None
                state.idle.remove(found)
            if time.monotonic() - found.used_at < self._idle_s and not found.stale():
                return found
            self._drop(state, found)

    def _give_back(self, state: _State, connection: Connection) -> None:
        with state.changed:
            state.idle.append(connection)
            surplus = state.idle[: -self._size] if not state.closed else list(state.idle)
            state.idle = [c for c in state.idle if c not in surplus]
        for each in surplus:
            self._drop(state, each)

    @staticmethod
    def _drop(state: _State, connection: Connection) -> None:
        with state.changed:
            state.opened.discard(connection)
        connection.close()

    @contextlib.contextmanager
    def _slot(self, state: _State, deadline: Deadline) -> Iterator[None]:
        with state.changed:
            if not state.changed.wait_for(lambda: state.busy < self._size, deadline.remaining_s()):
                servers = ", ".join(map(str, self.endpoints))
                raise TimedOut(f"all {self._size} connections to {servers} were in use until the deadline", servers)
            state.busy += 1
        try:
            yield
        finally:
            with state.changed:
                state.busy -= 1
                state.changed.notify()

    def _order(self, state: _State, route: Route) -> list[Endpoint]:
        if route.endpoint is not None:
            return [route.endpoint]
        now = time.monotonic()
        with state.changed:

            def rank(endpoint: Endpoint) -> tuple[bool, bool]:
                health = state.health.get(endpoint)
                return health is not None and health.paused_until > now, endpoint != state.written

            return sorted(self.endpoints, key=rank)

    @staticmethod
    def _failed(state: _State, endpoint: Endpoint, error: KMIPError) -> None:
        with state.changed:
            health = state.health.setdefault(endpoint, _Health())
            pause_s = PAUSES_S[min(health.failures, len(PAUSES_S) - 1)]
            health.failures += 1
            health.paused_until = time.monotonic() + pause_s
        log.warning(f"kmip server failed, others come first for {pause_s} s: {error}")

    @staticmethod
    def _succeeded(state: _State, endpoint: Endpoint, *, written: bool) -> None:
        with state.changed:
            state.health.pop(endpoint, None)
            if written:
                state.written = endpoint

    def _state(self) -> _State:
        state = self._states.get(os.getpid())
        return state if state is not None else self._begin_in_child()

    def _begin_in_child(self) -> _State:
        """Leave the parent its connections: close our descriptors of them, and say nothing to the servers."""
        state = self._states.setdefault(os.getpid(), _State())
        for pid in [pid for pid in self._states if pid != os.getpid()]:
            inherited = self._states.pop(pid, None)
            for connection in inherited.opened if inherited is not None else ():
                connection.close()
        return state
