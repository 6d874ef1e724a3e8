"""Many threads at once, through the C ABI: each gets its own answers, none is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fix_tokens import TokenOnDisk
from p11 import CKError, Cryptoki

from mrhsm_p11.constants import CKA, CKM, CKR, CKS, CKU
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Record
from mrhsm_p11.store.file import FileStore
from mrhsm_p11.token import login
from mrhsm_p11.token.objects import Object
from mrhsm_p11.token.token import Token
from mrhsm_p11.tokendir.tokens import OpenToken

THREADS, ROUNDS = 32, 6


@pytest.fixture
def initialised(library_path: Path, make_token: Callable[..., TokenOnDisk]):
    token = make_token()
    p11 = Cryptoki(library_path)
    p11.initialize()
    yield p11, token, library_path
    p11.finalize()


def run(work: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, number) for number in range(THREADS)]:
            done.result(timeout=90)


def find(p11: Cryptoki, session: int, wanted: dict[int, str]) -> list[int]:
    p11.call("C_FindObjectsInit", session, *p11.template(wanted))
    array, count = p11.new("CK_ULONG[1000]"), p11.new("CK_ULONG *")
    p11.call("C_FindObjects", session, array, 1000, count)
    p11.call("C_FindObjectsFinal", session)
    return [array[place] for place in range(count[0])]


def test_sessions_keys_and_ciphers(initialised: tuple[Cryptoki, TokenOnDisk, Path]) -> None:
    p11, token, path = initialised
    first = p11.open_session(token.slot_id)
    p11.login(first)

    def work(number: int) -> None:
        own = Cryptoki(path)  # argument memory of its own
        for _ in range(ROUNDS):
            session = own.open_session(token.slot_id)
            key = own.generate_key(session, CKM.AES_KEY_GEN, {CKA.VALUE_LEN: 32, CKA.LABEL: f"key {number}"})
            message = bytes([number]) * (number + 1)
            sealed = own.encrypt(session, (CKM.AES_CBC_PAD, bytes(16)), key, message)
            assert own.decrypt(session, (CKM.AES_CBC_PAD, bytes(16)), key, sealed) == message
            assert key in find(own, session, {CKA.LABEL: f"key {number}"})
            own.close_session(session)

    run(work)
    assert p11.token_info(token.slot_id)["ulSessionCount"] == 1
    assert find(p11, first, {}) == []


def test_one_login_wins(initialised: tuple[Cryptoki, TokenOnDisk, Path]) -> None:
    p11, token, path = initialised
    session = p11.open_session(token.slot_id)
    answers: list[int] = []

    def work(number: int) -> None:
        try:
            Cryptoki(path).login(session)
            answers.append(CKR.OK)
        except CKError as error:
            answers.append(error.rv)

    run(work)
    assert sorted(answers) == [CKR.OK] + [CKR.USER_ALREADY_LOGGED_IN] * (THREADS - 1)


def test_a_session_opened_amid_the_end_of_the_last_one_is_not_logged_out_later(
    initialised: tuple[Cryptoki, TokenOnDisk, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    p11, on_disk, path = initialised
    last, begun, discard = p11.open_session(on_disk.slot_id), [], Token._discard
    p11.login(last)

    def begin(token: Token, gone: Iterable[Object]) -> None:
        monkeypatch.setattr(Token, "_discard", discard)
        discard(token, list(gone))
        begun.append(Cryptoki(path).open_session(on_disk.slot_id))
        begun.append(Cryptoki(path).rv("C_Login", begun[0], CKU.USER, None, 0))

    monkeypatch.setattr(Token, "_discard", begin)
    p11.close_session(last)
    assert begun[1] == CKR.OK
    assert p11.rv("C_Logout", begun[0]) == CKR.OK


def test_an_operation_is_not_shared_by_two_threads(initialised: tuple[Cryptoki, TokenOnDisk, Path]) -> None:
    p11, token, path = initialised
    session = p11.open_session(token.slot_id)
    p11.init("Digest", session, CKM.SHA256)
    answers: list[int] = []

    def work(number: int) -> None:
        own = Cryptoki(path)
        try:
            own.into_room("C_Digest", 32, session, *own.encoded(b"x" * 100_000))
            answers.append(CKR.OK)
        except CKError as error:
            answers.append(error.rv)

    run(work)
    assert sorted(answers) == [CKR.OK] + [CKR.OPERATION_NOT_INITIALIZED] * (THREADS - 1)


def test_a_record_that_was_read_before_a_change_does_not_come_back_after_it(
    initialised: tuple[Cryptoki, TokenOnDisk, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    p11, on_disk, path = initialised
    session = p11.open_session(on_disk.slot_id)
    p11.login(session)
    key = p11.generate_key(session, CKM.AES_KEY_GEN, {CKA.VALUE_LEN: 32, CKA.TOKEN: True, CKA.ENCRYPT: True})
    load = FileStore.load

    def slowly(store: FileStore, uid: str) -> Record:
        found = load(store, uid)
        monkeypatch.setattr(FileStore, "load", load)
        other = Cryptoki(path)
        other.call("C_SetAttributeValue", session, key, *other.template({CKA.ENCRYPT: False}))
        return found

    monkeypatch.setattr(FileStore, "load", slowly)
    mechanism = p11.mechanism((CKM.AES_CBC_PAD, bytes(16)))
    assert p11.rv("C_EncryptInit", session, mechanism, key) == CKR.KEY_FUNCTION_NOT_PERMITTED
    assert p11.rv("C_EncryptInit", session, mechanism, key) == CKR.KEY_FUNCTION_NOT_PERMITTED


def test_a_session_that_is_closed_amid_its_login_leaves_no_login(
    initialised: tuple[Cryptoki, TokenOnDisk, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    p11, on_disk, path = initialised
    session, verify = p11.open_session(on_disk.slot_id), login._open_user

    def slowly(token: Token, pin: Secret | None) -> OpenToken:
        opened = verify(token, pin)
        assert Cryptoki(path).rv("C_CloseAllSessions", on_disk.slot_id) == CKR.OK
        return opened

    monkeypatch.setattr(login, "_open_user", slowly)
    assert p11.rv("C_Login", session, CKU.USER, None, 0) == CKR.SESSION_CLOSED
    assert p11.session_info(p11.open_session(on_disk.slot_id))["state"] == CKS.RW_PUBLIC_SESSION
