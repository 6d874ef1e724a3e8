"""RSA signatures: PKCS #1 v1.5 and PSS, over a message or over what the caller hashed."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed

from mrhsm_p11.constants import CKG
from mrhsm_p11.crypto import checks, digests, keys
from mrhsm_p11.crypto.base import Cipher, Input, OneShotCipher, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.hashes import algorithm
from mrhsm_p11.crypto.message import Message
from mrhsm_p11.errors import (
    DataLenRange,
    MechanismInvalid,
    MechanismParamInvalid,
    SignatureInvalid,
    SignatureLenRange,
)
from mrhsm_p11.mapping.mechanisms import HASHES, MechanismRow
from mrhsm_p11.parameters.rsa import PSSParams
from mrhsm_p11.secret import Secret

PKCS1_OVERHEAD = 11
_MASKS = {
    CKG.MGF1_SHA1: "sha1",
    CKG.MGF1_SHA224: "sha224",
    CKG.MGF1_SHA256: "sha256",
    CKG.MGF1_SHA384: "sha384",
    CKG.MGF1_SHA512: "sha512",
    CKG.MGF1_SHA3_224: "sha3_224",
    CKG.MGF1_SHA3_256: "sha3_256",
    CKG.MGF1_SHA3_384: "sha3_384",
    CKG.MGF1_SHA3_512: "sha3_512",
}


class Scheme:
    """A padding with its parameters, the hash it names, and what lengths it takes unhashed."""

    __slots__ = ("hash", "message", "padding", "size", "sizes")

    padding: AsymmetricPadding
    hash: Prehashed | NoDigestInfo

    def __init__(self, row: MechanismRow, parameter: AnyParameter, key_bits: int) -> None:
        self.size = (key_bits + 7) // 8
        self.message = Message(row.hash)
        name = row.hash
        if row.mode == "pss":
            name, self.padding = _pss(row, parameter, key_bits)
            self.sizes = range(digests.SIZES[name], digests.SIZES[name] + 1)
        else:
            checks.no_parameter(parameter)
            self.padding = PKCS1v15()
            # not nothing: cryptography 47 signs that and cannot verify it
            self.sizes = range(1, self.size - PKCS1_OVERHEAD + 1)
        self.hash = Prehashed(algorithm(name)) if name else NoDigestInfo()

    def finish(self) -> bytes:
        """Return the bytes that the padding takes. Raises DataLenRange."""
        value = self.message.finish()
        if len(value) not in self.sizes:
            raise DataLenRange(f"{len(value)} bytes cannot be signed with this key and padding")
        return value

    def require_size(self, signature: Input) -> None:
        """Raise SignatureLenRange unless a signature is as long as the modulus."""
        if len(signature) != self.size:
            raise SignatureLenRange(f"a signature of this key has {self.size} bytes, not {len(signature)}")


class RSASigner(Signer):
    """An RSA signature to be made."""

    __slots__ = ("_key", "_scheme")

    def __init__(self, scheme: Scheme, key: RSAPrivateKey) -> None:
        self._scheme = scheme
        self._key = key
        self.size = scheme.size

    def update(self, data: Input) -> None:
        self._scheme.message.update(data)

    def finish(self) -> bytes:
        return self._key.sign(self._scheme.finish(), self._scheme.padding, self._scheme.hash)


class RSAVerifier(Verifier):
    """An RSA signature to be verified."""

    __slots__ = ("_key", "_scheme")

    def __init__(self, scheme: Scheme, key: RSAPublicKey) -> None:
        self._scheme = scheme
        self._key = key

    def update(self, data: Input) -> None:
        self._scheme.message.update(data)

    def finish(self, signature: Input) -> None:
        value = self._scheme.finish()
        self._scheme.require_size(signature)
        try:
            genuine = self._verified(bytes(signature), value)
        except InvalidSignature:
            genuine = False
        if not genuine:
            raise SignatureInvalid("the signature is not this key's over this data")

    def _verified(self, signature: bytes, value: bytes) -> bool:
        scheme = self._scheme
        if isinstance(scheme.hash, NoDigestInfo):
            return self._key.recover_data_from_signature(signature, scheme.padding, None) == value
        self._key.verify(signature, value, scheme.padding, scheme.hash)
        return True


def signer(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Signer:
    """Start a signature. Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid."""
    key = keys.rsa_private(row, material)
    return RSASigner(Scheme(row, parameter, key.key_size), key)


def verifier(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Verifier:
    """Start a verification. Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid."""
    key = keys.rsa_public(row, material)
    return RSAVerifier(Scheme(row, parameter, key.key_size), key)


def recoverer(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Cipher:
    """Start a verification that returns what was signed. Raises as verifier."""
    if row.mode != "pkcs1" or row.hash:
        raise MechanismInvalid("no data can be had back from such a signature")
    key = keys.rsa_public(row, material)
    scheme = Scheme(row, parameter, key.key_size)

    def recover(signature: Input) -> bytes:
        scheme.require_size(signature)
        try:
            return key.recover_data_from_signature(bytes(signature), scheme.padding, None)
        except InvalidSignature:
            raise SignatureInvalid("the signature is not this key's") from None

    return OneShotCipher(recover, lambda _: scheme.size - PKCS1_OVERHEAD)


def oaep_overhead(hash_bytes: int) -> int:
    """Return how many bytes OAEP adds (RFC 8017, 7.1.1)."""
    return 2 * hash_bytes + 2


def hash_name(hash: int) -> str:
    """Return hashlib's name of a parameter's hash. Raises MechanismParamInvalid."""
    if hash not in HASHES:
        raise MechanismParamInvalid(f"the hash {hash:#x} is none of those here")
    return HASHES[hash]


def mask_name(mgf: int) -> str:
    """Return hashlib's name of the hash in a parameter's mask generation function. Raises MechanismParamInvalid."""
    if mgf not in _MASKS:
        raise MechanismParamInvalid(f"the mask generation function {mgf:#x} is none of those here")
    return _MASKS[mgf]


def _pss(row: MechanismRow, parameter: AnyParameter, key_bits: int) -> tuple[str, PSS]:
    pss = checks.structure(parameter, PSSParams)
    name = hash_name(pss.hash)
    if row.hash not in (None, name):
        raise MechanismParamInvalid("the parameter names another hash than the mechanism")
    longest = (key_bits - 1 + 7) // 8 - digests.SIZES[name] - 2
    if not 0 <= pss.salt_len <= longest:
        raise MechanismParamInvalid(f"a salt of {pss.salt_len} bytes is longer than this key takes")
    return name, PSS(MGF1(algorithm(mask_name(pss.mgf))), pss.salt_len)
