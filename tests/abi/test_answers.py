"""What the C front tells again without Python: the same as Python would, whatever has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fix_appliance import Appliance
from fix_custody import SETTINGS
from fix_native import ISOLATED
from fix_tokens import SO_PIN, USER_PIN, TokenOnDisk
from p11 import Cryptoki, build_ffi, rv_of

from mrhsm_p11.constants import CK, CKF, CKM, CKR, CKS, CKU
from mrhsm_p11.token import provider
from mrhsm_p11.tokendir import custody, entries
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.pinfile import UserPin

ROUNDS, ASKING = 200, 3
MakeToken = Callable[..., TokenOnDisk]


class Asked:
    """Every question that is told again, of one token and one session."""

    def __init__(self, p11: Cryptoki, slot: int, session: int) -> None:
        self.p11, self.slot, self.session = p11, slot, session
        self.questions: dict[str, Callable[[], Any]] = {
            "C_GetInfo": p11.info,
            "C_GetSlotInfo": lambda: p11.slot_info(slot),
            "C_GetSessionInfo": lambda: p11.session_info(session),
            "C_GetMechanismList": lambda: p11.mechanisms(slot),
            "C_GetMechanismInfo": lambda: p11.mechanism_info(slot, CKM.AES_CBC),
        }

    def answers(self) -> dict[str, Any]:
        return {name: question() for name, question in self.questions.items()}

    def codes(self) -> dict[str, int]:
        return {name: rv_of(question) for name, question in self.questions.items()}

    @property
    def state(self) -> int:
        state: int = self.p11.session_info(self.session)["state"]
        return state


@pytest.fixture
def asked(cryptoki: Cryptoki, file_token: TokenOnDisk) -> Iterator[Asked]:
    """A session in which everything has been told once."""
    cryptoki.initialize()
    asked = Asked(cryptoki, file_token.slot_id, cryptoki.open_session(file_token.slot_id))
    asked.answers()
    return asked


def test_every_function_is_asked(asked: Asked) -> None:
    assert asked.questions.keys() == build_ffi.TOLD_AGAIN


@pytest.mark.skipif(ISOLATED, reason="Python is in another process")
def test_told_again_without_python_and_the_same(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    first = asked.answers()
    with monkeypatch.context() as patch:
        patch.setattr(provider, "current", None)
        assert rv_of(asked.p11.token_info, asked.slot) == CKR.CRYPTOKI_NOT_INITIALIZED  # so Python would answer
        assert asked.answers() == first


def test_a_list_is_told_again_by_the_rules_of_two_calls(asked: Asked) -> None:
    p11, known = asked.p11, asked.p11.mechanisms(asked.slot)
    array, count = p11.new(f"CK_ULONG[{len(known) + 1}]", [7] * (len(known) + 1)), p11.new("CK_ULONG *", 1)
    assert p11.rv("C_GetMechanismList", asked.slot, array, count) == CKR.BUFFER_TOO_SMALL
    assert (count[0], array[0]) == (len(known), 7)
    count[0] = len(known) + 1
    assert p11.rv("C_GetMechanismList", asked.slot, array, count) == CKR.OK
    assert list(array) == [*known, 7]
    assert count[0] == len(known)
    assert p11.rv("C_GetMechanismList", asked.slot, array, None) == CKR.ARGUMENTS_BAD


def test_null_and_strangers_are_refused_though_answers_are_kept(asked: Asked) -> None:
    p11 = asked.p11
    assert p11.rv("C_GetInfo", None) == CKR.ARGUMENTS_BAD
    assert p11.rv("C_GetSessionInfo", asked.session, None) == CKR.ARGUMENTS_BAD
    assert p11.rv("C_GetMechanismInfo", asked.slot, CKM.AES_CBC, None) == CKR.ARGUMENTS_BAD
    assert rv_of(p11.mechanism_info, asked.slot, 0x7FFF_FFFF) == CKR.MECHANISM_INVALID
    assert rv_of(p11.mechanism_info, asked.slot + 1, CKM.AES_CBC) == CKR.SLOT_ID_INVALID
    assert rv_of(p11.session_info, asked.session + 1000) == CKR.SESSION_HANDLE_INVALID
    assert rv_of(p11.session_info, CK.INVALID_HANDLE) == CKR.SESSION_HANDLE_INVALID


def test_login_and_logout_are_seen_in_every_session(asked: Asked) -> None:
    p11 = asked.p11
    other = Asked(p11, asked.slot, p11.open_session(asked.slot, rw=False))
    for _ in range(2):
        assert (asked.state, other.state) == (CKS.RW_PUBLIC_SESSION, CKS.RO_PUBLIC_SESSION)
        p11.login(other.session, USER_PIN)
        assert (asked.state, other.state) == (CKS.RW_USER_FUNCTIONS, CKS.RO_USER_FUNCTIONS)
        p11.logout(asked.session)
    p11.close_session(other.session)
    p11.login(asked.session, SO_PIN, CKU.SO)
    assert asked.state == CKS.RW_SO_FUNCTIONS


def test_a_closed_session_is_told_of_no_more(asked: Asked) -> None:
    p11 = asked.p11
    others = [Asked(p11, asked.slot, p11.open_session(asked.slot)) for _ in range(3)]
    assert [one.state for one in others] == [CKS.RW_PUBLIC_SESSION] * 3
    p11.close_session(others[0].session)
    assert rv_of(p11.session_info, others[0].session) == CKR.SESSION_HANDLE_INVALID
    assert others[1].state == CKS.RW_PUBLIC_SESSION
    p11.close_all_sessions(asked.slot)
    for one in (asked, *others):
        assert rv_of(p11.session_info, one.session) == CKR.SESSION_HANDLE_INVALID


def test_the_last_session_takes_the_login_with_it(asked: Asked) -> None:
    asked.p11.login(asked.session, USER_PIN)
    assert asked.state == CKS.RW_USER_FUNCTIONS
    asked.p11.close_session(asked.session)
    assert Asked(asked.p11, asked.slot, asked.p11.open_session(asked.slot)).state == CKS.RW_PUBLIC_SESSION


def test_finalize_ends_all_answers(asked: Asked) -> None:
    asked.p11.finalize()
    assert set(asked.codes().values()) == {CKR.CRYPTOKI_NOT_INITIALIZED}
    asked.p11.initialize()
    assert rv_of(asked.p11.session_info, asked.session) == CKR.SESSION_HANDLE_INVALID
    anew = Asked(asked.p11, asked.slot, asked.p11.open_session(asked.slot, rw=False))
    assert anew.state == CKS.RO_PUBLIC_SESSION


def test_finalize_ends_answers_where_there_is_no_token(cryptoki: Cryptoki) -> None:
    cryptoki.initialize()
    cryptoki.info()
    cryptoki.finalize()
    assert rv_of(cryptoki.info) == CKR.CRYPTOKI_NOT_INITIALIZED


def test_a_slot_that_is_gone_is_told_of_no_more(asked: Asked, file_token: TokenOnDisk) -> None:
    asked.p11.close_all_sessions(asked.slot)
    del asked.questions["C_GetSessionInfo"]
    asked.answers()
    entries.save(file_token.directory, ())
    assert asked.slot not in asked.p11.slots()
    codes = asked.codes()
    assert codes.pop("C_GetInfo") == CKR.OK
    assert set(codes.values()) == {CKR.SLOT_ID_INVALID}


def test_a_fault_is_told_of_when_it_was_met(
    cryptoki: Cryptoki, make_token: MakeToken, make_appliance: Callable[..., Appliance]
) -> None:
    server = make_appliance()
    token = make_token("far", store="kmip", connection=server.connection())
    cryptoki.initialize()
    session = cryptoki.open_session(token.slot_id)
    cryptoki.login(session, USER_PIN)
    assert [cryptoki.session_info(session)["ulDeviceError"] for _ in range(2)] == [0, 0]
    server.stop()
    assert rv_of(cryptoki.find, session) == CKR.DEVICE_ERROR
    assert cryptoki.session_info(session)["ulDeviceError"] != 0


def test_what_key_managers_do_is_looked_up_each_time(
    cryptoki: Cryptoki, make_token: MakeToken, appliance: Appliance, mapr_home: Path
) -> None:
    (mapr_home / "conf" / "maprhsm.conf").write_text(SETTINGS)
    token = make_token("kept", store="kmip", connection=appliance.connection())
    served = (CKM.AES_CBC, CKF.DECRYPT)
    custody.write(token.directory, token.serial, {served: 0})
    cryptoki.initialize()
    for _ in range(2):
        assert cryptoki.mechanism_info(token.slot_id, CKM.AES_CBC)["flags"] & CKF.DECRYPT
        assert CKM.AES_CBC in cryptoki.mechanisms(token.slot_id)
    custody.write(token.directory, token.serial, {served: custody.NONE_WORKS})
    assert rv_of(cryptoki.mechanism_info, token.slot_id, CKM.AES_CBC) == CKR.MECHANISM_INVALID
    assert CKM.AES_CBC not in cryptoki.mechanisms(token.slot_id)


def test_a_token_that_is_made_ends_what_was_told_of_its_slot(cryptoki: Cryptoki, host_home: Path) -> None:
    (host_home / "conf" / "maprhsm.conf").write_text(SETTINGS)
    cryptoki.initialize()
    slot = cryptoki.slots()[0]
    assert CKM.AES_CBC in cryptoki.mechanisms(slot)
    cryptoki.init_token(slot, SO_PIN, "made")
    directory = TokenDirectory(host_home / "conf" / "tokens")
    (entry,) = entries.load(directory)
    custody.write(directory, entry.serial, {(CKM.AES_CBC, CKF.DECRYPT): custody.NONE_WORKS})
    assert CKM.AES_CBC not in cryptoki.mechanisms(slot)


def test_threads_never_hear_what_was_before_their_call(cryptoki: Cryptoki, make_token: MakeToken) -> None:
    """A thread that has logged in or out sees it, however many others keep the former answer fresh."""
    token = make_token("raced", user_pin=UserPin.random())
    cryptoki.initialize()
    sessions = [Cryptoki(cryptoki.path).open_session(token.slot_id) for _ in range(ASKING + 1)]
    over = Event()

    def ask(number: int) -> set[int]:
        own, states = Cryptoki(cryptoki.path), set()
        while not over.is_set():
            states.update(own.session_info(session)["state"] for session in (sessions[0], sessions[number]))
        return states

    with ThreadPoolExecutor(ASKING) as pool:
        asking = [pool.submit(ask, number + 1) for number in range(ASKING)]
        try:
            for _ in range(ROUNDS):
                cryptoki.login(sessions[0])
                assert cryptoki.session_info(sessions[0])["state"] == CKS.RW_USER_FUNCTIONS
                cryptoki.logout(sessions[0])
                assert cryptoki.session_info(sessions[0])["state"] == CKS.RW_PUBLIC_SESSION
        finally:
            over.set()
        assert set().union(*(one.result(60) for one in asking)) <= {CKS.RW_USER_FUNCTIONS, CKS.RW_PUBLIC_SESSION}
