"""Stream ciphers, and the modes that make one of AES: OFB, CFB-8, CFB-128, ChaCha20."""

from __future__ import annotations

from cryptography.hazmat.decrepit.ciphers.modes import CFB, CFB8, OFB
from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from mrhsm_p11.crypto import blocks, checks
from mrhsm_p11.crypto.base import Cipher, Input
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.ciphers import AES_BLOCK, KeyStream
from mrhsm_p11.errors import CryptokiError, DataLenRange, EncryptedDataLenRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.symmetric import ChaCha20Params
from mrhsm_p11.secret import Secret

_MODES: dict[str, type[OFB] | type[CFB] | type[CFB8]] = {"ofb": OFB, "cfb8": CFB8, "cfb128": CFB}
_CHACHA_BLOCK = 64
_WORD = 1 << 32
# RFC 8439 counts blocks in 32 bits beside a nonce of 96, the original ChaCha in 64 beside 64.
_LAYOUTS = ((4, 12), (8, 8))


class WideKeyStream(Cipher):
    """ChaCha20 with a counter of 64 bits: the primitive counts in 32, so the upper half is ours to carry."""

    __slots__ = ("_context", "_counter", "_key", "_left", "_length_error", "_nonce")

    def __init__(self, key: Secret, counter: int, nonce: bytes, length_error: type[CryptokiError]) -> None:
        self._key = Secret(key.view())  # the caller's may be wiped between parts
        self._nonce = nonce
        self._length_error = length_error
        self._start(counter)

    def size(self, n: int, *, final: bool) -> int:
        return n

    def update(self, data: Input) -> bytes:
        out, view = b"", memoryview(data)
        while len(view) > self._left:
            out += self._context.update(view[: self._left])
            view = view[self._left :]
            self._start((self._counter // _WORD + 1) * _WORD)
        self._left -= len(view)
        return out + self._context.update(view)

    def finish(self, data: Input = b"") -> bytes:
        return self.update(data)

    def _start(self, counter: int) -> None:
        if counter >= _WORD**2:
            raise self._length_error("the counter would wrap")
        self._counter = counter
        self._left = (_WORD - counter % _WORD) * _CHACHA_BLOCK
        self._context = _chacha(self._key, counter.to_bytes(8, "little") + self._nonce)


def cipher(row: MechanismRow, parameter: AnyParameter, key: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation. Raises MechanismParamInvalid, KeySizeRange."""
    checks.key_size(row, len(key) * 8)
    length_error: type[CryptokiError] = DataLenRange if encrypt else EncryptedDataLenRange
    if row.mode == "chacha20":
        return _chacha_stream(checks.structure(parameter, ChaCha20Params), key, length_error)
    mode = _MODES[row.mode](checks.initial_vector(parameter, AES_BLOCK))
    block_cipher = blocks.algorithm(row.key_types[0], key)
    return KeyStream(blocks.context(block_cipher, mode, encrypt=encrypt), None, length_error)


def encrypted_size(_row: MechanismRow, _parameter: AnyParameter, n: int, _key: Secret | None) -> int:
    """Return how long `n` bytes are once encrypted."""
    return n


def _chacha_stream(parameter: ChaCha20Params, key: Secret, length_error: type[CryptokiError]) -> Cipher:
    sizes = len(parameter.counter), len(parameter.nonce)
    if sizes not in _LAYOUTS:
        raise MechanismParamInvalid(f"a counter of {sizes[0]} and a nonce of {sizes[1]} bytes are no ChaCha20's")
    first = int.from_bytes(parameter.counter, "little")
    if sizes == (8, 8):
        return WideKeyStream(key, first, parameter.nonce, length_error)
    left = (_WORD - first) * _CHACHA_BLOCK
    return KeyStream(_chacha(key, parameter.counter + parameter.nonce), left, length_error)


def _chacha(key: Secret, counter_and_nonce: bytes) -> CipherContext:
    return Primitive(ChaCha20(key.view(), counter_and_nonce), None).encryptor()
