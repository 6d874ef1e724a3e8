"""ML-KEM and ML-DSA keys as attributes, and in their containers. A private key is its seed.

The primitives give and take no other form, and what a seed expands to is not computed here. A template may give the
expanded key (CKA_VALUE) beside the seed: what it repeats of the public key must agree, and it is not kept.
"""

from __future__ import annotations

import hashlib
import hmac
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
from mrhsm_p11.crypto.lattices import BY_OID, ParameterSet, named
from mrhsm_p11.errors import AttributeValueInvalid, TemplateInconsistent
from mrhsm_p11.mapping.codecs import Value

SEED = 0x80  # [0] IMPLICIT OCTET STRING

Given = Mapping[int, Value]


class LatticeForm:
    """The keys of one algorithm."""

    __slots__ = ("key_type",)

    def __init__(self, key_type: int) -> None:
        self.key_type = key_type

    def public_material(self, given: Given) -> bytes:
        """Return the SubjectPublicKeyInfo of a template. Raises AttributeValueInvalid."""
        which = named(self.key_type, given.get(CKA.PARAMETER_SET))
        value = given_bytes(given, CKA.VALUE)
        if len(value) != which.public:
            raise AttributeValueInvalid(f"a public key of {which.name} has {which.public} bytes")
        return subject_public_key_info((which.oid, b""), value)

    def private_material(self, given: Given) -> bytes:
        """Return the PKCS #8 of a template. Raises AttributeValueInvalid, TemplateInconsistent."""
        which = named(self.key_type, given.get(CKA.PARAMETER_SET))
        seed = given_bytes(given, CKA.SEED)
        if len(seed) != which.seed:
            raise AttributeValueInvalid(f"a seed of {which.name} has {which.seed} bytes")
        pkcs8 = private_key_info((which.oid, b""), der.encode(SEED, seed))
        expanded = given_bytes(given, CKA.VALUE)
        if expanded and not _agrees(which, expanded, seed, open_public(keys.public_info(pkcs8))[1]):
            raise TemplateInconsistent("CKA_VALUE is not what CKA_SEED expands to")
        return pkcs8

    def public_attributes(self, spki: bytes) -> dict[int, Value]:
        """Return every attribute of a public key. Raises ValueError."""
        algorithm, value = open_public(spki)
        return {CKA.PARAMETER_SET: self.which(algorithm).value, CKA.VALUE: value, CKA.PUBLIC_KEY_INFO: spki}

    def private_attributes(self, pkcs8: bytes) -> dict[int, Value]:
        """Return every attribute of a private key. Raises ValueError."""
        algorithm, key = open_private(pkcs8)
        return {
            CKA.PARAMETER_SET: self.which(algorithm).value,
            CKA.SEED: der.only(key, SEED),
            CKA.PUBLIC_KEY_INFO: keys.public_info(pkcs8),
        }

    def which(self, algorithm: Algorithm) -> ParameterSet:
        """Return the parameter set that an algorithm identifier names. Raises ValueError."""
        found = BY_OID.get(algorithm[0])
        if found is None or found.key_type != self.key_type or algorithm[1]:
            raise ValueError("a key of another algorithm")
        return found


ML_KEM = LatticeForm(CKK.ML_KEM)
ML_DSA = LatticeForm(CKK.ML_DSA)


def _agrees(which: ParameterSet, expanded: bytes, seed: bytes, public: bytes) -> bool:
    """Compare what an expanded key repeats: FIPS 203, algorithm 16 (ek, H(ek), z); FIPS 204, algorithm 24 (rho, tr)."""
    if len(expanded) != which.private:
        return False
    if which.key_type == CKK.ML_KEM:
        tail = public + hashlib.sha3_256(public).digest() + seed[32:]
        return hmac.compare_digest(expanded[-len(tail) :], tail)
    return expanded[:32] == public[:32] and expanded[64:128] == hashlib.shake_256(public).digest(64)
