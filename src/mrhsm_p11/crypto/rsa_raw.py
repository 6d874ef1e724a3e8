"""RSA without padding (CKM_RSA_X_509): a number to the power of an exponent, computed by the system's libcrypto.

Input shorter than the modulus has zero bytes put before it; output is as long as the modulus.
"""

from __future__ import annotations

import hmac

from mrhsm_p11.crypto import checks, keys, libcrypto
from mrhsm_p11.crypto.base import Cipher, Input, OneShotCipher, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import (
    CryptokiError,
    DataInvalid,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    SignatureInvalid,
    SignatureLenRange,
)
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret


class Power:
    """One exponentiation to come, with its own copy of the key, which is wiped with it."""

    __slots__ = ("_key", "_private", "size")

    def __init__(self, row: MechanismRow, parameter: AnyParameter, material: Secret, *, private: bool) -> None:
        checks.no_parameter(parameter)
        key_bits = (keys.rsa_private if private else keys.rsa_public)(row, material).key_size
        self.size = (key_bits + 7) // 8
        self._private = private
        self._key = Secret(material.view())  # the caller's may be wiped between parts

    def of(self, block: Input, too_large: type[CryptokiError]) -> bytes:
        """Return the power of a block that is no longer than the modulus. Raises `too_large`."""
        filled = Secret(bytes(self.size - len(block)) + bytes(block))
        try:
            return libcrypto.require().rsa(self._key, filled.view(), private=self._private).reveal()
        except ValueError:
            raise too_large("the number is not smaller than the modulus") from None
        finally:
            filled.wipe()
            self._key.wipe()


class RawSigner(Signer):
    """A signature to be made of what the caller padded."""

    __slots__ = ("_data", "_power")

    def __init__(self, power: Power) -> None:
        self._power = power
        self._data = bytearray()
        self.size = power.size

    def update(self, data: Input) -> None:
        self._data += data

    def finish(self) -> bytes:
        _require_room(self._data, self.size, DataLenRange)
        return self._power.of(self._data, DataInvalid)


class RawVerifier(Verifier):
    """A signature to be compared with what the caller padded."""

    __slots__ = ("_data", "_power")

    def __init__(self, power: Power) -> None:
        self._power = power
        self._data = bytearray()

    def update(self, data: Input) -> None:
        self._data += data

    def finish(self, signature: Input) -> None:
        size = self._power.size
        _require_room(self._data, size, DataLenRange)
        _require_size(signature, size, SignatureLenRange)
        if not hmac.compare_digest(self._power.of(signature, SignatureInvalid), self._data.rjust(size, b"\0")):
            raise SignatureInvalid("the signature is not this key's over this data")


def signer(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Signer:
    """Start a signature. Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid."""
    return RawSigner(Power(row, parameter, material, private=True))


def verifier(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Verifier:
    """Start a verification. Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid."""
    return RawVerifier(Power(row, parameter, material, private=False))


def recoverer(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Cipher:
    """Start a verification that returns what was signed, as long as the modulus.

    Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid.
    """
    return _transformation(Power(row, parameter, material, private=False), SignatureLenRange, SignatureInvalid)


def cipher(row: MechanismRow, parameter: AnyParameter, material: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation with a public (encrypt) or private key.

    Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid.
    """
    power = Power(row, parameter, material, private=not encrypt)
    if not encrypt:
        return _transformation(power, EncryptedDataLenRange, EncryptedDataInvalid)

    def seal(plain: Input) -> bytes:
        _require_room(plain, power.size, DataLenRange)
        return power.of(plain, DataInvalid)

    return OneShotCipher(seal, lambda _: power.size)


def encrypted_size(row: MechanismRow, _parameter: AnyParameter, _n: int, key: Secret | None) -> int:
    """Return how long everything is once encrypted with this public key, or, without it, with the largest."""
    return ((row.max_key if key is None else keys.rsa_public(row, key).key_size) + 7) // 8


def _transformation(power: Power, wrong_size: type[CryptokiError], too_large: type[CryptokiError]) -> Cipher:
    def transform(block: Input) -> bytes:
        _require_size(block, power.size, wrong_size)
        return power.of(block, too_large)

    return OneShotCipher(transform, lambda _: power.size)


def _require_room(data: Input, size: int, error: type[CryptokiError]) -> None:
    if len(data) > size:
        raise error(f"{len(data)} bytes are more than the {size} of this key")


def _require_size(block: Input, size: int, error: type[CryptokiError]) -> None:
    if len(block) != size:
        raise error(f"the input has {size} bytes with this key, not {len(block)}")
