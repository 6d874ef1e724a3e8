"""A read that is late at one server is asked of another; nothing else is ever asked of two at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from fix_appliance import Appliance
from fix_faults import CannedServer, Fault, FaultProxy, Reply
from fix_kmip_store import KmipPlace
from fix_pool import Asking, echo, reply, wait_until
from fix_stores import aes_key

from mrhsm_p11 import deadline, hostcalls
from mrhsm_p11.constants import CKA
from mrhsm_p11.kmip import crypto_payloads, hedging, object_payloads, server_payloads
from mrhsm_p11.kmip.errors import Unreachable
from mrhsm_p11.kmip.hedging import Budget, Latencies, Reading
from mrhsm_p11.kmip.transport import Endpoint
from mrhsm_p11.kmip.vocabulary import Operation

Canned = Callable[..., CannedServer]
Make = Callable[..., Asking]
LIMIT_S = 60.0
READING: Reading[str] = Reading("a kind", lambda answer: answer != "no")
A = Endpoint("a")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedging, "UNKNOWN_S", 0.05)


def ask(pool: Asking, *, write: bool = False, reading: Reading[str] | None = READING) -> str:
    return pool.ask(write=write, limit_s=LIMIT_S, reading=reading)


def test_a_late_answer_is_not_waited_for(asking: Make, canned_server: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostcalls, "_threads_allowed", False)
    hanging, second = canned_server(), canned_server(echo, echo)
    pool = asking(hanging, second)
    started = time.monotonic()
    assert ask(pool) == "?"
    assert time.monotonic() - started < LIMIT_S / 3  # its share of the deadline is half
    assert (len(hanging.requests), len(second.requests), pool.pool.statistics.hedges) == (1, 1, 1)
    state = pool.pool._state()
    assert {one.endpoint for one in state.opened} == {pool.endpoints[1]}  # what comes of the other is nobody's
    assert state.standing.order(pool.endpoints)[0] == pool.endpoints[1]
    assert ask(pool) == "?"
    assert len(hanging.requests) == 1


def test_the_first_may_still_win(asking: Make, canned_server: Canned) -> None:
    second = canned_server()
    first = canned_server(lambda request: (wait_until(lambda: bool(second.requests)), echo(request))[1], echo)
    pool = asking(first, second)
    assert ask(pool) == "?"
    assert pool.pool.statistics.hedges == 1
    state = pool.pool._state()
    assert {one.endpoint for one in state.opened} == {pool.endpoints[0]}
    assert not state.standing._failed


@pytest.mark.parametrize("write", [False, True])
def test_what_leaves_a_trace_is_asked_of_one(asking: Make, canned_server: Canned, write: bool) -> None:
    first, second = canned_server(Reply(reply("1"), delay_s=0.5)), canned_server(echo)
    assert ask(asking(first, second), write=write, reading=None) == "1"
    assert second.connections == 0


def test_who_knows_of_the_last_change_is_waited_for(asking: Make, canned_server: Canned) -> None:
    first, second = canned_server(echo, Reply(reply("changed"), delay_s=0.5)), canned_server(echo)
    pool = asking(first, second)
    ask(pool, write=True, reading=None)
    assert ask(pool) == "changed"
    assert second.connections == 0


def after_an_answer(pool: list[Asking], answer: Reply) -> Callable[[bytes], Reply]:
    def wait(_: bytes) -> Reply:
        wait_until(lambda: pool[0].pool.statistics.round_trips > 0)
        return answer

    return wait


def test_a_refusal_of_the_second_waits_for_the_first(asking: Make, canned_server: Canned) -> None:
    pool: list[Asking] = []
    first = canned_server(after_an_answer(pool, Reply(reply("yes"))))
    pool.append(asking(first, canned_server(reply("no"))))
    assert ask(pool[0]) == "yes"


def test_a_refusal_counts_where_the_first_fails(asking: Make, canned_server: Canned) -> None:
    pool: list[Asking] = []
    first = canned_server(after_an_answer(pool, Reply(close=True)))
    pool.append(asking(first, canned_server(reply("no"))))
    assert ask(pool[0]) == "no"
    assert pool[0].pool._state().standing.order(pool[0].endpoints)[0] == pool[0].endpoints[1]


def test_a_second_that_fails_leaves_the_first_its_time(asking: Make, canned_server: Canned) -> None:
    def when_the_second_failed(_: bytes) -> bytes:
        wait_until(lambda: pool.pool._state().standing.on_probation(pool.endpoints[1]))
        return reply("1")

    pool = asking(canned_server(when_the_second_failed), canned_server(name="server-other-ca"))
    assert ask(pool) == "1"
    assert not pool.pool._state().standing.on_probation(pool.endpoints[0])


def test_when_both_fail_the_next_is_asked(asking: Make, canned_server: Canned) -> None:
    second = canned_server(Reply(close=True))
    first = canned_server(lambda _: (wait_until(lambda: bool(second.requests)), Reply(close=True))[1])
    third = canned_server(reply("3"))
    assert ask(asking(first, second, third)) == "3"


def test_when_all_fail_each_is_named(asking: Make, canned_server: Canned) -> None:
    second = canned_server(Reply(close=True))
    first = canned_server(lambda _: (wait_until(lambda: bool(second.requests)), Reply(close=True))[1])
    pool = asking(first, second)
    with pytest.raises(Unreachable) as raised:
        ask(pool)
    assert all(str(endpoint) in str(raised.value) for endpoint in pool.endpoints)
    assert not pool.pool._state().opened


def test_the_second_is_whoever_connects(
    asking: Make, canned_server: Canned, fault_proxy: Callable[..., FaultProxy]
) -> None:
    hole = fault_proxy(canned_server())
    hole.default = Fault(black_hole=True)
    hanging = canned_server(echo)
    pool = asking(hanging, hole, canned_server(echo))
    ask(pool, reading=None)  # leaves a connection, so that others cannot come first
    pool.pool._head_start_s = 0.05
    assert ask(pool) == "?"
    assert (len(hanging.requests), hole.accepted, pool.pool.statistics.retries) == (2, 1, 0)


def test_a_second_whose_connection_broke_is_met_anew(asking: Make, canned_server: Canned) -> None:
    """It may break after the last look at it, and is no reason to do without its server."""
    hanging, second = canned_server(), canned_server(reply("1"), Reply(close=True), reply("2"))
    pool = asking(hanging, second)
    assert ask(pool) == "1"
    pool.pool._state().standing.succeeded(pool.endpoints[0], written=False)
    assert ask(pool) == "2"
    assert second.connections == 2
    assert pool.pool.statistics.retries == 1


def test_a_spent_budget_leaves_one_question(asking: Make, canned_server: Canned) -> None:
    first, second = canned_server(Reply(reply("1"), delay_s=0.5)), canned_server(echo)
    pool = asking(first, second, size=2)
    budget = pool.pool._state().budget
    assert budget.spend()
    assert budget.spend()
    assert ask(pool) == "1"
    assert second.connections == 0
    assert pool.pool.statistics.hedges == 0


def test_the_budget_is_earned_by_answers() -> None:
    budget = Budget(2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(11):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


def patience_s(*seconds: float) -> float:
    seen = Latencies()
    for each in seconds:
        seen.note(A, "a kind", each)
    assert seen.patience_s(Endpoint("b"), "a kind") == seen.patience_s(A, "other") == hedging.UNKNOWN_S
    return seen.patience_s(A, "a kind")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.001] * (hedging.FEWEST - 1), 0.05),
        ([0.001] * hedging.FEWEST, hedging.FLOOR_S),
        ([0.5] * 20, 2.0),
        ([0.5] * 19 + [9.0], 2.0),
        ([0.5] * 18 + [9.0] * 2, 36.0),
        ([9.0] * 32 + [0.5] * 32, 2.0),
    ],
)
def test_late_is_what_a_server_hardly_ever_is(seconds: list[float], expected: float) -> None:
    assert patience_s(*seconds) == pytest.approx(expected)


def test_a_server_that_lost_is_waited_for_longer(asking: Make, canned_server: Canned) -> None:
    hanging, second = canned_server(), canned_server(echo)
    pool = asking(hanging, second)
    ask(pool)
    seen = pool.pool._state().latencies._seen
    assert seen[pool.endpoints[0], READING.kind][-1] >= 0.05


def test_what_leaves_no_trace() -> None:
    """What a key's Usage Limits count, an audit would show twice, or changes anything is no such thing."""
    requests = [
        request for module in (object_payloads, server_payloads, crypto_payloads) for request, _ in module.OPERATIONS
    ]
    assert {request.operation for request in requests if request.traceless} == {
        Operation.GET,
        Operation.GET_ATTRIBUTES,
        Operation.GET_ATTRIBUTE_LIST,
        Operation.LOCATE,
        Operation.QUERY,
        Operation.DISCOVER_VERSIONS,
    }
    assert all(request.idempotent for request in requests if request.traceless)


def test_a_key_is_read_while_its_server_is_stopped(
    make_kmip_place: Callable[..., KmipPlace], make_appliance: Callable[..., Appliance]
) -> None:
    first = make_appliance()
    second = make_appliance(store=first.store)
    place = make_kmip_place(first)
    uid = place.open().generate({**aes_key(LABEL="a label"), CKA.VALUE_LEN: 32}).uid
    both = tuple(f"127.0.0.1:{server.port}" for server in (first, second))
    store = place.open("there", connection=replace(place.connection, addresses=both))
    assert store.load(uid).uid == uid
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with deadline.limit(LIMIT_S):
            assert len(store.material(uid)) == 32
        assert time.monotonic() - started < LIMIT_S / 2.4  # half of it is the stopped server's share
    finally:
        first.process.send_signal(signal.SIGCONT)
