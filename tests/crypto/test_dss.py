"""ECDSA and DSA against the primitives library's own whole operations, known answers, and at their edges."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, utils
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO
from mrhsm_p11.crypto import engine, material
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.curves import CURVES
from mrhsm_p11.crypto.hashes import algorithm
from mrhsm_p11.errors import (
    CurveNotSupported,
    DataLenRange,
    DomainParamsInvalid,
    KeyTypeInconsistent,
    MechanismParamInvalid,
    SignatureInvalid,
    SignatureLenRange,
    TemplateIncomplete,
)
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.secret import Secret

Pair = tuple[Secret, Secret]
WEIERSTRASS = [curve for curve in CURVES if curve.key_type == CKK.EC]
ECDSA = [row for row in ROWS.values() if row.flags & CKF.SIGN and row.family == "ec"]
DSA = [row for row in ROWS.values() if row.flags & CKF.SIGN and row.family == "dsa"]
MESSAGE = b"a message of some length, longer than one block of any hash that is used here, to be sure " * 3


@pytest.fixture(scope="module", params=WEIERSTRASS, ids=lambda curve: curve.name)
def ec_pair(request: pytest.FixtureRequest) -> Pair:
    return engine.generate_pair(ROWS[CKM.EC_KEY_PAIR_GEN], {CKA.EC_PARAMS: request.param.oid}, {})


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


@pytest.mark.parametrize("row", ECDSA, ids=lambda row: CKM.name(row.type))
def test_ecdsa_signs_what_the_library_verifies_and_the_reverse(row: MechanismRow, ec_pair: Pair) -> None:
    public, private = load_der_public_key(ec_pair[0].reveal()), load_der_private_key(ec_pair[1].reveal(), None)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    scheme = ec.ECDSA(algorithm(row.hash or "sha256"))
    data = MESSAGE if row.hash else hashlib.sha256(MESSAGE).digest()
    width = (public.key_size + 7) // 8
    signature = sign(row, None, ec_pair, data)
    assert len(signature) == 2 * width
    r, s = (int.from_bytes(half, "big") for half in (signature[:width], signature[width:]))
    public.verify(utils.encode_dss_signature(r, s), MESSAGE, scheme)
    theirs = b"".join(half.to_bytes(width, "big") for half in utils.decode_dss_signature(private.sign(MESSAGE, scheme)))
    verify(row, None, ec_pair, data, theirs)
    for wrong in (bytes(2 * width), b"\xff" * 2 * width, theirs[width:] + theirs[:width]):
        with pytest.raises(SignatureInvalid):
            verify(row, None, ec_pair, data, wrong)
    for wrong in (theirs[1:], theirs + b"\0", b"", private.sign(MESSAGE, scheme) + bytes(5)):
        with pytest.raises(SignatureLenRange):
            verify(row, None, ec_pair, data, wrong)


def test_ecdsa_verifies_numbers_without_their_leading_zeros(ec_pair: Pair) -> None:
    """As SunPKCS11 gives them: a quarter of all on P-521, one in 65,536 on the others."""
    private = load_der_private_key(ec_pair[1].reveal(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    row, width = ROWS[CKM.ECDSA], (private.key_size + 7) // 8
    if private.key_size % 8 != 1:
        short = bytes(range(1, width - 3)) * 2  # nobody's signature, but composed as one
        with pytest.raises(SignatureInvalid):
            verify(row, None, ec_pair, bytes(32), short)
        return
    for _ in range(200):
        signature = sign(row, None, ec_pair, bytes(32))
        if not signature[0] and not signature[width]:
            verify(row, None, ec_pair, bytes(32), signature[1:width] + signature[width + 1 :])
            return
    raise AssertionError("no signature of two short numbers in 200")


def test_ecdsa_takes_hashes_of_any_length(ec_pair: Pair) -> None:
    """The leftmost bits of a long one, as many as the order has; a short one is a small number."""
    row = ROWS[CKM.ECDSA]
    public = load_der_public_key(ec_pair[0].reveal())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    bits = public.key_size
    long = bytes(range(1, 101))
    same = int.from_bytes(long, "big") >> (800 - bits)
    if bits % 8 == 0:
        verify(row, None, ec_pair, same.to_bytes(bits // 8, "big"), sign(row, None, ec_pair, long))
    changed = bytearray(long)
    changed[bits // 8 + 1] ^= 0xFF  # past the bits that count
    verify(row, None, ec_pair, bytes(changed), sign(row, None, ec_pair, long))
    changed[bits // 8 - 1] ^= 1
    with pytest.raises(SignatureInvalid):
        verify(row, None, ec_pair, bytes(changed), sign(row, None, ec_pair, long))
    verify(row, None, ec_pair, bytes(12) + b"short", sign(row, None, ec_pair, b"short"))
    for make in (lambda: sign(row, None, ec_pair, b""), lambda: verify(row, None, ec_pair, b"", bytes(64))):
        with pytest.raises(DataLenRange):
            make()


def test_curves_by_identifier_and_by_name() -> None:
    row = ROWS[CKM.EC_KEY_PAIR_GEN]
    for curve in WEIERSTRASS:
        for name in (curve.name, *curve.other_names):
            params = bytes((0x13, len(name))) + name.encode()
            key = load_der_public_key(engine.generate_pair(row, {CKA.EC_PARAMS: params}, {})[0].reveal())
            assert isinstance(key, ec.EllipticCurvePublicKey)
            assert key.curve.name == curve.name
    with pytest.raises(TemplateIncomplete):
        engine.generate_pair(row, {}, {})
    for known_but_not_here in (bytes.fromhex("06052b8104001f"), b"\x13\x09secp192k1", b"\x13\x07ed25519", b"\x30\x00"):
        with pytest.raises(CurveNotSupported):
            engine.generate_pair(row, {CKA.EC_PARAMS: known_but_not_here}, {})
    for malformed in (b"", b"\5\0", b"secp256r1", bytes.fromhex("06082a8648ce3d0301"), b"\x06\x80"):
        with pytest.raises(DomainParamsInvalid):
            engine.generate_pair(row, {CKA.EC_PARAMS: malformed}, {})


# NIST CAVP, 186-3, SigGen.txt, L=1024, N=160, SHA-1, the first
P = bytes.fromhex(
    "a8f9cd201e5e35d892f85f80e4db2599a5676a3b1d4f190330ed3256b26d0e80a0e49a8fffaaad2a24f472d2573241d4d6d6"
    "c7480c80b4c67bb4479c15ada7ea8424d2502fa01472e760241713dab025ae1b02e1703a1435f62ddf4ee4c1b664066eb22f"
    "2e3bf28bb70a2a76e4fd5ebe2d1229681b5b06439ac9c7e9d8bde283"
)
Q = bytes.fromhex("f85f0f83ac4df7ea0cdf8f469bfeeaea14156495")
G = bytes.fromhex(
    "2b3152ff6c62f14622b8f48e59f8af46883b38e79b8c74deeae9df131f8b856e3ad6c8455dab87cc0da8ac973417ce4f7878"
    "557d6cdf40b35b4a0ca3eb310c6a95d68ce284ad4e25ea28591611ee08b8444bd64b25f3f7c572410ddfb39cc728b9c936f8"
    "5f419129869929cdb909a6a3a99bbe089216368171bd0ba81de4fe33"
)
X = bytes.fromhex("c53eae6d45323164c7d07af5715703744a63fc3a")
Y = bytes.fromhex(
    "313fd9ebca91574e1c2eebe1517c57e0c21b0209872140c5328761bbb2450b33f1b18b409ce9ab7c4cd8fda3391e8e348683"
    "57c199e16a6b2eba06d6749def791d79e95d3a4d09b24c392ad89dbf100995ae19c01062056bb14bce005e8731efde175f95"
    "b975089bdcdaea562b32786d96f5a31aedf75364008ad4fffebb970b"
)
SIGNED = bytes.fromhex(
    "3b46736d559bd4e0c2c1b2553a33ad3c6cf23cac998d3d0c0e8fa4b19bca06f2f386db2dcff9dca4f40ad8f561ffc308b46c"
    "5f31a7735b5fa7e0f9e6cb512e63d7eea05538d66a75cd0d4234b5ccf6c1715ccaaf9cdc0a2228135f716ee9bdee7fc13ec2"
    "7a03a6d11c5c5b3685f51900b1337153bc6c4e8f52920c33fa37f4e7"
)
SIGNATURE = bytes.fromhex("50ed0e810e3f1c7cb6ac62332058448bd8b284c0c6aded17216b46b7e4b6f2a97c1ad7cc3da83fde")
GROUP = {CKA.KEY_TYPE: CKK.DSA, CKA.PRIME: P, CKA.SUBPRIME: Q, CKA.BASE: G}


@pytest.fixture(scope="module")
def known_pair() -> Pair:
    public = material.split({CKA.CLASS: CKO.PUBLIC_KEY, CKA.VALUE: Y, **GROUP})[1]
    return public, material.split({CKA.CLASS: CKO.PRIVATE_KEY, CKA.VALUE: X, **GROUP})[1]


def test_dsa_known_answer(known_pair: Pair) -> None:
    row, raw = ROWS[CKM.DSA_SHA1], ROWS[CKM.DSA]
    verify(row, None, known_pair, SIGNED, SIGNATURE)
    digest = hashlib.sha1(SIGNED).digest()
    verify(raw, None, known_pair, digest, SIGNATURE)
    verify(row, None, known_pair, SIGNED, sign(raw, None, known_pair, digest))
    assert material.derived(CKO.PRIVATE_KEY, CKK.DSA, known_pair[1])[CKA.PUBLIC_KEY_INFO] == known_pair[0].reveal()


@pytest.mark.parametrize("row", DSA, ids=lambda row: CKM.name(row.type))
def test_dsa_signs_what_the_library_verifies_and_the_reverse(row: MechanismRow, known_pair: Pair) -> None:
    public, private = load_der_public_key(known_pair[0].reveal()), load_der_private_key(known_pair[1].reveal(), None)
    assert isinstance(public, dsa.DSAPublicKey)
    assert isinstance(private, dsa.DSAPrivateKey)
    scheme = algorithm(row.hash or "sha512")  # longer than the order: cut
    data = MESSAGE if row.hash else hashlib.sha512(MESSAGE).digest()
    signature = sign(row, None, known_pair, data)
    assert len(signature) == 40
    r, s = (int.from_bytes(half, "big") for half in (signature[:20], signature[20:]))
    public.verify(utils.encode_dss_signature(r, s), MESSAGE, scheme)
    theirs = b"".join(half.to_bytes(20, "big") for half in utils.decode_dss_signature(private.sign(MESSAGE, scheme)))
    verify(row, None, known_pair, data, theirs)
    for wrong in (bytes(40), b"\xff" * 40, theirs[20:] + theirs[:20]):
        with pytest.raises(SignatureInvalid):
            verify(row, None, known_pair, data, wrong)
    for wrong in (theirs[1:], theirs + b"\0", b""):
        with pytest.raises(SignatureLenRange):
            verify(row, None, known_pair, data, wrong)


def test_dsa_signs_hashes_only(known_pair: Pair) -> None:
    row = ROWS[CKM.DSA]
    for n in (0, 1, 19, 21, 33, 65):
        with pytest.raises(DataLenRange):
            sign(row, None, known_pair, bytes(n))
        with pytest.raises(DataLenRange):
            verify(row, None, known_pair, bytes(n), SIGNATURE)


def test_what_these_mechanisms_refuse(known_pair: Pair, ec_pair: Pair) -> None:
    for row, pair, other in ((ROWS[CKM.DSA], known_pair, ec_pair), (ROWS[CKM.ECDSA], ec_pair, known_pair)):
        with pytest.raises(MechanismParamInvalid):
            engine.signer(row, b"parameter", row.key_types[0], pair[1])
        with pytest.raises(MechanismParamInvalid):
            engine.verifier(row, b"parameter", row.key_types[0], pair[0])
        with pytest.raises(KeyTypeInconsistent):
            engine.signer(row, None, row.key_types[0], other[1])
        with pytest.raises(KeyTypeInconsistent):
            engine.verifier(row, None, row.key_types[0], other[0])
