"""Keys on short Weierstrass curves as attributes, and as SubjectPublicKeyInfo and PKCS #8."""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.constants import CKA, CKK
from mrhsm_p11.crypto import der
from mrhsm_p11.crypto.containers import (
    EC_OID,
    given_bytes,
    open_private,
    open_public,
    private_key_info,
    subject_public_key_info,
)
from mrhsm_p11.crypto.curves import Curve, bare_point, curve_of
from mrhsm_p11.errors import AttributeValueInvalid
from mrhsm_p11.mapping.codecs import Value


def public_key(curve: Curve, point: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a bare point."""
    return subject_public_key_info((EC_OID, curve.oid), point)


def private_key(curve: Curve, scalar: bytes, point: bytes = b"") -> bytes:
    """Return the PKCS #8 of a private number, with the public point where it is known."""
    public = (der.encode(0xA1, der.bit_string(point)),) if point else ()
    key = der.encode(der.OCTET_STRING, scalar.rjust(curve.width, b"\0"))
    return private_key_info((EC_OID, curve.oid), der.encode(der.SEQUENCE, der.integer(b"\1"), key, *public))


def public_parts(spki: bytes) -> tuple[Curve, bytes]:
    """Return curve and bare point. Raises ValueError, CurveNotSupported."""
    algorithm, point = open_public(spki)
    return _curve(algorithm), point


def private_parts(pkcs8: bytes) -> tuple[Curve, bytes, bytes]:
    """Return curve, private number (as wide as the order) and bare point. Raises ValueError, CurveNotSupported."""
    algorithm, key = open_private(pkcs8)
    curve = _curve(algorithm)
    _, (scalar_tag, scalar), *optional = der.elements(der.only(key, der.SEQUENCE))
    points = [content for tag, content in optional if tag == 0xA1]
    if scalar_tag != der.OCTET_STRING or len(points) != 1:
        raise ValueError("an EC private key without its number or its point")
    tag, point, _ = der.take(points[0])
    return curve, scalar.rjust(curve.width, b"\0"), der.whole_bits((tag, point))


def _curve(algorithm: tuple[bytes, bytes]) -> Curve:
    oid, parameters = algorithm
    if oid != EC_OID:
        raise ValueError("not an EC key")
    return curve_of(parameters, CKK.EC)


def public_material(given: Mapping[int, Value]) -> bytes:
    """Return the SubjectPublicKeyInfo of a template. Raises CurveNotSupported, DomainParamsInvalid."""
    curve = curve_of(given_bytes(given, CKA.EC_PARAMS), CKK.EC)
    point = bare_point(given_bytes(given, CKA.EC_POINT), curve.width + 1, 2 * curve.width + 1)
    return public_key(curve, point)


def private_material(given: Mapping[int, Value]) -> bytes:
    """Return the PKCS #8 of a template. Raises CurveNotSupported, DomainParamsInvalid, AttributeValueInvalid."""
    curve = curve_of(given_bytes(given, CKA.EC_PARAMS), CKK.EC)
    scalar = given_bytes(given, CKA.VALUE).lstrip(b"\0")
    if len(scalar) > curve.width:
        raise AttributeValueInvalid("the private number is larger than the curve's order")
    return private_key(curve, scalar)


def public_attributes(spki: bytes) -> dict[int, Value]:
    """Return every attribute of a public key. Raises ValueError."""
    curve, point = public_parts(spki)
    return {CKA.EC_PARAMS: curve.oid, CKA.EC_POINT: der.encode(der.OCTET_STRING, point), CKA.PUBLIC_KEY_INFO: spki}


def private_attributes(pkcs8: bytes) -> dict[int, Value]:
    """Return every attribute of a private key. Raises ValueError."""
    curve, scalar, point = private_parts(pkcs8)
    return {CKA.EC_PARAMS: curve.oid, CKA.VALUE: scalar, CKA.PUBLIC_KEY_INFO: public_key(curve, point)}
