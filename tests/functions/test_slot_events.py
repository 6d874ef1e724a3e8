"""Slot events, and the end of the library while calls are under way: several threads, through the C ABI."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from fix_tokens import TokenOnDisk
from p11 import Cryptoki, rv_of

from mrhsm_p11.constants import CKF, CKM, CKR
from mrhsm_p11.tokendir import entries
from mrhsm_p11.tokendir.files import TokenDirectory

TIMEOUT_S = 60
MakeToken = Callable[..., TokenOnDisk]


@contextmanager
def waiting(p11: Cryptoki, waiters: int = 1) -> Iterator[list[Future[int]]]:
    with ThreadPoolExecutor(waiters) as pool:
        yield [pool.submit(p11.wait_for_slot_event, 0) for _ in range(waiters)]


def remove(token: TokenOnDisk) -> None:
    directory = TokenDirectory(token.home / "conf" / "tokens")
    entries.save(directory, tuple(entry for entry in entries.load(directory) if entry.serial != token.serial))


def test_a_token_that_another_makes_is_an_event_once(cryptoki: Cryptoki, make_token: MakeToken) -> None:
    make_token("before")
    cryptoki.initialize()
    assert rv_of(cryptoki.wait_for_slot_event) == CKR.NO_EVENT
    token = make_token("after")
    assert cryptoki.wait_for_slot_event() == token.slot_id
    assert rv_of(cryptoki.wait_for_slot_event) == CKR.NO_EVENT
    remove(token)
    assert token.slot_id not in cryptoki.slots()  # which looks, but takes no event
    assert cryptoki.wait_for_slot_event() == token.slot_id


def test_a_token_made_here_is_no_event(cryptoki: Cryptoki) -> None:
    cryptoki.initialize()
    cryptoki.init_token(cryptoki.slots()[0], "so pin 1234", "own")
    assert len(cryptoki.slots()) == 2
    assert rv_of(cryptoki.wait_for_slot_event) == CKR.NO_EVENT


def test_waiting_ends_with_the_event(cryptoki: Cryptoki, make_token: MakeToken) -> None:
    cryptoki.initialize()
    with waiting(cryptoki) as (first,):
        token = make_token("awaited")
        assert first.result(TIMEOUT_S) == token.slot_id
    with waiting(cryptoki) as (second,):
        remove(token)
        assert second.result(TIMEOUT_S) == token.slot_id


def test_waiting_ends_with_the_library(cryptoki: Cryptoki) -> None:
    cryptoki.initialize()
    with waiting(cryptoki, 8) as waiters:
        done = [waiter for waiter in waiters if waiter.done()]
        cryptoki.finalize()
        answers = {rv_of(waiter.result, TIMEOUT_S) for waiter in waiters}
    assert not done
    assert answers == {CKR.CRYPTOKI_NOT_INITIALIZED}


LATE = {CKR.OK, CKR.CRYPTOKI_NOT_INITIALIZED, CKR.SESSION_HANDLE_INVALID, CKR.OPERATION_NOT_INITIALIZED}
GONE = {CKR.SLOT_ID_INVALID, CKR.TOKEN_NOT_RECOGNIZED, CKR.OBJECT_HANDLE_INVALID, CKR.KEY_HANDLE_INVALID}


@pytest.mark.parametrize("end", ["finalize", "close all"])
def test_calls_in_flight_end_with_a_code_of_the_standard(cryptoki: Cryptoki, make_token: MakeToken, end: str) -> None:
    slot = make_token().slot_id
    cryptoki.initialize()
    going, opened = [True], threading.Event()

    def work(number: int) -> set[int]:
        p11, answers = Cryptoki(cryptoki.path), set()
        handle = p11.new("CK_ULONG *")
        buffer, room = p11.new("CK_BYTE[64]"), p11.new("CK_ULONG *")
        template = p11.template({})
        while going:
            answers.add(p11.rv("C_OpenSession", slot, CKF.SERIAL_SESSION, None, None, handle))
            if CKR.OK in answers:
                opened.set()
            answers.add(p11.rv("C_DigestInit", handle[0], p11.mechanism(CKM.SHA256)))
            answers.add(p11.rv("C_DigestUpdate", handle[0], buffer, 64))
            answers.add(p11.rv("C_FindObjectsInit", handle[0], *template))
            room[0] = 64
            answers.add(p11.rv("C_DigestFinal", handle[0], buffer, room))
            answers.add(p11.rv("C_CloseSession", handle[0]))
        return answers

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, number) for number in range(4)]
        try:
            assert opened.wait(TIMEOUT_S)  # on a busy machine all ends may come before the first call
            for _ in range(40):
                if end == "finalize":
                    cryptoki.finalize()
                    cryptoki.initialize()
                else:
                    cryptoki.close_all_sessions(slot)
        finally:
            going.clear()
        answers = set().union(*(worker.result(TIMEOUT_S) for worker in workers))
    assert CKR.OK in answers
    assert answers <= LATE | GONE, {CKR.name(answer) for answer in answers - LATE - GONE}
