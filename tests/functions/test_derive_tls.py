"""TLS: premaster, master, key block, exporters, PRF, Finished."""

from __future__ import annotations

import pytest
from fix_provider import create_secret, find, get, template
from openssl_kdf import kdf

from mrhsm_p11.constants import CKA, CKK, CKM
from mrhsm_p11.errors import (
    CryptokiError,
    KeySizeRange,
    MechanismParamInvalid,
    SignatureInvalid,
    SignatureLenRange,
    TemplateIncomplete,
    TemplateInconsistent,
)
from mrhsm_p11.functions import crypto, derive, keys
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism, Parameter, Place
from mrhsm_p11.parameters.tls import (
    ExtendedMasterKeyParams,
    KeyMaterial,
    KeyMaterialParams,
    MasterKeyParams,
    Randoms,
    TLS12KeyMaterialParams,
    TLS12MasterKeyParams,
    TLSKDFParams,
    TLSMACParams,
    TLSPRFParams,
)

CLIENT, SERVER = bytes(range(32)), bytes(range(32, 64))
RANDOMS = Randoms(CLIENT, SERVER)
PREMASTER = b"\x03\x03" + bytes(range(46))
NOWHERE = Place(None)


def secret(session: int, value: bytes = PREMASTER, **more: Value) -> int:
    given = {getattr(CKA, name): item for name, item in more.items()}
    return create_secret(
        session, value, {CKA.DERIVE: True, CKA.SIGN: True, CKA.VERIFY: True, **given}, CKK.GENERIC_SECRET
    )


def derived(
    session: int, type: int, parameter: Parameter, key: int, values: dict[int, Value] | None = None
) -> int | None:
    return derive.derive_key(session, Mechanism(type, parameter), key, template(values or {}), True)


def value_of(session: int, type: int, parameter: Parameter, key: int, values: dict[int, Value] | None = None) -> bytes:
    handle = derived(session, type, parameter, key, values)
    assert isinstance(handle, int)
    value = get(session, handle, CKA.VALUE)
    assert isinstance(value, bytes)
    return value


def openssl_prf(digest: str, key: bytes, seed: bytes, length: int) -> bytes:
    """What OpenSSL's TLS1-PRF gives; the label is the beginning of its seed."""
    return kdf("TLS1-PRF", length, f"digest:{digest}", f"hexsecret:{key.hex()}", f"hexseed:{seed.hex()}")


class Written:
    """Memory of a caller, with what was written to it."""

    def __init__(self, number: int = 0) -> None:
        self.values: list[int | bytes] = []
        self.place = Place(self.values.append, number)

    @property
    def value(self) -> int | bytes:
        (only,) = self.values
        return only


def test_the_prf_of_tls_1_2(user_session: int) -> None:
    """The vector that the IETF's TLS list agreed on for P_SHA256."""
    key = secret(user_session, bytes.fromhex("9bbe436ba940f017b17652849a71db35"))
    given = TLSKDFParams(
        CKM.SHA256, b"test label", Randoms(bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c"), b""), b""
    )
    assert value_of(user_session, CKM.TLS_KDF, given, key, {CKA.VALUE_LEN: 100}).hex() == (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af"
        "0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701"
        "87347b66"
    )
    with pytest.raises(TemplateIncomplete):
        derived(user_session, CKM.TLS_KDF, given, key)


@pytest.mark.parametrize(
    ("type", "prf", "digest"), [(CKM.TLS12_KDF, CKM.SHA384, "SHA384"), (CKM.TLS_KDF, CKM.TLS_PRF, "MD5-SHA1")]
)
def test_an_exporter_agrees_with_openssl(user_session: int, type: int, prf: int, digest: str) -> None:
    given = TLSKDFParams(prf, b"EXPORTER-x", RANDOMS, b"context")
    made = value_of(user_session, type, given, secret(user_session, bytes(range(47))), {CKA.VALUE_LEN: 77})
    assert made == openssl_prf(digest, bytes(range(47)), b"EXPORTER-x" + CLIENT + SERVER + b"\0\x07context", 77)


MASTERS = [
    (CKM.TLS12_MASTER_KEY_DERIVE, lambda place: TLS12MasterKeyParams(RANDOMS, place, CKM.SHA256), "SHA256"),
    (
        CKM.TLS12_EXTENDED_MASTER_KEY_DERIVE,
        lambda place: ExtendedMasterKeyParams(CKM.SHA384, b"h" * 48, place),
        "SHA384",
    ),
    (CKM.TLS_MASTER_KEY_DERIVE, lambda place: MasterKeyParams(RANDOMS, place), "MD5-SHA1"),
]


@pytest.mark.parametrize(("type", "parameter", "digest"), MASTERS, ids=["1.2", "extended", "1.0"])
def test_master_secrets_agree_with_openssl(user_session: int, type: int, parameter: object, digest: str) -> None:
    assert callable(parameter)
    version = Written()
    made = value_of(user_session, type, parameter(version.place), secret(user_session))
    seed = b"extended master secret" + b"h" * 48 if digest == "SHA384" else b"master secret" + CLIENT + SERVER
    assert version.value == b"\x03\x03"
    assert made == openssl_prf(digest, PREMASTER, seed, 48)
    with pytest.raises(TemplateInconsistent):
        derived(user_session, type, parameter(NOWHERE), secret(user_session), {CKA.VALUE_LEN: 32})
    with pytest.raises(KeySizeRange):
        derived(user_session, type, parameter(NOWHERE), secret(user_session, PREMASTER[:-1]))


def test_a_master_secret_after_diffie_hellman(user_session: int) -> None:
    given = TLS12MasterKeyParams(RANDOMS, NOWHERE, CKM.SHA256)
    made = value_of(user_session, CKM.TLS12_MASTER_KEY_DERIVE_DH, given, secret(user_session, b"z" * 65))
    assert made == openssl_prf("SHA256", b"z" * 65, b"master secret" + CLIENT + SERVER, 48)


class Connection:
    """A key block as a caller asks for it, and where it goes."""

    def __init__(self, mac: int = 160, key: int = 128, iv: int = 128, *, hash: int | None = CKM.SHA256) -> None:
        self.written = [Written() for _ in range(6)]
        places = KeyMaterial(*[each.place for each in self.written])
        sizes = (mac, key, iv, 0, RANDOMS, places)
        self.parameter = KeyMaterialParams(*sizes) if hash is None else TLS12KeyMaterialParams(*sizes, hash)

    def value(self, session: int, place: int) -> bytes:
        handle = self.written[place].value
        value = get(session, handle, CKA.VALUE) if isinstance(handle, int) else handle
        assert isinstance(value, bytes)
        return value


KEYS: dict[int, Value] = {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 16, CKA.LABEL: "tls"}


@pytest.mark.parametrize(
    ("type", "hash", "digest"),
    [(CKM.TLS12_KEY_AND_MAC_DERIVE, CKM.SHA256, "SHA256"), (CKM.TLS_KEY_AND_MAC_DERIVE, None, "MD5-SHA1")],
)
def test_a_key_block_agrees_with_openssl(user_session: int, type: int, hash: int | None, digest: str) -> None:
    block = Connection(hash=hash)
    assert derived(user_session, type, block.parameter, secret(user_session), KEYS) is None
    found = b"".join(block.value(user_session, place) for place in range(6))
    assert found == openssl_prf(digest, PREMASTER, b"key expansion" + SERVER + CLIENT, 104)
    mac, key = block.written[0].value, block.written[2].value
    assert isinstance(mac, int)
    assert isinstance(key, int)
    assert get(user_session, mac, CKA.KEY_TYPE) == CKK.GENERIC_SECRET
    assert [get(user_session, mac, cka) for cka in (CKA.SIGN, CKA.VERIFY, CKA.DERIVE)] == [True] * 3
    assert get(user_session, key, CKA.KEY_TYPE) == CKK.AES
    assert [get(user_session, key, cka) for cka in (CKA.ENCRYPT, CKA.DECRYPT, CKA.DERIVE)] == [True] * 3
    assert len(find(user_session, {CKA.LABEL: "tls"})) == 4


def test_what_is_not_asked_for_is_not_made(user_session: int) -> None:
    block = Connection(mac=0, iv=32)
    derived(user_session, CKM.TLS12_KEY_AND_MAC_DERIVE, block.parameter, secret(user_session), KEYS)
    assert [each.values for each in block.written[:2]] == [[0], [0]]
    safe = Connection()
    derived(user_session, CKM.TLS12_KEY_SAFE_DERIVE, safe.parameter, secret(user_session), KEYS)
    assert [each.values for each in safe.written[4:]] == [[], []]


@pytest.mark.parametrize("type", [CKM.TLS12_KEY_AND_MAC_DERIVE, CKM.TLS12_KEY_SAFE_DERIVE])
def test_keys_are_as_visible_as_the_master_secret(user_session: int, type: int) -> None:
    for sensitive in (True, False):
        block = Connection()
        master = secret(user_session, SENSITIVE=sensitive, EXTRACTABLE=not sensitive)
        for cka, value in ((CKA.SENSITIVE, not sensitive), (CKA.EXTRACTABLE, sensitive)):
            with pytest.raises(TemplateInconsistent):
                derived(user_session, type, block.parameter, master, {cka: value})
        derived(user_session, type, block.parameter, master, KEYS)
        for place in block.written[:4]:
            assert isinstance(place.value, int)
            assert get(user_session, place.value, CKA.SENSITIVE) is sensitive
            assert get(user_session, place.value, CKA.EXTRACTABLE) is not sensitive


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"mac_bits": 12}, MechanismParamInvalid),
        ({"key_bits": 1 << 40}, MechanismParamInvalid),
        ({"is_export": 1}, MechanismParamInvalid),
        ({"returned": None}, MechanismParamInvalid),
        ({"hash": CKM.SHA256_HMAC}, MechanismParamInvalid),
        ({"key_bits": 256}, TemplateInconsistent),
        ({"returned": KeyMaterial(*[Written().place] * 4, NOWHERE, NOWHERE)}, MechanismParamInvalid),
    ],
    ids=["bits", "huge", "export", "nowhere", "hash", "length", "no room for the vectors"],
)
def test_a_refused_key_block_leaves_nothing(
    user_session: int, changed: dict[str, object], error: type[CryptokiError]
) -> None:
    block, key = Connection(), secret(user_session)
    given = TLS12KeyMaterialParams(**{**vars(block.parameter), **changed})
    before = find(user_session, {})
    with pytest.raises(error):
        derived(user_session, CKM.TLS12_KEY_AND_MAC_DERIVE, given, key, KEYS)
    assert find(user_session, {}) == before
    assert not any(each.values for each in block.written)


def test_the_prf_writes_into_the_parameter(user_session: int) -> None:
    output, length = Written(), Written(60)
    given = TLSPRFParams(b"seed", b"label", output.place, length.place)
    assert derived(user_session, CKM.TLS_PRF, given, secret(user_session)) is None
    assert output.value == openssl_prf("MD5-SHA1", PREMASTER, b"labelseed", 60)
    assert length.value == 60
    for output_place, length_place in (
        (NOWHERE, Written(60).place),
        (Written().place, NOWHERE),
        (Written().place, Written(0).place),
        (Written().place, Written(1 << 30).place),
    ):
        with pytest.raises(MechanismParamInvalid):
            derived(user_session, CKM.TLS_PRF, TLSPRFParams(b"", b"", output_place, length_place), secret(user_session))


def test_a_premaster_secret_for_rsa(user_session: int) -> None:
    made = keys.generate_key(
        user_session, Mechanism(CKM.TLS_PRE_MASTER_KEY_GEN, b"\x03\x02"), template({CKA.DERIVE: True})
    )
    value = get(user_session, made, CKA.VALUE)
    assert isinstance(value, bytes)
    assert (value[:2], len(value), get(user_session, made, CKA.LOCAL)) == (b"\x03\x02", 48, True)
    assert get(user_session, made, CKA.KEY_GEN_MECHANISM) == CKM.TLS_PRE_MASTER_KEY_GEN
    with pytest.raises(TemplateInconsistent):
        keys.generate_key(
            user_session, Mechanism(CKM.TLS_PRE_MASTER_KEY_GEN, b"\x03\x02"), template({CKA.VALUE_LEN: 47})
        )
    with pytest.raises(MechanismParamInvalid):
        keys.generate_key(user_session, Mechanism(CKM.TLS_PRE_MASTER_KEY_GEN, b"\x03"), template({}))


@pytest.mark.parametrize("type", [CKM.TLS_MAC, CKM.TLS12_MAC])
@pytest.mark.parametrize(("side", "label"), [(1, b"server finished"), (2, b"client finished")])
def test_finished_messages(user_session: int, type: int, side: int, label: bytes) -> None:
    key, given = secret(user_session), Mechanism(type, TLSMACParams(CKM.SHA256, 12, side))
    crypto.sign_init(user_session, given, key)
    made = crypto.sign(user_session, b"hash", 64)
    assert made == openssl_prf("SHA256", PREMASTER, label + b"hash", 12)
    crypto.verify_init(user_session, given, key)
    crypto.verify(user_session, b"hash", made)
    for wrong, error in ((bytes(12), SignatureInvalid), (made[:-1], SignatureLenRange)):
        crypto.verify_init(user_session, given, key)
        with pytest.raises(error):
            crypto.verify(user_session, b"hash", wrong)
    for refused in ((CKM.SHA256, 11, 1), (CKM.SHA256, 12, 3), (CKM.SHA256_HMAC, 12, 1)):
        with pytest.raises(MechanismParamInvalid):
            crypto.sign_init(user_session, Mechanism(type, TLSMACParams(*refused)), key)
