"""AES key wrap: RFC 3394, the same after PKCS #7 padding, and RFC 5649."""

from __future__ import annotations

from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from cryptography.hazmat.primitives.padding import PKCS7

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.base import Cipher, Input, OneShotCipher
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import DataLenRange, EncryptedDataInvalid, EncryptedDataLenRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

SEMIBLOCK = 8
_PKCS7 = PKCS7(SEMIBLOCK * 8)
# The initial values of RFC 3394 and RFC 5649: the primitives take no others.
_INITIAL_VALUES = {"kw": b"\xa6" * 8, "kw-pkcs7": b"\xa6" * 8, "kwp": b"\xa6\x59\x59\xa6"}


def cipher(row: MechanismRow, parameter: AnyParameter, key: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation. Raises MechanismParamInvalid, KeySizeRange."""
    checks.key_size(row, len(key) * 8)
    if parameter not in (None, b"", _INITIAL_VALUES[row.mode]):
        raise MechanismParamInvalid("the initial value, where given, is the standard's own")
    own = Secret(key.view())  # the caller's may be wiped between parts
    if encrypt:
        return OneShotCipher(lambda data: _wrap(row.mode, own, data), lambda n: encrypted_size(row, None, n, None))
    return OneShotCipher(lambda data: _unwrap(row.mode, own, data), lambda n: max(n - SEMIBLOCK, 0))


def encrypted_size(row: MechanismRow, _parameter: AnyParameter, n: int, _key: Secret | None) -> int:
    """Return how long `n` bytes are once wrapped."""
    if row.mode == "kw-pkcs7":
        n += SEMIBLOCK - n % SEMIBLOCK
    return n + -n % SEMIBLOCK + SEMIBLOCK


def _wrap(mode: str, key: Secret, data: Input) -> bytes:
    try:
        if mode == "kwp":
            if not len(data):
                raise DataLenRange("there is nothing to wrap")
            return keywrap.aes_key_wrap_with_padding(key.reveal(), bytes(data))
        if mode == "kw-pkcs7":
            padder = _PKCS7.padder()
            data = padder.update(bytes(data)) + padder.finalize()
        if len(data) < 2 * SEMIBLOCK or len(data) % SEMIBLOCK:
            raise DataLenRange("key wrap takes multiples of 8 bytes, 16 and up")
        return keywrap.aes_key_wrap(key.reveal(), bytes(data))
    finally:
        key.wipe()


def _unwrap(mode: str, key: Secret, data: Input) -> bytes:
    least = 2 * SEMIBLOCK if mode == "kwp" else 3 * SEMIBLOCK
    if len(data) < least or len(data) % SEMIBLOCK:
        raise EncryptedDataLenRange(f"wrapped bytes are a multiple of 8, {least} and up")
    try:
        if mode == "kwp":
            return keywrap.aes_key_unwrap_with_padding(key.reveal(), bytes(data))
        plain = keywrap.aes_key_unwrap(key.reveal(), bytes(data))
        if mode == "kw":
            return plain
        unpadder = _PKCS7.unpadder()
        return unpadder.update(plain) + unpadder.finalize()
    except (InvalidUnwrap, ValueError):
        raise EncryptedDataInvalid("the integrity check of the wrapped bytes failed") from None
    finally:
        key.wipe()
