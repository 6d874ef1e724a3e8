"""Mechanisms that withstand quantum computers: ML-KEM and ML-DSA. The primitives have no ML-KEM-512 and no SLH-DSA."""

from __future__ import annotations

from importlib.util import find_spec

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import SIGNS, MechanismRow, ParameterClass
from mrhsm_p11.parameters.signatures import HashSignContext, SignContext

_WITH_MU = 49  # the first version of the primitives that signs a message representative, as HashML-DSA needs

# hashlib's name, HashML-DSA
_SIGNATURES = (
    ("sha224", CKM.HASH_ML_DSA_SHA224),
    ("sha256", CKM.HASH_ML_DSA_SHA256),
    ("sha384", CKM.HASH_ML_DSA_SHA384),
    ("sha512", CKM.HASH_ML_DSA_SHA512),
    ("sha3_224", CKM.HASH_ML_DSA_SHA3_224),
    ("sha3_256", CKM.HASH_ML_DSA_SHA3_256),
    ("sha3_384", CKM.HASH_ML_DSA_SHA3_384),
    ("sha3_512", CKM.HASH_ML_DSA_SHA3_512),
)


def _library_version() -> int:
    """Return the major version of the primitives, without the cost of importing them."""
    found = find_spec("cryptography")
    if found is None or not found.submodule_search_locations:
        return 0
    with open(f"{found.submodule_search_locations[0]}/__about__.py", encoding="utf-8") as about:
        _, _, version = about.read().partition('__version__ = "')
    return int(version.partition(".")[0] or 0)


def _kem(type: int, mode: str, flags: int) -> MechanismRow:
    return MechanismRow(type, "mlkem", mode, flags, (CKK.ML_KEM,), 1184, 1568, 8, multipart=False)


def _dsa(
    type: int, mode: str, flags: int, parameter: ParameterClass, hash: str | None = None, *, multipart: bool = True
) -> MechanismRow:
    return MechanismRow(
        type,
        "mldsa",
        mode,
        flags,
        (CKK.ML_DSA,),
        1312,
        2592,
        8,
        parameter,
        hash,
        multipart=multipart,
        optional_parameter=parameter is SignContext,
    )


_HASHED = (
    _dsa(CKM.HASH_ML_DSA, "prehashed", SIGNS, HashSignContext, multipart=False),
    *(_dsa(mechanism, "hash", SIGNS, SignContext, name) for name, mechanism in _SIGNATURES),
)
ROWS = (
    _kem(CKM.ML_KEM_KEY_PAIR_GEN, "generate", CKF.GENERATE_KEY_PAIR),
    _kem(CKM.ML_KEM, "encapsulate", CKF.ENCAPSULATE | CKF.DECAPSULATE),
    _dsa(CKM.ML_DSA_KEY_PAIR_GEN, "generate", CKF.GENERATE_KEY_PAIR, None, multipart=False),
    _dsa(CKM.ML_DSA, "pure", SIGNS, SignContext),
    *(_HASHED if _library_version() >= _WITH_MU else ()),
)
