"""Modes of block ciphers that give each block as it comes: ECB, CBC, CBC with PKCS #7 padding, CTR."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB
from cryptography.hazmat.primitives.padding import PKCS7

from mrhsm_p11.constants import CKK
from mrhsm_p11.crypto import blocks, checks
from mrhsm_p11.crypto.base import Cipher, Input
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import (
    CryptokiError,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    MechanismParamInvalid,
)
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.symmetric import CTRParams
from mrhsm_p11.secret import Secret

AES_BLOCK, DES_BLOCK = 16, 8


class WholeBlocks(Cipher):
    """ECB and CBC: the input is a multiple of the block, each block comes out once it is complete."""

    __slots__ = ("_block", "_context", "_length_error", "_pending")

    def __init__(self, context: CipherContext, block: int, length_error: type[CryptokiError]) -> None:
        self._context = context
        self._block = block
        self._length_error = length_error
        self._pending = 0  # bytes that the context holds of an incomplete block

    def size(self, n: int, *, final: bool) -> int:
        whole = self._pending + n
        return whole if final else whole - whole % self._block

    def update(self, data: Input) -> bytes:
        self._pending = (self._pending + len(data)) % self._block
        return self._context.update(data)

    def finish(self, data: Input = b"") -> bytes:
        if (self._pending + len(data)) % self._block:
            raise self._length_error(f"the input is no multiple of {self._block} bytes")
        return self._context.update(data) if len(data) else b""


class PaddingCipher(Cipher):
    """Encryption that fills the last block, or adds one, as PKCS #7 says."""

    __slots__ = ("_block", "_context", "_pending")

    def __init__(self, context: CipherContext, block: int) -> None:
        self._context = context
        self._block = block
        self._pending = 0

    def size(self, n: int, *, final: bool) -> int:
        whole = self._pending + n
        return whole - whole % self._block + (self._block if final else 0)

    def update(self, data: Input) -> bytes:
        self._pending = (self._pending + len(data)) % self._block
        return self._context.update(data)

    def finish(self, data: Input = b"") -> bytes:
        count = self._block - (self._pending + len(data)) % self._block
        return self._context.update(data) + self._context.update(bytes((count,)) * count)


class UnpaddingCipher(Cipher):
    """Decryption that takes PKCS #7 padding off: the last block is held back until it is known to be the last."""

    __slots__ = ("_block", "_context", "_held", "_total")

    def __init__(self, context: CipherContext, block: int) -> None:
        self._context = context
        self._block = block
        self._held = b""
        self._total = 0

    def size(self, n: int, *, final: bool) -> int:
        pending = self._total % self._block + len(self._held) + n
        return pending if final else max(pending // self._block - 1, 0) * self._block

    def update(self, data: Input) -> bytes:
        self._total += len(data)
        plain = self._held + self._context.update(data)
        self._held = plain[-self._block :]
        return plain[: -self._block]

    def finish(self, data: Input = b"") -> bytes:
        self._total += len(data)
        if self._total % self._block or not self._total:
            raise EncryptedDataLenRange(f"the input is no multiple of {self._block} bytes, or empty")
        plain = self._held + self._context.update(data)
        unpadder = PKCS7(self._block * 8).unpadder()
        try:
            return plain[: -self._block] + unpadder.update(plain[-self._block :]) + unpadder.finalize()
        except ValueError:
            raise EncryptedDataInvalid("the padding is not PKCS #7's") from None


class KeyStream(Cipher):
    """CTR, up to where its counter would run over into the nonce.

    The primitive counts in all 128 bits; as long as a shorter counter does not wrap, that is the same thing.
    """

    __slots__ = ("_context", "_left", "_length_error")

    def __init__(self, context: CipherContext, left: int | None, length_error: type[CryptokiError]) -> None:
        self._context = context
        self._left = left  # bytes until the counter wraps, None where it may
        self._length_error = length_error

    def size(self, n: int, *, final: bool) -> int:
        return n

    def update(self, data: Input) -> bytes:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise self._length_error("the counter would wrap")
        return self._context.update(data)

    def finish(self, data: Input = b"") -> bytes:
        return self.update(data)


def cipher(row: MechanismRow, parameter: AnyParameter, key: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation. Raises MechanismParamInvalid, KeySizeRange."""
    checks.key_size(row, len(key) * 8)
    length_error: type[CryptokiError] = DataLenRange if encrypt else EncryptedDataLenRange
    block_cipher = blocks.algorithm(row.key_types[0], key)
    block = block_cipher.block_size // 8
    if row.mode == "ctr":
        counter = checks.structure(parameter, CTRParams)
        left = _bytes_left(counter)
        return KeyStream(blocks.context(block_cipher, CTR(counter.counter), encrypt=encrypt), left, length_error)
    if row.mode == "ecb":
        checks.no_parameter(parameter)
        # the caller asked for it
        return WholeBlocks(blocks.context(block_cipher, ECB(), encrypt=encrypt), block, length_error)  # noqa: S305
    context = blocks.context(block_cipher, CBC(checks.initial_vector(parameter, block)), encrypt=encrypt)
    if row.mode == "cbc":
        return WholeBlocks(context, block, length_error)
    return PaddingCipher(context, block) if encrypt else UnpaddingCipher(context, block)


def encrypted_size(row: MechanismRow, _parameter: AnyParameter, n: int, _key: Secret | None) -> int:
    """Return how long `n` bytes are once encrypted in one part."""
    if row.mode != "cbc-pad":
        return n
    block = AES_BLOCK if row.key_types[0] == CKK.AES else DES_BLOCK
    return n + block - n % block


def _bytes_left(counter: CTRParams) -> int | None:
    bits = counter.counter_bits
    if not 1 <= bits <= 128 or len(counter.counter) != AES_BLOCK:
        raise MechanismParamInvalid("a counter has 1 to 128 bits in a block of 16 bytes")
    if bits == 128:
        return None
    low = int.from_bytes(counter.counter, "big") & ((1 << bits) - 1)
    return ((1 << bits) - low) * AES_BLOCK
