"""Key objects of the primitives library, loaded from material."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.ec_keys import Curve
from mrhsm_p11.errors import KeyTypeInconsistent
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

_GROUPS: dict[str, type[ec.EllipticCurve]] = {
    "secp256r1": ec.SECP256R1,
    "secp384r1": ec.SECP384R1,
    "secp521r1": ec.SECP521R1,
}


def rsa_private(row: MechanismRow, material: Secret) -> rsa.RSAPrivateKey:
    """Load a private key for a mechanism. Raises KeyTypeInconsistent, KeySizeRange."""
    key = _load_private(material)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyTypeInconsistent("not an RSA private key")
    checks.key_size(row, key.key_size)
    return key


def rsa_public(row: MechanismRow, material: Secret) -> rsa.RSAPublicKey:
    """Load a public key for a mechanism. Raises KeyTypeInconsistent, KeySizeRange."""
    key = _load_public(material)
    if not isinstance(key, rsa.RSAPublicKey):
        raise KeyTypeInconsistent("not an RSA public key")
    checks.key_size(row, key.key_size)
    return key


def ec_private(row: MechanismRow, material: Secret) -> ec.EllipticCurvePrivateKey:
    """Load a private key for a mechanism. Raises KeyTypeInconsistent, KeySizeRange."""
    key = _load_private(material)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyTypeInconsistent("not an EC private key")
    checks.key_size(row, key.key_size)
    return key


def ec_public(row: MechanismRow, material: Secret) -> ec.EllipticCurvePublicKey:
    """Load a public key for a mechanism. Raises KeyTypeInconsistent, KeySizeRange."""
    key = _load_public(material)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyTypeInconsistent("not an EC public key")
    checks.key_size(row, key.key_size)
    return key


def group(curve: Curve) -> ec.EllipticCurve:
    """Return the primitives library's name of a curve."""
    return _GROUPS[curve.name]()


def pair(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> tuple[Secret, Secret]:
    """Return a new key as material: (SubjectPublicKeyInfo, PKCS #8)."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Secret(spki), Secret(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _load_private(material: Secret) -> object:
    try:
        # validated when it became material: 30 ms for each use would be the same answer
        return load_der_private_key(material.view(), None, unsafe_skip_rsa_key_validation=True)
    except ValueError:
        raise KeyTypeInconsistent("not a private key") from None


def _load_public(material: Secret) -> object:
    try:
        return load_der_public_key(material.reveal())
    except ValueError:
        raise KeyTypeInconsistent("not a public key") from None
