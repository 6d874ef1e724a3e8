"""MACs, whole or cut to the length that the parameter asks for; HMAC is made here."""

from __future__ import annotations

import hmac
import sys
from typing import Protocol

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hmac import HMAC

from mrhsm_p11.crypto import checks, digests, hashes
from mrhsm_p11.crypto.base import Input, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import MechanismParamInvalid, SignatureInvalid, SignatureLenRange
from mrhsm_p11.mapping.codecs import ULONG_BYTES
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret


class Computation(Protocol):
    """A MAC as the primitives library computes it."""

    def update(self, data: Input, /) -> object: ...

    def finalize(self) -> bytes: ...


class MACSigner(Signer):
    """A MAC to be made: the first `size` bytes."""

    __slots__ = ("_computation",)

    def __init__(self, computation: Computation, size: int) -> None:
        self._computation = computation
        self.size = size

    def update(self, data: Input) -> None:
        self._computation.update(data)

    def finish(self) -> bytes:
        return self._computation.finalize()[: self.size]


class MACVerifier(Verifier):
    """A MAC to be compared, in constant time."""

    __slots__ = ("_computation", "_size")

    def __init__(self, computation: Computation, size: int) -> None:
        self._computation = computation
        self._size = size

    def update(self, data: Input) -> None:
        self._computation.update(data)

    def finish(self, signature: Input) -> None:
        if len(signature) != self._size:
            raise SignatureLenRange(f"the MAC has {self._size} bytes, not {len(signature)}")
        if not bytes_eq(self._computation.finalize()[: self._size], bytes(signature)):
            raise SignatureInvalid("the MAC differs")


def signer(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Signer:
    """Start making an HMAC. Raises MechanismParamInvalid, KeySizeRange."""
    return MACSigner(*_start(row, parameter, key))


def verifier(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Verifier:
    """Start checking an HMAC. Raises MechanismParamInvalid, KeySizeRange."""
    return MACVerifier(*_start(row, parameter, key))


def chosen_size(parameter: AnyParameter, longest: int) -> int:
    """Return the length that a CK_MAC_GENERAL_PARAMS asks for, in bytes. Raises MechanismParamInvalid."""
    if not isinstance(parameter, bytes) or len(parameter) != ULONG_BYTES:
        raise MechanismParamInvalid("the parameter is the MAC's length, a CK_ULONG")
    size = int.from_bytes(parameter, sys.byteorder)
    if not 1 <= size <= longest:
        raise MechanismParamInvalid(f"a MAC of {size} bytes is not from 1 to {longest}")
    return size


def _start(row: MechanismRow, parameter: AnyParameter, key: Secret) -> tuple[Computation, int]:
    checks.key_size(row, len(key) * 8)
    assert row.hash is not None
    whole = digests.SIZES[row.hash]
    if row.mode == "hmac-general":
        size = chosen_size(parameter, whole)
    else:
        checks.no_parameter(parameter)
        size = whole
    if hashes.known(row.hash):
        return HMAC(key.view(), hashes.algorithm(row.hash)), size
    return _HashlibHMAC(key, row.hash), size


class _HashlibHMAC:
    """HMAC of a hash that only hashlib has: BLAKE2b of other sizes than the largest."""

    __slots__ = ("_hmac",)

    def __init__(self, key: Secret, hash: str) -> None:
        self._hmac = hmac.new(key.reveal(), digestmod=digests.constructor(hash))

    def update(self, data: Input) -> None:
        self._hmac.update(data)

    def finalize(self) -> bytes:
        return self._hmac.digest()
