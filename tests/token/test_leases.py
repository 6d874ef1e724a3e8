"""How long C may use a token's key without Python having looked at it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fix_appliance import Appliance
from fix_tokens import USER_PIN, TokenOnDisk
from p11 import Cryptoki

from mrhsm_p11 import datapath
from mrhsm_p11.constants import CKA, CKM, CKR

CBC = (CKM.AES_CBC_PAD, bytes(16))
TOKEN_KEY = {CKA.TOKEN: True, CKA.VALUE_LEN: 32, CKA.ENCRYPT: True}
LIMIT_S = 60
MakeToken = Callable[..., TokenOnDisk]


@pytest.fixture
def p11(library_path: Path, mapr_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cryptoki]:
    monkeypatch.setenv("MRHSM_DATAPATH", "1")
    client = Cryptoki(library_path)
    yield client
    client.finalize()


def logged_in(p11: Cryptoki, token: TokenOnDisk) -> int:
    p11.initialize()
    session = p11.open_session(token.slot_id)
    p11.login(session, USER_PIN)
    return session


def until(reached: Callable[[], bool]) -> bool:
    end = time.monotonic() + LIMIT_S
    while not reached():
        if time.monotonic() > end:
            return False
    return True


def is_served(p11: Cryptoki, session: int, key: int) -> bool:
    before = datapath.path.served()
    p11.encrypt(session, CBC, key, b"text")
    return datapath.path.served() > before


def test_a_file_that_another_process_removes_is_missed(p11: Cryptoki, make_token: MakeToken, mapr_home: Path) -> None:
    token = make_token()
    session = logged_in(p11, token)
    key = p11.generate_key(session, CKM.AES_KEY_GEN, TOKEN_KEY)
    assert until(lambda: is_served(p11, session, key))  # a file just written is looked at each time
    (file,) = (mapr_home / "conf" / "tokens" / token.serial).glob("*.object")
    file.unlink()
    mechanism = p11.mechanism(CBC)

    def refused() -> bool:
        rv = p11.rv("C_EncryptInit", session, mechanism, key)
        p11.rv("C_EncryptInit", session, None, 0)
        return rv == CKR.KEY_HANDLE_INVALID

    assert until(refused)


@pytest.mark.parametrize(("cache_seconds", "served"), [(3600, True), (0, False)])
def test_a_key_of_a_key_manager_is_used_as_long_as_it_is_cached(
    p11: Cryptoki,
    mapr_home: Path,
    make_token: MakeToken,
    make_appliance: Callable[..., Appliance],
    cache_seconds: int,
    served: bool,
) -> None:
    (mapr_home / "conf" / "maprhsm.conf").write_text(f"[keys]\ncache_seconds = {cache_seconds}\n")
    server = make_appliance()
    session = logged_in(p11, make_token("a token", store="kmip", connection=server.connection()))
    key = p11.generate_key(session, CKM.AES_KEY_GEN, TOKEN_KEY)
    p11.encrypt(session, CBC, key, b"text")
    assert is_served(p11, session, key) == served
