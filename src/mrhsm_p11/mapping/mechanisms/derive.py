"""Mechanisms of C_DeriveKey, and keys made from passwords."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import Family, MechanismRow, ParameterClass
from mrhsm_p11.parameters.derive import (
    AESCBCData,
    CounterParams,
    FeedbackParams,
    HKDFParams,
    StringData,
)

# Every secret key will do: what is derived depends on its bytes alone.
SECRETS = (
    *(CKK.GENERIC_SECRET, CKK.HKDF, CKK.AES, CKK.DES3, CKK.CHACHA20),
    *(CKK.SHA_1_HMAC, CKK.SHA224_HMAC, CKK.SHA256_HMAC, CKK.SHA384_HMAC, CKK.SHA512_HMAC),
    *(CKK.SHA512_224_HMAC, CKK.SHA512_256_HMAC),
    *(CKK.SHA3_224_HMAC, CKK.SHA3_256_HMAC, CKK.SHA3_384_HMAC, CKK.SHA3_512_HMAC),
)
MOST_BYTES = 1 << 16  # of a secret key: see crypto.material

# hashlib's name, the digest of a key as a new key
_DIGESTED = (
    ("sha1", CKM.SHA1_KEY_DERIVATION),
    ("sha224", CKM.SHA224_KEY_DERIVATION),
    ("sha256", CKM.SHA256_KEY_DERIVATION),
    ("sha384", CKM.SHA384_KEY_DERIVATION),
    ("sha512", CKM.SHA512_KEY_DERIVATION),
    ("sha512_224", CKM.SHA512_224_KEY_DERIVATION),
    ("sha512_256", CKM.SHA512_256_KEY_DERIVATION),
    ("sha3_224", CKM.SHA3_224_KEY_DERIVE),
    ("sha3_256", CKM.SHA3_256_KEY_DERIVE),
    ("sha3_384", CKM.SHA3_384_KEY_DERIVE),
    ("sha3_512", CKM.SHA3_512_KEY_DERIVE),
)


def _derive(
    type: int, family: Family, mode: str, parameter: ParameterClass = None, hash: str | None = None
) -> MechanismRow:
    return MechanismRow(
        type,
        family,
        mode,
        CKF.DERIVE,
        SECRETS,
        1,
        MOST_BYTES,
        8,
        parameter,
        hash,
        legacy=hash == "sha1",
    )


def _encrypting(type: int, mode: str, parameter: ParameterClass) -> MechanismRow:
    return MechanismRow(type, "encrypting-kdf", mode, CKF.DERIVE, (CKK.AES,), 16, 32, 8, parameter, key_step=8)


ROWS = (
    _derive(CKM.CONCATENATE_BASE_AND_KEY, "simple-kdf", "base-and-key", bytes),
    _derive(CKM.CONCATENATE_BASE_AND_DATA, "simple-kdf", "base-and-data", StringData),
    _derive(CKM.CONCATENATE_DATA_AND_BASE, "simple-kdf", "data-and-base", StringData),
    _derive(CKM.XOR_BASE_AND_DATA, "simple-kdf", "xor", StringData),
    _derive(CKM.EXTRACT_KEY_FROM_KEY, "simple-kdf", "extract", bytes),
    *(_derive(mechanism, "simple-kdf", "digest", None, name) for name, mechanism in _DIGESTED),
    _encrypting(CKM.AES_ECB_ENCRYPT_DATA, "ecb", StringData),
    _encrypting(CKM.AES_CBC_ENCRYPT_DATA, "cbc", AESCBCData),
    _derive(CKM.HKDF_DERIVE, "hkdf", "key", HKDFParams),
    _derive(CKM.HKDF_DATA, "hkdf", "data", HKDFParams),
    _derive(CKM.SP800_108_COUNTER_KDF, "sp800-108", "counter", CounterParams),
    _derive(CKM.SP800_108_FEEDBACK_KDF, "sp800-108", "feedback", FeedbackParams),
    _derive(CKM.SP800_108_DOUBLE_PIPELINE_KDF, "sp800-108", "double-pipeline", CounterParams),
)
