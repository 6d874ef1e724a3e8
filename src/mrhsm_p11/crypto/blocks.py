"""Block ciphers as the primitives library names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB, XTS

from mrhsm_p11.constants import CKK
from mrhsm_p11.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB, CFB8, OFB

    Mode = ECB | CBC | CTR | XTS | OFB | CFB | CFB8


def algorithm(key_type: int, key: Secret) -> BlockCipherAlgorithm:
    """Return the block cipher of a key, whose length has been checked; `block_size` of it is in bits."""
    if key_type == CKK.AES:
        return AES(key.view())
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES

    whole = key.reveal()
    return TripleDES(whole + whole[:8] if len(whole) == 16 else whole)


def context(block_cipher: BlockCipherAlgorithm, mode: Mode, *, encrypt: bool) -> CipherContext:
    """Start the primitive."""
    primitive = Cipher(block_cipher, mode)
    return primitive.encryptor() if encrypt else primitive.decryptor()


def encrypt_zeros(key_type: int, key: Secret) -> bytes:
    """Encrypt one block of zeros, as a key's check value is made."""
    block_cipher = algorithm(key_type, key)
    return context(block_cipher, ECB(), encrypt=True).update(bytes(block_cipher.block_size // 8))  # noqa: S305
