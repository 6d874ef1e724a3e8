"""ML-KEM and ML-DSA: known answers, the forms of their keys, contexts, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from mrhsm_p11.constants import CKA, CKF, CKH, CKK, CKM, CKO, CKP
from mrhsm_p11.crypto import engine, keys, material
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.lattices import SETS, ParameterSet
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    DataLenRange,
    KeyTypeInconsistent,
    MechanismParamInvalid,
    SignatureInvalid,
    SignatureLenRange,
    TemplateIncomplete,
    TemplateInconsistent,
    UnwrappingKeyTypeInconsistent,
    WrappedKeyLenRange,
)
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.parameters.signatures import HashSignContext, SignContext
from mrhsm_p11.secret import Secret

Pair = tuple[Secret, Secret]
VECTORS = json.loads(Path(__file__).with_name("lattice_vectors.json").read_text())
PAIRS = {CKK.ML_KEM: ROWS[CKM.ML_KEM_KEY_PAIR_GEN], CKK.ML_DSA: ROWS[CKM.ML_DSA_KEY_PAIR_GEN]}
KEM = ROWS[CKM.ML_KEM]
SIGNS = [row for row in ROWS.values() if row.family == "mldsa" and row.flags & CKF.SIGN]
sets = pytest.mark.parametrize("which", SETS, ids=lambda which: which.name)


def vector(which: ParameterSet) -> dict[str, str]:
    found: dict[str, str] = VECTORS[f"{which.name[:2]}-{which.name[2:5]}-{which.name[5:]}"]
    return found


def template(which: ParameterSet, cls: int, **given: str) -> dict[int, Value]:
    common = {CKA.CLASS: cls, CKA.KEY_TYPE: which.key_type, CKA.PARAMETER_SET: which.value}
    return {**common, **{getattr(CKA, name): bytes.fromhex(value) for name, value in given.items()}}


def known_pair(which: ParameterSet) -> Pair:
    private = material.split(template(which, CKO.PRIVATE_KEY, SEED=vector(which)["seed"]))[1]
    info = material.derived(CKO.PRIVATE_KEY, which.key_type, private)[CKA.PUBLIC_KEY_INFO]
    assert isinstance(info, bytes)
    return Secret(info), private


def sign(row: MechanismRow, parameter: AnyParameter, pair: Pair, data: bytes) -> bytes:
    signer = engine.signer(row, parameter, CKK.ML_DSA, pair[1])
    for at in range(0, len(data), 100):
        signer.update(data[at : at + 100])
    signature = signer.finish()
    assert len(signature) == signer.size
    return signature


def verify(row: MechanismRow, parameter: AnyParameter, pair: Pair, data: bytes, signature: bytes) -> None:
    verifier = engine.verifier(row, parameter, CKK.ML_DSA, pair[0])
    verifier.update(data)
    verifier.finish(memoryview(signature))


@sets
def test_a_seed_makes_the_known_public_key(which: ParameterSet) -> None:
    public, private = known_pair(which)
    value = material.derived(CKO.PUBLIC_KEY, which.key_type, public)[CKA.VALUE]
    assert isinstance(value, bytes)
    assert hashlib.sha256(value).hexdigest() == vector(which)["sha256"]
    assert material.split(template(which, CKO.PUBLIC_KEY, VALUE=value.hex()))[1] == public
    assert material.derived(CKO.PRIVATE_KEY, which.key_type, private) == {
        CKA.PARAMETER_SET: which.value,
        CKA.SEED: bytes.fromhex(vector(which)["seed"]),
        CKA.PUBLIC_KEY_INFO: public.reveal(),
    }
    assert material.normalise(CKO.PRIVATE_KEY, which.key_type, private) == private
    assert material.normalise(CKO.PUBLIC_KEY, which.key_type, public) == public


@sets
def test_pairs_are_made(which: ParameterSet) -> None:
    public, private = engine.generate_pair(PAIRS[which.key_type], {CKA.PARAMETER_SET: which.value}, {})
    seen = material.derived(CKO.PRIVATE_KEY, which.key_type, private)
    assert seen[CKA.PUBLIC_KEY_INFO] == public.reveal()
    assert seen[CKA.PARAMETER_SET] == which.value


def test_pairs_of_sets_that_are_not_there() -> None:
    for row in PAIRS.values():
        with pytest.raises(TemplateIncomplete):
            engine.generate_pair(row, {}, {})
        for value in (0, 4, CKP.ML_KEM_512 if row.family == "mlkem" else 5):
            with pytest.raises(AttributeValueInvalid):
                engine.generate_pair(row, {CKA.PARAMETER_SET: value}, {})


@sets
def test_templates_of_the_wrong_shape(which: ParameterSet) -> None:
    seed = vector(which)["seed"]
    for wrong in ("", seed[2:], seed + "00"):
        with pytest.raises(AttributeValueInvalid):
            material.split(template(which, CKO.PRIVATE_KEY, SEED=wrong))
    for wrong in ("", "00" * (which.public - 1), "00" * (which.public + 1)):
        with pytest.raises(AttributeValueInvalid):
            material.split(template(which, CKO.PUBLIC_KEY, VALUE=wrong))
    with pytest.raises(TemplateIncomplete):
        material.split(template(which, CKO.PRIVATE_KEY))


@pytest.mark.parametrize("which", [SETS[0], SETS[2]], ids=lambda which: which.name)
def test_an_expanded_key_agrees_with_its_seed(which: ParameterSet) -> None:
    seed, expanded = vector(which)["seed"], vector(which)["sk"]
    made = material.split(template(which, CKO.PRIVATE_KEY, SEED=seed, VALUE=expanded))[1]
    assert made == known_pair(which)[1]
    assert CKA.VALUE not in material.derived(CKO.PRIVATE_KEY, which.key_type, made)
    flipped = bytearray(bytes.fromhex(expanded))
    flipped[-1 if which.key_type == CKK.ML_KEM else 0] ^= 1
    for wrong in (flipped.hex(), expanded[2:], expanded + "00"):
        with pytest.raises(TemplateInconsistent):
            material.split(template(which, CKO.PRIVATE_KEY, SEED=seed, VALUE=wrong))


def test_ml_kem_known_answer() -> None:
    public, private = known_pair(SETS[0])
    known = vector(SETS[0])
    assert engine.decapsulate(KEM, None, private, bytes.fromhex(known["ct"])).reveal().hex() == known["ss"]
    assert engine.encapsulated_size(KEM, None, public) == len(known["ct"]) // 2


@pytest.mark.parametrize("which", SETS[:2], ids=lambda which: which.name)
def test_ml_kem_shares_a_secret(which: ParameterSet) -> None:
    public, private = known_pair(which)
    secret, encapsulated = engine.encapsulate(KEM, None, public)
    assert len(secret) == 32
    assert len(encapsulated) == engine.encapsulated_size(KEM, None, public) == which.made
    assert engine.decapsulate(KEM, None, private, memoryview(encapsulated)) == secret
    forged = bytes((encapsulated[0] ^ 1,)) + encapsulated[1:]
    assert engine.decapsulate(KEM, None, private, forged) != secret
    for wrong in (b"", encapsulated[1:], encapsulated + b"\0"):
        with pytest.raises(WrappedKeyLenRange):
            engine.decapsulate(KEM, None, private, wrong)
    for call in (
        lambda: engine.encapsulated_size(KEM, b"p", public),
        lambda: engine.encapsulate(KEM, b"p", public),
        lambda: engine.decapsulate(KEM, b"p", private, encapsulated),
    ):
        with pytest.raises(MechanismParamInvalid):
            call()


def test_keys_of_other_types() -> None:
    kem, dsa = known_pair(SETS[0]), known_pair(SETS[2])
    for call in (
        lambda: engine.encapsulate(KEM, None, dsa[0]),
        lambda: engine.signer(ROWS[CKM.ML_DSA], None, CKK.ML_DSA, kem[1]),
        lambda: engine.verifier(ROWS[CKM.ML_DSA], None, CKK.ML_DSA, kem[0]),
    ):
        with pytest.raises(KeyTypeInconsistent):
            call()
    with pytest.raises(UnwrappingKeyTypeInconsistent):
        engine.decapsulate(KEM, None, dsa[1], b"")
    for cls, half in ((CKO.PUBLIC_KEY, kem[0]), (CKO.PRIVATE_KEY, kem[1])):
        with pytest.raises(AttributeValueInvalid):
            material.normalise(cls, CKK.ML_DSA, half)


def test_ml_dsa_known_answer() -> None:
    pair, known = known_pair(SETS[2]), vector(SETS[2])
    message, context, signature = (bytes.fromhex(known[part]) for part in ("msg", "ctx", "sig"))
    row = ROWS[CKM.ML_DSA]
    for hedge in (CKH.HEDGE_PREFERRED, CKH.HEDGE_REQUIRED, CKH.DETERMINISTIC_REQUIRED):  # not asked when verifying
        verify(row, SignContext(hedge, context), pair, message, signature)
    for parameter in (None, SignContext(0, b""), SignContext(0, context[1:])):
        with pytest.raises(SignatureInvalid):
            verify(row, parameter, pair, message, signature)
    for wrong in (b"", signature[1:], signature + b"\0"):
        with pytest.raises(SignatureLenRange):
            verify(row, SignContext(0, context), pair, message, wrong)


@pytest.mark.parametrize("row", SIGNS, ids=lambda row: CKM.name(row.type))
def test_ml_dsa_signs_what_it_verifies(row: MechanismRow) -> None:
    pair = known_pair(SETS[2])
    prehashed = row.mode == "prehashed"
    data = hashlib.sha384(b"message").digest() if prehashed else b"message" * 50

    def parameter(context: bytes) -> AnyParameter:
        return HashSignContext(0, context, CKM.SHA384) if prehashed else SignContext(CKH.HEDGE_REQUIRED, context)

    signature = sign(row, parameter(b"context"), pair, data)
    verify(row, parameter(b"context"), pair, data, signature)
    assert sign(row, parameter(b"context"), pair, data) != signature  # hedged
    with pytest.raises(SignatureInvalid):
        verify(row, parameter(b"other"), pair, data, signature)
    with pytest.raises(SignatureInvalid):
        verify(row, parameter(b"context"), pair, data[::-1], signature)
    for other in SIGNS:
        if other.mode == "hash" and other is not row and not prehashed:
            with pytest.raises(SignatureInvalid):
                verify(other, SignContext(0, b"context"), pair, data, signature)


def test_hash_ml_dsa_is_that_of_fips_204() -> None:
    """Algorithm 4 by hand: domain 1, context, object identifier, hash."""
    pair = known_pair(SETS[2])
    signature = sign(ROWS[CKM.HASH_ML_DSA_SHA256], SignContext(0, b"ctx"), pair, b"message")
    verify(
        ROWS[CKM.HASH_ML_DSA],
        HashSignContext(0, b"ctx", CKM.SHA256),
        pair,
        hashlib.sha256(b"message").digest(),
        signature,
    )
    key = keys.public(pair[0])
    assert isinstance(key, MLDSA44PublicKey)
    oid = bytes.fromhex("0609608648016503040201")  # of SHA-256
    message = b"\x01\x03ctx" + oid + hashlib.sha256(b"message").digest()
    tr = hashlib.shake_256(key.public_bytes_raw()).digest(64)
    key.verify_mu(signature, hashlib.shake_256(tr + message).digest(64))


def test_parameters_that_are_refused() -> None:
    pair, pure, prehashed = known_pair(SETS[2]), ROWS[CKM.ML_DSA], ROWS[CKM.HASH_ML_DSA]
    cases: list[tuple[MechanismRow, AnyParameter]] = [
        (pure, b"bytes"),
        (pure, SignContext(3, b"")),
        (pure, SignContext(0, bytes(256))),
        (pure, HashSignContext(0, b"", CKM.SHA256)),
        (prehashed, None),
        (prehashed, SignContext(0, b"")),
        (prehashed, HashSignContext(0, b"", CKM.AES_ECB)),
        (prehashed, HashSignContext(0, b"", CKM.SHA_1)),
    ]
    for row, parameter in cases:
        with pytest.raises(MechanismParamInvalid):
            engine.signer(row, parameter, CKK.ML_DSA, pair[1])
        with pytest.raises(MechanismParamInvalid):
            engine.verifier(row, parameter, CKK.ML_DSA, pair[0])
    with pytest.raises(MechanismParamInvalid):
        engine.signer(pure, SignContext(CKH.DETERMINISTIC_REQUIRED, b""), CKK.ML_DSA, pair[1])
    with pytest.raises(DataLenRange):
        sign(prehashed, HashSignContext(0, b"", CKM.SHA256), pair, bytes(33))
    sign(pure, SignContext(0, bytes(255)), pair, b"")
