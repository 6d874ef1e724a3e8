"""Many threads and many processes that want the same object when its time in memory is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fix_appliance import Appliance
from fix_faults import Fault, FaultProxy
from fix_kmip_store import KmipPlace
from fix_stores import aes_key

from mrhsm_p11 import deadline
from mrhsm_p11.config import Config
from mrhsm_p11.errors import DeviceError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip.store import KmipStore
from mrhsm_p11.store.kmip.turns import SHORTEST, Turns, shortened

KEY = bytes(range(32))
THREADS = 8
WAIT_S = 60


@pytest.fixture
def store(make_kmip_place: Callable[..., KmipPlace], appliance: Appliance) -> KmipStore:
    return make_kmip_place(appliance, config=Config()).open()


def at_once(act: Callable[[], object]) -> list[object]:
    start = threading.Barrier(THREADS)

    def one() -> object:
        start.wait(WAIT_S)
        return act()

    with ThreadPoolExecutor(THREADS) as pool:
        return [each.result(WAIT_S) for each in [pool.submit(one) for _ in range(THREADS)]]


def is_refused(store: KmipStore, uid: str) -> bool:
    try:
        store.material(uid)
    except DeviceError:
        return True
    return False


def messages(store: KmipStore) -> int:
    return store._servers.client.pool.statistics.messages


@pytest.mark.parametrize("used", [False, True])
def test_threads_read_a_key_once_between_them(store: KmipStore, used: bool) -> None:
    uid = store.insert(aes_key(), Secret(KEY)).uid
    store.forget()
    if used:
        store.material(uid)
        later = time.monotonic() + 301
        store._cache._clock = lambda: later
    before = messages(store)
    assert at_once(lambda: (store.load(uid).uid, store.material(uid))) == [(uid, Secret(KEY))] * THREADS
    assert messages(store) - before == (1 if used else 2)  # a key in use is read with its record


def test_nobody_waits_for_what_is_not_kept(make_kmip_place: Callable[..., KmipPlace], appliance: Appliance) -> None:
    store = make_kmip_place(appliance).open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    assert store._turns is None
    assert at_once(lambda: store.material(uid)) == [Secret(KEY)] * THREADS


def test_a_reader_that_fails_leaves_the_turn_to_the_next(
    make_kmip_place: Callable[..., KmipPlace], appliance: Appliance
) -> None:
    proxy = FaultProxy(appliance.host, appliance.port)
    store = make_kmip_place(appliance, config=Config(deadline_s=60), port=proxy.port).open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    store.forget()
    proxy.accept(False)
    proxy.cut()
    assert at_once(lambda: is_refused(store, uid)) == [True] * THREADS
    proxy.accept(True)
    proxy.default = Fault()
    assert store.material(uid) == Secret(KEY)
    assert not store._turns._reading
    proxy.close()


def test_a_call_waits_no_longer_than_it_has() -> None:
    turns, held, over = Turns(), threading.Event(), threading.Event()

    def hold() -> None:
        with turns.turn("uid"):
            held.set()
            assert over.wait(WAIT_S)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert held.wait(WAIT_S)
        with deadline.limit(0.05), turns.turn("uid"):
            assert not holding.done()
        with turns.turn("another"):
            assert not holding.done()
        over.set()
        holding.result(WAIT_S)
    with deadline.limit(0.0), turns.turn("uid"):
        assert list(turns._reading) == ["uid"]
    assert not turns._reading


def test_time_in_memory_is_shortened_by_chance_and_never_lengthened() -> None:
    drawn = {shortened(300) for _ in range(200)}
    assert 300 * SHORTEST <= min(drawn) < 300 * 0.9 < max(drawn) <= 300
    assert shortened(0) == 0
