"""RSA keys as attributes, and as SubjectPublicKeyInfo and PKCS #8. Nothing is computed: numbers are copied."""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import der
from mrhsm_p11.crypto.containers import RSA_OID, open_private, open_public, private_key_info, subject_public_key_info
from mrhsm_p11.errors import AttributeValueInvalid
from mrhsm_p11.mapping.codecs import Value

_ALGORITHM = (RSA_OID, der.NULL)
PUBLIC = (CKA.MODULUS, CKA.PUBLIC_EXPONENT)
# RSAPrivateKey of PKCS #1, in its order
PRIVATE = (
    *PUBLIC,
    CKA.PRIVATE_EXPONENT,
    CKA.PRIME_1,
    CKA.PRIME_2,
    CKA.EXPONENT_1,
    CKA.EXPONENT_2,
    CKA.COEFFICIENT,
)

Numbers = Mapping[int, bytes]


def public_key(numbers: Numbers) -> bytes:
    """Return the SubjectPublicKeyInfo of CKA_MODULUS and CKA_PUBLIC_EXPONENT."""
    key = der.encode(der.SEQUENCE, *(der.integer(numbers[part]) for part in PUBLIC))
    return subject_public_key_info(_ALGORITHM, key)


def private_key(numbers: Numbers) -> bytes:
    """Return the PKCS #8 of all eight numbers."""
    parts = (der.integer(b""), *(der.integer(numbers[part]) for part in PRIVATE))
    return private_key_info(_ALGORITHM, der.encode(der.SEQUENCE, *parts))


def public_numbers(spki: bytes) -> dict[int, bytes]:
    """Return CKA_MODULUS and CKA_PUBLIC_EXPONENT. Raises ValueError."""
    algorithm, key = open_public(spki)
    return _numbers(algorithm[0], key, PUBLIC, 0)


def private_numbers(pkcs8: bytes) -> dict[int, bytes]:
    """Return all eight numbers. Raises ValueError."""
    algorithm, key = open_private(pkcs8)
    return _numbers(algorithm[0], key, PRIVATE, 1)


def modulus_bits(modulus: bytes) -> int:
    """Return the key's size."""
    return len(modulus) * 8 - (8 - modulus[0].bit_length()) if modulus else 0


def required(given: Mapping[int, object], parts: tuple[int, ...]) -> dict[int, bytes]:
    """Return these numbers of a template. Raises AttributeValueInvalid for an empty one."""
    numbers: dict[int, bytes] = {}
    for part in parts:
        value = given[part]
        if not isinstance(value, bytes) or not value.strip(b"\0"):
            raise AttributeValueInvalid(f"CKA_{CKA.name(part)} is empty")
        numbers[part] = value
    return numbers


def _numbers(oid: bytes, key: bytes, parts: tuple[int, ...], first: int) -> dict[int, bytes]:
    if oid != RSA_OID:
        raise ValueError("not an RSA key")
    found = list(der.elements(der.only(key, der.SEQUENCE)))[first:]
    if len(found) != len(parts):
        raise ValueError("an RSA key of another shape")
    return {part: der.unsigned(element) for part, element in zip(parts, found, strict=True)}


def public_material(given: Mapping[int, Value]) -> bytes:
    """Return the SubjectPublicKeyInfo of a template."""
    return public_key(required(given, PUBLIC))


def private_material(given: Mapping[int, Value]) -> bytes:
    """Return the PKCS #8 of a template."""
    return private_key(required(given, PRIVATE))


def public_attributes(spki: bytes) -> dict[int, Value]:
    """Return every attribute of a public key. Raises ValueError."""
    numbers = public_numbers(spki)
    bits = modulus_bits(numbers[CKA.MODULUS])
    return {**numbers, CKA.MODULUS_BITS: bits, CKA.PUBLIC_KEY_INFO: spki}


def private_attributes(pkcs8: bytes) -> dict[int, Value]:
    """Return every attribute of a private key. Raises ValueError."""
    numbers = private_numbers(pkcs8)
    return {**numbers, CKA.PUBLIC_KEY_INFO: public_key(numbers)}
