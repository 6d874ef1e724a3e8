"""Key objects of the primitives library, loaded from material."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from mrhsm_p11.crypto import checks, der
from mrhsm_p11.crypto.containers import (
    DH_OID,
    X942_DH_OID,
    Algorithm,
    open_private,
    open_public,
    private_key_info,
    subject_public_key_info,
)
from mrhsm_p11.crypto.curves import Curve
from mrhsm_p11.errors import KeyTypeInconsistent
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

# The library says at each use of DH that it means to drop it. That is for us to know, not for our host's stderr; the
# filter is for our own modules alone.
warnings.filterwarnings("ignore", "Diffie-Hellman over finite fields", module=r"mrhsm_p11\.")

_GROUPS: dict[str, ec.EllipticCurve] = {
    group.name: group
    for group in (
        ec.SECP192R1(),
        ec.SECP224R1(),
        ec.SECP256R1(),
        ec.SECP384R1(),
        ec.SECP521R1(),
        ec.SECP256K1(),
        ec.BrainpoolP256R1(),
        ec.BrainpoolP384R1(),
        ec.BrainpoolP512R1(),
    )
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


def private(material: Secret) -> PrivateKeyTypes:
    """Load a private key of any type. Raises KeyTypeInconsistent."""
    return _load_private(material)


def public(material: Secret) -> PublicKeyTypes:
    """Load a public key of any type. Raises KeyTypeInconsistent."""
    return _load_public(material)


def group(curve: Curve) -> ec.EllipticCurve:
    """Return the primitives library's name of a curve."""
    return _GROUPS[curve.name]


def pair(key: PrivateKeyTypes) -> tuple[Secret, Secret]:
    """Return a new key as material: (SubjectPublicKeyInfo, PKCS #8)."""
    return Secret(public_der(key.public_key())), Secret(private_der(key))


def public_der(key: PublicKeyTypes) -> bytes:
    """Return a key's SubjectPublicKeyInfo, in the one form that is kept."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    algorithm, value = open_public(spki)
    return subject_public_key_info(_as_pkcs3(algorithm), value) if algorithm[0] == X942_DH_OID else spki


def private_der(key: PrivateKeyTypes) -> bytes:
    """Return a key's PKCS #8, in the one form that is kept."""
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    algorithm, value = open_private(pkcs8)
    return private_key_info(_as_pkcs3(algorithm), value) if algorithm[0] == X942_DH_OID else pkcs8


def _as_pkcs3(algorithm: Algorithm) -> Algorithm:
    """Say of a Diffie-Hellman group what PKCS #3 says: OpenSSL knows groups by their prime and adds what it knows."""
    prime, base, *_ = der.elements(der.only(algorithm[1], der.SEQUENCE))
    return DH_OID, der.encode(der.SEQUENCE, *(der.encode(*number) for number in (prime, base)))


def parse_private(pkcs8: bytes | memoryview, *, check: bool) -> PrivateKeyTypes:
    """Load any private key. `check` false skips the primality tests of RSA. Raises ValueError, UnsupportedAlgorithm."""
    return load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=not check)


def parse_public(spki: bytes) -> PublicKeyTypes:
    """Load any public key. Raises ValueError, UnsupportedAlgorithm."""
    return load_der_public_key(spki)


def public_info(pkcs8: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a private key that does not carry its public half. Raises ValueError."""
    return public_der(parse_private(pkcs8, check=False).public_key())


def _load_private(material: Secret) -> PrivateKeyTypes:
    try:
        # validated when it became material: 30 ms for each use would be the same answer
        return parse_private(material.view(), check=False)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyTypeInconsistent("not a private key") from None


def _load_public(material: Secret) -> PublicKeyTypes:
    try:
        return parse_public(material.reveal())
    except (ValueError, UnsupportedAlgorithm):
        raise KeyTypeInconsistent("not a public key") from None
