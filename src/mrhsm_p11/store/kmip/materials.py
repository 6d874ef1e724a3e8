"""Material as KMIP carries it: from a managed object to our one form a class, and back in the format asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mrhsm_p11.constants import CKO
from mrhsm_p11.errors import KeyFunctionNotPermitted
from mrhsm_p11.kmip import objects as kmip
from mrhsm_p11.kmip.vocabulary import (
    CertificateType,
    CryptographicAlgorithm,
    KeyFormatType,
    ObjectType,
    OpaqueDataType,
    RecommendedCurve,
    SecretDataType,
)
from mrhsm_p11.mapping import kmip_objects
from mrhsm_p11.mapping.results import Fault, ServerFault
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip.found import Found
from mrhsm_p11.store.kmip.records import Shape

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes


def formats_of(shape: Shape) -> tuple[KeyFormatType | None, ...]:
    """Return the formats in which an object may be registered, best first; None where there is but one."""
    if shape.object_type is ObjectType.SYMMETRIC_KEY:
        return (KeyFormatType.RAW,)
    if shape.object_type in (ObjectType.PRIVATE_KEY, ObjectType.PUBLIC_KEY) and shape.key_type is not None:
        return kmip_objects.FORMATS[shape.cls, shape.key_type]
    if shape.cls == CKO.DATA:
        return (None, KeyFormatType.OPAQUE)  # as Opaque Object, else as Secret Data
    return (None,)


def pack(shape: Shape, material: Secret, format_: KeyFormatType | None) -> kmip.ManagedObject:
    """Return the managed object that carries the material."""
    if shape.object_type is ObjectType.CERTIFICATE:
        return kmip.Certificate(certificate_type=CertificateType.X_509, certificate_value=material.reveal())
    if format_ is None:
        return kmip.OpaqueObject(opaque_data_type=OpaqueDataType.NONE, opaque_data_value=material)
    if shape.cls == CKO.DATA:
        secret = Secret(material.view())
        return kmip.SecretData(secret_data_type=SecretDataType.SEED, key_block=kmip.key_block(secret, format_))
    block = kmip.key_block(_converted(material, format_), format_, shape.algorithm, shape.length)
    if shape.object_type is ObjectType.PRIVATE_KEY:
        return kmip.PrivateKey(key_block=block)
    if shape.object_type is ObjectType.PUBLIC_KEY:
        return kmip.PublicKey(key_block=block)
    return kmip.SymmetricKey(key_block=block)


def key_bits(cls: int, material: Secret) -> int:
    """Return the Cryptographic Length of a key; 0 for what has none."""
    if cls == CKO.SECRET_KEY:
        return len(material) * 8
    if cls == CKO.PRIVATE_KEY:
        size = getattr(_private(material), "key_size", 0)
    elif cls == CKO.PUBLIC_KEY:
        size = getattr(_public(material), "key_size", 0)
    else:
        size = 0
    return int(size)


def unpack(found: kmip.ManagedObject) -> Secret:
    """Return the material of a managed object. Raises KeyFunctionNotPermitted for what we cannot read."""
    if isinstance(found, kmip.Certificate):
        return Secret(found.certificate_value)
    if isinstance(found, kmip.OpaqueObject):
        return Secret(found.opaque_data_value.view())
    if isinstance(found, kmip.SymmetricKey | kmip.PublicKey | kmip.PrivateKey | kmip.SecretData):
        return _unblocked(found.key_block)
    raise KeyFunctionNotPermitted(f"a {type(found).__name__} has no use in PKCS #11")


def described(uid: str, found: kmip.ManagedObject) -> Found:
    """Return what the object itself tells, for servers that tell nothing else."""
    block = getattr(found, "key_block", None)
    if not isinstance(block, kmip.KeyBlock):
        return Found(uid, kmip.OBJECT_TYPES.get(type(found)))
    algorithm = block.cryptographic_algorithm
    length = block.cryptographic_length
    if length is None and isinstance(found, kmip.SymmetricKey | kmip.SecretData):
        length = len(_unblocked(block)) * 8
    known = algorithm if isinstance(algorithm, CryptographicAlgorithm) else None
    return Found(uid, kmip.OBJECT_TYPES.get(type(found)), known, length)


def _unblocked(block: kmip.KeyBlock) -> Secret:
    value = block.key_value
    if block.key_wrapping_data is not None or not isinstance(value, kmip.KeyValue):
        raise KeyFunctionNotPermitted("the server gives this key only wrapped")
    form = block.key_format_type
    read = _READERS.get(form) if isinstance(form, KeyFormatType) else None
    if read is None:
        raise KeyFunctionNotPermitted(f"the server gives this key in the format {form}, which is not read here")
    try:
        return read(value.key_material)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ServerFault(f"the server gave a key that is not in its format {form}: {error}", Fault.PROTOCOL) from None


def _bytes(material: Secret | kmip.KeyMaterial) -> Secret:
    if not isinstance(material, Secret):
        raise TypeError("numbers where bytes belong")
    return material


def _raw(material: Secret | kmip.KeyMaterial) -> Secret:
    return Secret(_bytes(material).view())


def _transparent_key(material: Secret | kmip.KeyMaterial) -> Secret:
    if isinstance(material, Secret) or material.key is None:
        raise TypeError("no key in the key material")
    return Secret(material.key.view())


def _any_private(material: Secret | kmip.KeyMaterial) -> Secret:
    return _pkcs8(_private(_bytes(material)))


def _any_public(material: Secret | kmip.KeyMaterial) -> Secret:
    return _spki(_public(_bytes(material)))


def _rsa_private(material: Secret | kmip.KeyMaterial) -> Secret:
    from cryptography.hazmat.primitives.asymmetric import rsa

    if isinstance(material, Secret):
        raise TypeError("bytes where numbers belong")
    n, e, d = material.modulus, material.public_exponent, material.private_exponent
    p, q = material.p, material.q
    if n is None or e is None:
        raise ValueError("no modulus or public exponent")
    if d is None:
        if p is None or q is None:
            raise ValueError("neither private exponent nor primes")
        d = rsa.rsa_recover_private_exponent(e, p, q)
    if p is None or q is None:
        p, q = rsa.rsa_recover_prime_factors(n, e, d)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, n)
    )
    return _pkcs8(numbers.private_key())


def _rsa_public(material: Secret | kmip.KeyMaterial) -> Secret:
    from cryptography.hazmat.primitives.asymmetric import rsa

    if isinstance(material, Secret) or material.modulus is None or material.public_exponent is None:
        raise TypeError("no modulus or public exponent")
    return _spki(rsa.RSAPublicNumbers(material.public_exponent, material.modulus).public_key())


def _ec_private(material: Secret | kmip.KeyMaterial) -> Secret:
    from cryptography.hazmat.primitives.asymmetric import ec

    if isinstance(material, Secret) or material.d is None:
        raise TypeError("no private number")
    return _pkcs8(ec.derive_private_key(material.d, _curve(material)))


def _ec_public(material: Secret | kmip.KeyMaterial) -> Secret:
    from cryptography.hazmat.primitives.asymmetric import ec

    if isinstance(material, Secret) or material.q_string is None:
        raise TypeError("no point")
    return _spki(ec.EllipticCurvePublicKey.from_encoded_point(_curve(material), material.q_string))


def _curve(material: kmip.KeyMaterial) -> EllipticCurve:
    from cryptography.hazmat.primitives.asymmetric import ec

    curves: dict[object, EllipticCurve] = {
        RecommendedCurve.P_192: ec.SECP192R1(),
        RecommendedCurve.P_224: ec.SECP224R1(),
        RecommendedCurve.P_256: ec.SECP256R1(),
        RecommendedCurve.P_384: ec.SECP384R1(),
        RecommendedCurve.P_521: ec.SECP521R1(),
        RecommendedCurve.SECP256K1: ec.SECP256K1(),
        RecommendedCurve.BRAINPOOLP256R1: ec.BrainpoolP256R1(),
        RecommendedCurve.BRAINPOOLP384R1: ec.BrainpoolP384R1(),
        RecommendedCurve.BRAINPOOLP512R1: ec.BrainpoolP512R1(),
    }
    if material.recommended_curve not in curves:
        raise ValueError(f"the curve {material.recommended_curve} is not known here")
    return curves[material.recommended_curve]


_READERS: dict[KeyFormatType, Callable[[Secret | kmip.KeyMaterial], Secret]] = {
    KeyFormatType.RAW: _raw,
    KeyFormatType.OPAQUE: _raw,
    KeyFormatType.TRANSPARENT_SYMMETRIC_KEY: _transparent_key,
    KeyFormatType.PKCS_8: _any_private,
    KeyFormatType.EC_PRIVATE_KEY: _any_private,
    KeyFormatType.X_509: _any_public,
    KeyFormatType.TRANSPARENT_RSA_PRIVATE_KEY: _rsa_private,
    KeyFormatType.TRANSPARENT_RSA_PUBLIC_KEY: _rsa_public,
    KeyFormatType.TRANSPARENT_ECDSA_PRIVATE_KEY: _ec_private,
    KeyFormatType.TRANSPARENT_ECDSA_PUBLIC_KEY: _ec_public,
    KeyFormatType.TRANSPARENT_ECDH_PRIVATE_KEY: _ec_private,
    KeyFormatType.TRANSPARENT_ECDH_PUBLIC_KEY: _ec_public,
    KeyFormatType.TRANSPARENT_EC_PRIVATE_KEY: _ec_private,
    KeyFormatType.TRANSPARENT_EC_PUBLIC_KEY: _ec_public,
}


def _pkcs1(material: Secret | kmip.KeyMaterial) -> Secret:
    """Read PKCS #1, whose two structures say themselves which half they are."""
    try:
        return _any_private(material)
    except ValueError:
        return _any_public(material)


_READERS[KeyFormatType.PKCS_1] = _pkcs1


def _converted(material: Secret, format_: KeyFormatType) -> Secret:
    if format_ in (KeyFormatType.RAW, KeyFormatType.PKCS_8, KeyFormatType.X_509):
        return material
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    try:
        private = _private(material)
    except ValueError:
        return Secret(_public(material).public_bytes(Encoding.DER, PublicFormat.PKCS1))
    return Secret(private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))


def _private(material: Secret) -> PrivateKeyTypes:
    from mrhsm_p11.crypto import keys

    return keys.parse_private(material.view(), check=True)


def _public(material: Secret) -> PublicKeyTypes:
    from mrhsm_p11.crypto import keys

    return keys.parse_public(material.reveal())


def _pkcs8(key: PrivateKeyTypes) -> Secret:
    from mrhsm_p11.crypto import keys

    return Secret(keys.private_der(key))


def _spki(key: PublicKeyTypes) -> Secret:
    from mrhsm_p11.crypto import keys

    return Secret(keys.public_der(key))
