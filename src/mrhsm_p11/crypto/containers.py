"""The two containers of keys: SubjectPublicKeyInfo (RFC 5280) and PrivateKeyInfo (PKCS #8, RFC 5958)."""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import der
from mrhsm_p11.errors import AttributeValueInvalid

RSA_OID = bytes.fromhex("06092a864886f70d010101")
EC_OID = bytes.fromhex("06072a8648ce3d0201")
DSA_OID = bytes.fromhex("06072a8648ce380401")
DH_OID = bytes.fromhex("06092a864886f70d010301")  # of PKCS #3
X942_DH_OID = bytes.fromhex("06072a8648ce3e0201")

Algorithm = tuple[bytes, bytes]  # object identifier and parameters, both whole elements


def subject_public_key_info(algorithm: Algorithm, key: bytes) -> bytes:
    """Return the DER of a public key."""
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, *algorithm), der.bit_string(key))


def private_key_info(algorithm: Algorithm, key: bytes) -> bytes:
    """Return the DER of a private key, version 1."""
    return der.encode(
        der.SEQUENCE, der.integer(b""), der.encode(der.SEQUENCE, *algorithm), der.encode(der.OCTET_STRING, key)
    )


def open_public(spki: bytes) -> tuple[Algorithm, bytes]:
    """Return algorithm and content of a SubjectPublicKeyInfo. Raises ValueError."""
    algorithm, key = _exactly(2, der.only(spki, der.SEQUENCE))
    return open_algorithm(algorithm), der.whole_bits(key)


def open_private(pkcs8: bytes) -> tuple[Algorithm, bytes]:
    """Return algorithm and content of a PrivateKeyInfo, attributes left aside. Raises ValueError."""
    version, algorithm, key, *_ = _exactly(3, der.only(pkcs8, der.SEQUENCE))
    if version[0] != der.INTEGER or key[0] != der.OCTET_STRING:
        raise ValueError("no PrivateKeyInfo")
    return open_algorithm(algorithm), key[1]


def open_algorithm(element: tuple[int, bytes]) -> Algorithm:
    """Return the parts of an AlgorithmIdentifier. Raises ValueError."""
    tag, content = element
    if tag != der.SEQUENCE:
        raise ValueError("no AlgorithmIdentifier")
    oid_tag, oid, parameters = der.take(content)
    if oid_tag != der.OID:
        raise ValueError("no AlgorithmIdentifier")
    return der.encode(der.OID, oid), parameters


def _exactly(least: int, content: bytes) -> list[tuple[int, bytes]]:
    found = list(der.elements(content))
    if len(found) < least:
        raise ValueError("a key container lacks an element")
    return found


def given_bytes(given: Mapping[int, object], cka: int) -> bytes:
    """Return a template's string of bytes, empty where it is not given. Raises AttributeValueInvalid."""
    value = given.get(cka, b"")
    if not isinstance(value, bytes):
        raise AttributeValueInvalid(f"CKA_{CKA.name(cka)} is no string of bytes")
    return value
