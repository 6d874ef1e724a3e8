"""A cluster key encrypted under the Core KEK, and the checksum that tells it from another."""

from __future__ import annotations

import hashlib
import os

from mrhsm_p11.constants import CKM
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.base import Key
from mrhsm_p11.errors import CryptokiError, MrhsmError
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.secret import Secret

IV_BYTES = 16
_ROW = ROWS[CKM.AES_CBC_PAD]


class BlobDamaged(MrhsmError):
    """An encrypted key that the Core KEK does not open, or that opens to another key than recorded."""


def checksum(key: Secret) -> str:
    """Return the SHA-256 of the key's bytes as upper-case hex."""
    return hashlib.sha256(key.view()).hexdigest().upper()


def encrypt(core_kek: Secret, key: Secret) -> bytes:
    """Return IV || AES-256-CBC with PKCS #7 padding: what C_UnwrapKey with CKM_AES_CBC_PAD takes."""
    iv = os.urandom(IV_BYTES)
    return iv + engine.wrap(_ROW, iv, core_kek, key)


def decrypt(core_kek: Key, blob: bytes, expected_checksum: str, title: str) -> Secret:
    """Return the key inside a blob. Raises BlobDamaged unless its checksum is the recorded one."""
    damaged = BlobDamaged(f"the encrypted {title} does not open to the recorded key under the Core KEK")
    if len(blob) <= IV_BYTES:
        raise damaged
    try:
        key = engine.unwrap(_ROW, blob[:IV_BYTES], core_kek, blob[IV_BYTES:])
    except CryptokiError as error:
        raise damaged from error
    if checksum(key) != expected_checksum:
        raise damaged
    return key
