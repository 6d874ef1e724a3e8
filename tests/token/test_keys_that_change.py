"""A token's key that others end amid an operation in parts: the operation ends as it began, whoever serves it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Appliance
from fix_tokens import USER_PIN, TokenOnDisk
from p11 import Cryptoki

from mrhsm_p11 import datapath
from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKM, CKR
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.vocabulary import RevocationReasonCode
from mrhsm_p11.store.kmip.connection import make_pool

CBC = (CKM.AES_CBC_PAD, bytes(16))
TOKEN_KEY = {CKA.TOKEN: True, CKA.VALUE_LEN: 32, CKA.ENCRYPT: True}
PARTS = (bytes(20), bytes(40), b"the end")
CACHE_S, LIMIT_S = 0.5, 60.0
End = Callable[[str], None]
Store = tuple[TokenOnDisk, End, int]


def file_token(make_token: Callable[..., TokenOnDisk], home: Path) -> Store:
    token = make_token()
    folder = home / "conf" / "tokens" / token.serial
    return token, lambda uid: (folder / f"{uid}.object").unlink(), CKR.KEY_HANDLE_INVALID


def kmip_token(make_token: Callable[..., TokenOnDisk], server: Appliance, *, destroyed: bool) -> Store:
    def end(uid: str) -> None:
        client = Client(make_pool(server.connection(), Config()))
        client.revoke(uid, RevocationReasonCode.KEY_COMPROMISE, deadline=Deadline(20))
        if destroyed:
            client.destroy(uid, deadline=Deadline(20))

    token = make_token("a token", store="kmip", connection=server.connection())
    return token, end, CKR.KEY_HANDLE_INVALID if destroyed else CKR.KEY_FUNCTION_NOT_PERMITTED


@pytest.fixture(params=["file removed", "revoked", "destroyed"])
def store(
    request: pytest.FixtureRequest,
    mapr_home: Path,
    make_token: Callable[..., TokenOnDisk],
    make_appliance: Callable[..., Appliance],
) -> Store:
    (mapr_home / "conf" / "maprhsm.conf").write_text(f"[keys]\ncache_seconds = {CACHE_S}\n")
    if request.param == "file removed":
        return file_token(make_token, mapr_home)
    return kmip_token(make_token, make_appliance(), destroyed=request.param == "destroyed")


def answer_of_init(p11: Cryptoki, session: int, key: int) -> int:
    rv = p11.rv("C_EncryptInit", session, p11.mechanism(CBC), key)
    if rv == CKR.OK:
        p11.rv("C_EncryptInit", session, None, 0)
    return rv


@pytest.mark.parametrize("path", ["1", "0"], ids=["C", "Python"])
def test_a_key_that_others_end_amid_an_operation(
    library_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("MRHSM_DATAPATH", path)
    token, end, refusal = store
    p11 = Cryptoki(library_path)
    p11.initialize()
    session = p11.open_session(token.slot_id)
    p11.login(session, USER_PIN)
    key = p11.generate_key(session, CKM.AES_KEY_GEN, TOKEN_KEY)
    whole, served = p11.encrypt(session, CBC, key, b"".join(PARTS)), datapath.path.served()
    p11.init("Encrypt", session, CBC, key)
    found = p11.update("Encrypt", session, PARTS[0])
    end(p11.get(session, key, CKA.UNIQUE_ID).decode())
    limit = time.monotonic() + LIMIT_S
    other = p11.open_session(token.slot_id)
    while (rv := answer_of_init(p11, other, key)) == CKR.OK:
        assert time.monotonic() < limit, "the end of the key is never seen"
    assert rv == refusal
    found += p11.update("Encrypt", session, PARTS[1]) + p11.update("Encrypt", session, PARTS[2])
    assert found + p11.final("Encrypt", session) == whole
    assert (datapath.path.served() > served) == (path == "1")
    assert answer_of_init(p11, session, key) == refusal
    p11.finalize()
