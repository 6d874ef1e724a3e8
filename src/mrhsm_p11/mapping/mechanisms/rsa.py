"""RSA mechanisms."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import CRYPT, RECOVERS, SIGNS, WRAPS, MechanismRow, ParameterClass
from mrhsm_p11.parameters.rsa import OAEPParams, PSSParams, RSAAESKeyWrapParams

# hashlib's name, PKCS #1 v1.5, PSS
_SIGNATURES = (
    ("sha1", CKM.SHA1_RSA_PKCS, CKM.SHA1_RSA_PKCS_PSS),
    ("sha224", CKM.SHA224_RSA_PKCS, CKM.SHA224_RSA_PKCS_PSS),
    ("sha256", CKM.SHA256_RSA_PKCS, CKM.SHA256_RSA_PKCS_PSS),
    ("sha384", CKM.SHA384_RSA_PKCS, CKM.SHA384_RSA_PKCS_PSS),
    ("sha512", CKM.SHA512_RSA_PKCS, CKM.SHA512_RSA_PKCS_PSS),
    ("sha3_224", CKM.SHA3_224_RSA_PKCS, CKM.SHA3_224_RSA_PKCS_PSS),
    ("sha3_256", CKM.SHA3_256_RSA_PKCS, CKM.SHA3_256_RSA_PKCS_PSS),
    ("sha3_384", CKM.SHA3_384_RSA_PKCS, CKM.SHA3_384_RSA_PKCS_PSS),
    ("sha3_512", CKM.SHA3_512_RSA_PKCS, CKM.SHA3_512_RSA_PKCS_PSS),
)


def _rsa(type: int, mode: str, flags: int, parameter: ParameterClass = None, hash: str | None = None) -> MechanismRow:
    # multi-part only where a hash stands before the padding; public keys below 1024 bits still verify and encrypt
    return MechanismRow(
        type,
        "rsa",
        mode,
        flags,
        (CKK.RSA,),
        1024 if flags & CKF.GENERATE_KEY_PAIR else 512,
        8192,
        1,
        parameter,
        hash,
        multipart=hash is not None,
        legacy=hash == "sha1",
    )


ROWS = (
    _rsa(CKM.RSA_PKCS_KEY_PAIR_GEN, "generate", CKF.GENERATE_KEY_PAIR),
    _rsa(CKM.RSA_PKCS, "pkcs1", CRYPT | WRAPS | SIGNS | RECOVERS),
    MechanismRow(
        CKM.RSA_X_509,
        "rsa-raw",
        "",
        CRYPT | WRAPS | SIGNS | RECOVERS,
        (CKK.RSA,),
        512,
        8192,
        multipart=False,
        fills_before=True,
        libcrypto=True,
    ),
    _rsa(CKM.RSA_PKCS_OAEP, "oaep", CRYPT | WRAPS, OAEPParams),
    _rsa(CKM.RSA_AES_KEY_WRAP, "oaep-kwp", WRAPS, RSAAESKeyWrapParams)._replace(wraps_private=True),
    _rsa(CKM.RSA_PKCS_PSS, "pss", SIGNS, PSSParams),
    *(_rsa(pkcs1, "pkcs1", SIGNS, None, name) for name, pkcs1, _ in _SIGNATURES),
    *(_rsa(pss, "pss", SIGNS, PSSParams, name) for name, _, pss in _SIGNATURES),
)
