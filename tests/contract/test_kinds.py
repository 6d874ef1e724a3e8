"""Every class and key type on each store: all attributes come back in another process, on another host."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from fix_provider import READ_WRITE, find, get, template
from fix_tokens import TokenOnDisk

from mrhsm_p11.constants import CKA, CKK, CKM, CKO, CKP, CKU
from mrhsm_p11.errors import CryptokiError
from mrhsm_p11.functions import general, keys, objects, sessions
from mrhsm_p11.mapping import attributes
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider

Values = dict[int, Value]
STORES = ("file", "kmip")
EVERY: Values = {CKA.TOKEN: True, CKA.ID: b"\0id", CKA.LABEL: "kept \u00fc"}
KEY: Values = {CKA.START_DATE: b"20200101", CKA.END_DATE: b"20991231", CKA.ALLOWED_MECHANISMS: (CKM.AES_ECB, CKM.ECDSA)}
OPEN: Values = {**KEY, CKA.SENSITIVE: False, CKA.EXTRACTABLE: True}  # so that a test sees all of it
DES_KEY_BYTES = {CKK.DES: 8, CKK.DES2: 16, CKK.DES3: 24}  # all others may have 32
NAME = bytes.fromhex("300d310b3009060355040313026d79")

GROUP: Values = {
    CKA.PRIME: bytes.fromhex(
        "8732ec631f04f7ae57f66ad4a481ab4462ae26400348ac764d679311c41c5ef6"
        "5bf618a6e0742a27d59a18868fc7a131dff158c83ada310efa493cb86cc2966b"
    ),
    CKA.BASE: b"\2",
}


@cache
def domain() -> Values:
    numbers = dsa.generate_parameters(1024).parameter_numbers()
    parts = {CKA.PRIME: numbers.p, CKA.SUBPRIME: numbers.q, CKA.BASE: numbers.g}
    return {cka: number.to_bytes((number.bit_length() + 7) // 8) for cka, number in parts.items()}


def secrets() -> dict[tuple[int, int | None], Values]:
    """Return a template for each secret key type that can be stored."""
    types = [kind for kind in range(0x80) if attributes.supported(CKO.SECRET_KEY, kind)]
    values = {kind: bytes(range(1, DES_KEY_BYTES.get(kind, 32) + 1)) for kind in types}
    for kind in values.keys() & DES_KEY_BYTES.keys():
        values[kind] = bytes.fromhex("0123456789abcdeffedcba987654321089abcdef01234567")[: len(values[kind])]
    return {
        (CKO.SECRET_KEY, kind): {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: kind, CKA.VALUE: value, **OPEN}
        for kind, value in values.items()
    }


def others() -> dict[tuple[int, int | None], Values]:
    certificate: Values = {CKA.CLASS: CKO.CERTIFICATE, CKA.CERTIFICATE_TYPE: 0, CKA.SUBJECT: NAME, CKA.VALUE: b""}
    at_url: Values = {
        CKA.URL: "https://x.example",
        CKA.HASH_OF_SUBJECT_PUBLIC_KEY: b"s",
        CKA.HASH_OF_ISSUER_PUBLIC_KEY: b"i",
    }
    data: Values = {CKA.CLASS: CKO.DATA, CKA.VALUE: b"text", CKA.APPLICATION: "tests", CKA.OBJECT_ID: b"\6\1\1"}
    trust: Values = {CKA.CLASS: CKO.TRUST, CKA.ISSUER: NAME, CKA.SERIAL_NUMBER: b"\2\1\7", CKA.TRUST_SERVER_AUTH: 2}
    found: dict[tuple[int, int | None], Values] = {
        (CKO.CERTIFICATE, 0): certificate | at_url,
        (CKO.DATA, None): data,
        (CKO.TRUST, None): trust,
    }
    for kind, parts in ((CKK.DSA, domain()), (CKK.DH, GROUP)):
        found[CKO.DOMAIN_PARAMETERS, kind] = {CKA.CLASS: CKO.DOMAIN_PARAMETERS, CKA.KEY_TYPE: kind, **parts}
    return found


def pairs() -> dict[int, tuple[int, Values]]:
    """Return mechanism and public template for each key type whose pairs can be stored."""
    known: dict[int, tuple[int, Values]] = {
        CKK.RSA: (CKM.RSA_PKCS_KEY_PAIR_GEN, {CKA.MODULUS_BITS: 1024, CKA.PUBLIC_EXPONENT: b"\1\0\1"}),
        CKK.EC: (CKM.EC_KEY_PAIR_GEN, {CKA.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}),
        CKK.EC_EDWARDS: (CKM.EC_EDWARDS_KEY_PAIR_GEN, {CKA.EC_PARAMS: bytes.fromhex("06032b6570")}),
        CKK.EC_MONTGOMERY: (CKM.EC_MONTGOMERY_KEY_PAIR_GEN, {CKA.EC_PARAMS: bytes.fromhex("06032b656e")}),
        CKK.DSA: (CKM.DSA_KEY_PAIR_GEN, domain()),
        CKK.DH: (CKM.DH_PKCS_KEY_PAIR_GEN, GROUP),
        CKK.ML_KEM: (CKM.ML_KEM_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.ML_KEM_768}),
        CKK.ML_DSA: (CKM.ML_DSA_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.ML_DSA_65}),
        CKK.SLH_DSA: (CKM.SLH_DSA_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.SLH_DSA_SHA2_128F}),
    }
    return {kind: row for kind, row in known.items() if attributes.supported(CKO.PUBLIC_KEY, kind)}


def everything(session: int) -> dict[Value, dict[int, Value]]:
    """Return all attributes that are shown of every object, by unique identifier."""
    found = {}
    for handle in find(session, {}):
        kind = [_known(session, handle, cka) for cka in (CKA.CLASS, CKA.KEY_TYPE)]
        shown = {cka: _known(session, handle, cka) for cka in attributes.for_class(*kind)}  # type: ignore[arg-type]
        found[shown[CKA.UNIQUE_ID]] = {cka: value for cka, value in shown.items() if value is not None}
    return found  # type: ignore[return-value]


def _known(session: int, handle: int, cka: int) -> Value | None:
    try:
        return get(session, handle, cka)
    except CryptokiError:
        return None


def user(token: TokenOnDisk) -> int:
    session = sessions.open_session(token.slot_id, READ_WRITE)
    sessions.login(session, CKU.USER, Secret(token.user_pin.view()))
    return session


def make_all(session: int) -> set[tuple[Value, Value | None]]:
    """Make an object of every kind; return which."""
    made: set[tuple[Value, Value | None]] = set()
    for kind, values in {**secrets(), **others()}.items():
        own = attributes.for_class(*kind)
        objects.create_object(session, template({**{c: v for c, v in EVERY.items() if c in own}, **values}))
        made.add(kind)
    for key_type, (mechanism, public) in pairs().items():
        halves = template({**EVERY, **KEY, **public}), template({**EVERY, **OPEN})
        keys.generate_key_pair(session, Mechanism(mechanism), *halves)
        made |= {(CKO.PUBLIC_KEY, key_type), (CKO.PRIVATE_KEY, key_type)}
    return made


@pytest.fixture(autouse=True)
def finalised() -> Iterator[None]:
    yield
    if provider.current is not None:
        general.finalize(False)


@pytest.mark.parametrize("store", STORES)
def test_everything_comes_back_on_another_host(
    request: pytest.FixtureRequest,
    make_token: Callable[..., TokenOnDisk],
    mapr_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
) -> None:
    connection = request.getfixturevalue("make_appliance")().connection() if store == "kmip" else None
    token = make_token(store=store, connection=connection)
    general.initialize(None)
    session = user(token)
    made = make_all(session)
    before = everything(session)
    general.finalize(False)
    shutil.copytree(mapr_home, tmp_path / "there")
    folder = tmp_path / "there" / "conf" / "tokens" / token.serial
    if store == "kmip":  # the key manager alone restores what this host knew
        for file in folder.iterdir():
            file.unlink()
    monkeypatch.setenv("MAPR_HOME", str(tmp_path / "there"))
    general.initialize(None)
    assert everything(user(token)) == before
    assert made == {
        (shown[CKA.CLASS], shown.get(CKA.KEY_TYPE, shown.get(CKA.CERTIFICATE_TYPE))) for shown in before.values()
    }
    supported = {(cls, kind) for cls in range(12) for kind in (None, *range(0x80)) if attributes.supported(cls, kind)}
    assert supported - made == set(), "a kind that this test leaves out"
