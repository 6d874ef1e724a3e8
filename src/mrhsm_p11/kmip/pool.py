"""A few connections to a group of servers that hold the same objects.

What to do is decided under a lock, the network is used outside it. There is no thread: a server that failed is tried
again by a call that comes after its pause, or that finds no other. A forked child starts with a pool of its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mrhsm_p11 import log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip.dialing import HEAD_START_S
from mrhsm_p11.kmip.errors import KMIPError, TimedOut, Unreachable, combined
from mrhsm_p11.kmip.hedging import NEVER, Budget, Contender, Contest, Latencies, Reading
from mrhsm_p11.kmip.messages import Authentication
from mrhsm_p11.kmip.metrics import Meters, meters
from mrhsm_p11.kmip.places import NoPlace, Places
from mrhsm_p11.kmip.standing import Standing
from mrhsm_p11.kmip.transport import Arrival, Connection, Endpoint, Identity, Transport
from mrhsm_p11.kmip.vocabulary import Version
from mrhsm_p11.kmip.waiting import Steps, run

T = TypeVar("T")

PREFERENCE_S = 1.0  # that the server of the last change has to connect
PROBATION_S = 1.0  # for the answer of a server that failed last, while there are others to ask


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
    hedges: int = 0  # calls that turned to a second server because the first was late


class _State:
    """All that changes, one for each process: a child of a fork must not touch its parent's."""

    def __init__(self, size: int) -> None:
        self.places = Places(size)
        self.budget = Budget(size)
        self.latencies = Latencies()
        self.standing = Standing()
        self.changed = threading.Lock()  # of what follows
        self.idle: list[Connection] = []  # the latest used last
        self.opened: set[Connection] = set()
        self.closed = False
        self.statistics = Statistics()


class Pool:
    """Lends connections to servers that speak for one identity, in one version; safe from any thread."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        identity: Identity,
        version: Version | None,
        *,
        size: int = 4,
        idle_s: float = 45.0,
        age_s: float = 600.0,
        connect_s: float = 3.0,
        head_start_s: float = HEAD_START_S,
        response_limit: int = 8 << 20,
        metrics_file: Path | None = None,
        authentication: Authentication | None = None,
        correlates: bool = False,
    ) -> None:
        if not endpoints:
            raise ValueError("a pool needs at least one server")
        self.endpoints = tuple(endpoints)
        self.negotiates = version is None
        self.version = version  # None: not agreed on yet
        self.offers: dict[str, frozenset[Version]] = {}  # of those servers that were asked, by their name
        self.authentication = authentication  # sent with every request, beside the certificate
        self.correlates = correlates  # every request carries its name, where the version has a place for it
        self._size = size
        self._idle_s = idle_s
        self._age_s = age_s
        self._head_start_s = head_start_s
        self._metrics_file = metrics_file
        self.refuses_batches = False  # as a server of the group was seen to do
        self._transport = Transport(identity, connect_s=connect_s, response_limit=response_limit)
        self._states = {os.getpid(): _State(size)}

    @property
    def statistics(self) -> Statistics:
        return self._state().statistics

    @property
    def meters(self) -> Meters | None:
        """The counters of this process, where somebody wants them."""
        return meters(self._metrics_file)

    def exchange(
        self,
        request: bytes | bytearray,
        read: Callable[[memoryview, str], T],
        deadline: Deadline,
        route: Route = ANYWHERE,
        *,
        idempotent: bool,
        reading: Reading[T] | None = None,
    ) -> T:
        """Send a request to a server and return what `read` makes of its reply and the server's name.

        A request that has not been sent, or is idempotent, goes to every server in turn until one answers; each has
        its share of the time. A `reading` goes to one more server if the first is late. Raises KMIPError: what `read`
        raises counts as a failure of the server.
        """
        state = self._state()
        try:
            with state.places.one(deadline):
                return _Exchange(self, state, request, read, deadline, idempotent, reading).run(route)
        except NoPlace:
            servers = ", ".join(map(str, self.endpoints))
            text = f"all {self._size} connections to {servers} were in use until the deadline"
            raise TimedOut(text, servers) from None

    def close(self) -> None:
        """Close idle connections now and those in use when they are given back."""
        state = self._state()
        with state.changed:
            state.closed = True
            idle, state.idle = state.idle, []
        for connection in idle:
            self._drop(state, connection)
        if self.meters is not None:
            self.meters.write()

    def _reuse(self, state: _State, endpoint: Endpoint) -> Connection | None:
        """Return an idle connection that is still good, if there is one."""
        while True:
            with state.changed:
                found = next((c for c in reversed(state.idle) if c.endpoint == endpoint), None)
                if found is None:
                    return None
                state.idle.remove(found)
            if not self._old(found) and not found.stale():
                return found
            self._drop(state, found)

    def _connecting(self, state: _State, servers: Sequence[Endpoint], deadline: Deadline) -> Steps[Arrival]:
        """Open a connection to whichever server is there first."""
        preferred = state.standing.last_written()
        starts = [(one, PREFERENCE_S if one == preferred else self._head_start_s) for one in servers]
        arrival = yield from self._transport.connecting(starts, deadline)
        for endpoint in arrival.beaten:
            self._slow(state, endpoint, "connect: another came")
        if arrival.connection is not None:
            with state.changed:
                state.opened.add(arrival.connection)
                state.statistics.connects += 1
        return arrival

    def _old(self, connection: Connection) -> bool:
        """Tell whether something in between may have forgotten the connection, or it has served long enough."""
        now = time.monotonic()
        return now - connection.used_at >= self._idle_s or now - connection.opened_at >= self._age_s

    def _give_back(self, state: _State, connection: Connection) -> None:
        with state.changed:
            state.idle.append(connection)
            young = [] if state.closed else [one for one in state.idle if not self._old(one)][-self._size :]
            surplus = [one for one in state.idle if one not in young]
            state.idle = young
        for each in surplus:
            self._drop(state, each)

    @staticmethod
    def _drop(state: _State, connection: Connection) -> None:
        with state.changed:
            state.opened.discard(connection)
        connection.close()

    def _slow(self, state: _State, endpoint: Endpoint, what: str) -> None:
        self._failed(state, endpoint, TimedOut(f"{endpoint} is slow to {what} first", str(endpoint)))

    def _failed(self, state: _State, endpoint: Endpoint, error: KMIPError) -> None:
        pause_s = state.standing.failed(endpoint)
        if self.meters is not None:
            self.meters.pause(str(endpoint), True)
        log.warning(f"kmip server failed, others come first for {pause_s} s: {error}")

    def _succeeded(self, state: _State, endpoint: Endpoint, *, written: bool) -> None:
        state.standing.succeeded(endpoint, written=written)
        if self.meters is not None:
            self.meters.pause(str(endpoint), False)

    def _state(self) -> _State:
        state = self._states.get(os.getpid())
        return state if state is not None else self._begin_in_child()

    def _begin_in_child(self) -> _State:
        """Leave the parent its connections: close our descriptors of them, and say nothing to the servers."""
        state = self._states.setdefault(os.getpid(), _State(self._size))
        for pid in [pid for pid in self._states if pid != os.getpid()]:
            inherited = self._states.pop(pid, None)
            for connection in inherited.opened if inherited is not None else ():
                connection.close()
        return state


class _Exchange(Generic[T]):
    """One request on its way through the servers of a pool."""

    def __init__(
        self,
        pool: Pool,
        state: _State,
        request: bytes | bytearray,
        read: Callable[[memoryview, str], T],
        deadline: Deadline,
        idempotent: bool,
        reading: Reading[T] | None,
    ) -> None:
        self._pool, self._state = pool, state
        self._request, self._read = request, read
        self._deadline = deadline
        self._idempotent = idempotent
        self._reading = reading
        self._left: list[Endpoint] = []
        self._fresh = False
        self._failures: list[KMIPError] = []

    def run(self, route: Route) -> T:
        pool, state = self._pool, self._state
        self._left = [route.endpoint] if route.endpoint is not None else state.standing.order(pool.endpoints)
        self._fresh = route.fresh
        while self._left:
            connection, reused = run(self._connection(self._left, self._deadline))
            if connection is None:
                break
            endpoint = connection.endpoint
            contest = self._contest(connection)
            winner = run(contest.steps())
            if winner is not None:
                return self._answered(contest, winner)
            error = contest.first.error
            assert error is not None
            if reused and not contest.second and self._may_repeat(error):
                # The server may have closed it after the last look at it; anything else is an answer of a kind.
                state.statistics.retries += 1
                self._left.sort(key=lambda one, lost=endpoint: one != lost)  # type: ignore[misc]
                self._fresh = True
                continue
            self._note_failures(contest)
            self._fresh = route.fresh
            if (error.sent and not self._idempotent) or self._deadline.passed:
                break
            state.statistics.retries += error.sent
        raise combined(self._failures)

    def _connection(self, servers: Sequence[Endpoint], deadline: Deadline) -> Steps[tuple[Connection | None, bool]]:
        """Return a connection to the first server, or to another that is there sooner; and whether it was used before.

        Servers that cannot be reached leave the list, with their failures.
        """
        found = None if self._fresh else self._pool._reuse(self._state, servers[0])
        if found is not None:
            return found, True
        arrival = yield from self._pool._connecting(self._state, servers, deadline)
        for endpoint, error in arrival.failures.items():
            self._failed(endpoint, error)
        return arrival.connection, False

    def _contest(self, connection: Connection) -> Contest[T]:
        endpoint = connection.endpoint
        share = self._share(endpoint) if self._idempotent else self._deadline
        late_at = NEVER
        if self._reading is not None and len(self._left) > 1 and endpoint != self._state.standing.last_written():
            late_at = time.monotonic() + self._state.latencies.patience_s(endpoint, self._reading.kind)
        first: Contender[T] = Contender(lambda me: self._asking(me, connection, share))
        return Contest(first, late_at, lambda: self._second(endpoint), self._reading.good if self._reading else bool)

    def _share(self, endpoint: Endpoint) -> Deadline:
        """Return how long a server may take to answer so that the others get their time; one on probation gets less."""
        servers = len(self._left)
        share_s = self._deadline.remaining_s() / servers
        short = servers > 1 and self._state.standing.on_probation(endpoint)
        return Deadline(min(share_s, PROBATION_S) if short else share_s)

    def _second(self, first: Endpoint) -> Contender[T] | None:
        if not self._state.budget.spend():
            return None
        self._state.statistics.hedges += 1
        if self._pool.meters is not None:
            self._pool.meters.hedge(str(first))
        others = [one for one in self._left if one != first]
        return Contender(lambda me: self._asking_another(me, others))

    def _asking_another(self, contender: Contender[T], servers: list[Endpoint]) -> Steps[T]:
        limit = Deadline(self._deadline.remaining_s() / len(servers))
        while True:
            connection, reused = yield from self._connection(servers, limit)
            if connection is None:
                raise self._failures[-1]
            try:
                return (yield from self._asking(contender, connection, limit))
            except Unreachable:
                if not reused:
                    raise
                self._state.statistics.retries += 1

    def _asking(self, contender: Contender[T], connection: Connection, deadline: Deadline) -> Steps[T]:
        """Exchange the request over a connection, which ends with any failure, and when somebody else wins."""
        state = self._state
        contender.endpoint, contender.asked_at = connection.endpoint, time.monotonic()
        state.statistics.messages += 1
        try:
            reply = yield from connection.exchanging(self._request, deadline)
            state.statistics.round_trips += 1
            try:
                result = self._read(memoryview(reply), str(connection.endpoint))
            finally:
                reply[:] = bytes(len(reply))
        except BaseException:
            self._pool._drop(state, connection)
            raise
        self._pool._give_back(state, connection)
        return result

    def _answered(self, contest: Contest[T], winner: Contender[T]) -> T:
        pool, state, first = self._pool, self._state, contest.first
        self._note_failures(contest)
        if winner is not first and first.error is None and first.endpoint is not None:
            pool._slow(state, first.endpoint, "answer: another did")
        if self._reading is not None:
            now = time.monotonic()
            for each in {first, winner}:  # of a first that lost: it took no less
                if each.endpoint is not None:
                    state.latencies.note(each.endpoint, self._reading.kind, now - each.asked_at)
            state.budget.earn()
        assert winner.endpoint is not None
        pool._succeeded(state, winner.endpoint, written=not self._idempotent)
        return winner.answer  # type: ignore[return-value]  # what `read` made, None included

    def _may_repeat(self, error: KMIPError) -> bool:
        return self._idempotent and isinstance(error, Unreachable) and not self._deadline.passed

    def _note_failures(self, contest: Contest[T]) -> None:
        for each in contest.contenders:
            if each.error is not None and each.endpoint is not None:
                self._failed(each.endpoint, each.error)

    def _failed(self, endpoint: Endpoint, error: KMIPError) -> None:
        self._pool._failed(self._state, endpoint, error)
        self._failures.append(error)
        if endpoint in self._left:
            self._left.remove(endpoint)
