"""RSA and ECDSA against the primitives library's own whole operations, and at their edges."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from mrhsm_p11.constants import CKA, CKF, CKG, CKM, CKZ
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    SignatureInvalid,
    SignatureLenRange,
    TemplateIncomplete,
)
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.parameters.rsa import OAEPParams, PSSParams
from mrhsm_p11.secret import Secret

Pair = tuple[Secret, Secret]
ALGORITHMS = {
    "sha1": (hashes.SHA1(), CKM.SHA_1, CKG.MGF1_SHA1),
    "sha224": (hashes.SHA224(), CKM.SHA224, CKG.MGF1_SHA224),
    "sha256": (hashes.SHA256(), CKM.SHA256, CKG.MGF1_SHA256),
    "sha384": (hashes.SHA384(), CKM.SHA384, CKG.MGF1_SHA384),
    "sha512": (hashes.SHA512(), CKM.SHA512, CKG.MGF1_SHA512),
    "sha3_224": (hashes.SHA3_224(), CKM.SHA3_224, CKG.MGF1_SHA3_224),
    "sha3_256": (hashes.SHA3_256(), CKM.SHA3_256, CKG.MGF1_SHA3_256),
    "sha3_384": (hashes.SHA3_384(), CKM.SHA3_384, CKG.MGF1_SHA3_384),
    "sha3_512": (hashes.SHA3_512(), CKM.SHA3_512, CKG.MGF1_SHA3_512),
}
SIGNED = [row for row in ROWS.values() if row.flags & CKF.SIGN and row.family == "rsa"]
DIGEST_INFO_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
MESSAGE = b"a message of some length, longer than one block of any hash that is used here, to be sure " * 3


@pytest.fixture(scope="module")
def rsa_pair() -> Pair:
    return engine.generate_pair(ROWS[CKM.RSA_PKCS_KEY_PAIR_GEN], {CKA.MODULUS_BITS: 2048}, {})


def rsa_keys(pair: Pair) -> tuple[rsa.RSAPublicKey, rsa.RSAPrivateKey]:
    public, private = load_der_public_key(pair[0].reveal()), load_der_private_key(pair[1].reveal(), None)
    assert isinstance(public, rsa.RSAPublicKey)
    assert isinstance(private, rsa.RSAPrivateKey)
    return public, private


def sign(row: MechanismRow, parameter: AnyParameter, pair: Pair, data: bytes) -> bytes:
    signer = engine.signer(row, parameter, row.key_types[0], pair[1])
    for at in range(0, len(data), 100):
        signer.update(data[at : at + 100])
    signature = signer.finish()
    assert len(signature) == signer.size
    return signature


def verify(row: MechanismRow, parameter: AnyParameter, pair: Pair, data: bytes, signature: bytes) -> None:
    verifier = engine.verifier(row, parameter, row.key_types[0], pair[0])
    verifier.update(memoryview(data))
    verifier.finish(memoryview(signature))


def case(row: MechanismRow) -> tuple[AnyParameter, bytes]:
    name = row.hash or "sha256"
    _, mechanism, mgf = ALGORITHMS[name]
    parameter = PSSParams(mechanism, mgf, 20) if row.mode == "pss" else None
    return parameter, MESSAGE if row.hash else hashlib.sha256(MESSAGE).digest()


@pytest.mark.parametrize("row", [row for row in SIGNED if row.family == "rsa"], ids=lambda row: CKM.name(row.type))
def test_rsa_signs_what_the_library_verifies_and_the_reverse(row: MechanismRow, rsa_pair: Pair) -> None:
    public, private = rsa_keys(rsa_pair)
    parameter, data = case(row)
    algorithm = ALGORITHMS[row.hash or "sha256"][0]
    if row.mode == "pss":
        scheme: padding.AsymmetricPadding = padding.PSS(padding.MGF1(algorithm), 20)
    else:
        scheme = padding.PKCS1v15()
    if row.type == CKM.RSA_PKCS:
        data = DIGEST_INFO_SHA256 + data  # the caller writes the DigestInfo: then it is SHA256_RSA_PKCS
    public.verify(sign(row, parameter, rsa_pair, data), MESSAGE, scheme, algorithm)
    theirs = private.sign(MESSAGE, scheme, algorithm)
    verify(row, parameter, rsa_pair, data, theirs)
    with pytest.raises(SignatureInvalid):
        verify(row, parameter, rsa_pair, data[:-1] + b"\0", theirs)
    with pytest.raises(SignatureInvalid):
        verify(row, parameter, rsa_pair, data, theirs[:-1] + bytes((theirs[-1] ^ 1,)))
    for wrong in (theirs[1:], theirs + b"\0", b""):
        with pytest.raises(SignatureLenRange):
            verify(row, parameter, rsa_pair, data, wrong)


def test_mask_and_salt_are_the_parameters(rsa_pair: Pair) -> None:
    public, _ = rsa_keys(rsa_pair)
    row = ROWS[CKM.SHA256_RSA_PKCS_PSS]
    signature = sign(row, PSSParams(CKM.SHA256, CKG.MGF1_SHA1, 11), rsa_pair, MESSAGE)
    public.verify(signature, MESSAGE, padding.PSS(padding.MGF1(hashes.SHA1()), 11), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        public.verify(signature, MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 11), hashes.SHA256())
    with pytest.raises(SignatureInvalid):
        verify(row, PSSParams(CKM.SHA256, CKG.MGF1_SHA1, 12), rsa_pair, MESSAGE, signature)


def test_how_much_rsa_signs_unhashed(rsa_pair: Pair) -> None:
    row = ROWS[CKM.RSA_PKCS]
    for n in (1, 36, 245):
        verify(row, None, rsa_pair, bytes(n), sign(row, None, rsa_pair, bytes(n)))
    for n in (0, 246, 256, 1000):
        with pytest.raises(DataLenRange):
            sign(row, None, rsa_pair, bytes(n))
        with pytest.raises(DataLenRange):
            verify(row, None, rsa_pair, bytes(n), bytes(256))
    pss = PSSParams(CKM.SHA256, CKG.MGF1_SHA256, 32)
    for n in (0, 31, 33):
        with pytest.raises(DataLenRange):
            sign(ROWS[CKM.RSA_PKCS_PSS], pss, rsa_pair, bytes(n))


def test_a_key_too_short_for_the_hash_it_should_sign() -> None:
    pair = engine.generate_pair(ROWS[CKM.RSA_PKCS_KEY_PAIR_GEN], {CKA.MODULUS_BITS: 1024}, {})
    verify(ROWS[CKM.SHA512_RSA_PKCS], None, pair, MESSAGE, sign(ROWS[CKM.SHA512_RSA_PKCS], None, pair, MESSAGE))


ENCRYPTED: list[tuple[int, AnyParameter, padding.AsymmetricPadding, int]] = [
    (CKM.RSA_PKCS, None, padding.PKCS1v15(), 11),
    (
        CKM.RSA_PKCS_OAEP,
        OAEPParams(CKM.SHA_1, CKG.MGF1_SHA1, 0, b""),
        padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
        42,
    ),
    (
        CKM.RSA_PKCS_OAEP,
        OAEPParams(CKM.SHA256, CKG.MGF1_SHA384, CKZ.DATA_SPECIFIED, b"label"),
        padding.OAEP(padding.MGF1(hashes.SHA384()), hashes.SHA256(), b"label"),
        66,
    ),
]


@pytest.mark.parametrize(("mechanism", "parameter", "scheme", "overhead"), ENCRYPTED, ids=["v1.5", "OAEP", "label"])
def test_rsa_encrypts_what_the_library_decrypts_and_the_reverse(
    mechanism: int, parameter: AnyParameter, scheme: padding.AsymmetricPadding, overhead: int, rsa_pair: Pair
) -> None:
    row, (public, private) = ROWS[mechanism], rsa_keys(rsa_pair)
    for n in (1, 32, 256 - overhead):
        sealing = engine.cipher(row, parameter, rsa_pair[0], encrypt=True)
        assert sealing.size(n, final=True) == 256
        sealing.update(bytes(n - 1))
        assert private.decrypt(sealing.finish(b"\1"), scheme) == bytes(n - 1) + b"\1"
        opening = engine.cipher(row, parameter, rsa_pair[1], encrypt=False)
        assert opening.size(256, final=True) == 256 - overhead
        assert opening.finish(memoryview(public.encrypt(bytes(n), scheme))) == bytes(n)
    with pytest.raises(DataLenRange):
        engine.cipher(row, parameter, rsa_pair[0], encrypt=True).finish(bytes(257 - overhead))
    for wrong in (b"", bytes(255), bytes(257)):
        with pytest.raises(EncryptedDataLenRange):
            engine.cipher(row, parameter, rsa_pair[1], encrypt=False).finish(wrong)
    with pytest.raises(EncryptedDataInvalid):  # larger than the modulus
        engine.cipher(row, parameter, rsa_pair[1], encrypt=False).finish(b"\xff" * 256)


def test_bad_oaep_is_an_error_and_bad_v15_padding_is_not_told(rsa_pair: Pair) -> None:
    sealed = b"\1" * 256
    with pytest.raises(EncryptedDataInvalid):
        engine.cipher(ROWS[CKM.RSA_PKCS_OAEP], ENCRYPTED[1][1], rsa_pair[1], encrypt=False).finish(sealed)
    answers = {engine.cipher(ROWS[CKM.RSA_PKCS], None, rsa_pair[1], encrypt=False).finish(sealed) for _ in range(3)}
    assert len(answers) == 1  # the same random-looking bytes each time, so that repeating it tells nothing


def test_pairs_are_as_the_template_asks() -> None:
    row = ROWS[CKM.RSA_PKCS_KEY_PAIR_GEN]
    spki, pkcs8 = engine.generate_pair(row, {CKA.MODULUS_BITS: 1032, CKA.PUBLIC_EXPONENT: b"\3"}, {})
    public, private = rsa_keys((spki, pkcs8))
    assert (public.key_size, public.public_numbers().e) == (1032, 3)
    assert private.public_key().public_numbers() == public.public_numbers()
    other = load_der_public_key(engine.generate_pair(row, {CKA.MODULUS_BITS: 1024}, {})[0].reveal())
    assert isinstance(other, rsa.RSAPublicKey)
    assert other.public_numbers().e == 65537
    with pytest.raises(TemplateIncomplete):
        engine.generate_pair(row, {}, {})
    for bad in (
        {CKA.MODULUS_BITS: 1023},
        {CKA.MODULUS_BITS: 8200},
        {CKA.MODULUS_BITS: 2048, CKA.PUBLIC_EXPONENT: b"\5"},
        {CKA.MODULUS_BITS: 2048, CKA.PUBLIC_EXPONENT: b""},
    ):
        with pytest.raises(AttributeValueInvalid):
            engine.generate_pair(row, bad, {})
