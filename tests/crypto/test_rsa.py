"""RSA beyond plain signatures: without padding, with recovery, with a passing key; against vectors and OpenSSL."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from mrhsm_p11.constants import CKA, CKG, CKK, CKM, CKO, CKZ
from mrhsm_p11.crypto import engine, libcrypto, material
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    CryptokiError,
    DataInvalid,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    KeyNotWrappable,
    MechanismInvalid,
    MechanismParamInvalid,
    SignatureInvalid,
    SignatureLenRange,
    TemplateIncomplete,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
)
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.parameters.rsa import OAEPParams, PSSParams, RSAAESKeyWrapParams
from mrhsm_p11.secret import Secret

# RSA Laboratories, "RSA-OAEP encryption with intermediate values" (oaep-int.txt, of the PKCS #1 v2.1 test vectors)
KEY: dict[int, Value] = {
    CKA.MODULUS: bytes.fromhex(
        "bbf82f090682ce9c2338ac2b9da871f7368d07eed41043a440d6b6f07454f51fb8dfbaaf035c02ab61ea48ceeb6fcd4876ed520d"
        "60e1ec4619719d8a5b8b807fafb8e0a3dfc737723ee6b4b7d93a2584ee6a649d060953748834b2454598394ee0aab12d7b61a51f"
        "527a9a41f6c1687fe2537298ca2a8f5946f8e5fd091dbdcb"
    ),
    CKA.PUBLIC_EXPONENT: bytes.fromhex("11"),
    CKA.PRIVATE_EXPONENT: bytes.fromhex(
        "a5dafc5341faf289c4b988db30c1cdf83f31251e0668b42784813801579641b29410b3c7998d6bc465745e5c392669d6870da2c0"
        "82a939e37fdcb82ec93edac97ff3ad5950accfbc111c76f1a9529444e56aaf68c56c092cd38dc3bef5d20a939926ed4f74a13edd"
        "fbe1a1cecc4894af9428c2b7b8883fe4463a4bc85b1cb3c1"
    ),
    CKA.PRIME_1: bytes.fromhex(
        "eecfae81b1b9b3c908810b10a1b5600199eb9f44aef4fda493b81a9e3d84f632124ef0236e5d1e3b7e28fae7aa040a2d5b252176"
        "459d1f397541ba2a58fb6599"
    ),
    CKA.PRIME_2: bytes.fromhex(
        "c97fb1f027f453f6341233eaaad1d9353f6c42d08866b1d05a0f2035028b9d869840b41666b42e92ea0da3b43204b5cfce335252"
        "4d0416a5a441e700af461503"
    ),
    CKA.EXPONENT_1: bytes.fromhex(
        "54494ca63eba0337e4e24023fcd69a5aeb07dddc0183a4d0ac9b54b051f2b13ed9490975eab77414ff59c1f7692e9a2e202b38fc"
        "910a474174adc93c1f67c981"
    ),
    CKA.EXPONENT_2: bytes.fromhex(
        "471e0290ff0af0750351b7f878864ca961adbd3a8a7e991c5c0556a94c3146a7f9803f8f6f8ae342e931fd8ae47a220d1b99a495"
        "849807fe39f9245a9836da3d"
    ),
    CKA.COEFFICIENT: bytes.fromhex(
        "b06c4fdabb6301198d265bdbae9423b380f271f73453885093077fcd39e2119fc98632154f5883b167a967bf402b4e9e2e0f9656"
        "e698ea3666edfb25798039f7"
    ),
}
PLAIN = bytes.fromhex("d436e99569fd32a7c8a05bbc90d32c49")
ENCODED = bytes.fromhex(
    "00eb7a19ace9e3006350e329504b45e2ca82310b26dcd87d5c68f1eea8f55267c31b2e8bb4251f84d7e0b2c04626f5aff93edcfb"
    "25c9c2b3ff8ae10e839a2ddb4cdcfe4ff47728b4a1b7c1362baad29ab48d2869d5024121435811591be392f982fb3e87d095aeb4"
    "0448db972f3ac14f7bc275195281ce32d2f1b76d4d353e2d"
)
SEALED = bytes.fromhex(
    "1253e04dc0a5397bb44a7ab87e9bf2a039a33d1e996fc82a94ccd30074c95df763722017069e5268da5d1c0b4f872cf653c11df8"
    "2314a67968dfeae28def04bb6d84b1c31d654a1970e5783bd6eb96a024c2ca2f4a90fe9f2ef5c9c140e5bb48da9536ad8700c84f"
    "c9130adea74e558d51a74ddf85d8b50de96838d6063e0955"
)
SHA1_OAEP = OAEPParams(CKM.SHA_1, CKG.MGF1_SHA1, CKZ.DATA_SPECIFIED, b"")
RAW, PKCS, WRAP = ROWS[CKM.RSA_X_509], ROWS[CKM.RSA_PKCS], ROWS[CKM.RSA_AES_KEY_WRAP]
PSS_OF_SHA3 = PSSParams(CKM.SHA3_256, CKG.MGF1_SHA3_512, 20)
MESSAGE = b"message " * 40


def keys(numbers: dict[int, Value]) -> tuple[Secret, Secret]:
    """Return public and private material, as C_CreateObject makes it."""
    public = {cka: numbers[cka] for cka in (CKA.MODULUS, CKA.PUBLIC_EXPONENT)}
    return (
        material.split({CKA.CLASS: CKO.PUBLIC_KEY, CKA.KEY_TYPE: CKK.RSA, **public})[1],
        material.split({CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: CKK.RSA, **numbers})[1],
    )


PUBLIC, PRIVATE = keys(KEY)  # whose public exponent is 17: one that is taken, though not made here


def sign(mechanism: int, data: bytes, key: Secret = PRIVATE, parameter: AnyParameter = None) -> bytes:
    signer = engine.signer(ROWS[mechanism], parameter, CKK.RSA, key)
    signer.update(data)
    return signer.finish()


def verify(mechanism: int, data: bytes, signature: bytes, key: Secret = PUBLIC, parameter: AnyParameter = None) -> None:
    verifier = engine.verifier(ROWS[mechanism], parameter, CKK.RSA, key)
    verifier.update(data)
    verifier.finish(signature)


def recover(mechanism: int, signature: bytes) -> bytes:
    return engine.recoverer(ROWS[mechanism], None, CKK.RSA, PUBLIC).finish(signature)


def sealed(mechanism: int, data: bytes) -> bytes:
    return engine.cipher(ROWS[mechanism], None, PUBLIC, encrypt=True).finish(data)


def opened(mechanism: int, data: bytes, parameter: AnyParameter = None) -> bytes:
    return engine.cipher(ROWS[mechanism], parameter, PRIVATE, encrypt=False).finish(data)


def test_the_laboratories_vector() -> None:
    assert sealed(CKM.RSA_X_509, ENCODED) == SEALED
    assert sealed(CKM.RSA_X_509, ENCODED[1:]) == SEALED  # a zero is put before it
    assert opened(CKM.RSA_X_509, SEALED) == ENCODED
    assert opened(CKM.RSA_PKCS_OAEP, SEALED, SHA1_OAEP) == PLAIN
    assert sign(CKM.RSA_X_509, SEALED) == ENCODED  # the same power
    verify(CKM.RSA_X_509, SEALED, ENCODED)
    assert recover(CKM.RSA_X_509, ENCODED) == SEALED


def test_raw_rsa_is_what_padding_is_built_on() -> None:
    info = bytes.fromhex("3031300d060960864801650304020105000420") + bytes(range(32))
    padded = b"\0\1" + b"\xff" * (128 - 3 - len(info)) + b"\0" + info
    signature = sign(CKM.RSA_PKCS, info)
    assert sign(CKM.RSA_X_509, padded) == signature
    assert recover(CKM.RSA_X_509, signature) == padded
    assert recover(CKM.RSA_PKCS, signature) == info
    assert opened(CKM.RSA_PKCS, sealed(CKM.RSA_X_509, b"\0\2" + b"\7" * 90 + b"\0" + b"x" * 35)) == b"x" * 35


def test_bad_padding_is_answered_as_good_padding_is() -> None:
    """Whether a forged block begins with 00 02 or not, bytes come out, of any length and the same each time."""
    lengths: dict[bytes, set[int]] = {b"\0\2": set(), b"\1\2": set()}
    for start, seen in lengths.items():
        for number in range(1, 101):
            forged = sealed(CKM.RSA_X_509, start + bytes([number]) * 126)  # no zero ends the padding
            answer = opened(CKM.RSA_PKCS, forged)
            assert opened(CKM.RSA_PKCS, forged) == answer
            seen.add(len(answer))
    assert all(len(seen) > 30 and max(seen) <= 117 for seen in lengths.values())


@pytest.mark.parametrize("n", [0, 1, 127, 128])
def test_raw_lengths(n: int) -> None:
    data = b"\x01" * n
    signature = sign(CKM.RSA_X_509, data)
    assert len(signature) == 128
    verify(CKM.RSA_X_509, data, signature)
    assert opened(CKM.RSA_X_509, sealed(CKM.RSA_X_509, data)) == data.rjust(128, b"\0")
    with pytest.raises(SignatureInvalid):
        verify(CKM.RSA_X_509, data, bytes(127) + b"\2")


def test_raw_refusals() -> None:
    large, many = b"\xff" * 128, bytes(129)
    for make in (sign, sealed):
        with pytest.raises(DataInvalid):
            make(CKM.RSA_X_509, large)
        with pytest.raises(DataLenRange):
            make(CKM.RSA_X_509, many)
    with pytest.raises(EncryptedDataInvalid):
        opened(CKM.RSA_X_509, large)
    for verifies in (lambda signature: verify(CKM.RSA_X_509, b"1", signature), lambda s: recover(CKM.RSA_X_509, s)):
        with pytest.raises(SignatureInvalid):
            verifies(large)
        for wrong in (b"", bytes(127), many):
            with pytest.raises(SignatureLenRange):
                verifies(wrong)
    for wrong in (b"", bytes(127), many):
        with pytest.raises(EncryptedDataLenRange):
            opened(CKM.RSA_X_509, wrong)
    with pytest.raises(DataLenRange):
        verify(CKM.RSA_X_509, many, bytes(128))
    for make_any in (engine.signer, engine.verifier, engine.recoverer):
        with pytest.raises(MechanismParamInvalid):
            make_any(RAW, b"parameter", CKK.RSA, PRIVATE if make_any is engine.signer else PUBLIC)


def test_recovery_with_padding() -> None:
    for data in (b"x", b"y" * 117):
        signature = sign(CKM.RSA_PKCS, data)
        recoverer = engine.recoverer(PKCS, None, CKK.RSA, PUBLIC)
        assert len(data) <= recoverer.size(128, final=True) == 117
        assert recoverer.finish(signature) == data
    for wrong in (SEALED, bytes(128), b"\xff" * 128):
        with pytest.raises(SignatureInvalid):
            recover(CKM.RSA_PKCS, wrong)
    for wrong in (b"", bytes(127), bytes(129)):
        with pytest.raises(SignatureLenRange):
            recover(CKM.RSA_PKCS, wrong)
    for row in (ROWS[CKM.SHA256_RSA_PKCS], ROWS[CKM.RSA_PKCS_PSS], ROWS[CKM.SHA256]):
        with pytest.raises(CryptokiError):
            engine.recoverer(row, None, CKK.RSA, PUBLIC)


def test_raw_wrapping_takes_the_key_from_the_end() -> None:
    key = Secret(bytes(range(32)))
    wrapped = engine.wrap(RAW, None, PUBLIC, key)
    assert len(wrapped) == engine.wrapped_size(RAW, None, 32, PUBLIC) == 128
    assert engine.wrapped_size(RAW, None, 32) >= 128
    plain = engine.unwrap(RAW, None, PRIVATE, wrapped)
    assert material.unwrapped(RAW, CKO.SECRET_KEY, CKK.AES, 32, plain) == key
    assert material.unwrapped(RAW, CKO.SECRET_KEY, CKK.GENERIC_SECRET, 31, plain).reveal() == bytes(range(1, 32))
    for wrong in (0, 30, 129):  # 30: something would be cut off
        with pytest.raises(WrappedKeyLenRange):
            material.unwrapped(RAW, CKO.SECRET_KEY, CKK.GENERIC_SECRET, wrong, plain)
    with pytest.raises(WrappedKeyLenRange):
        material.unwrapped(RAW, CKO.SECRET_KEY, CKK.AES, None, plain)
    with pytest.raises(KeyNotWrappable):
        engine.wrap(RAW, None, PUBLIC, Secret(b"\xff" * 128))


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("n", [1, 16, 17, 32, 634])
def test_a_passing_key_wraps_anything(bits: int, n: int) -> None:
    parameter, key = RSAAESKeyWrapParams(bits, SHA1_OAEP), Secret(bytes(n))
    wrapped = engine.wrap(WRAP, parameter, PUBLIC, key)
    assert len(wrapped) == engine.wrapped_size(WRAP, parameter, n, PUBLIC) == 128 + (n + 7) // 8 * 8 + 8
    assert engine.unwrap(WRAP, parameter, PRIVATE, wrapped) == key
    assert engine.wrap(WRAP, parameter, PUBLIC, key) != wrapped
    passing = opened(CKM.RSA_PKCS_OAEP, wrapped[:128], SHA1_OAEP)  # as section "RSA AES KEY WRAP" composes it
    assert len(passing) * 8 == bits
    assert engine.unwrap(ROWS[CKM.AES_KEY_WRAP_KWP], None, Secret(passing), wrapped[128:]) == key


def test_a_passing_key_is_checked() -> None:
    parameter, key = RSAAESKeyWrapParams(256, SHA1_OAEP), Secret(bytes(32))
    wrapped = engine.wrap(WRAP, parameter, PUBLIC, key)
    for at in (5, 127, 128, len(wrapped) - 1):
        spoilt = wrapped[:at] + bytes((wrapped[at] ^ 1,)) + wrapped[at + 1 :]
        with pytest.raises(WrappedKeyInvalid):
            engine.unwrap(WRAP, parameter, PRIVATE, spoilt)
    with pytest.raises(WrappedKeyInvalid):
        engine.unwrap(WRAP, RSAAESKeyWrapParams(128, SHA1_OAEP), PRIVATE, wrapped)
    for length in (0, 127, 128, 136, 143, len(wrapped) - 1):
        with pytest.raises(WrappedKeyLenRange):
            engine.unwrap(WRAP, parameter, PRIVATE, wrapped[:length])
    for wrong in (
        RSAAESKeyWrapParams(0, SHA1_OAEP),
        RSAAESKeyWrapParams(32, SHA1_OAEP),
        RSAAESKeyWrapParams(256, None),
    ):
        with pytest.raises(MechanismParamInvalid):
            engine.wrap(WRAP, wrong, PUBLIC, key)
        with pytest.raises(MechanismParamInvalid):
            engine.unwrap(WRAP, wrong, PRIVATE, wrapped)


def test_the_primitives_refuse_for_oaep_what_is_refused_here() -> None:
    public = load_der_public_key(PUBLIC.reveal())
    assert isinstance(public, rsa.RSAPublicKey)
    for other in (hashes.SHA3_256(), hashes.SHA512_256()):
        for inner, outer in ((other, hashes.SHA1()), (hashes.SHA1(), other)):
            with pytest.raises(UnsupportedAlgorithm):
                public.encrypt(b"x", padding.OAEP(padding.MGF1(inner), outer, None))
    for named, mgf in ((CKM.SHA3_256, CKG.MGF1_SHA1), (CKM.SHA_1, CKG.MGF1_SHA3_256)):
        with pytest.raises(MechanismParamInvalid):
            engine.cipher(ROWS[CKM.RSA_PKCS_OAEP], OAEPParams(named, mgf, 1, b""), PUBLIC, encrypt=True)


def test_a_private_key_needs_its_primes() -> None:
    """Finding them from n, e and d, which the standard allows, is arithmetic that neither library offers."""
    for leave in (CKA.PRIME_1, CKA.EXPONENT_2, CKA.COEFFICIENT):
        with pytest.raises(TemplateIncomplete):
            keys({cka: value for cka, value in KEY.items() if cka != leave})


# openssl genrsa 512; openssl dgst -sha256 -sign, of "old"
OLD_PRIVATE = base64.b64decode(
    "MIIBUwIBADANBgkqhkiG9w0BAQEFAASCAT0wggE5AgEAAkEAyPQrfoIMPEFmeBsGKyD/wxLxRkpMrekKR8aYApD0WWJkr5nuGe2o"
    "3DuYfpj5hn7UgQKFxXRTQ+P1Xj/Ii7m7SwIDAQABAkB0EgSlV7x1eVkUepd/hdn09RYDgZr0wKw9dQoMQWnBzjpVPwCxwAu+NKqX"
    "vbtFDE4DkCsYzFcNOv43tGFBelUBAiEA91rgDsEBSV+JIMsTI/Rg5b1nf7vGtd2SqEr71bZxvgsCIQDP+iLAMVQoo422hnCJvZ5I"
    "rvpLNwiTa6/c1a3ZEVZ/wQIgXYAPc+RHHTostqWszYmB2zX2WpVbbsGbv1vgyA8X/bMCIF8dMk9bP/Xl9qWHDmiwA3eSLn2/iXiC"
    "Q0dnob4oI7sBAiB7Bi3Pnhus7gV/cod9O6WIPJQNB/AZcYSFY4q4E0rvDw=="
)
OLD_PUBLIC = base64.b64decode(
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMj0K36CDDxBZngbBisg/8MS8UZKTK3pCkfGmAKQ9FliZK+Z7hntqNw7mH6Y+YZ+1IEC"
    "hcV0U0Pj9V4/yIu5u0sCAwEAAQ=="
)
OLD_SIGNATURE = base64.b64decode(
    "gKk2t6CoJBjHAoE5x6Rtl/vEZuju5YOjqZxzgnKVVE04daqm9i7u8JatEoBwBB8AnTy5sHZlgZCSxTEd7rjeZA=="
)


def test_old_public_keys_still_verify_and_encrypt() -> None:
    public = material.normalise(CKO.PUBLIC_KEY, CKK.RSA, OLD_PUBLIC)
    verify(CKM.SHA256_RSA_PKCS, b"old", OLD_SIGNATURE, public)
    with pytest.raises(SignatureInvalid):
        verify(CKM.SHA256_RSA_PKCS, b"odd", OLD_SIGNATURE, public)
    encrypted = engine.cipher(ROWS[CKM.RSA_PKCS], None, public, encrypt=True).finish(b"old")
    private = load_der_private_key(OLD_PRIVATE, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.decrypt(encrypted, padding.PKCS1v15()) == b"old"


def test_old_private_keys_are_not_used() -> None:
    with pytest.raises(AttributeValueInvalid):
        material.normalise(CKO.PRIVATE_KEY, CKK.RSA, OLD_PRIVATE)
    assert ROWS[CKM.RSA_PKCS_KEY_PAIR_GEN].min_key == 1024


# ---- the openssl command


@pytest.mark.parametrize(
    ("mechanism", "parameter", "options"),
    [
        (CKM.SHA3_224_RSA_PKCS, None, ["-sha3-224"]),
        (CKM.SHA3_256_RSA_PKCS, None, ["-sha3-256"]),
        (CKM.SHA3_384_RSA_PKCS, None, ["-sha3-384"]),
        (CKM.SHA3_512_RSA_PKCS, None, ["-sha3-512"]),
        (
            CKM.SHA3_256_RSA_PKCS_PSS,
            PSS_OF_SHA3,
            ["-sha3-256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20",
             "-sigopt", "rsa_mgf1_md:sha3-512"],
        ),
    ],
    ids=lambda value: CKM.name(value) if isinstance(value, int) else "",
)  # fmt: skip
def test_openssl_agrees_on_sha3(mechanism: int, parameter: AnyParameter, options: list[str], tmp_path: Path) -> None:
    (tmp_path / "public").write_bytes(PUBLIC.reveal())
    (tmp_path / "private").write_bytes(PRIVATE.reveal())
    (tmp_path / "message").write_bytes(MESSAGE)
    (tmp_path / "signature").write_bytes(sign(mechanism, MESSAGE, parameter=parameter))
    openssl(tmp_path, "dgst", *options, "-verify", "public", "-signature", "signature", "message")
    openssl(tmp_path, "dgst", *options, "-sign", "private", "-out", "theirs", "message")
    verify(mechanism, MESSAGE, (tmp_path / "theirs").read_bytes(), parameter=parameter)


def test_openssl_agrees_without_padding(tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(PRIVATE.reveal())
    (tmp_path / "block").write_bytes(ENCODED)
    raw = ("-inkey", "private", "-keyform", "DER", "-pkeyopt", "rsa_padding_mode:none", "-in", "block", "-out", "made")
    openssl(tmp_path, "pkeyutl", "-decrypt", *raw)  # the same power; it does not sign without padding
    assert sign(CKM.RSA_X_509, ENCODED) == (tmp_path / "made").read_bytes()


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


# ---- libcrypto


def test_without_libcrypto_raw_rsa_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from mrhsm_p11.config import Config
    from mrhsm_p11.token import usage

    assert RAW in usage.offered(Config())
    assert usage.mechanism_row(Config(), CKM.RSA_X_509) is RAW
    monkeypatch.setattr(libcrypto, "_NAME", "libcrypto.so.of-another-system")
    warnings: list[str] = []
    monkeypatch.setattr(libcrypto.log, "warning", warnings.append)
    libcrypto.bound.cache_clear()
    try:
        for _ in range(3):
            assert RAW not in usage.offered(Config())
            with pytest.raises(MechanismInvalid):
                usage.mechanism_row(Config(), CKM.RSA_X_509)
            with pytest.raises(MechanismInvalid):
                libcrypto.require()
        assert PKCS in usage.offered(Config())
        assert len(warnings) == 1
        assert "libcrypto.so.of-another-system" in warnings[0]
    finally:
        libcrypto.bound.cache_clear()


def test_the_hosts_queue_of_errors_stays_as_it_was() -> None:
    import ctypes

    library = ctypes.CDLL("libcrypto.so.3")
    library.ERR_peek_last_error.restype = ctypes.c_ulong
    library.ERR_clear_error()
    library.BN_dec2bn(None, b"")  # harmless; what follows leaves an error of the host's
    library.EVP_PKEY_CTX_new_id(-7, None)
    before = library.ERR_peek_last_error()
    with pytest.raises(DataInvalid):
        sign(CKM.RSA_X_509, b"\xff" * 128)
    assert library.ERR_peek_last_error() == before
    library.ERR_clear_error()


def test_nothing_is_bound_before_it_is_needed() -> None:
    code = "import sys; from mrhsm_p11.crypto import engine, rsa, rsa_cipher; print('ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"
