"""DSA and Diffie-Hellman keys and domain parameters as attributes, and in their containers.

The material of domain parameters is the DER of an AlgorithmIdentifier, as the containers of keys have it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import der, keys
from mrhsm_p11.crypto.containers import (
    DH_OID,
    DSA_OID,
    Algorithm,
    given_bytes,
    open_algorithm,
    open_private,
    open_public,
    private_key_info,
    subject_public_key_info,
)
from mrhsm_p11.errors import AttributeValueInvalid
from mrhsm_p11.mapping.codecs import Value

Given = Mapping[int, Value]


class FiniteForm:
    """The keys of one algorithm. `parts`: its domain parameters in the order of their SEQUENCE."""

    __slots__ = ("oid", "parts", "value_bits")

    def __init__(self, oid: bytes, *parts: int, value_bits: bool) -> None:
        self.oid = oid
        self.parts = parts
        self.value_bits = value_bits  # private keys have CKA_VALUE_BITS

    def algorithm(self, given: Given) -> Algorithm:
        """Return the AlgorithmIdentifier of a template. Raises AttributeValueInvalid."""
        numbers = {part: _number(given, part) for part in self.parts}
        prime = numbers[CKA.PRIME]
        if not prime & 1 or any(not 1 < number < prime for part, number in numbers.items() if part != CKA.PRIME):
            raise AttributeValueInvalid("the domain parameters are no group")
        encoded = (der.integer(given_bytes(given, part)) for part in self.parts)
        return self.oid, der.encode(der.SEQUENCE, *encoded)

    def public_material(self, given: Given) -> bytes:
        """Return the SubjectPublicKeyInfo of a template. Raises AttributeValueInvalid."""
        if not 1 < _number(given, CKA.VALUE) < _number(given, CKA.PRIME) - 1:
            raise AttributeValueInvalid("the public value is none of the group")
        return self.public_key(self.algorithm(given), given_bytes(given, CKA.VALUE))

    def private_material(self, given: Given) -> bytes:
        """Return the PKCS #8 of a template. Raises AttributeValueInvalid."""
        return private_key_info(self.algorithm(given), der.integer(given_bytes(given, CKA.VALUE)))

    def domain_material(self, given: Given) -> bytes:
        """Return the AlgorithmIdentifier of a template, in DER. Raises AttributeValueInvalid."""
        return der.encode(der.SEQUENCE, *self.algorithm(given))

    def public_attributes(self, spki: bytes) -> dict[int, Value]:
        """Return every attribute of a public key. Raises ValueError."""
        algorithm, key = open_public(spki)
        value = der.unsigned((der.INTEGER, der.only(key, der.INTEGER)))
        return {**self.parameters(algorithm), CKA.VALUE: value, CKA.PUBLIC_KEY_INFO: spki}

    def private_attributes(self, pkcs8: bytes) -> dict[int, Value]:
        """Return every attribute of a private key. Raises ValueError."""
        algorithm, key = open_private(pkcs8)
        value = der.unsigned((der.INTEGER, der.only(key, der.INTEGER)))
        size: dict[int, Value] = {CKA.VALUE_BITS: bits(value)} if self.value_bits else {}
        return {**self.parameters(algorithm), CKA.VALUE: value, CKA.PUBLIC_KEY_INFO: keys.public_info(pkcs8), **size}

    def domain_attributes(self, value: bytes) -> dict[int, Value]:
        """Return every attribute of domain parameters. Raises ValueError."""
        numbers = self.parameters(open_algorithm(der.take(value)[:2]))
        sizes = {CKA.PRIME: CKA.PRIME_BITS, CKA.SUBPRIME: CKA.SUBPRIME_BITS}
        return {**numbers, **{sizes[part]: bits(number) for part, number in numbers.items() if part in sizes}}

    def public_key(self, algorithm: Algorithm, value: bytes) -> bytes:
        """Return the SubjectPublicKeyInfo of a public value."""
        return subject_public_key_info(algorithm, der.integer(value))

    def parameters(self, algorithm: Algorithm) -> dict[int, bytes]:
        """Return the domain parameters by attribute. Raises ValueError."""
        oid, parameters = algorithm
        numbers = list(der.elements(der.only(parameters, der.SEQUENCE)))
        if oid != self.oid or len(numbers) < len(self.parts):
            raise ValueError("a key of another algorithm")
        # what may follow says how long a private number should be
        return {part: der.unsigned(number) for part, number in zip(self.parts, numbers, strict=False)}


DSA = FiniteForm(DSA_OID, CKA.PRIME, CKA.SUBPRIME, CKA.BASE, value_bits=False)
DH = FiniteForm(DH_OID, CKA.PRIME, CKA.BASE, value_bits=True)


def bits(number: bytes) -> int:
    """Return the size of an unsigned number without leading zeros."""
    return 8 * len(number) - (8 - number[0].bit_length()) if number else 0


def _number(given: Given, cka: int) -> int:
    return int.from_bytes(given_bytes(given, cka), "big")  # of public numbers only
