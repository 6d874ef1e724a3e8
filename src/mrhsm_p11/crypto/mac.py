"""HMAC, whole or cut to the length that the parameter asks for."""

from __future__ import annotations

import sys

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hmac import HMAC

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.base import Input, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.hashes import algorithm
from mrhsm_p11.errors import MechanismParamInvalid, SignatureInvalid, SignatureLenRange
from mrhsm_p11.mapping.codecs import ULONG_BYTES
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret


class HMACSigner(Signer):
    """An HMAC to be made."""

    __slots__ = ("_hmac",)

    def __init__(self, hmac: HMAC, size: int) -> None:
        self._hmac = hmac
        self.size = size

    def update(self, data: Input) -> None:
        self._hmac.update(data)

    def finish(self) -> bytes:
        return self._hmac.finalize()[: self.size]


class HMACVerifier(Verifier):
    """An HMAC to be compared, in constant time."""

    __slots__ = ("_hmac", "_size")

    def __init__(self, hmac: HMAC, size: int) -> None:
        self._hmac = hmac
        self._size = size

    def update(self, data: Input) -> None:
        self._hmac.update(data)

    def finish(self, signature: Input) -> None:
        if len(signature) != self._size:
            raise SignatureLenRange(f"the MAC has {self._size} bytes, not {len(signature)}")
        if not bytes_eq(self._hmac.finalize()[: self._size], bytes(signature)):
            raise SignatureInvalid("the MAC differs")


def signer(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Signer:
    """Start making a MAC. Raises MechanismParamInvalid, KeySizeRange."""
    return HMACSigner(*_start(row, parameter, key))


def verifier(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Verifier:
    """Start checking a MAC. Raises MechanismParamInvalid, KeySizeRange."""
    return HMACVerifier(*_start(row, parameter, key))


def _start(row: MechanismRow, parameter: AnyParameter, key: Secret) -> tuple[HMAC, int]:
    checks.key_size(row, len(key) * 8)
    function = algorithm(row.hash)
    size = function.digest_size
    if row.mode == "hmac-general":
        if not isinstance(parameter, bytes) or len(parameter) != ULONG_BYTES:
            raise MechanismParamInvalid("the parameter is the MAC's length, a CK_ULONG")
        size = int.from_bytes(parameter, sys.byteorder)
        if not 1 <= size <= function.digest_size:
            raise MechanismParamInvalid(f"a MAC of {size} bytes is not from 1 to {function.digest_size}")
    else:
        checks.no_parameter(parameter)
    return HMAC(key.view(), function), size
