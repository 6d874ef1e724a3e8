"""Key bytes from elsewhere, checked by the primitives library and brought into the one form kept here."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from mrhsm_p11.constants import CKK
from mrhsm_p11.crypto import der, ec_keys
from mrhsm_p11.errors import AttributeValueInvalid, CurveNotSupported

RSA_BITS = range(1024, 8193)
_MOST_FILLING = 15  # zero bytes that a wrapping mechanism may have added
_PUBLIC = {CKK.RSA: RSAPublicKey, CKK.EC: EllipticCurvePublicKey}
_PRIVATE = {CKK.RSA: RSAPrivateKey, CKK.EC: EllipticCurvePrivateKey}


def public(key_type: int, value: bytes) -> bytes:
    """Return SubjectPublicKeyInfo, from itself or PKCS #1. Raises AttributeValueInvalid, CurveNotSupported."""
    try:
        key = load_der_public_key(value)
    except (ValueError, UnsupportedAlgorithm):
        raise AttributeValueInvalid("the bytes are no public key that can be used here") from None
    if not isinstance(key, _PUBLIC[key_type]):
        raise AttributeValueInvalid("the public key is of another type")
    _check_size(key)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def private(key_type: int, value: bytes, *, check: bool) -> bytes:
    """Return PKCS #8 that includes the public key, from itself, PKCS #1 or SEC 1.

    Zero bytes that a wrapping mechanism left behind are dropped. `check` false skips the primality tests of RSA, for
    keys that passed them before. Raises AttributeValueInvalid, CurveNotSupported.
    """
    try:
        _, _, filling = der.take(value)
        if filling.strip(b"\0") or len(filling) > _MOST_FILLING:
            raise AttributeValueInvalid("something follows the private key")
        whole = value[: len(value) - len(filling)]
        key = load_der_private_key(whole, None, unsafe_skip_rsa_key_validation=not check)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # not chained: the text of a parser's complaint may quote what it parsed
        raise AttributeValueInvalid("the bytes are no private key that can be used here") from None
    if not isinstance(key, _PRIVATE[key_type]):
        raise AttributeValueInvalid("the private key is of another type")
    _check_size(key)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _check_size(key: object) -> None:
    if isinstance(key, (RSAPublicKey, RSAPrivateKey)) and key.key_size not in RSA_BITS:
        raise AttributeValueInvalid(f"an RSA key of {key.key_size} bits is not from 1024 to 8192")
    if isinstance(key, (EllipticCurvePublicKey, EllipticCurvePrivateKey)) and key.curve.name not in _CURVE_NAMES:
        raise CurveNotSupported(f"the curve {key.curve.name}")


_CURVE_NAMES = frozenset(curve.name for curve in ec_keys.CURVES)
