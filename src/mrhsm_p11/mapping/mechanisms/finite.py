"""Mechanisms of finite fields: DSA and Diffie-Hellman. All are legacy."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import SIGNS, Family, MechanismRow

# hashlib's name, DSA
_SIGNATURES = (
    ("sha1", CKM.DSA_SHA1),
    ("sha224", CKM.DSA_SHA224),
    ("sha256", CKM.DSA_SHA256),
    ("sha384", CKM.DSA_SHA384),
    ("sha512", CKM.DSA_SHA512),
    ("sha3_224", CKM.DSA_SHA3_224),
    ("sha3_256", CKM.DSA_SHA3_256),
    ("sha3_384", CKM.DSA_SHA3_384),
    ("sha3_512", CKM.DSA_SHA3_512),
)


def _row(
    type: int, family: Family, mode: str, flags: int, key_type: int, least: int, most: int, hash: str | None = None
) -> MechanismRow:
    multipart = hash is not None
    return MechanismRow(
        type, family, mode, flags, (key_type,), least, most, hash=hash, multipart=multipart, legacy=True
    )


def _dsa(type: int, mode: str, flags: int, hash: str | None = None) -> MechanismRow:
    return _row(type, "dsa", mode, flags, CKK.DSA, 1024, 3072, hash)


ROWS = (
    _dsa(CKM.DSA_PARAMETER_GEN, "parameters", CKF.GENERATE),
    _dsa(CKM.DSA_KEY_PAIR_GEN, "generate", CKF.GENERATE_KEY_PAIR),
    _dsa(CKM.DSA, "dsa", SIGNS),
    *(_dsa(dsa, "dsa", SIGNS, name) for name, dsa in _SIGNATURES),
    _row(CKM.DH_PKCS_PARAMETER_GEN, "dh", "parameters", CKF.GENERATE, CKK.DH, 512, 8192),
    _row(CKM.DH_PKCS_KEY_PAIR_GEN, "dh", "generate", CKF.GENERATE_KEY_PAIR, CKK.DH, 512, 8192),
)
