"""Each thing that can be wrong answers the CKR that the standard has for it."""

from __future__ import annotations

import pytest
import secret_samples as samples
from secret_samples import AUTHENTICATED, CIPHERS, IV, MACS, key_bytes, name, ulong

from mrhsm_p11.constants import CKA, CKG, CKK, CKM, CKZ
from mrhsm_p11.crypto import digests, engine
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    CryptokiError,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    KeyFunctionNotPermitted,
    KeySizeRange,
    KeyTypeInconsistent,
    MechanismInvalid,
    MechanismParamInvalid,
    SignatureInvalid,
    SignatureLenRange,
    UnwrappingKeySizeRange,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
    WrappingKeySizeRange,
)
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.parameters.rsa import OAEPParams, PSSParams
from mrhsm_p11.parameters.symmetric import CCMParams, ChaCha20Params, ChaCha20Poly1305Params, CTRParams, GCMParams
from mrhsm_p11.secret import Secret

KEY = Secret(bytes(range(32)))
AES_CIPHERS = [row for row in CIPHERS if row.key_types == (CKK.AES,)]


@pytest.mark.parametrize("row", CIPHERS, ids=name)
@pytest.mark.parametrize("n", [0, 8, 15, 17, 23, 31, 33, 48, 65])
def test_cipher_keys_of_wrong_size(row: MechanismRow, n: int) -> None:
    wrong = Secret(bytes(n))
    for encrypt in (True, False):
        with pytest.raises(KeySizeRange):
            engine.cipher(row, samples.parameter(row), wrong, encrypt=encrypt)
    with pytest.raises(WrappingKeySizeRange):
        engine.wrap(row, samples.parameter(row), wrong, KEY)
    with pytest.raises(UnwrappingKeySizeRange):
        engine.unwrap(row, samples.parameter(row), wrong, bytes(64))


IV_MODES = ("cbc", "cbc-pad", "ofb", "cfb8", "cfb128", "cs1", "xts")
BAD_PARAMETERS: list[tuple[int, AnyParameter]] = [
    (CKM.AES_ECB, IV),
    (CKM.AES_CBC, None),
    (CKM.AES_CBC, IV[:15]),
    (CKM.AES_CBC, IV + b"\0"),
    (CKM.AES_CBC, CTRParams(128, IV)),
    (CKM.AES_CBC_PAD, b""),
    (CKM.AES_CTR, None),
    (CKM.AES_CTR, IV),
    (CKM.AES_CTR, CTRParams(0, IV)),
    (CKM.AES_CTR, CTRParams(129, IV)),
    (CKM.AES_GCM, None),
    (CKM.AES_GCM, IV[:12]),
    (CKM.AES_GCM, GCMParams(b"", b"", 128)),
    (CKM.AES_GCM, GCMParams(IV[:7], b"", 128)),
    (CKM.AES_GCM, GCMParams(bytes(129), b"", 128)),
    *((CKM.AES_GCM, GCMParams(IV[:12], b"", bits)) for bits in (0, 8, 31, 72, 97, 127, 129, 136)),
    *((row.type, bad) for row in CIPHERS if row.mode in IV_MODES for bad in (None, b"", bytes(7), bytes(9), bytes(17))),
    *((CKM.AES_CCM, CCMParams(0, bytes(n), b"", 16)) for n in (0, 6, 14)),
    *((CKM.AES_CCM, CCMParams(0, bytes(7), b"", n)) for n in (0, 2, 5, 15, 18)),
    (CKM.AES_CCM, CCMParams(1 << 16, bytes(13), b"", 16)),
    (CKM.AES_CCM, GCMParams(IV[:12], b"", 128)),
    (CKM.AES_CCM, None),
    (CKM.DES3_ECB, IV[:8]),
    (CKM.DES3_CBC, IV),
    *((CKM.CHACHA20, ChaCha20Params(bytes(a), bytes(b))) for a, b in ((4, 8), (8, 12), (4, 24), (0, 12), (16, 0))),
    (CKM.CHACHA20, IV),
    *((CKM.CHACHA20_POLY1305, ChaCha20Poly1305Params(bytes(n), b"")) for n in (0, 8, 11, 13, 24)),
    (CKM.CHACHA20_POLY1305, IV[:12]),
    (CKM.AES_KEY_WRAP, IV[:8]),
    (CKM.AES_KEY_WRAP, b"\xa6" * 7),
    (CKM.AES_KEY_WRAP_PAD, IV[:8]),
    (CKM.AES_KEY_WRAP_KWP, b"\xa6" * 8),
    (CKM.AES_KEY_WRAP_KWP, IV[:4]),
]


@pytest.mark.parametrize(("mechanism", "parameter"), BAD_PARAMETERS, ids=str)
def test_cipher_parameters(mechanism: int, parameter: AnyParameter) -> None:
    row = ROWS[mechanism]
    for encrypt in (True, False):
        with pytest.raises(MechanismParamInvalid):
            engine.cipher(row, parameter, samples.key(row), encrypt=encrypt)


BAD_LENGTHS: list[tuple[int, bool, int, type[CryptokiError]]] = [
    (CKM.AES_ECB, True, 15, DataLenRange),
    (CKM.AES_ECB, False, 17, EncryptedDataLenRange),
    (CKM.AES_CBC, True, 1, DataLenRange),
    (CKM.AES_CBC, False, 31, EncryptedDataLenRange),
    (CKM.AES_CBC_PAD, False, 0, EncryptedDataLenRange),
    (CKM.AES_CBC_PAD, False, 17, EncryptedDataLenRange),
    (CKM.AES_GCM, False, 0, EncryptedDataLenRange),
    (CKM.AES_GCM, False, 11, EncryptedDataLenRange),
    (CKM.AES_CCM, False, 9, EncryptedDataLenRange),
    (CKM.AES_CCM, False, 11, EncryptedDataLenRange),
    (CKM.AES_CCM, True, 1, DataLenRange),
    (CKM.CHACHA20_POLY1305, False, 15, EncryptedDataLenRange),
    (CKM.AES_CTS, True, 0, DataLenRange),
    (CKM.AES_CTS, True, 15, DataLenRange),
    (CKM.AES_CTS, False, 15, EncryptedDataLenRange),
    (CKM.AES_XTS, True, 0, DataLenRange),
    (CKM.AES_XTS, True, 15, DataLenRange),
    (CKM.AES_XTS, True, (16 << 20) + 1, DataLenRange),
    (CKM.AES_XTS, False, 15, EncryptedDataLenRange),
    (CKM.AES_XTS, False, (16 << 20) + 1, EncryptedDataLenRange),
    (CKM.DES3_ECB, True, 7, DataLenRange),
    (CKM.DES3_CBC, False, 12, EncryptedDataLenRange),
    (CKM.DES3_CBC_PAD, False, 0, EncryptedDataLenRange),
    (CKM.DES3_CBC_PAD, False, 9, EncryptedDataLenRange),
    (CKM.AES_KEY_WRAP, True, 0, DataLenRange),
    (CKM.AES_KEY_WRAP, True, 8, DataLenRange),
    (CKM.AES_KEY_WRAP, True, 17, DataLenRange),
    (CKM.AES_KEY_WRAP, False, 16, EncryptedDataLenRange),
    (CKM.AES_KEY_WRAP, False, 25, EncryptedDataLenRange),
    (CKM.AES_KEY_WRAP_PAD, True, 7, DataLenRange),
    (CKM.AES_KEY_WRAP_PAD, False, 23, EncryptedDataLenRange),
    (CKM.AES_KEY_WRAP_KWP, True, 0, DataLenRange),
    (CKM.AES_KEY_WRAP_KWP, False, 8, EncryptedDataLenRange),
    (CKM.AES_KEY_WRAP_KWP, False, 20, EncryptedDataLenRange),
]


@pytest.mark.parametrize(("mechanism", "encrypt", "n", "error"), BAD_LENGTHS, ids=str)
@pytest.mark.parametrize("parts", [False, True])
def test_lengths(mechanism: int, encrypt: bool, n: int, error: type[CryptokiError], parts: bool) -> None:
    row, data = ROWS[mechanism], bytes(n)
    operation = engine.cipher(row, samples.parameter(row), samples.key(row), encrypt=encrypt)
    if parts:
        operation.update(data[: n // 2])
        data = data[n // 2 :]
    with pytest.raises(error) as raised:
        operation.finish(data)
    assert raised.type is error


@pytest.mark.parametrize("row", [row for row in CIPHERS if row.type in AUTHENTICATED], ids=name)
def test_any_changed_bit_is_noticed(row: MechanismRow) -> None:
    good = samples.parameter(row, 24)
    sealed = engine.wrap(row, good, samples.key(row), Secret(bytes(24)))
    for at in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(EncryptedDataInvalid):
            engine.cipher(row, good, samples.key(row), encrypt=False).finish(changed)
        with pytest.raises(WrappedKeyInvalid):
            engine.unwrap(row, good, samples.key(row), bytes(changed))


@pytest.mark.parametrize(
    ("mechanism", "good", "bad"),
    [
        (CKM.AES_CCM, CCMParams(4, IV[:12], b"one", 8), CCMParams(4, IV[:12], b"two", 8)),
        (CKM.AES_CCM, CCMParams(4, IV[:12], b"one", 8), CCMParams(4, IV[1:13], b"one", 8)),
        (CKM.AES_CCM, CCMParams(4, IV[:12], b"one", 8), CCMParams(4, IV[:11], b"one", 8)),
        (CKM.CHACHA20_POLY1305, ChaCha20Poly1305Params(IV[:12], b"a"), ChaCha20Poly1305Params(IV[:12], b"")),
        (CKM.CHACHA20_POLY1305, ChaCha20Poly1305Params(IV[:12], b"a"), ChaCha20Poly1305Params(IV[1:13], b"a")),
    ],
    ids=str,
)
def test_ccm_and_chacha20_bind_what_is_only_authenticated(
    mechanism: int, good: AnyParameter, bad: AnyParameter
) -> None:
    sealed = engine.cipher(ROWS[mechanism], good, KEY, encrypt=True).finish(b"text")
    with pytest.raises(EncryptedDataInvalid):
        engine.cipher(ROWS[mechanism], bad, KEY, encrypt=False).finish(sealed)


@pytest.mark.parametrize(("counter_bytes", "nonce_bytes"), [(4, 12), (8, 8)])
def test_the_counter_of_chacha20_stops_before_it_wraps(counter_bytes: int, nonce_bytes: int) -> None:
    row, last = ROWS[CKM.CHACHA20], ChaCha20Params(b"\xff" * counter_bytes, bytes(nonce_bytes))
    assert len(engine.cipher(row, last, KEY, encrypt=True).finish(bytes(64))) == 64
    for encrypt, error in ((True, DataLenRange), (False, EncryptedDataLenRange)):
        operation = engine.cipher(row, last, KEY, encrypt=encrypt)
        operation.update(bytes(63))
        with pytest.raises(error):
            operation.update(bytes(2))


def test_the_halves_of_an_xts_key_differ() -> None:
    with pytest.raises(KeyFunctionNotPermitted):
        engine.cipher(ROWS[CKM.AES_XTS], IV, Secret(bytes(64)), encrypt=True).finish(bytes(16))


def test_gcm_binds_what_is_only_authenticated() -> None:
    row = ROWS[CKM.AES_GCM]
    sealed = engine.cipher(row, GCMParams(IV[:12], b"one", 128), KEY, encrypt=True).finish(b"text")
    for parameter in (
        GCMParams(IV[:12], b"two", 128),
        GCMParams(IV[1:13], b"one", 128),
        GCMParams(IV[:12], b"one", 96),
    ):
        with pytest.raises(EncryptedDataInvalid):
            engine.cipher(row, parameter, KEY, encrypt=False).finish(sealed)


def test_every_wrong_padding_is_refused() -> None:
    raw, padded = ROWS[CKM.AES_CBC], ROWS[CKM.AES_CBC_PAD]
    wrong = [bytes(16), bytes(15) + b"\x11", bytes(14) + b"\1\2", b"\x10" * 15 + b"\xff", bytes(13) + b"\3\2\3"]
    wrong += [b"\x0f" + b"\x10" * 15]
    for last in wrong:
        sealed = engine.cipher(raw, IV, KEY, encrypt=True).finish(bytes(16) + last)
        with pytest.raises(EncryptedDataInvalid):
            engine.cipher(padded, IV, KEY, encrypt=False).finish(sealed)
        with pytest.raises(WrappedKeyInvalid):
            engine.unwrap(padded, IV, KEY, sealed)
    with pytest.raises(WrappedKeyLenRange):
        engine.unwrap(padded, IV, KEY, bytes(17))


@pytest.mark.parametrize("bits", [1, 4, 8, 32])
def test_a_counter_stops_before_it_wraps(bits: int) -> None:
    row = ROWS[CKM.AES_CTR]
    start = (1 << 128) - 3 if bits > 1 else (1 << 128) - 1
    left = 3 if bits > 1 else 1
    parameter = CTRParams(bits, start.to_bytes(16, "big"))
    operation = engine.cipher(row, parameter, KEY, encrypt=True)
    assert len(operation.finish(bytes(16 * left))) == 16 * left
    for encrypt, error in ((True, DataLenRange), (False, EncryptedDataLenRange)):
        operation = engine.cipher(row, parameter, KEY, encrypt=encrypt)
        operation.update(bytes(16 * left))
        with pytest.raises(error):
            operation.update(b"\0")


def test_a_counter_of_the_whole_block_wraps() -> None:
    row = ROWS[CKM.AES_CTR]
    wrapped = engine.cipher(row, CTRParams(128, b"\xff" * 16), KEY, encrypt=True).finish(bytes(32))
    assert wrapped[16:] == engine.cipher(row, CTRParams(128, bytes(16)), KEY, encrypt=True).finish(bytes(16))


def bad_mac_parameters(row: MechanismRow) -> list[AnyParameter]:
    if row.mode == "gmac":
        bad = [GCMParams(IV[:7], b"", 128), GCMParams(IV[:12], b"", 0), GCMParams(IV[:12], b"", 129)]
        return [None, b"", IV, IV[:11], *bad]
    if row.mode.endswith("-general"):
        return [None, b"", ulong(0), ulong(65), ulong(2**64 - 1), ulong(8)[:4], IV]
    return [IV, ulong(4)]


@pytest.mark.parametrize("row", MACS, ids=name)
def test_mac_keys_and_parameters(row: MechanismRow) -> None:
    longest = row.max_key * row.key_unit_bits // 8
    for make in (engine.signer, engine.verifier):
        for bad in bad_mac_parameters(row):
            with pytest.raises(MechanismParamInvalid):
                make(row, bad, row.key_types[0], samples.key(row))
        with pytest.raises(KeyTypeInconsistent):
            make(row, samples.parameter(row), CKK.BLOWFISH, samples.key(row))
        for n in (0, longest + 1):
            with pytest.raises(KeySizeRange):
                make(row, samples.parameter(row), row.key_types[0], Secret(bytes(n)))
        for key_type in row.key_types:
            make(row, samples.parameter(row), key_type, Secret(key_bytes(key_type)))


@pytest.mark.parametrize("row", [row for row in MACS if row.mode.endswith("-general")], ids=name)
def test_a_mac_may_have_any_length_up_to_the_whole(row: MechanismRow) -> None:
    sizes = []
    for n in range(1, 66):
        try:
            sizes.append(engine.signer(row, ulong(n), row.key_types[0], samples.key(row)).size)
        except MechanismParamInvalid:
            break
    whole = digests.SIZES[row.hash] if row.hash else 16 if row.key_types == (CKK.AES,) else 8
    assert sizes == list(range(1, whole + 1))


@pytest.mark.parametrize("row", MACS, ids=name)
def test_macs_that_differ(row: MechanismRow) -> None:
    maker = engine.signer(row, samples.parameter(row), row.key_types[0], samples.key(row))
    maker.update(b"text")
    mac = maker.finish()
    wrong = [(mac[:-1], SignatureLenRange), (mac + b"\0", SignatureLenRange), (b"", SignatureLenRange)]
    wrong += [(bytes([mac[0] ^ 1]) + mac[1:], SignatureInvalid), (mac[:-1] + bytes([mac[-1] ^ 1]), SignatureInvalid)]
    for given, error in wrong:
        check = engine.verifier(row, samples.parameter(row), row.key_types[0], samples.key(row))
        check.update(b"text")
        with pytest.raises(error):
            check.finish(given)


@pytest.fixture(scope="module")
def pair() -> tuple[Secret, Secret]:
    return engine.generate_pair(ROWS[CKM.RSA_PKCS_KEY_PAIR_GEN], {CKA.MODULUS_BITS: 1024}, {})


SHA256_PSS = PSSParams(CKM.SHA256, CKG.MGF1_SHA256, 32)
BAD_RSA: list[tuple[int, AnyParameter]] = [
    (CKM.RSA_PKCS, IV),
    (CKM.SHA256_RSA_PKCS, IV),
    (CKM.RSA_PKCS_PSS, None),
    (CKM.RSA_PKCS_PSS, PSSParams(CKM.MD5, CKG.MGF1_SHA256, 16)),
    (CKM.RSA_PKCS_PSS, PSSParams(CKM.SHA256_HMAC, CKG.MGF1_SHA256, 32)),
    (CKM.RSA_PKCS_PSS, PSSParams(CKM.SHA256, 0, 32)),
    (CKM.RSA_PKCS_PSS, PSSParams(CKM.SHA256, CKG.MGF1_SHA256, 128 - 32 - 1)),
    (CKM.SHA1_RSA_PKCS_PSS, SHA256_PSS),
    (CKM.SHA256_RSA_PKCS_PSS, PSSParams(CKM.SHA_1, CKG.MGF1_SHA256, 32)),
]


@pytest.mark.parametrize(("mechanism", "parameter"), BAD_RSA, ids=str)
def test_rsa_signature_parameters(pair: tuple[Secret, Secret], mechanism: int, parameter: AnyParameter) -> None:
    with pytest.raises(MechanismParamInvalid):
        engine.signer(ROWS[mechanism], parameter, CKK.RSA, pair[1])
    with pytest.raises(MechanismParamInvalid):
        engine.verifier(ROWS[mechanism], parameter, CKK.RSA, pair[0])


@pytest.mark.parametrize(
    "parameter",
    [
        None,
        OAEPParams(CKM.MD5, CKG.MGF1_SHA1, CKZ.DATA_SPECIFIED, b""),
        OAEPParams(CKM.SHA3_224, CKG.MGF1_SHA1, CKZ.DATA_SPECIFIED, b""),
        OAEPParams(CKM.SHA_1, CKG.MGF1_SHA3_224, CKZ.DATA_SPECIFIED, b""),
        OAEPParams(CKM.SHA_1, CKG.MGF1_SHA1, 2, b""),
        OAEPParams(CKM.SHA_1, CKG.MGF1_SHA1, 0, b"label"),
        OAEPParams(CKM.SHA512, CKG.MGF1_SHA512, CKZ.DATA_SPECIFIED, b""),  # too long for 1024 bits
    ],
    ids=str,
)
def test_oaep_parameters(pair: tuple[Secret, Secret], parameter: AnyParameter) -> None:
    for encrypt in (True, False):
        with pytest.raises(MechanismParamInvalid):
            engine.cipher(ROWS[CKM.RSA_PKCS_OAEP], parameter, pair[not encrypt], encrypt=encrypt)


def test_a_key_of_another_kind(pair: tuple[Secret, Secret]) -> None:
    curve = {CKA.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}
    ec_pair = engine.generate_pair(ROWS[CKM.EC_KEY_PAIR_GEN], curve, {})
    for mechanism, parameter, right, wrong in (
        (CKM.ECDSA, None, CKK.EC, pair),
        (CKM.ECDSA_SHA256, None, CKK.EC, pair),
        (CKM.RSA_PKCS, None, CKK.RSA, ec_pair),
        (CKM.RSA_PKCS_PSS, SHA256_PSS, CKK.RSA, ec_pair),
    ):
        other = CKK.RSA if right == CKK.EC else CKK.EC
        for make, key in ((engine.signer, wrong[1]), (engine.verifier, wrong[0])):
            with pytest.raises(KeyTypeInconsistent):
                make(ROWS[mechanism], parameter, other, key)
            with pytest.raises(KeyTypeInconsistent):
                make(ROWS[mechanism], parameter, right, key)
    with pytest.raises(KeyTypeInconsistent):
        engine.cipher(ROWS[CKM.RSA_PKCS], None, ec_pair[0], encrypt=True)
    with pytest.raises(KeyTypeInconsistent):
        engine.cipher(ROWS[CKM.RSA_PKCS], None, KEY, encrypt=False)


def test_a_mechanism_used_for_what_it_does_not_do() -> None:
    for call in (
        lambda: engine.cipher(ROWS[CKM.SHA256], None, KEY, encrypt=True),
        lambda: engine.digest(ROWS[CKM.AES_ECB]),
        lambda: engine.signer(ROWS[CKM.AES_ECB], None, CKK.AES, KEY),
        lambda: engine.verifier(ROWS[CKM.AES_ECB], None, CKK.AES, KEY),
        lambda: engine.generate_secret(ROWS[CKM.AES_ECB], 32),
        lambda: engine.generate_pair(ROWS[CKM.ECDSA], {}, {}),
        lambda: engine.wrapped_size(ROWS[CKM.SHA256], None, 3),
    ):
        with pytest.raises(MechanismInvalid):
            call()


def test_digests_take_no_parameter() -> None:
    with pytest.raises(MechanismParamInvalid):
        engine.digest(ROWS[CKM.SHA256], IV)


@pytest.mark.parametrize(
    ("mechanism", "n"),
    [
        *((CKM.AES_KEY_GEN, n) for n in (0, 17, 64)),
        *((CKM.AES_XTS_KEY_GEN, n) for n in (0, 16, 48, 65)),
        *((mechanism, n) for mechanism in (CKM.DES2_KEY_GEN, CKM.DES3_KEY_GEN) for n in (0, 8, 25)),
        *((mechanism, n) for mechanism in (CKM.CHACHA20_KEY_GEN, CKM.POLY1305_KEY_GEN) for n in (0, 16, 31, 33)),
        *((mechanism, n) for mechanism in (CKM.SHA_1_KEY_GEN, CKM.BLAKE2B_512_KEY_GEN) for n in (0, 4097)),
    ],
)
def test_secret_keys_of_impossible_length(mechanism: int, n: int) -> None:
    with pytest.raises(AttributeValueInvalid):
        engine.generate_secret(ROWS[mechanism], n)
    for bad in (0, 4097):
        with pytest.raises(AttributeValueInvalid):
            engine.generate_secret(ROWS[CKM.GENERIC_SECRET_KEY_GEN], bad)


def test_keys_that_a_mechanism_cannot_wrap() -> None:
    with pytest.raises(KeySizeRange):
        engine.wrap(ROWS[CKM.AES_KEY_WRAP], None, KEY, Secret(bytes(8)))
    with pytest.raises(KeySizeRange):
        engine.wrap(ROWS[CKM.AES_KEY_WRAP_PAD], None, KEY, Secret(bytes(7)))
