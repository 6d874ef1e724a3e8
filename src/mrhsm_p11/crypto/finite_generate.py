"""New domain parameters and key pairs for DSA and Diffie-Hellman."""

from __future__ import annotations

import os
import warnings

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding, ParameterFormat

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import der, keys
from mrhsm_p11.crypto.containers import private_key_info
from mrhsm_p11.crypto.families import Template
from mrhsm_p11.crypto.finite_keys import DH, DSA
from mrhsm_p11.errors import AttributeValueInvalid, DomainParamsInvalid, TemplateIncomplete
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

with warnings.catch_warnings():  # see keys
    warnings.filterwarnings("ignore", "Diffie-Hellman over finite fields")
    from cryptography.hazmat.primitives.asymmetric.dh import generate_parameters

_DSA_BITS = {1024: 160, 2048: 256, 3072: 256}  # of prime and subprime: pairs of FIPS 186-4 that the primitives make
_DH_SEARCHED_BITS = range(512, 1025)  # a larger safe prime takes minutes to find
_DH_GENERATOR = 2
# RFC 7919, appendix A: what makes 2^b - 2^(b-64) + (floor(2^(b-130) e) + X) 2^64 - 1 a safe prime
_RFC_7919 = {2048: 560316, 3072: 2625351, 4096: 5736041, 6144: 15705020, 8192: 10965728}
_LEAST_VALUE_BITS = 160


def parameters(row: MechanismRow, given: Template) -> Secret:
    """Make domain parameters of CKA_PRIME_BITS; return their AlgorithmIdentifier.

    Diffie-Hellman groups of 2048 bits and more are those of RFC 7919, which SP 800-56A wants and nobody has to find.
    Raises TemplateIncomplete, AttributeValueInvalid.
    """
    bits = given.get(CKA.PRIME_BITS)
    if not isinstance(bits, int):
        raise TemplateIncomplete("CKA_PRIME_BITS is missing")
    if row.family == "dsa":
        if bits not in _DSA_BITS or given.get(CKA.SUBPRIME_BITS, _DSA_BITS[bits]) != _DSA_BITS[bits]:
            raise AttributeValueInvalid(f"DSA parameters have a prime and subprime of {_DSA_BITS} bits")
        made = dsa.generate_parameters(bits).parameter_numbers()
        numbers = {CKA.PRIME: made.p, CKA.SUBPRIME: made.q, CKA.BASE: made.g}
        return Secret(DSA.domain_material({part: _bytes(number) for part, number in numbers.items()}))
    if bits in _RFC_7919:
        return Secret(DH.domain_material({CKA.PRIME: _bytes(_safe_prime(bits)), CKA.BASE: _bytes(_DH_GENERATOR)}))
    if bits not in _DH_SEARCHED_BITS:
        raise AttributeValueInvalid(f"Diffie-Hellman groups have 512 to 1024 bits, or {', '.join(map(str, _RFC_7919))}")
    found = generate_parameters(_DH_GENERATOR, bits).parameter_bytes(Encoding.DER, ParameterFormat.PKCS3)
    return Secret(der.encode(der.SEQUENCE, DH.oid, found))


def generate(row: MechanismRow, public: Template, private: Template) -> tuple[Secret, Secret]:
    """Make a pair in the group of the public template; return (SPKI, PKCS #8).

    Raises DomainParamsInvalid, AttributeValueInvalid (CKA_VALUE_BITS).
    """
    try:
        return _dsa(row, public) if row.family == "dsa" else _dh(row, public, private)
    except (ValueError, UnsupportedAlgorithm):
        raise DomainParamsInvalid("the domain parameters are none that keys are made with here") from None


def _dsa(row: MechanismRow, public: Template) -> tuple[Secret, Secret]:
    p, q, g = (int.from_bytes(number, "big") for number in _given(row, public, DSA.parts))
    return keys.pair(dsa.DSAParameterNumbers(p, q, g).parameters().generate_private_key())


def _dh(row: MechanismRow, public: Template, private: Template) -> tuple[Secret, Secret]:
    # The private number is ours to draw: the primitives know no CKA_VALUE_BITS. They compute the public one.
    prime, _ = _given(row, public, DH.parts)
    most = len(prime) * 8 - (8 - prime[0].bit_length()) - 1
    bits = private.get(CKA.VALUE_BITS, most)
    if not isinstance(bits, int) or not _LEAST_VALUE_BITS <= bits <= most:
        raise AttributeValueInvalid(f"a private value of this group has {_LEAST_VALUE_BITS} to {most} bits")
    value = bytearray(os.urandom((bits + 7) // 8))
    top = (bits - 1) % 8
    value[0] = value[0] & ((1 << top) - 1) | 1 << top
    return keys.pair(keys.parse_private(private_key_info(DH.algorithm(public), der.integer(bytes(value))), check=True))


def _given(row: MechanismRow, public: Template, parts: tuple[int, ...]) -> list[bytes]:
    """Return these numbers of a template; the first is the prime. Raises DomainParamsInvalid."""
    numbers = [value if isinstance(value := public.get(part), bytes) else b"" for part in parts]
    if not all(numbers) or not row.allows(int.from_bytes(numbers[0], "big").bit_length()):
        raise DomainParamsInvalid("a domain parameter is empty, or of a size that the mechanism does not take")
    return numbers


def _safe_prime(bits: int) -> int:
    guard = 64
    term = e = 1 << (bits - 130 + guard)
    count = 0
    while term:
        count += 1
        term //= count
        e += term
    return (1 << bits) - (1 << (bits - 64)) + (((e >> guard) + _RFC_7919[bits]) << 64) - 1


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
