"""Mechanisms on elliptic curves."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import SIGNS, MechanismRow

_CURVES = CKF.EC_F_P | CKF.EC_OID | CKF.EC_CURVENAME | CKF.EC_UNCOMPRESS

# hashlib's name, ECDSA
_SIGNATURES = (
    ("sha1", CKM.ECDSA_SHA1),
    ("sha224", CKM.ECDSA_SHA224),
    ("sha256", CKM.ECDSA_SHA256),
    ("sha384", CKM.ECDSA_SHA384),
    ("sha512", CKM.ECDSA_SHA512),
)


def _ec(type: int, mode: str, flags: int, hash: str | None = None) -> MechanismRow:
    return MechanismRow(
        type,
        "ec",
        mode,
        flags | _CURVES,
        (CKK.EC,),
        192,
        521,
        hash=hash,
        multipart=hash is not None,
        legacy=hash == "sha1",
    )


ROWS = (
    _ec(CKM.EC_KEY_PAIR_GEN, "generate", CKF.GENERATE_KEY_PAIR),
    _ec(CKM.ECDSA, "ecdsa", SIGNS),
    *(_ec(ecdsa, "ecdsa", SIGNS, name) for name, ecdsa in _SIGNATURES),
)
