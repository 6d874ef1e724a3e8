"""`mrhsm set` while processes use the token: the next message goes where the settings say now."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates
from fix_clients import identity
from fix_tokens import SO_PIN, USER_PIN, TokenOnDisk
from p11 import Cryptoki, rv_of

from mrhsm_p11.constants import CKA, CKM, CKR
from mrhsm_p11.tokendir import entries

Make = Callable[..., Appliance]
MakeToken = Callable[..., TokenOnDisk]


@pytest.fixture
def p11(library_path: Path, mapr_home: Path) -> Iterator[Cryptoki]:
    (mapr_home / "conf" / "maprhsm.conf").write_text('[keys]\ncache_seconds = 0\n[log]\nlevel = "info"\n')
    client = Cryptoki(library_path)
    yield client
    client.finalize()


def logged_in(p11: Cryptoki, token: TokenOnDisk) -> int:
    p11.initialize()
    session = p11.open_session(token.slot_id)
    p11.login(session, USER_PIN)
    return session


def mrhsm_set(home: Path, *options: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "mrhsm_p11.cli.main", "set", "-sopin", SO_PIN, *map(str, options)],
        env=dict(os.environ, MAPR_HOME=str(home)),
        check=True,
        timeout=60,
    )


def test_a_new_address_is_followed(
    p11: Cryptoki, mapr_home: Path, make_token: MakeToken, make_appliance: Make, tmp_path: Path
) -> None:
    store = tmp_path / "store.sqlite"
    old = make_appliance(store=store)
    token = make_token("a token", store="kmip", connection=old.connection())
    session = logged_in(p11, token)
    key = p11.generate_key(session, CKM.AES_KEY_GEN, {CKA.TOKEN: True, CKA.VALUE_LEN: 32, CKA.ENCRYPT: True})
    sealed = p11.encrypt(session, (CKM.AES_CBC_PAD, bytes(16)), key, b"text")
    old.stop()
    new = make_appliance(store=store)
    mrhsm_set(mapr_home, "-ip", f"127.0.0.1:{new.port}")
    assert p11.encrypt(session, (CKM.AES_CBC_PAD, bytes(16)), key, b"text") == sealed
    assert "the settings of the key managers have changed" in (mapr_home / "logs" / "mrhsm.log").read_text()


def test_a_new_certificate_is_followed(
    p11: Cryptoki, mapr_home: Path, make_token: MakeToken, make_appliance: Make, certificates: Certificates
) -> None:
    server = make_appliance()
    token = make_token("a token", store="kmip", connection=server.connection(client="client-expired"))
    session = logged_in(p11, token)
    assert rv_of(p11.find, session, {CKA.TOKEN: True, CKA.LABEL: "x"}) == CKR.DEVICE_ERROR
    mrhsm_set(mapr_home, *identity(certificates))
    assert p11.find(session, {CKA.TOKEN: True, CKA.LABEL: "x"}) == []


def test_settings_that_nobody_signed_are_not_followed(
    p11: Cryptoki, mapr_home: Path, make_token: MakeToken, make_appliance: Make
) -> None:
    server, trap = make_appliance(), make_appliance()
    token = make_token("a token", store="kmip", connection=server.connection())
    session = logged_in(p11, token)
    assert p11.find(session, {CKA.TOKEN: True, CKA.LABEL: "x"}) == []
    mrhsm_set(mapr_home, "-ip", f"127.0.0.1:{trap.port}")
    entries.put(token.directory, replace(token.entry, label="another"))
    seen = len(trap.requests())
    assert p11.find(session, {CKA.TOKEN: True, CKA.LABEL: "x"}) == []
    assert len(trap.requests()) == seen
    assert "the former settings stay in force" in (mapr_home / "logs" / "mrhsm.log").read_text()


def test_a_user_name_is_followed(
    p11: Cryptoki, mapr_home: Path, make_token: MakeToken, make_appliance: Make, tmp_path: Path
) -> None:
    users, password = tmp_path / "users", tmp_path / "password"
    users.write_text("me:first\n")
    password.write_text("first\n")
    token = make_token("a token", store="kmip", connection=make_appliance(users=users).connection())
    session = logged_in(p11, token)
    template = {CKA.TOKEN: True, CKA.VALUE_LEN: 32, CKA.ENCRYPT: True}
    assert rv_of(p11.generate_key, session, CKM.AES_KEY_GEN, template) == CKR.DEVICE_ERROR
    mrhsm_set(mapr_home, "-username", "me", "-passwordfile", password)
    p11.generate_key(session, CKM.AES_KEY_GEN, template)
