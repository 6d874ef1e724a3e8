"""EdDSA: Ed25519 and Ed448 as RFC 8032 has them, without prehash and, for want of primitives, without context."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mrhsm_p11.crypto import checks, keys
from mrhsm_p11.crypto.base import Input, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.message import Message
from mrhsm_p11.errors import KeyTypeInconsistent, MechanismParamInvalid, SignatureInvalid, SignatureLenRange
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.signatures import EdDSAParams
from mrhsm_p11.secret import Secret

_ED25519_BYTES, _ED448_BYTES = 64, 114


class EdDSASigner(Signer):
    """A signature to be made."""

    __slots__ = ("_key", "_message")

    def __init__(self, key: Ed25519PrivateKey | Ed448PrivateKey) -> None:
        self._key = key
        self._message = Message(None)
        self.size = _ED25519_BYTES if isinstance(key, Ed25519PrivateKey) else _ED448_BYTES

    def update(self, data: Input) -> None:
        self._message.update(data)

    def finish(self) -> bytes:
        return self._key.sign(self._message.finish())


class EdDSAVerifier(Verifier):
    """A signature to be verified."""

    __slots__ = ("_key", "_message")

    def __init__(self, key: Ed25519PublicKey | Ed448PublicKey) -> None:
        self._key = key
        self._message = Message(None)

    def update(self, data: Input) -> None:
        self._message.update(data)

    def finish(self, signature: Input) -> None:
        size = _ED25519_BYTES if isinstance(self._key, Ed25519PublicKey) else _ED448_BYTES
        if len(signature) != size:
            raise SignatureLenRange(f"a signature of this key has {size} bytes, not {len(signature)}")
        try:
            self._key.verify(bytes(signature), self._message.finish())
        except InvalidSignature:
            raise SignatureInvalid("the signature is not this key's over this data") from None


def signer(_row: MechanismRow, parameter: AnyParameter, material: Secret) -> Signer:
    """Start a signature. Raises KeyTypeInconsistent, MechanismParamInvalid."""
    key = keys.private(material)
    if not isinstance(key, Ed25519PrivateKey | Ed448PrivateKey):
        raise KeyTypeInconsistent("not a private key on an Edwards curve")
    _require_pure(parameter, is_448=isinstance(key, Ed448PrivateKey))
    return EdDSASigner(key)


def verifier(_row: MechanismRow, parameter: AnyParameter, material: Secret) -> Verifier:
    """Start a verification. Raises KeyTypeInconsistent, MechanismParamInvalid."""
    key = keys.public(material)
    if not isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        raise KeyTypeInconsistent("not a public key on an Edwards curve")
    _require_pure(parameter, is_448=isinstance(key, Ed448PublicKey))
    return EdDSAVerifier(key)


def _require_pure(parameter: AnyParameter, *, is_448: bool) -> None:
    """Raise MechanismParamInvalid unless the parameter means the variant that the primitives have.

    PKCS #11, "EdDSA", its table of signature schemes: a parameter, even an empty one, makes Ed25519 Ed25519ctx, another
    signature; Ed448 requires one.
    """
    given = None if parameter is None or parameter == b"" else checks.structure(parameter, EdDSAParams)
    if (given is not None) != is_448 or (given is not None and (given.prehash or given.context)):
        raise MechanismParamInvalid("only Ed25519 without parameter and Ed448 with an empty context are computed here")
