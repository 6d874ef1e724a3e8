"""ECDSA, over a message or over what the caller hashed; signatures are r and s, each as wide as the curve's order."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHAKE128

from mrhsm_p11.crypto import checks, keys
from mrhsm_p11.crypto.base import Input, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.message import Message
from mrhsm_p11.errors import DataLenRange, SignatureInvalid, SignatureLenRange
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret


class ECDSASigner(Signer):
    """An ECDSA signature to be made."""

    __slots__ = ("_key", "_message")

    def __init__(self, message: Message, key: EllipticCurvePrivateKey) -> None:
        self._message = message
        self._key = key
        self.size = 2 * _width(key.key_size)

    def update(self, data: Input) -> None:
        self._message.update(data)

    def finish(self) -> bytes:
        value = self._message.finish()
        halves = decode_dss_signature(self._key.sign(value, _as_hash(value)))
        return b"".join(half.to_bytes(self.size // 2, "big") for half in halves)


class ECDSAVerifier(Verifier):
    """An ECDSA signature to be verified."""

    __slots__ = ("_key", "_message")

    def __init__(self, message: Message, key: EllipticCurvePublicKey) -> None:
        self._message = message
        self._key = key

    def update(self, data: Input) -> None:
        self._message.update(data)

    def finish(self, signature: Input) -> None:
        value = self._message.finish()
        scheme = _as_hash(value)
        width = _width(self._key.key_size)
        if len(signature) != 2 * width:
            raise SignatureLenRange(f"a signature of this key has {2 * width} bytes, not {len(signature)}")
        r, s = (int.from_bytes(half, "big") for half in (signature[:width], signature[width:]))
        try:
            self._key.verify(encode_dss_signature(r, s), value, scheme)
        except InvalidSignature:
            raise SignatureInvalid("the signature is not this key's over this data") from None


def signer(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Signer:
    """Start a signature. Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid."""
    checks.no_parameter(parameter)
    return ECDSASigner(Message(row.hash), keys.ec_private(row, material))


def verifier(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Verifier:
    """Start a verification. Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid."""
    checks.no_parameter(parameter)
    return ECDSAVerifier(Message(row.hash), keys.ec_public(row, material))


def _width(order_bits: int) -> int:
    return (order_bits + 7) // 8


def _as_hash(value: bytes) -> ECDSA:
    # A hash of whatever length it has: the primitive then takes its leftmost bits, or all as a number, as FIPS 186-4
    # says. SHAKE128 is only the one whose length may be chosen; nothing is hashed with it.
    if not value:
        raise DataLenRange("there is nothing to sign")
    return ECDSA(Prehashed(SHAKE128(len(value))))
