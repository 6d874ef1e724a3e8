"""Authenticated encryption that takes all input at once: AES-CCM and ChaCha20-Poly1305."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.base import Cipher, Input, OneShotCipher
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import (
    CryptokiError,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    MechanismParamInvalid,
)
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.symmetric import CCMParams, ChaCha20Poly1305Params
from mrhsm_p11.secret import Secret

_CHACHA_NONCE_BYTES = 12  # RFC 8439's; the primitives have no other
_CHACHA_TAG_BYTES = 16


class Sealing:
    """One message: key, nonce, what is authenticated beside it, and the lengths that it must have."""

    __slots__ = ("_aad", "_key", "_nonce", "_plain_bytes", "tag_bytes")

    def __init__(self, row: MechanismRow, parameter: AnyParameter, key: Secret) -> None:
        checked = _checked(row, parameter)
        self._key = Secret(key.view())  # the caller's may be wiped between parts
        self._nonce, self._aad = checked.nonce, checked.aad
        self.tag_bytes = _tag_bytes(checked)
        self._plain_bytes = checked.data_len if isinstance(checked, CCMParams) else None

    def seal(self, plain: Input) -> bytes:
        self._check_length(len(plain), DataLenRange)
        try:
            return self._primitive().encrypt(self._nonce, plain, self._aad)
        finally:
            self._key.wipe()

    def open(self, sealed: Input) -> bytes:
        self._check_length(len(sealed) - self.tag_bytes, EncryptedDataLenRange)
        try:
            return self._primitive().decrypt(self._nonce, sealed, self._aad)
        except InvalidTag:
            raise EncryptedDataInvalid("the tag does not fit the data") from None
        finally:
            self._key.wipe()

    def _primitive(self) -> AESCCM | ChaCha20Poly1305:
        if self._plain_bytes is None:
            return ChaCha20Poly1305(self._key.view())
        return AESCCM(self._key.view(), self.tag_bytes)

    def _check_length(self, n: int, error: type[CryptokiError]) -> None:
        if n < 0 or self._plain_bytes not in (None, n):
            raise error(f"{n} bytes beside the tag are not what the parameter says")


def cipher(row: MechanismRow, parameter: AnyParameter, key: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation. Raises MechanismParamInvalid, KeySizeRange."""
    checks.key_size(row, len(key) * 8)
    sealing = Sealing(row, parameter, key)
    if encrypt:
        return OneShotCipher(sealing.seal, lambda n: n + sealing.tag_bytes)
    return OneShotCipher(sealing.open, lambda n: max(n - sealing.tag_bytes, 0))


def encrypted_size(row: MechanismRow, parameter: AnyParameter, n: int, _key: Secret | None) -> int:
    """Return how long `n` bytes are once encrypted. Raises MechanismParamInvalid."""
    return n + _tag_bytes(_checked(row, parameter))


def _checked(row: MechanismRow, parameter: AnyParameter) -> CCMParams | ChaCha20Poly1305Params:
    if row.mode == "chacha20-poly1305":
        chacha = checks.structure(parameter, ChaCha20Poly1305Params)
        if len(chacha.nonce) != _CHACHA_NONCE_BYTES:
            raise MechanismParamInvalid(f"a nonce has {_CHACHA_NONCE_BYTES} bytes, not {len(chacha.nonce)}")
        return chacha
    ccm = checks.structure(parameter, CCMParams)
    if not 7 <= len(ccm.nonce) <= 13:
        raise MechanismParamInvalid(f"a nonce of {len(ccm.nonce)} bytes is not from 7 to 13")
    if ccm.mac_len not in range(4, 17, 2):
        raise MechanismParamInvalid(f"a MAC of {ccm.mac_len} bytes is none of 4, 6, ... 16")
    if ccm.data_len >= 1 << 8 * (15 - len(ccm.nonce)):
        raise MechanismParamInvalid(f"a nonce of {len(ccm.nonce)} bytes leaves no room to count {ccm.data_len}")
    return ccm


def _tag_bytes(parameter: CCMParams | ChaCha20Poly1305Params) -> int:
    return parameter.mac_len if isinstance(parameter, CCMParams) else _CHACHA_TAG_BYTES
