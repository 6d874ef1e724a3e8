"""Key agreement and its KDF; keys from passwords."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fix_provider import create_secret, get, template
from openssl_kdf import kdf as openssl_kdf

from mrhsm_p11.constants import CKA, CKD, CKK, CKM, CKO, CKP, CKZ
from mrhsm_p11.errors import (
    CryptokiError,
    KeySizeRange,
    KeyTypeInconsistent,
    MechanismParamInvalid,
    TemplateIncomplete,
    TemplateInconsistent,
)
from mrhsm_p11.functions import derive, keys, objects
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.parameters.derive import ECDH1Params, PBKD2Params
from mrhsm_p11.secret import Secret

P256 = bytes.fromhex("06082a8648ce3d030107")
X25519, X448 = bytes.fromhex("06032b656e"), bytes.fromhex("06032b656f")
KDFS = {
    CKD.SHA1_KDF: "SHA1",
    CKD.SHA224_KDF: "SHA224",
    CKD.SHA256_KDF: "SHA256",
    CKD.SHA384_KDF: "SHA384",
    CKD.SHA512_KDF: "SHA512",
    CKD.SHA3_224_KDF: "SHA3-224",
    CKD.SHA3_256_KDF: "SHA3-256",
    CKD.SHA3_384_KDF: "SHA3-384",
    CKD.SHA3_512_KDF: "SHA3-512",
}


@pytest.fixture
def pairs(user_session: int) -> list[tuple[int, bytes]]:
    """Two pairs on P-256: private handle, public point in its OCTET STRING."""
    made = []
    for _ in range(2):
        public, private = keys.generate_key_pair(
            user_session, Mechanism(CKM.EC_KEY_PAIR_GEN), template({CKA.EC_PARAMS: P256}), template({CKA.DERIVE: True})
        )
        point = get(user_session, public, CKA.EC_POINT)
        assert isinstance(point, bytes)
        made.append((private, point))
    return made


def ecdh(peer: bytes, kdf: int = CKD.NULL, shared: bytes = b"", type: int = CKM.ECDH1_DERIVE) -> Mechanism:
    return Mechanism(type, ECDH1Params(kdf, shared, peer))


def value_of(session: int, mechanism: Mechanism, key: int, values: dict[int, Value] | None = None) -> bytes:
    handle = derive.derive_key(session, mechanism, key, template(values or {}), True)
    assert isinstance(handle, int)
    value = get(session, handle, CKA.VALUE)
    assert isinstance(value, bytes)
    return value


@pytest.mark.parametrize("type", [CKM.ECDH1_DERIVE, CKM.ECDH1_COFACTOR_DERIVE])
def test_both_sides_get_the_same(user_session: int, pairs: list[tuple[int, bytes]], type: int) -> None:
    (mine, my_point), (yours, your_point) = pairs
    common = value_of(user_session, ecdh(your_point, type=type), mine)
    assert len(common) == 32
    assert value_of(user_session, ecdh(my_point[2:], type=type), yours) == common  # raw and DER are both taken
    # the standard: what is too much is cut off the leading end
    assert value_of(user_session, ecdh(your_point), mine, {CKA.VALUE_LEN: 20}) == common[-20:]
    aes = {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 16}
    assert value_of(user_session, ecdh(your_point), mine, aes) == common[-16:]
    with pytest.raises(KeySizeRange):
        value_of(user_session, ecdh(your_point), mine, {CKA.VALUE_LEN: 33})


@pytest.mark.parametrize("kdf", KDFS, ids=KDFS.values())
def test_the_kdf_agrees_with_openssl(user_session: int, pairs: list[tuple[int, bytes]], kdf: int) -> None:
    (mine, _), (_, your_point) = pairs
    common = value_of(user_session, ecdh(your_point), mine)
    made = value_of(user_session, ecdh(your_point, kdf, b"both know"), mine, {CKA.VALUE_LEN: 100})
    assert made.startswith(value_of(user_session, ecdh(your_point, kdf, b"both know"), mine))
    told = f"hexsecret:{common.hex()}", f"hexinfo:{b'both know'.hex()}"
    assert made == openssl_kdf("X963KDF", 100, f"digest:{KDFS[kdf]}", *told)


def test_the_kdf_of_x9_63() -> None:
    """NIST CAVS 12.0, ANSX963_2001, SHA-256, count 0 of 128 bits."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF

    common = bytes.fromhex("96c05619d56c328ab95fe84b18264b08725b85e33fd34f08")
    assert X963KDF(SHA256(), 16, None).derive(common).hex() == "443024c3dae66b95e6f5670601558f71"


@pytest.mark.parametrize(
    ("mechanism", "error"),
    [
        (lambda point: ecdh(point, 99), MechanismParamInvalid),
        (lambda point: ecdh(point, CKD.NULL, b"shared"), MechanismParamInvalid),
        (lambda point: ecdh(point[:-1]), MechanismParamInvalid),
        (lambda point: ecdh(point[:-1] + bytes([point[-1] ^ 1])), MechanismParamInvalid),
        (lambda point: ecdh(b""), MechanismParamInvalid),
        (lambda point: Mechanism(CKM.ECDH1_DERIVE), MechanismParamInvalid),
    ],
    ids=["KDF", "data without KDF", "short", "off the curve", "none", "no parameter"],
)
def test_what_is_no_agreement(
    user_session: int, pairs: list[tuple[int, bytes]], mechanism: object, error: type[CryptokiError]
) -> None:
    assert callable(mechanism)
    with pytest.raises(error):
        value_of(user_session, mechanism(pairs[1][1]), pairs[0][0])


def test_a_secret_key_agrees_with_nobody(user_session: int, pairs: list[tuple[int, bytes]]) -> None:
    with pytest.raises(KeyTypeInconsistent):
        value_of(user_session, ecdh(pairs[0][1]), create_secret(user_session, bytes(16), {CKA.DERIVE: True}))


@pytest.mark.parametrize(("oid", "module"), [(X25519, x25519), (X448, x448)], ids=["X25519", "X448"])
def test_montgomery_curves(user_session: int, oid: bytes, module: object) -> None:
    kind = getattr(module, "X25519PrivateKey" if module is x25519 else "X448PrivateKey")
    mine, yours = kind.generate(), kind.generate()
    key = objects.create_object(
        user_session,
        template(
            {
                CKA.CLASS: CKO.PRIVATE_KEY,
                CKA.KEY_TYPE: CKK.EC_MONTGOMERY,
                CKA.EC_PARAMS: oid,
                CKA.VALUE: mine.private_bytes_raw(),
                CKA.DERIVE: True,
            }
        ),
    )
    peer = yours.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert value_of(user_session, ecdh(peer), key) == yours.exchange(mine.public_key())


def test_diffie_hellman(user_session: int) -> None:
    sizes = template({CKA.PRIME_BITS: 2048})
    group = keys.generate_key(user_session, Mechanism(CKM.DH_PKCS_PARAMETER_GEN), sizes)
    domain = {cka: get(user_session, group, cka) for cka in (CKA.PRIME, CKA.BASE)}
    pairs = [
        keys.generate_key_pair(
            user_session, Mechanism(CKM.DH_PKCS_KEY_PAIR_GEN), template(domain), template({CKA.DERIVE: True})
        )
        for _ in range(2)
    ]
    (my_public, mine), (your_public, yours) = pairs
    values = {}
    for private, public in ((mine, your_public), (yours, my_public)):
        peer = get(user_session, public, CKA.VALUE)
        assert isinstance(peer, bytes)
        values[private] = value_of(user_session, Mechanism(CKM.DH_PKCS_DERIVE, peer), private)
        # what is too much is cut off the leading end
        short = value_of(user_session, Mechanism(CKM.DH_PKCS_DERIVE, peer), private, {CKA.VALUE_LEN: 32})
        assert short == values[private][-32:]
    assert values[mine] == values[yours]
    assert len(values[mine]) == 256
    for refused in (b"", b"\1", domain[CKA.PRIME]):
        assert isinstance(refused, bytes)
        with pytest.raises(MechanismParamInvalid):
            value_of(user_session, Mechanism(CKM.DH_PKCS_DERIVE, refused), mine)


PASSWORD, SALT = b"password", b"salt"


def pbkdf2(iterations: int = 1, **changed: object) -> Mechanism:
    given = {
        "salt_source": CKZ.SALT_SPECIFIED,
        "salt": SALT,
        "iterations": iterations,
        "prf": CKP.PKCS5_PBKD2_HMAC_SHA1,
        "prf_data": b"",
        "password": Secret(PASSWORD),
    }
    return Mechanism(CKM.PKCS5_PBKD2, PBKD2Params(**{**given, **changed}))


NEW: dict[int, Value] = {CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.VALUE_LEN: 20}


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [(1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"), (4096, "4b007901b765489abead49d926f721d065a429c1")],
)
def test_pbkdf2_as_rfc_6070_has_it(user_session: int, iterations: int, expected: str) -> None:
    made = keys.generate_key(user_session, pbkdf2(iterations), template(NEW))
    value = get(user_session, made, CKA.VALUE)
    assert isinstance(value, bytes)
    assert value.hex() == expected
    assert get(user_session, made, CKA.KEY_GEN_MECHANISM) == CKM.PKCS5_PBKD2


@pytest.mark.parametrize(
    ("changed", "values", "error"),
    [
        ({"salt_source": 2}, {}, MechanismParamInvalid),
        ({"iterations": 0}, {}, MechanismParamInvalid),
        ({"iterations": 1 << 62}, {}, MechanismParamInvalid),
        ({"prf": CKP.PKCS5_PBKD2_HMAC_GOSTR3411}, {}, MechanismParamInvalid),
        ({"prf_data": b"x"}, {}, MechanismParamInvalid),
        ({}, {CKA.KEY_TYPE: CKK.RSA}, TemplateInconsistent),
        ({}, {CKA.VALUE_LEN: None}, TemplateIncomplete),
        ({}, {CKA.KEY_TYPE: None}, TemplateIncomplete),
    ],
)
def test_what_pbkdf2_does_not_take(
    user_session: int, changed: dict[str, object], values: dict[int, Value], error: type[CryptokiError]
) -> None:
    wanted = {cka: value for cka, value in {**NEW, **values}.items() if value is not None}
    with pytest.raises(error):
        keys.generate_key(user_session, pbkdf2(**changed), template(wanted))
