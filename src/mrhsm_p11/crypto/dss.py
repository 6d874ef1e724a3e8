"""DSA and ECDSA, over a message or over what the caller hashed; signatures are r and s, each as wide as the order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey, DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHAKE128

from mrhsm_p11.crypto import checks, keys
from mrhsm_p11.crypto.base import Input, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.message import Message
from mrhsm_p11.errors import DataLenRange, KeyTypeInconsistent, SignatureInvalid, SignatureLenRange
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

Prehash = Callable[[bytes], Prehashed]

_DSA_HASHES = (20, 28, 32, 48, 64)  # bytes that CKM_DSA signs


class NumbersSigner(Signer):
    """A signature to be made; `prehash` raises DataLenRange for what cannot be signed, `sign` returns DER."""

    __slots__ = ("_message", "_prehash", "_sign")

    def __init__(
        self, message: Message, width: int, prehash: Prehash, sign: Callable[[bytes, Prehashed], bytes]
    ) -> None:
        self._message = message
        self._prehash = prehash
        self._sign = sign
        self.size = 2 * width

    def update(self, data: Input) -> None:
        self._message.update(data)

    def finish(self) -> bytes:
        value = self._message.finish()
        halves = decode_dss_signature(self._sign(value, self._prehash(value)))
        return b"".join(half.to_bytes(self.size // 2, "big") for half in halves)


class NumbersVerifier(Verifier):
    """A signature to be verified; `verify` takes it as DER and raises InvalidSignature.

    `shorter` takes both numbers without leading zeros too, as long as they are equally long (2.40, "EC signatures").
    """

    __slots__ = ("_message", "_prehash", "_shorter", "_verify", "_width")

    def __init__(
        self,
        message: Message,
        width: int,
        prehash: Prehash,
        verify: Callable[[bytes, bytes, Prehashed], None],
        *,
        shorter: bool,
    ) -> None:
        self._message = message
        self._shorter = shorter
        self._prehash = prehash
        self._verify = verify
        self._width = width

    def update(self, data: Input) -> None:
        self._message.update(data)

    def finish(self, signature: Input) -> None:
        value = self._message.finish()
        prehashed = self._prehash(value)
        width, odd = divmod(len(signature), 2)
        if odd or not ((0 < width < self._width and self._shorter) or width == self._width):
            raise SignatureLenRange(f"a signature of this key has {2 * self._width} bytes, not {len(signature)}")
        r, s = (int.from_bytes(half, "big") for half in (signature[:width], signature[width:]))
        try:
            self._verify(encode_dss_signature(r, s), value, prehashed)
        except InvalidSignature:
            raise SignatureInvalid("the signature is not this key's over this data") from None


def signer(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Signer:
    """Start a signature. Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid."""
    checks.no_parameter(parameter)
    key = keys.private(material)
    if row.family == "ec" and isinstance(key, EllipticCurvePrivateKey):
        checks.key_size(row, key.key_size)
        return NumbersSigner(Message(row.hash), _width(key.key_size), _as_hash, partial(_sign_ec, key))
    if row.family == "dsa" and isinstance(key, DSAPrivateKey):
        checks.key_size(row, key.key_size)
        order_bits = key.parameters().parameter_numbers().q.bit_length()
        return NumbersSigner(Message(row.hash), _width(order_bits), _as_dsa_hash, key.sign)
    raise KeyTypeInconsistent("not a private key of the mechanism's type")


def verifier(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Verifier:
    """Start a verification. Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid."""
    checks.no_parameter(parameter)
    key = keys.public(material)
    if row.family == "ec" and isinstance(key, EllipticCurvePublicKey):
        checks.key_size(row, key.key_size)
        return NumbersVerifier(
            Message(row.hash), _width(key.key_size), _as_hash, partial(_verify_ec, key), shorter=True
        )
    if row.family == "dsa" and isinstance(key, DSAPublicKey):
        checks.key_size(row, key.key_size)
        order_bits = key.parameters().parameter_numbers().q.bit_length()
        return NumbersVerifier(Message(row.hash), _width(order_bits), _as_dsa_hash, key.verify, shorter=False)
    raise KeyTypeInconsistent("not a public key of the mechanism's type")


def _width(order_bits: int) -> int:
    return (order_bits + 7) // 8


def _sign_ec(key: EllipticCurvePrivateKey, value: bytes, prehashed: Prehashed) -> bytes:
    return key.sign(value, ECDSA(prehashed))


def _verify_ec(key: EllipticCurvePublicKey, signature: bytes, value: bytes, prehashed: Prehashed) -> None:
    key.verify(signature, value, ECDSA(prehashed))


def _as_dsa_hash(value: bytes) -> Prehashed:
    if len(value) not in _DSA_HASHES:
        raise DataLenRange(f"DSA signs a hash, of {_DSA_HASHES} bytes, not {len(value)}")
    return _as_hash(value)


def _as_hash(value: bytes) -> Prehashed:
    # A hash of whatever length it has: the primitive then takes its leftmost bits, or all as a number, as FIPS 186-4
    # says. SHAKE128 is only the one whose length may be chosen; nothing is hashed with it.
    if not value:
        raise DataLenRange("there is nothing to sign")
    return Prehashed(SHAKE128(len(value)))
