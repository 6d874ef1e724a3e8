"""New key pairs of ML-KEM and ML-DSA."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem

from mrhsm_p11.constants import CKA, CKK
from mrhsm_p11.crypto import keys
from mrhsm_p11.crypto.families import Template
from mrhsm_p11.crypto.lattices import named
from mrhsm_p11.errors import MechanismInvalid, TemplateIncomplete
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


def generate(row: MechanismRow, public: Template, _private: Template) -> tuple[Secret, Secret]:
    """Make a pair of CKA_PARAMETER_SET; return (SPKI, PKCS #8).

    Raises TemplateIncomplete, AttributeValueInvalid, MechanismInvalid where the library's OpenSSL has it not.
    """
    if CKA.PARAMETER_SET not in public:
        raise TemplateIncomplete("CKA_PARAMETER_SET is missing")
    which = named(row.key_types[0], public[CKA.PARAMETER_SET])
    module = mlkem if which.key_type == CKK.ML_KEM else mldsa
    try:
        return keys.pair(cast("PrivateKeyTypes", getattr(module, f"{which.name}PrivateKey").generate()))
    except UnsupportedAlgorithm:
        raise MechanismInvalid(f"this installation's OpenSSL has no {which.name}") from None
