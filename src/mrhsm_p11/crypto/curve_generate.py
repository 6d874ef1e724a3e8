"""New key pairs on elliptic curves: Weierstrass, Edwards, Montgomery."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import keys
from mrhsm_p11.crypto.curves import curve_of
from mrhsm_p11.crypto.families import Template
from mrhsm_p11.errors import TemplateIncomplete
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_GENERATE: dict[str, Callable[[], PrivateKeyTypes]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "x25519": x25519.X25519PrivateKey.generate,
    "x448": x448.X448PrivateKey.generate,
}


def generate(row: MechanismRow, public: Template, _private: Template) -> tuple[Secret, Secret]:
    """Make a pair on the curve of CKA_EC_PARAMS; return (SPKI, PKCS #8).

    Raises TemplateIncomplete, CurveNotSupported, DomainParamsInvalid.
    """
    params = public.get(CKA.EC_PARAMS)
    if not isinstance(params, bytes):
        raise TemplateIncomplete("CKA_EC_PARAMS is missing")
    curve = curve_of(params, *row.key_types)
    if curve.name in _GENERATE:
        return keys.pair(_GENERATE[curve.name]())
    return keys.pair(ec.generate_private_key(keys.group(curve)))
