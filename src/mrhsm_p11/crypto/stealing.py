"""Modes that steal ciphertext, so that any length from one block up is kept: CBC-CS1 and XTS."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB, XTS

from mrhsm_p11.crypto import blocks, checks
from mrhsm_p11.crypto.base import Cipher, Input, OneShotCipher
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.ciphers import AES_BLOCK
from mrhsm_p11.errors import DataLenRange, EncryptedDataLenRange, KeyFunctionNotPermitted
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

XTS_UNIT = 16 << 20  # SP 800-38E: at most 2^20 blocks


class _CS1(Cipher):
    """CBC-CS1 over CBC: all complete blocks but the last come out as they come, the rest at the end.

    CKM_AES_CTS leaves open which of the three variants in the addendum to SP 800-38A it is. CS1, the first there, is
    CBC for whole blocks.
    """

    __slots__ = ("_cbc", "_held", "_out", "_total")

    def __init__(self, key: Secret, vector: bytes, *, encrypt: bool) -> None:
        self._cbc = blocks.context(AES(key.view()), CBC(vector), encrypt=encrypt)
        self._held = b""
        self._total = 0  # bytes taken
        self._out = 0  # bytes given

    def size(self, n: int, *, final: bool) -> int:
        total = self._total + n
        return (total if final else max(total // AES_BLOCK - 1, 0) * AES_BLOCK) - self._out

    def _advance(self, taken: int) -> int:
        """Note that so many bytes were taken; return how many are to be given for them."""
        given = self.size(taken, final=False)
        self._total += taken
        self._out += given
        return given


class CS1Encryption(_CS1):
    """Hold the last complete block back: of it only so much is sent as the last block of input was filled."""

    __slots__ = ()

    def update(self, data: Input) -> bytes:
        given = self._advance(len(data))
        sealed = self._held + self._cbc.update(data)
        self._held = sealed[given:]
        return sealed[:given]

    def finish(self, data: Input = b"") -> bytes:
        given = self.update(data)
        odd = self._total % AES_BLOCK
        if self._total < AES_BLOCK:
            raise DataLenRange(f"the input is shorter than {AES_BLOCK} bytes")
        if not odd:
            return given + self._held
        return given + self._held[:odd] + self._cbc.update(bytes(AES_BLOCK - odd))


class CS1Decryption(_CS1):
    """Hold the last complete block, and what follows it, back until they are known to be the last."""

    __slots__ = ("_ecb",)

    def __init__(self, key: Secret, vector: bytes) -> None:
        super().__init__(key, vector, encrypt=False)
        self._ecb = blocks.context(AES(key.view()), ECB(), encrypt=False)  # noqa: S305

    def update(self, data: Input) -> bytes:
        given = self._advance(len(data))
        sealed = self._held + bytes(data)
        self._held = sealed[given:]
        return self._cbc.update(sealed[:given])

    def finish(self, data: Input = b"") -> bytes:
        given = self.update(data)
        odd = self._total % AES_BLOCK
        if self._total < AES_BLOCK:
            raise EncryptedDataLenRange(f"the input is shorter than {AES_BLOCK} bytes")
        short, last = self._held[:odd], self._held[odd:]
        if odd:
            # the block of input that ended in zeros kept the bytes that were stolen
            short += self._ecb.update(last)[odd:]
        return given + self._cbc.update(short + last)[: AES_BLOCK + odd]


def cipher(row: MechanismRow, parameter: AnyParameter, key: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation. Raises MechanismParamInvalid, KeySizeRange."""
    checks.key_size(row, len(key) * 8)
    vector = checks.initial_vector(parameter, AES_BLOCK)
    if row.mode == "cs1":
        return CS1Encryption(key, vector, encrypt=True) if encrypt else CS1Decryption(key, vector)
    own = Secret(key.view())  # the caller's may be wiped between parts
    return OneShotCipher(lambda data: _xts(own, vector, data, encrypt=encrypt), lambda n: n)


def encrypted_size(_row: MechanismRow, _parameter: AnyParameter, n: int, _key: Secret | None) -> int:
    """Return how long `n` bytes are once encrypted."""
    return n


def _xts(key: Secret, tweak: bytes, data: Input, *, encrypt: bool) -> bytes:
    """Process one data unit: the primitive begins another with each update."""
    try:
        if not AES_BLOCK <= len(data) <= XTS_UNIT:
            error = DataLenRange if encrypt else EncryptedDataLenRange
            raise error(f"{len(data)} bytes are no data unit of {AES_BLOCK} to {XTS_UNIT}")
        return blocks.context(AES(key.view()), XTS(tweak), encrypt=encrypt).update(data)
    except ValueError:
        raise KeyFunctionNotPermitted("the halves of the key are the same") from None
    finally:
        key.wipe()
