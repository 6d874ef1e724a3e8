"""Key agreement: known answers, both sides alike, and peers that are no keys."""

from __future__ import annotations

import warnings

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.crypto import agreement, der, material
from mrhsm_p11.errors import KeyTypeInconsistent, MechanismParamInvalid
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.secret import Secret

X25519, X448 = bytes.fromhex("06032b656e"), bytes.fromhex("06032b656f")
P256, BRAINPOOL_P256 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06092b2403030208010107")
PRIME = bytes.fromhex(
    "8732ec631f04f7ae57f66ad4a481ab4462ae26400348ac764d679311c41c5ef6"
    "5bf618a6e0742a27d59a18868fc7a131dff158c83ada310efa493cb86cc2966b"
)


# source, key type, parameters, private value, the peer's public value, what they share
KNOWN: list[tuple[str, int, dict[int, Value], str, str, str]] = [
    (
        "RFC 7748, 5.2",
        CKK.EC_MONTGOMERY,
        {CKA.EC_PARAMS: X25519},
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "RFC 7748, 5.2",
        CKK.EC_MONTGOMERY,
        {CKA.EC_PARAMS: X448},
        "3d262fddf9ec8e88495266fea19a34d28882acef045104d0d1aae121700a779c984c24f8cdd78fbff44943eba368f54b2925"
        "9a4f1c600ad3",
        "06fce640fa3487bfda5f6cf2d5263f8aad88334cbd07437f020f08f9814dc031ddbdc38c19c6da2583fa5429db94ada18aa7"
        "a7fb4ef8a086",
        "ce3e4ff95a60dc6697da1db1d85e6afbdf79b50a2412d7546d5f239fe14fbaadeb445fc66a01b0779d98223961111e217662"
        "82f73dd96b6f",
    ),
    (
        "NIST CAVP, KASValidityTest_ECCStaticUnified_NOKC_ZZOnly_init, SHA-256",
        CKK.EC,
        {CKA.EC_PARAMS: P256},
        "8087ab163864bfa81001c72f736b6d94e7612559ac4c847d06ba2171840684d6",
        "045a3955c54a49645ed818f3774ea10971a1db88c370d8966c5a6e88234ed5d82003b13f0dad73f64532f42b8b2fa6d1450d"
        "9ab24896e95c24674298f2da07ccda",
        "0cb890a0dcc277c3dde0f91b4322a32e6365d7ec85316185d3286b4977849410",
    ),
    (
        "RFC 7027, A.1",
        CKK.EC,
        {CKA.EC_PARAMS: BRAINPOOL_P256},
        "81db1ee100150ff2ea338d708271be38300cb54241d79950f77b063039804f1d",
        "048d2d688c6cf93e1160ad04cc4429117dc2c41825e1e9fca0addd34e6f1b39f7b990c57520812be512641e47034832106bc"
        "7d3e8dd0e4c7f1136d7006547cec6a",
        "89afc39d41d3b327814b80940b042590f96556ec91e6ae7939bce31f3a18bf2b",
    ),
    (
        "Botan, dh.vec",
        CKK.DH,
        {CKA.PRIME: PRIME, CKA.BASE: b"\2"},
        "0aaa1d96792ce097cd533208550433ecdaecf557f1db669a5a0ade4284b5272c12d46fea0e9a549b28130cbbb76c36c9122b"
        "bd0aa3d3d1c055731da91f28a99e",
        "675f1a653994e03b986ba4fa13a2b51c4493b310ebfa5ede77d493cd243fedcfffbe9731d3e50a4586eb405fbafe446e71eb"
        "7df638c1ed43ee3de69a7363bb61",
        "65f79bcc47862e02dde775b8fc7b1d0cba094b753e502d49a4468687681f178cee98016210e136e80255fc8fdecc4d38d91e"
        "bc82c94b17652bdc7569ac383f39",
    ),
]
known = pytest.mark.parametrize(("source", "key_type", "group", "private", "peer", "shared"), KNOWN)


def private_key(key_type: int, group: dict[int, Value], value: str) -> Secret:
    template = {CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: key_type, CKA.VALUE: bytes.fromhex(value), **group}
    return material.split(template)[1]


@known
def test_known_answers(
    source: str, key_type: int, group: dict[int, Value], private: str, peer: str, shared: str
) -> None:
    key, theirs = private_key(key_type, group, private), bytes.fromhex(peer)
    forms = [theirs] if key_type == CKK.DH else [theirs, der.encode(der.OCTET_STRING, theirs)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Diffie-Hellman over finite fields", module=r"mrhsm_p11\.")
        assert {agreement.shared_secret(key_type, key, form).reveal().hex() for form in forms} == {shared}


@known
def test_peers_that_are_no_keys(
    source: str, key_type: int, group: dict[int, Value], private: str, peer: str, shared: str
) -> None:
    key, theirs = private_key(key_type, group, private), bytes.fromhex(peer)
    wrong = [b"", b"\0", b"\1", bytes(len(theirs)), b"\xff" * (len(theirs) + 1)]
    if key_type != CKK.DH:
        wrong += [theirs[:-1], theirs + b"\0"]
    for other in wrong:
        with pytest.raises(MechanismParamInvalid):
            agreement.shared_secret(key_type, key, other)


def test_dh_refuses_what_generates_next_to_nothing() -> None:
    *_, private, _, _ = KNOWN[-1]
    key = private_key(CKK.DH, {CKA.PRIME: PRIME, CKA.BASE: b"\2"}, private)
    below = (int.from_bytes(PRIME, "big") - 1).to_bytes(64, "big")
    for other in (below, PRIME, b"\0" * 70 + b"\1"):
        with pytest.raises(MechanismParamInvalid):
            agreement.shared_secret(CKK.DH, key, other)


def test_compressed_points_are_read() -> None:
    _, key_type, group, private, peer, shared = KNOWN[2]
    point = bytes.fromhex(peer)
    compressed = bytes((2 + (point[-1] & 1),)) + point[1:33]
    assert agreement.shared_secret(key_type, private_key(key_type, group, private), compressed).reveal().hex() == shared
    assert ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), compressed)


def test_keys_that_agree_with_nobody() -> None:
    key = private_key(CKK.EC_EDWARDS, {CKA.EC_PARAMS: bytes.fromhex("06032b6570")}, "01" * 32)
    for key_type in (CKK.EC_EDWARDS, CKK.RSA):
        with pytest.raises(KeyTypeInconsistent):
            agreement.shared_secret(key_type, key, bytes(32))
    for key_type in (CKK.EC, CKK.EC_MONTGOMERY):
        with pytest.raises(KeyTypeInconsistent):
            agreement.shared_secret(key_type, key, bytes(32))
