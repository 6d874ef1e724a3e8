"""`[new_token] store = "kmip"`: a token made through C_InitToken lives in an Object Group of a shared key manager."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fix_appliance import Appliance
from fix_tokens import SO_PIN, USER_PIN, TokenOnDisk
from p11 import Cryptoki, rv_of

from mrhsm_p11.constants import CKA, CKM, CKR, CKU

PIN = "new user pin"
AES = {CKA.TOKEN: True, CKA.VALUE_LEN: 32}


def labels(p11: Cryptoki, session: int) -> set[bytes]:
    return {p11.get(session, one, CKA.LABEL) for one in p11.find(session, {CKA.TOKEN: True})}


def opened(p11: Cryptoki, slot: int, pin: str | bytes) -> int:
    session = p11.open_session(slot)
    p11.login(session, pin)
    return session


def test_its_objects_are_its_own(
    library_path: Path,
    mapr_home: Path,
    make_token: Callable[..., TokenOnDisk],
    make_appliance: Callable[..., Appliance],
) -> None:
    like = make_token("shared", store="kmip", connection=make_appliance().connection())
    (mapr_home / "conf" / "maprhsm.conf").write_text('[new_token]\nstore = "kmip"\nlike = "shared"\n')
    p11 = Cryptoki(library_path)
    p11.initialize()
    try:
        shared = opened(p11, like.slot_id, USER_PIN)
        p11.generate_key(shared, CKM.AES_KEY_GEN, {**AES, CKA.LABEL: "theirs"})
        (empty,) = set(p11.slots()) - {like.slot_id}
        p11.init_token(empty, SO_PIN, "grouped")
        assert p11.token_info(empty)["label"] == "grouped"
        officer = p11.open_session(empty)
        assert rv_of(p11.login, officer, PIN) == CKR.USER_PIN_NOT_INITIALIZED
        p11.login(officer, SO_PIN, CKU.SO)
        p11.init_pin(officer, PIN)
        p11.logout(officer)
        p11.login(officer, PIN)
        p11.generate_key(officer, CKM.AES_KEY_GEN, {**AES, CKA.LABEL: "ours"})
        p11.create_object(officer, {CKA.CLASS: 0, CKA.TOKEN: True, CKA.LABEL: "data", CKA.VALUE: b"1"})
        assert labels(p11, officer) == {b"ours", b"data"}
        assert labels(p11, shared) == {b"theirs", b"ours", b"data"}  # a token without a group sees all

        p11.finalize()
        p11.initialize()
        (slot,) = (one for one in p11.slots() if p11.token_info(one)["label"] == "grouped")
        grouped = opened(p11, slot, PIN)
        assert labels(p11, grouped) == {b"ours", b"data"}
        p11.close_session(grouped)
        p11.init_token(slot, SO_PIN, "again")
        assert labels(p11, opened(p11, like.slot_id, USER_PIN)) == {b"theirs"}
        officer = p11.open_session(slot)
        p11.login(officer, SO_PIN, CKU.SO)
        p11.init_pin(officer, PIN)
        p11.logout(officer)
        p11.login(officer, PIN)
        assert labels(p11, officer) == set()
    finally:
        p11.finalize()
