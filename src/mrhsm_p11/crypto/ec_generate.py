"""New key pairs on elliptic curves."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from mrhsm_p11.constants import CKA, CKK
from mrhsm_p11.crypto import keys
from mrhsm_p11.crypto.curves import curve_of
from mrhsm_p11.crypto.families import Template
from mrhsm_p11.errors import TemplateIncomplete
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret


def generate(_row: MechanismRow, public: Template, _private: Template) -> tuple[Secret, Secret]:
    """Make a pair on the curve of CKA_EC_PARAMS; return (SPKI, PKCS #8).

    Raises TemplateIncomplete, CurveNotSupported, DomainParamsInvalid.
    """
    params = public.get(CKA.EC_PARAMS)
    if not isinstance(params, bytes):
        raise TemplateIncomplete("CKA_EC_PARAMS is missing")
    return keys.pair(ec.generate_private_key(keys.group(curve_of(params, CKK.EC))))
