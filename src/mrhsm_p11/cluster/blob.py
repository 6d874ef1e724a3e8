"""A cluster key encrypted under the Core KEK, and the checksum that tells it from another."""

from __future__ import annotations

import hashlib
import os

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC

from mrhsm_p11.cluster.keys import KEY_BYTES
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret

IV_BYTES = 16
_BLOCK_BITS = 128
BLOB_BYTES = IV_BYTES + KEY_BYTES + _BLOCK_BITS // 8


class BlobDamaged(MrhsmError):
    """An encrypted key that the Core KEK does not open, or that opens to another key than recorded."""


def checksum(key: Secret) -> str:
    """Return the SHA-256 of the key's bytes as upper-case hex."""
    return hashlib.sha256(key.view()).hexdigest().upper()


def encrypt(core_kek: Secret, key: Secret) -> bytes:
    """Return IV || AES-256-CBC with PKCS #7 padding: what C_UnwrapKey with CKM_AES_CBC_PAD takes."""
    iv = os.urandom(IV_BYTES)
    padder = padding.PKCS7(_BLOCK_BITS).padder()
    encryptor = Cipher(AES256(core_kek.reveal()), CBC(iv)).encryptor()
    return iv + encryptor.update(padder.update(key.reveal()) + padder.finalize()) + encryptor.finalize()


def decrypt(core_kek: Secret, blob: bytes, expected_checksum: str, title: str) -> Secret:
    """Return the key inside a blob. Raises BlobDamaged unless its checksum is the recorded one."""
    damaged = BlobDamaged(f"the encrypted {title} does not open to the recorded key under the Core KEK")
    if len(blob) != BLOB_BYTES:
        raise damaged
    decryptor = Cipher(AES256(core_kek.reveal()), CBC(blob[:IV_BYTES])).decryptor()
    unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
    padded = decryptor.update(blob[IV_BYTES:]) + decryptor.finalize()
    try:
        key = Secret(unpadder.update(padded) + unpadder.finalize())
    except ValueError as error:
        raise damaged from error
    if checksum(key) != expected_checksum:
        raise damaged
    return key
