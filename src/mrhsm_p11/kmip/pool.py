"""A few connections to a group of servers that hold the same objects.

What to do is decided under a lock, the network is used outside it. There is no thread: a server that failed is tried
again by a call that comes after its pause, or that finds no other. A forked child starts with a pool of its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mrhsm_p11 import hostcalls, log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip.dialing import HEAD_START_S
from mrhsm_p11.kmip.errors import KMIPError, TimedOut, Unreachable, combined
from mrhsm_p11.kmip.messages import Authentication
from mrhsm_p11.kmip.metrics import Meters, meters
from mrhsm_p11.kmip.transport import Connection, Endpoint, Identity, Transport
from mrhsm_p11.kmip.vocabulary import Version

T = TypeVar("T")

# Seconds until a server that failed once, twice, ... is again tried in its turn; until then it comes last.
PAUSES_S = (1, 2, 5, 10, 30, 60)
REPLICATION_S = 60.0  # after a change its server is asked first for so long: by then the others know too
PREFERENCE_S = 1.0  # and has this much time to connect
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


@dataclass(slots=True)
class _Health:
    """Of a server that failed last."""

    failures: int = 0
    paused_until: float = 0.0

    def pause(self) -> int:
        """Let others come first, the longer the more often it failed; return the seconds."""
        pause_s = PAUSES_S[min(self.failures, len(PAUSES_S) - 1)]
        self.paused_until = time.monotonic() + pause_s
        return pause_s


@dataclass(slots=True)
class _State:
    """All that changes, one for each process: a child of a fork must not touch its parent's."""

    changed: threading.Lock = field(default_factory=threading.Lock)
    busy: int = 0
    queue: deque[threading.Lock] = field(default_factory=deque)  # of those who wait: released when it is their turn
    idle: list[Connection] = field(default_factory=list)  # the latest used last
    opened: set[Connection] = field(default_factory=set)
    health: dict[Endpoint, _Health] = field(default_factory=dict)
    written: Endpoint | None = None  # where the last change was made: it surely knows of it
    written_at: float = 0.0
    closed: bool = False
    statistics: Statistics = field(default_factory=Statistics)

    def last_written(self) -> Endpoint | None:
        """Return the server that knows of a change which others may not know of yet."""
        return self.written if time.monotonic() - self.written_at < REPLICATION_S else None


class Pool:
    """Lends connections to servers that speak for one identity, in one version; safe from any thread."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        identity: Identity,
        version: Version,
        *,
        size: int = 4,
        idle_s: float = 45.0,
        age_s: float = 600.0,
        connect_s: float = 3.0,
        head_start_s: float = HEAD_START_S,
        response_limit: int = 8 << 20,
        metrics_file: Path | None = None,
        authentication: Authentication | None = None,
    ) -> None:
        if not endpoints:
            raise ValueError("a pool needs at least one server")
        self.endpoints = tuple(endpoints)
        self.version = version
        self.authentication = authentication  # sent with every request, beside the certificate
        self._size = size
        self._idle_s = idle_s
        self._age_s = age_s
        self._head_start_s = head_start_s
        self._metrics_file = metrics_file
        self.refuses_batches = False  # as a server of the group was seen to do
        self._transport = Transport(identity, connect_s=connect_s, response_limit=response_limit)
        self._states = {os.getpid(): _State()}

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
    ) -> T:
        """Send a request to a server and return what `read` makes of its reply and the server's name.

        A request that has not been sent, or is idempotent, goes to every server in turn until one answers; each has
        its share of the time. Raises KMIPError: what `read` raises counts as a failure of the server.
        """
        state = self._state()
        failures: list[KMIPError] = []
        with self._slot(state, deadline):
            left = self._order(state, route)
            fresh = route.fresh
            while left:
                connection, reused = self._obtain(state, left, failures, deadline, fresh)
                if connection is None:
                    break
                endpoint = connection.endpoint
                share = self._share(state, endpoint, len(left), deadline) if idempotent else deadline
                try:
                    result = self._use(state, connection, request, read, share)
                except KMIPError as error:
                    if reused and idempotent and isinstance(error, Unreachable) and not deadline.passed:
                        # The server may have closed it after the last look at it; anything else is an answer of a kind.
                        state.statistics.retries += 1
                        left, fresh = sorted(left, key=lambda one, lost=endpoint: one != lost), True  # type: ignore[misc]
                        continue
                    self._failed(state, endpoint, error)
                    failures.append(error)
                    left, fresh = [one for one in left if one != endpoint], route.fresh
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
        if self.meters is not None:
            self.meters.write()

    def _obtain(
        self, state: _State, servers: list[Endpoint], failures: list[KMIPError], deadline: Deadline, fresh: bool
    ) -> tuple[Connection | None, bool]:
        """Return a connection to the first server, or to another that is there sooner; and whether it was used before.

        Servers that cannot be reached leave the list, with their failures.
        """
        found = None if fresh else self._reuse(state, servers[0])
        if found is not None:
            return found, True
        preferred = state.last_written()
        starts = [(one, PREFERENCE_S if one == preferred else self._head_start_s) for one in servers]
        arrival = self._transport.connect_any(starts, deadline)
        for endpoint, error in arrival.failures.items():
            self._failed(state, endpoint, error)
            failures.append(error)
            servers.remove(endpoint)
        for endpoint in arrival.beaten:
            self._failed(state, endpoint, TimedOut(f"{endpoint} is slow to connect: another came first", str(endpoint)))
        if arrival.connection is not None:
            with state.changed:
                state.opened.add(arrival.connection)
                state.statistics.connects += 1
        return arrival.connection, False

    @staticmethod
    def _share(state: _State, endpoint: Endpoint, servers: int, deadline: Deadline) -> Deadline:
        """Return how long a server may take to answer so that the others get their time; one on probation gets less."""
        share_s = deadline.remaining_s() / servers
        return Deadline(min(share_s, PROBATION_S) if servers > 1 and endpoint in state.health else share_s)

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

    @contextlib.contextmanager
    def _slot(self, state: _State, deadline: Deadline) -> Iterator[None]:
        """Hold one of the pool's places; who came first is served first."""
        with state.changed:
            turn = None
            if state.busy < self._size:
                state.busy += 1
            else:
                turn = threading.Lock()
                turn.acquire()
                state.queue.append(turn)
        try:
            if turn is not None and not hostcalls.wait(lambda s: turn.acquire(timeout=s), deadline.remaining_s()):
                servers = ", ".join(map(str, self.endpoints))
                raise TimedOut(f"all {self._size} connections to {servers} were in use until the deadline", servers)
            yield
        finally:
            with state.changed:
                if turn is not None and turn in state.queue:
                    state.queue.remove(turn)  # it never had its turn
                elif state.queue:
                    state.queue.popleft().release()
                else:
                    state.busy -= 1

    def _order(self, state: _State, route: Route) -> list[Endpoint]:
        """Return the servers to try: where the last change was made, a failed one whose pause is over, the others."""
        if route.endpoint is not None:
            return [route.endpoint]
        now = time.monotonic()
        with state.changed:
            first = state.last_written()
            paused = [one for one in self.endpoints if one in state.health]
            over = [one for one in paused if state.health[one].paused_until <= now]
            if over and first is None:
                # This call finds out; others need not wait to see how that ends.
                first = over[0]
                state.health[first].pause()
            return sorted(self.endpoints, key=lambda one: (one in paused and one != first, one != first))

    def _failed(self, state: _State, endpoint: Endpoint, error: KMIPError) -> None:
        with state.changed:
            health = state.health.setdefault(endpoint, _Health())
            pause_s = health.pause()
            health.failures += 1
            if state.written == endpoint:
                state.written = None
        if self.meters is not None:
            self.meters.pause(str(endpoint), True)
        log.warning(f"kmip server failed, others come first for {pause_s} s: {error}")

    def _succeeded(self, state: _State, endpoint: Endpoint, *, written: bool) -> None:
        with state.changed:
            state.health.pop(endpoint, None)
            if written:
                state.written, state.written_at = endpoint, time.monotonic()
        if self.meters is not None:
            self.meters.pause(str(endpoint), False)

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
