"""EC keys as attributes, and as SubjectPublicKeyInfo and PKCS #8; the curves there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import der
from mrhsm_p11.crypto.containers import (
    EC_OID,
    given_bytes,
    open_private,
    open_public,
    private_key_info,
    subject_public_key_info,
)
from mrhsm_p11.errors import AttributeValueInvalid, CurveNotSupported, DomainParamsInvalid
from mrhsm_p11.mapping.codecs import Value


@dataclass(frozen=True, slots=True)
class Curve:
    """A named curve: `oid` is a whole DER element, `name` the primitives library's, `order_bits` that of its order."""

    name: str
    oid: bytes
    order_bits: int
    other_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """The bytes of a coordinate, a private number, and each half of a signature."""
        return (self.order_bits + 7) // 8


CURVES = (
    Curve("secp256r1", bytes.fromhex("06082a8648ce3d030107"), 256, ("prime256v1", "P-256")),
    Curve("secp384r1", bytes.fromhex("06052b81040022"), 384, ("P-384",)),
    Curve("secp521r1", bytes.fromhex("06052b81040023"), 521, ("P-521",)),
)
_BY_OID = {curve.oid: curve for curve in CURVES}
_BY_NAME = {name.lower(): curve for curve in CURVES for name in (curve.name, *curve.other_names)}


def curve_of(ec_params: bytes) -> Curve:
    """Return the curve that CKA_EC_PARAMS names, by object identifier or by name as a PrintableString.

    Raises CurveNotSupported for another curve or explicit parameters, DomainParamsInvalid for what is neither.
    """
    curve = _BY_OID.get(ec_params)
    if curve is None and der.is_whole(ec_params, der.PRINTABLE_STRING):
        curve = _BY_NAME.get(der.only(ec_params, der.PRINTABLE_STRING).decode("ascii", "replace").lower())
    if curve is not None:
        return curve
    if any(der.is_whole(ec_params, tag) for tag in (der.OID, der.PRINTABLE_STRING, der.SEQUENCE)):
        raise CurveNotSupported("the curve is none of " + ", ".join(known.name for known in CURVES))
    raise DomainParamsInvalid("CKA_EC_PARAMS is the DER of no object identifier, name or parameters")


def bare_point(curve: Curve, ec_point: bytes) -> bytes:
    """Return CKA_EC_POINT without its OCTET STRING; a bare point is taken as well."""
    if len(ec_point) == 2 * curve.width + 1 and ec_point[:1] == b"\x04":
        return ec_point
    return der.only(ec_point, der.OCTET_STRING) if der.is_whole(ec_point, der.OCTET_STRING) else ec_point


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
    return curve_of(parameters)


def public_material(given: Mapping[int, Value]) -> bytes:
    """Return the SubjectPublicKeyInfo of a template. Raises CurveNotSupported, DomainParamsInvalid."""
    curve = curve_of(given_bytes(given, CKA.EC_PARAMS))
    return public_key(curve, bare_point(curve, given_bytes(given, CKA.EC_POINT)))


def private_material(given: Mapping[int, Value]) -> bytes:
    """Return the PKCS #8 of a template. Raises CurveNotSupported, DomainParamsInvalid, AttributeValueInvalid."""
    curve = curve_of(given_bytes(given, CKA.EC_PARAMS))
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
