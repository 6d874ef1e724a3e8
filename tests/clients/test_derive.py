"""What the Common KEK is for: session keys by SP 800-108, in a process of any node, on every store."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fix_clients import CLUSTER, ClientToken
from p11 import Cryptoki, rv_of

from mrhsm_p11.constants import CK, CKA, CKK, CKM, CKO, CKR

LABEL = b"session\0node 1"


@pytest.fixture
def p11(client_token: ClientToken, library_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cryptoki]:
    monkeypatch.setenv("MAPR_HOME", str(client_token.home))
    monkeypatch.delenv("MRHSM_CONF", raising=False)
    module = Cryptoki(library_path)
    module.initialize()
    yield module
    assert rv_of(module.finalize) in (CKR.OK, CKR.CRYPTOKI_NOT_INITIALIZED)


def logged_in(p11: Cryptoki, client_token: ClientToken) -> int:
    session = p11.open_session(client_token.slot)
    p11.login(session)
    return session


def counter_kdf(p11: Cryptoki, kept: list[Any]) -> tuple[int, Any]:
    """Return the mechanism: counter of 32 bits, label and context, length in 32 bits, HMAC-SHA-256."""
    layout = p11.new("CK_SP800_108_COUNTER_FORMAT *", [0, 32])
    length = p11.new("CK_SP800_108_DKM_LENGTH_FORMAT *", [CK.SP800_108_DKM_LENGTH_SUM_OF_KEYS, 0, 32])
    label = p11.new("CK_BYTE[]", LABEL)
    pieces = [
        (CK.SP800_108_ITERATION_VARIABLE, layout, 16),
        (CK.SP800_108_BYTE_ARRAY, label, len(LABEL)),
        (CK.SP800_108_DKM_LENGTH, length, 24),
    ]
    parts = p11.new("CK_PRF_DATA_PARAM[]", [(kind, p11.ffi.cast("void *", at), size) for kind, at, size in pieces])
    parameter = p11.new("CK_SP800_108_KDF_PARAMS *", [CKM.SHA256_HMAC, len(pieces), parts, 0, p11.ffi.NULL])
    kept += [layout, length, label, parts, parameter]
    return CKM.SP800_108_COUNTER_KDF, parameter


AES: dict[int, Any] = {
    CKA.CLASS: CKO.SECRET_KEY,
    CKA.KEY_TYPE: CKK.AES,
    CKA.VALUE_LEN: 32,
    CKA.SENSITIVE: True,
    CKA.EXTRACTABLE: False,
    CKA.ENCRYPT: True,
    CKA.DECRYPT: True,
}


def test_the_common_kek_gives_session_keys(p11: Cryptoki, client_token: ClientToken) -> None:
    kept: list[Any] = []
    session = logged_in(p11, client_token)
    (common,) = p11.find(session, {CKA.LABEL: f"mrhsm/{CLUSTER}/common-kek"})
    mechanism, iv = counter_kdf(p11, kept), bytes(16)
    first = p11.derive_key(session, mechanism, common, AES)
    sealed = p11.encrypt(session, (CKM.AES_CBC_PAD, iv), first, b"between nodes")
    assert p11.get_bool(session, first, CKA.TOKEN) is False
    p11.finalize()
    p11.initialize()  # another process, as far as the library can tell
    session = logged_in(p11, client_token)
    (common,) = p11.find(session, {CKA.LABEL: f"mrhsm/{CLUSTER}/common-kek"})
    again = p11.derive_key(session, mechanism, common, AES)
    assert p11.decrypt(session, (CKM.AES_CBC_PAD, iv), again, sealed) == b"between nodes"
    (core,) = p11.find(session, {CKA.LABEL: f"mrhsm/{CLUSTER}/core-kek"})
    assert rv_of(p11.derive_key, session, mechanism, core, AES) == CKR.KEY_FUNCTION_NOT_PERMITTED


@pytest.mark.parametrize("key_type", [CKK.AES, CKK.GENERIC_SECRET, CKK.HKDF, CKK.SHA256_HMAC], ids=CKK.name)
def test_a_derived_key_is_kept_on_the_token(p11: Cryptoki, client_token: ClientToken, key_type: int) -> None:
    session = logged_in(p11, client_token)
    label = f"derived {CKK.name(key_type)}"
    given = {CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.VALUE: bytes(range(40)), CKA.CLASS: CKO.SECRET_KEY, CKA.DERIVE: True}
    base = p11.create_object(session, given)
    wanted = {CKA.TOKEN: True, CKA.KEY_TYPE: key_type, CKA.VALUE_LEN: 16, CKA.LABEL: label, CKA.DERIVE: True}
    made = p11.derive_key(session, CKM.SHA256_KEY_DERIVATION, base, wanted)
    value = p11.get(session, made, CKA.VALUE)
    p11.finalize()
    p11.initialize()
    session = logged_in(p11, client_token)
    (found,) = p11.find(session, {CKA.LABEL: label})
    assert p11.get_int(session, found, CKA.KEY_TYPE) == key_type
    assert p11.get(session, found, CKA.VALUE) == value
    assert p11.get_bool(session, found, CKA.DERIVE) is True
    assert p11.get_bool(session, found, CKA.LOCAL) is False
    assert p11.get_int(session, found, CKA.KEY_GEN_MECHANISM) == CK.UNAVAILABLE_INFORMATION
    p11.destroy_object(session, found)


SOFTHSM = next(iter(Path("/usr/lib").glob("**/libsofthsm2.so")), None)


@pytest.mark.parametrize("client_token", ["file"], indirect=True)
def test_softhsm_derives_the_same(client_token: ClientToken, tmp_path: Path) -> None:
    if SOFTHSM is None:
        pytest.skip("SoftHSM2 is not installed")
    (tmp_path / "tokens").mkdir()
    settings = tmp_path / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n")
    named = {"SOFTHSM2_CONF": str(settings)}
    options = ("--init-token", "--free", "--label", "alike", "--so-pin", "1234", "--pin", "1234")
    made = client_token.good("softhsm2-util", *options, **named)
    script = Path(__file__).with_name("derive_alike.py")
    theirs = json.loads(client_token.good(sys.executable, script, SOFTHSM, made.split()[-1], "1234", **named))
    ours = json.loads(
        client_token.good(sys.executable, script, client_token.module, client_token.slot, client_token.pin)
    )
    assert {"ecdh 20", "ecdh aes", "ecb", "cbc cut"} <= theirs.keys()
    assert {name: ours[name] for name in theirs} == theirs
