"""New RSA key pairs."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import keys
from mrhsm_p11.crypto.families import Template
from mrhsm_p11.errors import AttributeValueInvalid, TemplateIncomplete
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

_EXPONENTS = (3, 65537)  # those that the primitives generate
_DEFAULT_EXPONENT = b"\1\0\1"


def generate(row: MechanismRow, public: Template, _private: Template) -> tuple[Secret, Secret]:
    """Make a pair of CKA_MODULUS_BITS and, where given, CKA_PUBLIC_EXPONENT; return (SPKI, PKCS #8).

    Raises TemplateIncomplete, AttributeValueInvalid.
    """
    bits = public.get(CKA.MODULUS_BITS)
    if not isinstance(bits, int):
        raise TemplateIncomplete("CKA_MODULUS_BITS is missing")
    if not row.allows(bits):
        raise AttributeValueInvalid(f"an RSA key of {bits} bits cannot be made here")
    given = public.get(CKA.PUBLIC_EXPONENT, _DEFAULT_EXPONENT)
    exponent = int.from_bytes(given, "big") if isinstance(given, bytes) else 0
    if exponent not in _EXPONENTS:
        raise AttributeValueInvalid("the public exponent of a new RSA key is 3 or 65537")
    return keys.pair(rsa.generate_private_key(exponent, bits))
