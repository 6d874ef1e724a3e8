"""Mechanisms of C_DeriveKey, and keys made from passwords."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import SIGNS, Family, MechanismRow, ParameterClass
from mrhsm_p11.parameters.derive import (
    AESCBCData,
    CounterParams,
    DESCBCData,
    ECDH1Params,
    FeedbackParams,
    HKDFParams,
    PBKD2Params,
    StringData,
)
from mrhsm_p11.parameters.tls import (
    ExtendedMasterKeyParams,
    KeyMaterialParams,
    MasterKeyParams,
    TLS12KeyMaterialParams,
    TLS12MasterKeyParams,
    TLSKDFParams,
    TLSMACParams,
    TLSPRFParams,
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


_AGREES = CKF.DERIVE | CKF.EC_F_P | CKF.EC_OID | CKF.EC_CURVENAME | CKF.EC_UNCOMPRESS | CKF.EC_COMPRESS
_MASTER_BYTES = 48


def _tls(
    type: int, mode: str, parameter: ParameterClass, least: int = 1, most: int = MOST_BYTES, *, legacy: bool = False
) -> MechanismRow:
    return MechanismRow(type, "tls", mode, CKF.DERIVE, (CKK.GENERIC_SECRET,), least, most, 8, parameter, legacy=legacy)


_RSA = _MASTER_BYTES, _MASTER_BYTES  # the only size of a premaster secret that travels under RSA

_TLS_ROWS = (
    MechanismRow(CKM.TLS_PRE_MASTER_KEY_GEN, "tls", "premaster", CKF.GENERATE, (CKK.GENERIC_SECRET,), *_RSA, 8, bytes),
    _tls(CKM.TLS12_MASTER_KEY_DERIVE, "master", TLS12MasterKeyParams, *_RSA),
    _tls(CKM.TLS12_MASTER_KEY_DERIVE_DH, "master-dh", TLS12MasterKeyParams),
    _tls(CKM.TLS12_EXTENDED_MASTER_KEY_DERIVE, "master", ExtendedMasterKeyParams, *_RSA),
    _tls(CKM.TLS12_EXTENDED_MASTER_KEY_DERIVE_DH, "master-dh", ExtendedMasterKeyParams),
    _tls(CKM.TLS12_KEY_AND_MAC_DERIVE, "key-material", TLS12KeyMaterialParams),
    _tls(CKM.TLS12_KEY_SAFE_DERIVE, "key-safe", TLS12KeyMaterialParams),
    _tls(CKM.TLS12_KDF, "kdf", TLSKDFParams),
    _tls(CKM.TLS_KDF, "kdf", TLSKDFParams),
    _tls(CKM.TLS_MASTER_KEY_DERIVE, "master", MasterKeyParams, *_RSA, legacy=True),
    _tls(CKM.TLS_MASTER_KEY_DERIVE_DH, "master-dh", MasterKeyParams, legacy=True),
    _tls(CKM.TLS_KEY_AND_MAC_DERIVE, "key-material", KeyMaterialParams, legacy=True),
    _tls(CKM.TLS_PRF, "prf", TLSPRFParams, legacy=True),
    *(
        MechanismRow(mechanism, "tls-mac", "finished", SIGNS, (CKK.GENERIC_SECRET,), 1, MOST_BYTES, 8, TLSMACParams)
        for mechanism in (CKM.TLS_MAC, CKM.TLS12_MAC)
    ),
)

ROWS = (
    *(
        MechanismRow(
            mechanism, "agreement", "ecdh", _AGREES, (CKK.EC, CKK.EC_MONTGOMERY), 192, 521, parameter=ECDH1Params
        )
        for mechanism in (CKM.ECDH1_DERIVE, CKM.ECDH1_COFACTOR_DERIVE)
    ),
    MechanismRow(CKM.DH_PKCS_DERIVE, "agreement", "dh", CKF.DERIVE, (CKK.DH,), 512, 8192, parameter=bytes, legacy=True),
    MechanismRow(
        *(CKM.PKCS5_PBKD2, "password", "pbkdf2", CKF.GENERATE, SECRETS, 1, MOST_BYTES, 8, PBKD2Params),
    ),
    MechanismRow(CKM.HKDF_KEY_GEN, "random", "hkdf", CKF.GENERATE, (CKK.HKDF,), 1, MOST_BYTES, 8),
    _derive(CKM.CONCATENATE_BASE_AND_KEY, "simple-kdf", "base-and-key", bytes),
    _derive(CKM.CONCATENATE_BASE_AND_DATA, "simple-kdf", "base-and-data", StringData),
    _derive(CKM.CONCATENATE_DATA_AND_BASE, "simple-kdf", "data-and-base", StringData),
    _derive(CKM.XOR_BASE_AND_DATA, "simple-kdf", "xor", StringData),
    _derive(CKM.EXTRACT_KEY_FROM_KEY, "simple-kdf", "extract", bytes),
    *(_derive(mechanism, "simple-kdf", "digest", None, name) for name, mechanism in _DIGESTED),
    _encrypting(CKM.AES_ECB_ENCRYPT_DATA, "ecb", StringData),
    _encrypting(CKM.AES_CBC_ENCRYPT_DATA, "cbc", AESCBCData),
    *(
        MechanismRow(
            *(mechanism, "encrypting-kdf", mode, CKF.DERIVE, (CKK.DES3, CKK.DES2), 16, 24, 8, parameter),
            key_step=8,
            legacy=True,
        )
        for mechanism, mode, parameter in (
            (CKM.DES3_ECB_ENCRYPT_DATA, "ecb", StringData),
            (CKM.DES3_CBC_ENCRYPT_DATA, "cbc", DESCBCData),
        )
    ),
    _derive(CKM.HKDF_DERIVE, "hkdf", "key", HKDFParams),
    _derive(CKM.HKDF_DATA, "hkdf", "data", HKDFParams),
    _derive(CKM.SP800_108_COUNTER_KDF, "sp800-108", "counter", CounterParams),
    _derive(CKM.SP800_108_FEEDBACK_KDF, "sp800-108", "feedback", FeedbackParams),
    _derive(CKM.SP800_108_DOUBLE_PIPELINE_KDF, "sp800-108", "double-pipeline", CounterParams),
    *_TLS_ROWS,
)
