"""Keys on Edwards and Montgomery curves, which are plain strings of bytes, as attributes and in their containers."""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.constants import CKA, CKK
from mrhsm_p11.crypto import der, keys
from mrhsm_p11.crypto.containers import (
    Algorithm,
    given_bytes,
    open_private,
    open_public,
    private_key_info,
    subject_public_key_info,
)
from mrhsm_p11.crypto.curves import Curve, bare_point, curve_of
from mrhsm_p11.errors import AttributeValueInvalid
from mrhsm_p11.mapping.codecs import Value

Given = Mapping[int, Value]


class OctetForm:
    """The keys of one kind of curve."""

    __slots__ = ("key_type",)

    def __init__(self, key_type: int) -> None:
        self.key_type = key_type

    def public_material(self, given: Given) -> bytes:
        """Return the SubjectPublicKeyInfo of a template. Raises CurveNotSupported, DomainParamsInvalid."""
        curve = curve_of(given_bytes(given, CKA.EC_PARAMS), self.key_type)
        return public_key(curve, given_bytes(given, CKA.EC_POINT))

    def private_material(self, given: Given) -> bytes:
        """Return the PKCS #8 of a template. Raises CurveNotSupported, DomainParamsInvalid, AttributeValueInvalid."""
        curve = curve_of(given_bytes(given, CKA.EC_PARAMS), self.key_type)
        value = given_bytes(given, CKA.VALUE)
        if len(value) != curve.width:
            raise AttributeValueInvalid(f"a private key on {curve.name} has {curve.width} bytes")
        return private_key_info((curve.oid, b""), der.encode(der.OCTET_STRING, value))

    def public_attributes(self, spki: bytes) -> dict[int, Value]:
        """Return every attribute of a public key. Raises ValueError.

        CKA_EC_POINT is the bare key of RFC 8032 or RFC 7748, as PKCS #11 says since the errata of 3.0.
        """
        algorithm, point = open_public(spki)
        return {CKA.EC_PARAMS: self.curve(algorithm).oid, CKA.EC_POINT: point, CKA.PUBLIC_KEY_INFO: spki}

    def private_attributes(self, pkcs8: bytes) -> dict[int, Value]:
        """Return every attribute of a private key. Raises ValueError."""
        algorithm, key = open_private(pkcs8)
        curve = self.curve(algorithm)
        return {
            CKA.EC_PARAMS: curve.oid,
            CKA.VALUE: der.only(key, der.OCTET_STRING),
            CKA.PUBLIC_KEY_INFO: keys.public_info(pkcs8),
        }

    def curve(self, algorithm: Algorithm) -> Curve:
        """Return the curve that an algorithm identifier names. Raises ValueError, CurveNotSupported."""
        oid, parameters = algorithm
        if parameters:
            raise ValueError("parameters where the curve has none")
        return curve_of(oid, self.key_type)


EDWARDS = OctetForm(CKK.EC_EDWARDS)
MONTGOMERY = OctetForm(CKK.EC_MONTGOMERY)


def public_key(curve: Curve, point: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of CKA_EC_POINT, bare or in an OCTET STRING."""
    return subject_public_key_info((curve.oid, b""), bare_point(point, curve.width))
