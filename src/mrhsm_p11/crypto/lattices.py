"""The parameter sets of ML-KEM and ML-DSA that the primitives have."""

from __future__ import annotations

from typing import NamedTuple

from mrhsm_p11.constants import CKK, CKP
from mrhsm_p11.errors import AttributeValueInvalid


class ParameterSet(NamedTuple):
    """A parameter set: sizes in bytes, `oid` a whole DER element, `made` what it makes: ciphertexts or signatures."""

    key_type: int
    value: int  # CKA_PARAMETER_SET
    name: str  # of the primitives' classes
    oid: bytes
    seed: int
    public: int
    private: int  # as CKA_VALUE has it, expanded
    made: int


SETS = (  # FIPS 203, table 3; FIPS 204, table 2; object identifiers of RFC 9935 and RFC 9881
    ParameterSet(CKK.ML_KEM, CKP.ML_KEM_768, "MLKEM768", bytes.fromhex("0609608648016503040402"), 64, 1184, 2400, 1088),
    ParameterSet(
        CKK.ML_KEM, CKP.ML_KEM_1024, "MLKEM1024", bytes.fromhex("0609608648016503040403"), 64, 1568, 3168, 1568
    ),
    ParameterSet(CKK.ML_DSA, CKP.ML_DSA_44, "MLDSA44", bytes.fromhex("0609608648016503040311"), 32, 1312, 2560, 2420),
    ParameterSet(CKK.ML_DSA, CKP.ML_DSA_65, "MLDSA65", bytes.fromhex("0609608648016503040312"), 32, 1952, 4032, 3309),
    ParameterSet(CKK.ML_DSA, CKP.ML_DSA_87, "MLDSA87", bytes.fromhex("0609608648016503040313"), 32, 2592, 4896, 4627),
)
BY_OID = {each.oid: each for each in SETS}


def named(key_type: int, value: object) -> ParameterSet:
    """Return the set that CKA_PARAMETER_SET means. Raises AttributeValueInvalid."""
    for each in SETS:
        if (each.key_type, each.value) == (key_type, value):
            return each
    raise AttributeValueInvalid("the parameter set is none of those here")
