"""Key pairs through the C ABI: the parameters and functions that only they have."""

from __future__ import annotations

import pytest
from p11 import CKError, Cryptoki

from mrhsm_p11.constants import CKA, CKK, CKM, CKO, CKP, CKR, CKU

SO_PIN, PIN = "so pin 1234", "user pin 5678"
ED25519, ED448 = bytes.fromhex("06032b6570"), bytes.fromhex("06032b6571")
OPEN = {CKA.SENSITIVE: False, CKA.EXTRACTABLE: True}


@pytest.fixture
def session(cryptoki: Cryptoki) -> int:
    """A read/write session of a new token, the user logged in."""
    cryptoki.initialize()
    slot = cryptoki.slots()[0]
    cryptoki.init_token(slot, SO_PIN, "pairs")
    first = cryptoki.open_session(slot)
    cryptoki.login(first, SO_PIN, CKU.SO)
    cryptoki.init_pin(first, PIN)
    cryptoki.logout(first)
    cryptoki.login(first, PIN)
    return first


def refused(rv: int, call: object, *arguments: object) -> None:
    with pytest.raises(CKError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.rv == rv


def test_eddsa_with_and_without_parameters(cryptoki: Cryptoki, session: int) -> None:
    none = cryptoki.new("CK_EDDSA_PARAMS *")
    prehash = cryptoki.new("CK_EDDSA_PARAMS *", [1, 0, cryptoki.ffi.NULL])
    for curve, size in ((ED25519, 64), (ED448, 114)):
        public, private = cryptoki.generate_key_pair(
            session, CKM.EC_EDWARDS_KEY_PAIR_GEN, {CKA.EC_PARAMS: curve}, {CKA.TOKEN: True}
        )
        assert len(cryptoki.get(session, public, CKA.EC_POINT)) == size // 2
        schemes = (CKM.EDDSA, (CKM.EDDSA, none))
        scheme, other = schemes if curve == ED25519 else schemes[::-1]
        signature = cryptoki.sign(session, scheme, private, b"data")
        assert len(signature) == size
        cryptoki.verify(session, scheme, public, b"data", signature)
        refused(CKR.SIGNATURE_INVALID, cryptoki.verify, session, scheme, public, b"date", signature)
        refused(CKR.MECHANISM_PARAM_INVALID, cryptoki.sign, session, (CKM.EDDSA, prehash), private, b"data")
        refused(CKR.MECHANISM_PARAM_INVALID, cryptoki.sign, session, other, private, b"data")


def test_curves_that_are_refused(cryptoki: Cryptoki, session: int) -> None:
    for params, rv in (
        (b"\x30\x03\x02\x01\x01", CKR.CURVE_NOT_SUPPORTED),  # explicit
        (bytes.fromhex("06052b8104001f"), CKR.CURVE_NOT_SUPPORTED),  # secp192k1
        (ED25519, CKR.CURVE_NOT_SUPPORTED),
        (b"nonsense", CKR.DOMAIN_PARAMS_INVALID),
    ):
        refused(rv, cryptoki.generate_key_pair, session, CKM.EC_KEY_PAIR_GEN, {CKA.EC_PARAMS: params}, {})


def test_domain_parameters(cryptoki: Cryptoki, session: int) -> None:
    group = cryptoki.generate_key(session, CKM.DH_PKCS_PARAMETER_GEN, {CKA.PRIME_BITS: 2048, CKA.TOKEN: True})
    assert cryptoki.find(session, {CKA.CLASS: CKO.DOMAIN_PARAMETERS, CKA.KEY_TYPE: CKK.DH}) == [group]
    parts = {part: cryptoki.get(session, group, part) for part in (CKA.PRIME, CKA.BASE)}
    _, private = cryptoki.generate_key_pair(session, CKM.DH_PKCS_KEY_PAIR_GEN, parts, {CKA.VALUE_BITS: 300})
    assert cryptoki.get_int(session, private, CKA.VALUE_BITS) == 300
    refused(
        CKR.DOMAIN_PARAMS_INVALID,
        cryptoki.generate_key_pair,
        session,
        CKM.DH_PKCS_KEY_PAIR_GEN,
        {**parts, CKA.PRIME: b"\x17"},
        {},
    )


def test_encapsulation(cryptoki: Cryptoki, session: int) -> None:
    which = {CKA.PARAMETER_SET: CKP.ML_KEM_768}
    public, private = cryptoki.generate_key_pair(session, CKM.ML_KEM_KEY_PAIR_GEN, which, {})
    mechanism, length, handle = cryptoki.mechanism(CKM.ML_KEM), cryptoki.new("CK_ULONG *"), cryptoki.new("CK_ULONG *")
    template = cryptoki.template({CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 32, **OPEN})
    start = (session, mechanism, public, *template)
    cryptoki.call("C_EncapsulateKey", *start, None, length, None)
    assert length[0] == 1088
    sealed = cryptoki.new("CK_BYTE[]", 1088)
    assert cryptoki.rv("C_EncapsulateKey", *start, sealed, length, None) == CKR.ARGUMENTS_BAD
    length[0] = 1087
    assert cryptoki.rv("C_EncapsulateKey", *start, sealed, length, handle) == CKR.BUFFER_TOO_SMALL
    assert (length[0], handle[0]) == (1088, 0)
    cryptoki.call("C_EncapsulateKey", *start, sealed, length, handle)
    ours = handle[0]
    start = (session, mechanism, private, *template)
    cryptoki.call("C_DecapsulateKey", *start, sealed, 1088, handle)
    assert cryptoki.get(session, handle[0], CKA.VALUE) == cryptoki.get(session, ours, CKA.VALUE)
    assert cryptoki.rv("C_DecapsulateKey", *start, sealed, 1087, handle) == CKR.WRAPPED_KEY_LEN_RANGE
    assert cryptoki.rv("C_DecapsulateKey", session, None, private, *template, sealed, 1088, handle) == CKR.ARGUMENTS_BAD


def test_ml_dsa_with_a_context(cryptoki: Cryptoki, session: int) -> None:
    which = {CKA.PARAMETER_SET: CKP.ML_DSA_44}
    public, private = cryptoki.generate_key_pair(session, CKM.ML_DSA_KEY_PAIR_GEN, which, {})
    text = cryptoki.new("CK_BYTE[]", b"context")
    context = cryptoki.new("CK_SIGN_ADDITIONAL_CONTEXT *", [0, text, 7])
    deterministic = cryptoki.new("CK_SIGN_ADDITIONAL_CONTEXT *", [2, text, 7])
    signature = cryptoki.sign(session, (CKM.ML_DSA, context), private, b"data")
    assert len(signature) == 2420
    cryptoki.verify(session, (CKM.ML_DSA, deterministic), public, b"data", signature)
    refused(CKR.SIGNATURE_INVALID, cryptoki.verify, session, CKM.ML_DSA, public, b"data", signature)
    refused(CKR.MECHANISM_PARAM_INVALID, cryptoki.sign, session, (CKM.ML_DSA, deterministic), private, b"data")
