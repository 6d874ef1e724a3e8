"""Mechanisms on elliptic curves: Weierstrass, Edwards, Montgomery."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import SIGNS, MechanismRow
from mrhsm_p11.parameters.signatures import EdDSAParams

_NAMED = CKF.EC_F_P | CKF.EC_OID | CKF.EC_CURVENAME
_WEIERSTRASS = _NAMED | CKF.EC_UNCOMPRESS | CKF.EC_COMPRESS

# hashlib's name, ECDSA
_SIGNATURES = (
    ("sha1", CKM.ECDSA_SHA1),
    ("sha224", CKM.ECDSA_SHA224),
    ("sha256", CKM.ECDSA_SHA256),
    ("sha384", CKM.ECDSA_SHA384),
    ("sha512", CKM.ECDSA_SHA512),
    ("sha3_224", CKM.ECDSA_SHA3_224),
    ("sha3_256", CKM.ECDSA_SHA3_256),
    ("sha3_384", CKM.ECDSA_SHA3_384),
    ("sha3_512", CKM.ECDSA_SHA3_512),
)


def _ec(type: int, mode: str, flags: int, hash: str | None = None) -> MechanismRow:
    return MechanismRow(
        type,
        "ec",
        mode,
        flags | _WEIERSTRASS,
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
    MechanismRow(
        CKM.EC_EDWARDS_KEY_PAIR_GEN,
        "edwards",
        "generate",
        CKF.GENERATE_KEY_PAIR | _NAMED,
        (CKK.EC_EDWARDS,),
        255,
        448,
        multipart=False,
    ),
    MechanismRow(
        CKM.EDDSA,
        "edwards",
        "eddsa",
        SIGNS | _NAMED,
        (CKK.EC_EDWARDS,),
        255,
        448,
        parameter=EdDSAParams,
        optional_parameter=True,
    ),
    MechanismRow(
        CKM.EC_MONTGOMERY_KEY_PAIR_GEN,
        "montgomery",
        "generate",
        CKF.GENERATE_KEY_PAIR | _NAMED,
        (CKK.EC_MONTGOMERY,),
        255,
        448,
    ),
)
