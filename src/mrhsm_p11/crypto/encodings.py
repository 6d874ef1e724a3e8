"""Key bytes from elsewhere, checked by the primitives library and brought into the one form kept here."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from mrhsm_p11.constants import CKK
from mrhsm_p11.crypto import containers, der, keys
from mrhsm_p11.crypto.containers import DH_OID, DSA_OID, EC_OID, RSA_OID
from mrhsm_p11.crypto.curves import CURVES, curve_of
from mrhsm_p11.crypto.lattices import SETS
from mrhsm_p11.errors import AttributeValueInvalid, CryptokiError, CurveNotSupported

RSA_BITS = range(1024, 8193)
RSA_PUBLIC_BITS = range(512, 8193)  # what was signed long ago is still verified
_MOST_FILLING = 15  # zero bytes that a wrapping mechanism may have added
_OIDS = {  # of the algorithms that keys of a type have in their containers
    CKK.RSA: frozenset({RSA_OID}),
    CKK.EC: frozenset({EC_OID}),
    CKK.EC_EDWARDS: frozenset(curve.oid for curve in CURVES if curve.key_type == CKK.EC_EDWARDS),
    CKK.EC_MONTGOMERY: frozenset(curve.oid for curve in CURVES if curve.key_type == CKK.EC_MONTGOMERY),
    CKK.DSA: frozenset({DSA_OID}),
    CKK.DH: frozenset({DH_OID}),
    CKK.ML_KEM: frozenset(each.oid for each in SETS if each.key_type == CKK.ML_KEM),
    CKK.ML_DSA: frozenset(each.oid for each in SETS if each.key_type == CKK.ML_DSA),
}


def public(key_type: int, value: bytes) -> bytes:
    """Return SubjectPublicKeyInfo, from itself or PKCS #1. Raises AttributeValueInvalid, CurveNotSupported."""
    try:
        key = keys.parse_public(value)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refusal(key_type, error, "public key") from None
    spki = keys.public_der(key)
    _check(key_type, containers.open_public(spki)[0], key)
    return spki


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
        key = keys.parse_private(whole, check=check)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # not chained: the text of a parser's complaint may quote what it parsed
        raise _refusal(key_type, error, "private key") from None
    pkcs8 = keys.private_der(key)
    _check(key_type, containers.open_private(pkcs8)[0], key)
    return pkcs8


def _refusal(key_type: int, error: Exception, half: str) -> CryptokiError:
    if key_type == CKK.EC and isinstance(error, UnsupportedAlgorithm):
        return CurveNotSupported(f"the {half} is on no curve that there is here")
    return AttributeValueInvalid(f"the bytes are no {half} that can be used here")


def _check(key_type: int, algorithm: containers.Algorithm, key: object) -> None:
    oid, parameters = algorithm
    if oid not in _OIDS[key_type]:
        raise AttributeValueInvalid("the key is of another type")
    if key_type == CKK.EC:
        curve_of(parameters, key_type)
    if isinstance(key, (RSAPublicKey, RSAPrivateKey)):
        sizes = RSA_BITS if isinstance(key, RSAPrivateKey) else RSA_PUBLIC_BITS
        if key.key_size not in sizes:
            raise AttributeValueInvalid(f"an RSA key of {key.key_size} bits is not from {sizes[0]} to {sizes[-1]}")
