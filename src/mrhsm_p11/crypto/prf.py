"""Pseudo-random functions: HMAC and CMAC under one key, many times."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

from mrhsm_p11.constants import CKM
from mrhsm_p11.crypto import hashes
from mrhsm_p11.errors import KeySizeRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import HASHES, ROWS

Input = bytes | bytearray | memoryview


class PRF:
    """One keyed function; `size` is its output in bytes."""

    __slots__ = ("_keyed", "size")

    def __init__(self, keyed: HMAC | CMAC, size: int) -> None:
        self._keyed = keyed
        self.size = size

    def __call__(self, *parts: Input) -> bytes:
        computation = self._keyed.copy()
        for part in parts:
            computation.update(bytes(part))
        return computation.finalize()


def hmac(function: HashAlgorithm, key: Input) -> PRF:
    """Return HMAC with a key."""
    return PRF(HMAC(bytes(key), function), function.digest_size)


def by_mac(mechanism: int, key: Input) -> PRF:
    """Return the function that a CKM of an HMAC or CMAC names. Raises MechanismParamInvalid, KeySizeRange."""
    if mechanism == CKM.AES_CMAC:
        if len(key) not in (16, 24, 32):
            raise KeySizeRange(f"{len(key)} bytes are no AES key")
        return PRF(CMAC(AES(bytes(key))), 16)
    row = ROWS.get(mechanism)
    if row is None or row.mode != "hmac":
        raise MechanismParamInvalid(f"CKM_{CKM.name(mechanism)} is no pseudo-random function here")
    return hmac(hashes.algorithm(row.hash), key)


def hash_of(mechanism: int) -> HashAlgorithm:
    """Return the hash function that a parameter names by its CKM. Raises MechanismParamInvalid."""
    if mechanism not in HASHES:
        raise MechanismParamInvalid(f"CKM_{CKM.name(mechanism)} is no hash function here")
    return hashes.algorithm(HASHES[mechanism])
