"""Which server is asked, over which connection, and how often."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fix_appliance import Certificates
from fix_faults import CannedServer, Fault, FaultProxy, Reply
from fix_pool import LIMIT_S, REQUEST, Asking, echo, message, read, reply, wait_until

from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import pool as pool_module
from mrhsm_p11.kmip.errors import KMIPError, ProtocolError, TimedOut, Unreachable
from mrhsm_p11.kmip.pool import Route
from mrhsm_p11.kmip.standing import REPLICATION_S

Canned = Callable[..., CannedServer]
Make = Callable[..., Asking]


def test_connections_are_used_again(asking: Make, canned_server: Canned) -> None:
    server = canned_server(reply("1"), reply("2"), reply("3"))
    pool = asking(server)
    assert [pool.ask(), pool.ask(write=True), pool.ask()] == ["1", "2", "3"]
    assert server.connections == 1
    assert pool.counts == (3, 3, 1, 0)


def test_a_fresh_route_opens_a_new_one(asking: Make, canned_server: Canned) -> None:
    server = canned_server(reply("1"), reply("2"))
    pool = asking(server)
    pool.ask()
    assert pool.ask(route=Route(fresh=True)) == "2"
    assert server.connections == 2


def test_an_idle_connection_grows_old(asking: Make, canned_server: Canned) -> None:
    server = canned_server(reply("1"), reply("2"))
    pool = asking(server, idle_s=0.0)
    pool.ask()
    pool.ask()
    assert server.connections == 2


def test_a_connection_is_not_used_for_ever(asking: Make, canned_server: Canned) -> None:
    server = canned_server(echo, echo)
    pool = asking(server, age_s=0.0)
    pool.ask()
    assert not pool.pool._state().idle
    pool.ask()
    assert server.connections == 2


@pytest.mark.parametrize("write", [False, True])
def test_a_connection_that_the_server_closed_is_not_used(asking: Make, canned_server: Canned, write: bool) -> None:
    server = canned_server(Reply(reply("1"), close=True), reply("2"))
    pool = asking(server)
    pool.ask()
    wait_until(pool.pool._state().idle[0].stale)
    assert pool.ask(write=write) == "2"
    assert pool.counts == (2, 2, 2, 0)


def test_a_reused_connection_that_breaks_is_replaced_once(asking: Make, canned_server: Canned) -> None:
    server = canned_server(reply("1"), Reply(close=True), reply("3"))
    pool = asking(server)
    pool.ask()
    assert pool.ask() == "3"
    assert pool.counts == (3, 2, 2, 1)
    server.replies += [Reply(close=True), Reply(close=True), reply("never")]
    with pytest.raises(Unreachable):
        pool.ask()
    assert server.connections == 3 + 1  # the one more asks why it was hung up on


def test_a_change_is_never_asked_twice(asking: Make, canned_server: Canned) -> None:
    first, second = canned_server(reply("1"), Reply(close=True), reply("again")), canned_server(reply("other"))
    pool = asking(first, second)
    pool.ask(write=True)
    with pytest.raises(Unreachable) as raised:
        pool.ask(write=True)
    assert raised.value.sent
    assert len(first.requests) == 2
    assert not second.requests


def test_a_change_that_was_not_sent_goes_to_the_next(asking: Make, canned_server: Canned) -> None:
    first, second = canned_server(), canned_server(reply("2"))
    first.close()
    assert asking(first, second).ask(write=True) == "2"


def test_a_reply_that_is_not_believed_closes_the_connection(asking: Make, canned_server: Canned) -> None:
    server = canned_server(reply("1"), reply("2"))
    pool = asking(server)

    def doubt(view: memoryview, name: str) -> str:
        assert name == str(pool.endpoints[0])
        raise ProtocolError("nonsense", name, sent=True)

    with pytest.raises(ProtocolError):
        pool.pool.exchange(REQUEST, doubt, Deadline(LIMIT_S), idempotent=True)
    assert pool.ask() == "2"
    assert server.connections == 2


def test_any_exception_closes_the_connection(asking: Make, canned_server: Canned) -> None:
    server = canned_server(reply("1"), reply("2"))
    pool = asking(server)

    def interrupted(view: memoryview, name: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.pool.exchange(REQUEST, interrupted, Deadline(LIMIT_S), idempotent=True)
    assert pool.ask() == "2"
    assert server.connections == 2


def test_a_late_reply_is_nobodys(asking: Make, canned_server: Canned) -> None:
    server = canned_server(Reply(reply("late"), delay_s=0.4), reply("mine"))
    pool = asking(server)
    with pytest.raises(TimedOut):
        pool.ask(limit_s=0.2)
    assert pool.ask() == "mine"


def test_the_reply_is_wiped(asking: Make, canned_server: Canned) -> None:
    kept: list[memoryview] = []

    def keep(view: memoryview, name: str) -> None:
        kept.append(view)

    asking(canned_server(reply("secret"))).pool.exchange(REQUEST, keep, Deadline(LIMIT_S), idempotent=True)
    assert not any(kept[0])


def test_the_next_server_answers(asking: Make, canned_server: Canned) -> None:
    first, second = canned_server(), canned_server(reply("2"), reply("2"), reply("2"))
    first.close()
    pool = asking(first, second)
    assert [pool.ask(), pool.ask()] == ["2", "2"]
    assert pool.counts == (2, 2, 1, 0)


def test_a_server_that_does_not_connect_costs_its_head_start(
    asking: Make, canned_server: Canned, fault_proxy: Callable[..., FaultProxy]
) -> None:
    hole, second = fault_proxy(canned_server()), canned_server(echo, echo)
    hole.default = Fault(black_hole=True)
    pool = asking(hole, second, head_start_s=0.05, connect_s=30.0)
    started = time.monotonic()
    assert pool.ask(limit_s=30.0) == "?"
    assert time.monotonic() - started < 15  # neither the deadline nor half of it
    assert pool.counts == (1, 1, 1, 0)
    assert pool.pool._state().standing.order(pool.endpoints)[0] == pool.endpoints[1]
    assert pool.ask(limit_s=30.0) == "?"
    assert (hole.accepted, second.connections) == (1, 1)


def test_a_change_too_goes_to_who_connects(
    asking: Make, canned_server: Canned, fault_proxy: Callable[..., FaultProxy]
) -> None:
    hole, second = fault_proxy(canned_server()), canned_server(echo)
    hole.default = Fault(black_hole=True)
    assert asking(hole, second, head_start_s=0.05, connect_s=30.0).ask(write=True, limit_s=30.0) == "?"


def test_one_call_finds_out_whether_a_failed_server_is_back(asking: Make, canned_server: Canned) -> None:
    pool = asking(canned_server(), canned_server())
    a, b = pool.endpoints
    state = pool.pool._state()
    pool.pool._failed(state, a, Unreachable("down", str(a)))
    state.standing._failed[a].paused_until = time.monotonic()
    assert state.standing.order(pool.endpoints) == [a, b]
    assert state.standing.order(pool.endpoints) == [b, a]


def test_a_server_on_probation_has_less_time(
    asking: Make, canned_server: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "PROBATION_S", 0.2)
    hanging, second = canned_server(), canned_server(echo)
    pool = asking(hanging, second)
    state = pool.pool._state()
    pool.pool._failed(state, pool.endpoints[0], Unreachable("down", str(pool.endpoints[0])))
    state.standing._failed[pool.endpoints[0]].paused_until = time.monotonic()
    started = time.monotonic()
    assert pool.ask(limit_s=60.0) == "?"
    assert time.monotonic() - started < 25  # its half of the deadline would be more
    assert len(hanging.requests) == 1


def test_a_hanging_server_leaves_time_for_the_next(asking: Make, canned_server: Canned) -> None:
    hanging, second = canned_server(), canned_server(reply("2"))
    pool = asking(hanging, second)
    started = time.monotonic()
    assert pool.ask(limit_s=1.0) == "2"
    assert time.monotonic() - started < 0.9
    assert pool.counts == (2, 1, 2, 1)


def test_a_failed_server_comes_last_until_its_pause_is_over(
    asking: Make, canned_server: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = canned_server(Reply(close=True)), canned_server()
    first.replies.append(echo)
    second.replies += [echo] * 9
    pool = asking(first, second)
    now = [time.monotonic()]
    monkeypatch.setattr("mrhsm_p11.kmip.standing.time.monotonic", lambda: now[0])
    state = pool.pool._state()
    a, b = pool.endpoints
    for pause_s in (1, 2, 5, 10, 30, 60, 60):
        pool.pool._failed(state, a, Unreachable("down", str(a)))
        now[0] += pause_s - 0.1
        assert state.standing.order(pool.endpoints) == [b, a]
        now[0] += 0.2
        assert state.standing.order(pool.endpoints) == [a, b]
    pool.pool._succeeded(state, a, written=False)
    assert not state.standing._failed


def test_every_server_is_tried_whatever_happened_before(asking: Make, canned_server: Canned) -> None:
    servers = [canned_server(), canned_server()]
    for server in servers:
        server.close()
    pool = asking(*servers)
    for _ in range(3):
        with pytest.raises(Unreachable) as raised:
            pool.ask()
        for where in pool.endpoints:
            assert f"{where} refused the connection" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_after_a_change_the_same_server_is_asked(asking: Make, canned_server: Canned) -> None:
    first, second = canned_server(echo, echo), canned_server(echo, echo)
    pool = asking(first, second)
    pool.ask(write=True, route=Route(pool.endpoints[1]))
    pool.ask()
    assert (len(first.requests), len(second.requests)) == (0, 2)


def test_after_a_while_the_others_know_of_a_change(
    asking: Make, canned_server: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = asking(canned_server(), canned_server())
    a, b = pool.endpoints
    state = pool.pool._state()
    now = [time.monotonic()]
    monkeypatch.setattr("mrhsm_p11.kmip.standing.time.monotonic", lambda: now[0])
    pool.pool._succeeded(state, b, written=True)
    assert state.standing.order(pool.endpoints) == [b, a]
    now[0] += REPLICATION_S
    assert state.standing.order(pool.endpoints) == [a, b]


def test_a_route_names_the_only_server_that_is_asked(asking: Make, canned_server: Canned) -> None:
    first, second = canned_server(), canned_server(echo)
    first.close()
    pool = asking(first, second)
    with pytest.raises(Unreachable):
        pool.ask(route=Route(pool.endpoints[0]))
    assert not second.requests


def test_connections_are_bounded(asking: Make, canned_server: Canned) -> None:
    server = canned_server(Reply(reply("slow"), delay_s=0.5), reply("2"))
    pool = asking(server, size=1)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(pool.ask)
        wait_until(lambda: bool(server.requests))
        with pytest.raises(TimedOut, match=r"all 1 connections to .* were in use"):
            pool.ask(limit_s=0.1)
        assert pool.ask() == "2"
        assert slow.result() == "slow"
    assert server.connections == 1


def test_calls_are_served_in_the_order_in_which_they_came(asking: Make, canned_server: Canned) -> None:
    began = threading.Event()

    def first(request: bytes) -> bytes:
        began.wait(20)
        return echo(request)

    server = canned_server(first, *[echo] * 64)
    pool = asking(server, size=1)
    state = pool.pool._state()

    def ask(number: int) -> None:
        pool.pool.exchange(message("42007801", f"{number:02}"), read, Deadline(30), idempotent=True)

    with ThreadPoolExecutor(64) as threads:
        for number in range(64):
            threads.submit(ask, number)
            wait_until(lambda sent=number: len(server.requests) + len(state.places.queue) == sent + 1)  # type: ignore[misc]
        began.set()
    assert [read(memoryview(request), "") for request in server.requests] == [f"{number:02}" for number in range(64)]
    assert state.places.busy == 0


def test_who_waits_in_vain_leaves_the_queue(asking: Make, canned_server: Canned) -> None:
    over = threading.Event()
    server = canned_server(lambda request: (over.wait(20), echo(request))[1], echo)
    pool = asking(server, size=1)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(pool.ask, limit_s=30.0)
        wait_until(lambda: bool(server.requests))
        for _ in range(3):
            with pytest.raises(TimedOut):
                pool.ask(limit_s=0.01)
        over.set()
        assert slow.result() == "?"
    assert (pool.pool._state().places.busy, len(pool.pool._state().places.queue)) == (0, 0)
    assert pool.ask() == "?"


def test_threads_get_their_own_replies(asking: Make, canned_server: Canned) -> None:
    server = canned_server(*[echo] * 400)
    pool = asking(server, size=4)

    def ask(number: int) -> bool:
        request = message("42007801", str(number))
        return pool.pool.exchange(request, read, Deadline(10), idempotent=True) == str(number)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(400)))
    assert server.connections <= 4


def test_a_forked_child_leaves_the_parent_its_connections(asking: Make, canned_server: Canned) -> None:
    server = canned_server(*[echo] * 9)
    pool = asking(server)
    pool.ask()
    pid = os.fork()
    if pid == 0:
        good = False
        try:
            good = pool.ask() == "?" and pool.counts == (1, 1, 1, 0)
        finally:
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool.ask() == "?"
    assert server.connections == 2
    assert pool.counts == (2, 2, 1, 0)


def test_a_closed_pool_keeps_nothing(asking: Make, canned_server: Canned) -> None:
    server = canned_server(*[echo] * 9)
    pool = asking(server)
    pool.ask()
    pool.pool.close()
    assert not pool.pool._state().opened
    pool.ask()
    assert not pool.pool._state().opened


def test_a_pool_without_a_server_is_refused(certificates: Certificates) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Asking(certificates)


def test_a_failure_of_all_has_the_class_of_the_last(
    asking: Make, canned_server: Canned, fault_proxy: Callable[..., FaultProxy]
) -> None:
    dead, hole = canned_server(), fault_proxy(canned_server())
    dead.close()
    hole.default = Fault(black_hole=True)
    with pytest.raises(KMIPError) as raised:
        asking(dead, hole).ask(limit_s=0.4)
    assert type(raised.value) is TimedOut
    assert "refused the connection" in str(raised.value)
