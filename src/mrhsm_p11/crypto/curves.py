"""The named curves there are, by key type: short Weierstrass (CKK_EC), Edwards and Montgomery."""

from __future__ import annotations

from typing import NamedTuple

from mrhsm_p11.constants import CKK
from mrhsm_p11.crypto import der
from mrhsm_p11.errors import CurveNotSupported, DomainParamsInvalid


class Curve(NamedTuple):
    """A named curve. `name` is OpenSSL's, `oid` a whole DER element, `order_bits` of Weierstrass curves the order's
    size, of the others the key's as keys of that kind are called.

    `other_names` and `other_oids` are taken in CKA_EC_PARAMS too; what is reported is `oid`.
    """

    name: str
    oid: bytes
    key_type: int
    order_bits: int
    width: int  # bytes of a coordinate and a private number; of other curves than Weierstrass of either key
    other_names: tuple[str, ...] = ()
    other_oids: tuple[bytes, ...] = ()


def _weierstrass(name: str, oid: str, order_bits: int, *other_names: str) -> Curve:
    return Curve(name, bytes.fromhex(oid), CKK.EC, order_bits, (order_bits + 7) // 8, other_names)


CURVES = (
    _weierstrass("secp192r1", "06082a8648ce3d030101", 192, "prime192v1", "P-192"),
    _weierstrass("secp224r1", "06052b81040021", 224, "P-224"),
    _weierstrass("secp256r1", "06082a8648ce3d030107", 256, "prime256v1", "P-256"),
    _weierstrass("secp384r1", "06052b81040022", 384, "P-384"),
    _weierstrass("secp521r1", "06052b81040023", 521, "P-521"),
    _weierstrass("secp256k1", "06052b8104000a", 256),
    _weierstrass("brainpoolP256r1", "06092b2403030208010107", 256),
    _weierstrass("brainpoolP384r1", "06092b240303020801010b", 384),
    _weierstrass("brainpoolP512r1", "06092b240303020801010d", 512),
    # RFC 8410; besides, the names of PKCS #11 3.0 and the identifiers that came before
    Curve(
        "ed25519",
        bytes.fromhex("06032b6570"),
        CKK.EC_EDWARDS,
        255,
        32,
        ("edwards25519", "id-Ed25519"),
        (bytes.fromhex("06092b06010401da470f01"),),
    ),
    Curve("ed448", bytes.fromhex("06032b6571"), CKK.EC_EDWARDS, 448, 57, ("edwards448", "id-Ed448")),
    Curve(
        "x25519",
        bytes.fromhex("06032b656e"),
        CKK.EC_MONTGOMERY,
        255,
        32,
        ("curve25519", "id-X25519"),
        (bytes.fromhex("060a2b060104019755010501"),),
    ),
    Curve("x448", bytes.fromhex("06032b656f"), CKK.EC_MONTGOMERY, 448, 56, ("curve448", "id-X448")),
)
_BY_OID = {oid: curve for curve in CURVES for oid in (curve.oid, *curve.other_oids)}
_BY_NAME = {name.lower(): curve for curve in CURVES for name in (curve.name, *curve.other_names)}


def curve_of(ec_params: bytes, *key_types: int) -> Curve:
    """Return the curve of these key types that CKA_EC_PARAMS names, by object identifier or name (PrintableString).

    Raises CurveNotSupported for another curve or explicit parameters, DomainParamsInvalid for what is neither.
    """
    curve = _BY_OID.get(ec_params)
    if curve is None and der.is_whole(ec_params, der.PRINTABLE_STRING):
        curve = _BY_NAME.get(der.only(ec_params, der.PRINTABLE_STRING).decode("ascii", "replace").lower())
    if curve is not None and curve.key_type in key_types:
        return curve
    if any(der.is_whole(ec_params, tag) for tag in (der.OID, der.PRINTABLE_STRING, der.SEQUENCE)):
        known = (curve.name for curve in CURVES if curve.key_type in key_types)
        raise CurveNotSupported("the curve is none of " + ", ".join(known))
    raise DomainParamsInvalid("CKA_EC_PARAMS is the DER of no object identifier, name or parameters")


def bare_point(ec_point: bytes, *sizes: int) -> bytes:
    """Return CKA_EC_POINT without its OCTET STRING. What already has one of the bare point's sizes is taken as it is,
    unless it is a whole OCTET STRING around another.
    """
    if not der.is_whole(ec_point, der.OCTET_STRING):
        return ec_point
    inner = der.only(ec_point, der.OCTET_STRING)
    return ec_point if len(ec_point) in sizes and len(inner) not in sizes else inner
