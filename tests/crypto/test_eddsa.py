"""EdDSA: known answers, the forms of its keys, and the variants that are not there."""

from __future__ import annotations

import pytest

from mrhsm_p11.constants import CKA, CKK, CKM, CKO
from mrhsm_p11.crypto import der, engine, material
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    CurveNotSupported,
    DomainParamsInvalid,
    KeyTypeInconsistent,
    MechanismParamInvalid,
    SignatureInvalid,
    SignatureLenRange,
    TemplateIncomplete,
    TemplateInconsistent,
)
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.parameters.signatures import EdDSAParams
from mrhsm_p11.secret import Secret

ROW = ROWS[CKM.EDDSA]
# identifier, private key, public key, message, signature: RFC 8032, 7.1 (TEST 2) and 7.4 (1 octet)
KNOWN = [
    (
        "06032b6570",
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b"
            "2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "06032b6571",
        (
            "c4eab05d357007c632f3dbb48489924d552b08fe0c353a0d4a1f00acda2c463afbea67c5e8d2877c5e3bc397a659949ef802"
            "1e954e0a12274e"
        ),
        (
            "43ba28f430cdff456ae531545f7ecd0ac834a55d9358c0372bfa0c6c6798c0866aea01eb00742802b8438ea4cb82169c2351"
            "60627b4c3a9480"
        ),
        "03",
        (
            "26b8f91727bd62897af15e41eb43c377efb9c610d48f2335cb0bd0087810f4352541b143c4b981b7e18f62de8ccdf633fc1b"
            "f037ab7cd779805e0dbcc0aae1cbcee1afb2e027df36bc04dcecbf154336c19f0af7e0a6472905e799f1953d2a0ff3348ab2"
            "1aa4adafd1d234441cf807c03a00"
        ),
    ),
]
known = pytest.mark.parametrize("case", KNOWN, ids=["Ed25519", "Ed448"])
Case = tuple[str, str, str, str, str]


def template(cls: int, oid: str, value: str) -> dict[int, Value]:
    common = {CKA.CLASS: cls, CKA.KEY_TYPE: CKK.EC_EDWARDS, CKA.EC_PARAMS: bytes.fromhex(oid)}
    return {**common, (CKA.VALUE if cls == CKO.PRIVATE_KEY else CKA.EC_POINT): bytes.fromhex(value)}


def pair(case: Case) -> tuple[Secret, Secret]:
    oid, private, public, _, _ = case
    return (
        material.split(template(CKO.PUBLIC_KEY, oid, public))[1],
        material.split(template(CKO.PRIVATE_KEY, oid, private))[1],
    )


def verify(key: Secret, message: bytes, signature: bytes) -> None:
    verifier = engine.verifier(ROW, scheme(len(signature)), CKK.EC_EDWARDS, key)
    verifier.update(message)
    verifier.finish(memoryview(signature))


def scheme(signature_bytes: int) -> EdDSAParams | None:
    """Return the parameter of Ed448 for its signatures, none for Ed25519's."""
    return EdDSAParams(0, b"") if signature_bytes > 64 else None


@known
def test_known_answers(case: Case) -> None:
    public, private = pair(case)
    message, expected = (bytes.fromhex(part) for part in case[3:])
    signer = engine.signer(ROW, scheme(len(expected)), CKK.EC_EDWARDS, private)
    for part in (message[:1], message[1:]):
        signer.update(part)
    assert signer.size == len(expected)
    assert signer.finish() == expected
    verify(public, message, expected)
    for wrong in (bytes(len(expected)), expected[::-1]):
        with pytest.raises(SignatureInvalid):
            verify(public, message, wrong)
    with pytest.raises(SignatureInvalid):
        verify(public, message + b"\0", expected)
    for wrong in (b"", expected[1:], expected + b"\0"):
        verifier = engine.verifier(ROW, scheme(len(expected)), CKK.EC_EDWARDS, public)
        verifier.update(message)
        with pytest.raises(SignatureLenRange):
            verifier.finish(wrong)


@known
def test_keys_as_attributes(case: Case) -> None:
    oid, private_hex, public_hex, _, _ = case
    public, private = pair(case)
    seen = material.derived(CKO.PUBLIC_KEY, CKK.EC_EDWARDS, public)
    assert seen == {
        CKA.EC_PARAMS: bytes.fromhex(oid),
        CKA.EC_POINT: bytes.fromhex(public_hex),  # bare, since the errata of 3.0
        CKA.PUBLIC_KEY_INFO: public.reveal(),
    }
    assert material.derived(CKO.PRIVATE_KEY, CKK.EC_EDWARDS, private) == {
        CKA.EC_PARAMS: bytes.fromhex(oid),
        CKA.VALUE: bytes.fromhex(private_hex),
        CKA.PUBLIC_KEY_INFO: public.reveal(),
    }
    wrapped = der.encode(der.OCTET_STRING, bytes.fromhex(public_hex))
    given = template(CKO.PUBLIC_KEY, oid, public_hex)
    assert material.split({**given, CKA.EC_POINT: wrapped})[1] == public
    for wrong in (b"", wrapped + b"\0", wrapped[:-1], bytes.fromhex(public_hex)[1:]):
        with pytest.raises(AttributeValueInvalid):
            material.split({**given, CKA.EC_POINT: wrong})
    given = template(CKO.PRIVATE_KEY, oid, private_hex)
    for wrong in (b"", bytes.fromhex(private_hex)[1:], bytes.fromhex(private_hex) + b"\0"):
        with pytest.raises(AttributeValueInvalid):
            material.split({**given, CKA.VALUE: wrong})
    with pytest.raises(TemplateInconsistent):
        material.split({**given, CKA.PUBLIC_KEY_INFO: public.reveal()[:-1] + b"\0"})


@known
def test_a_private_value_keeps_its_leading_zeros(case: Case) -> None:
    value = "00" * 3 + case[1][6:]
    made = material.split(template(CKO.PRIVATE_KEY, case[0], value))[1]
    assert material.derived(CKO.PRIVATE_KEY, CKK.EC_EDWARDS, made)[CKA.VALUE] == bytes.fromhex(value)


def test_parameters() -> None:
    (ed25519, ed448) = (pair(case) for case in KNOWN)
    for public, private in (ed25519, ed448):
        for parameter in (EdDSAParams(1, b""), EdDSAParams(0, b"context"), b"bytes"):
            with pytest.raises(MechanismParamInvalid):
                engine.signer(ROW, parameter, CKK.EC_EDWARDS, private)
            with pytest.raises(MechanismParamInvalid):
                engine.verifier(ROW, parameter, CKK.EC_EDWARDS, public)
    with pytest.raises(MechanismParamInvalid):  # Ed25519ctx, which RFC 8032 keeps apart from Ed25519
        engine.signer(ROW, EdDSAParams(0, b""), CKK.EC_EDWARDS, ed25519[1])
    with pytest.raises(MechanismParamInvalid):  # which requires one
        engine.signer(ROW, None, CKK.EC_EDWARDS, ed448[1])


@pytest.mark.parametrize(
    ("mechanism", "names"),
    [
        (CKM.EC_EDWARDS_KEY_PAIR_GEN, {"06032b6570": "edwards25519", "06032b6571": "edwards448"}),
        (CKM.EC_MONTGOMERY_KEY_PAIR_GEN, {"06032b656e": "curve25519", "06032b656f": "curve448"}),
    ],
)
def test_pairs_by_identifier_and_by_name(mechanism: int, names: dict[str, str]) -> None:
    row = ROWS[mechanism]
    for oid, name in names.items():
        for params in (bytes.fromhex(oid), bytes((0x13, len(name))) + name.encode()):
            public, private = engine.generate_pair(row, {CKA.EC_PARAMS: params}, {})
            seen = material.derived(CKO.PRIVATE_KEY, row.key_types[0], private)
            assert seen[CKA.EC_PARAMS] == bytes.fromhex(oid)
            assert seen[CKA.PUBLIC_KEY_INFO] == public.reveal()
    with pytest.raises(TemplateIncomplete):
        engine.generate_pair(row, {}, {})
    for other in ("06082a8648ce3d030107", "3000", "06032b6570" if "curve448" in names.values() else "06032b656e"):
        with pytest.raises(CurveNotSupported):
            engine.generate_pair(row, {CKA.EC_PARAMS: bytes.fromhex(other)}, {})
    with pytest.raises(DomainParamsInvalid):
        engine.generate_pair(row, {CKA.EC_PARAMS: b"edwards25519"}, {})


def test_identifiers_that_came_before_rfc_8410() -> None:
    for mechanism, older, oid in (
        (CKM.EC_EDWARDS_KEY_PAIR_GEN, "06092b06010401da470f01", "06032b6570"),
        (CKM.EC_MONTGOMERY_KEY_PAIR_GEN, "060a2b060104019755010501", "06032b656e"),
    ):
        made = engine.generate_pair(ROWS[mechanism], {CKA.EC_PARAMS: bytes.fromhex(older)}, {})[0]
        seen = material.derived(CKO.PUBLIC_KEY, ROWS[mechanism].key_types[0], made)
        assert seen[CKA.EC_PARAMS] == bytes.fromhex(oid)


def test_keys_of_other_types() -> None:
    x25519 = engine.generate_pair(
        ROWS[CKM.EC_MONTGOMERY_KEY_PAIR_GEN], {CKA.EC_PARAMS: bytes.fromhex("06032b656e")}, {}
    )
    with pytest.raises(KeyTypeInconsistent):
        engine.signer(ROW, None, CKK.EC_EDWARDS, x25519[1])
    with pytest.raises(KeyTypeInconsistent):
        engine.verifier(ROW, None, CKK.EC_EDWARDS, x25519[0])
    with pytest.raises(AttributeValueInvalid):
        material.normalise(CKO.PRIVATE_KEY, CKK.EC_EDWARDS, x25519[1])
    with pytest.raises(AttributeValueInvalid):
        material.normalise(CKO.PUBLIC_KEY, CKK.EC_EDWARDS, x25519[0])
