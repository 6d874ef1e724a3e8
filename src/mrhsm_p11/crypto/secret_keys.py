"""Secret keys by type: how long they are, how random ones are made, what is wrong with one, its check value."""

from __future__ import annotations

import hashlib
import os

from mrhsm_p11.constants import CKK
from mrhsm_p11.errors import AttributeValueInvalid
from mrhsm_p11.secret import Secret

# Bytes that keys of a type have; a type without a row takes any number.
LENGTHS: dict[int, tuple[int, ...]] = {
    CKK.AES: (16, 24, 32),
    CKK.AES_XTS: (32, 64),
    CKK.DES: (8,),
    CKK.DES2: (16,),
    CKK.DES3: (24,),
    CKK.CHACHA20: (32,),
    CKK.POLY1305: (32,),
}
# Not just any random bytes: each byte of a DES key has odd parity (FIPS 46-3).
SHAPED = (CKK.DES, CKK.DES2, CKK.DES3)
LONGEST_BYTES = 1 << 16
_ODD = bytes(byte if byte.bit_count() % 2 else byte ^ 1 for byte in range(256))


def fixed_length(key_type: int | None) -> int | None:
    """Return the one length in bytes that all keys of this type have, None where there is a choice."""
    lengths = LENGTHS.get(-1 if key_type is None else key_type, ())
    return lengths[0] if len(lengths) == 1 else None


def has_length(key_type: int | None, key_bytes: int) -> bool:
    """Tell whether a key of this type may have so many bytes."""
    lengths = LENGTHS.get(-1 if key_type is None else key_type)
    return 0 < key_bytes <= LONGEST_BYTES if lengths is None else key_bytes in lengths


def make(key_type: int | None, key_bytes: int) -> Secret:
    """Make a random key."""
    return Secret(shaped(key_type, os.urandom(key_bytes)))


def shaped(key_type: int | None, plain: bytes) -> bytes:
    """Return bytes as a key of this type: parity set where the type has it."""
    return plain.translate(_ODD) if key_type in SHAPED else plain


def check_form(key_type: int | None, key: Secret) -> None:
    """Refuse what the type forbids beyond the length: wrong parity, an XTS key of equal halves (SP 800-38E, IEEE 1619).

    For keys that a caller brings; what a store already has is used as it is. Raises AttributeValueInvalid.
    """
    if key_type in SHAPED and Secret(shaped(key_type, key.reveal())) != key:
        raise AttributeValueInvalid("a byte of a DES key has odd parity")
    half = len(key) // 2
    if key_type == CKK.AES_XTS and Secret(key.view()[:half]) == Secret(key.view()[half:]):
        raise AttributeValueInvalid("the halves of an XTS key differ")


def check_value(key_type: int | None, key: Secret) -> bytes:
    """Return CKA_CHECK_VALUE: of a block of zeros encrypted with a block cipher's key, else of the key's SHA-1."""
    if key_type not in (CKK.AES, CKK.DES2, CKK.DES3):
        return hashlib.sha1(key.view(), usedforsecurity=False).digest()[:3]
    from mrhsm_p11.crypto import blocks

    return blocks.encrypt_zeros(key_type, key)[:3]
