"""ML-DSA and HashML-DSA (FIPS 204), with contexts; signatures are hedged, as the primitives make them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)

from mrhsm_p11.constants import CKH
from mrhsm_p11.crypto import checks, der, digests, keys
from mrhsm_p11.crypto.base import Input, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.containers import open_private, open_public
from mrhsm_p11.crypto.lattices import BY_OID
from mrhsm_p11.crypto.message import Message
from mrhsm_p11.errors import (
    DataLenRange,
    KeyTypeInconsistent,
    MechanismParamInvalid,
    SignatureInvalid,
    SignatureLenRange,
)
from mrhsm_p11.mapping.mechanisms import HASHES, MechanismRow
from mrhsm_p11.parameters.signatures import HashSignContext, SignContext
from mrhsm_p11.secret import Secret

_LONGEST_CONTEXT = 255
_MU_BYTES = 64
# The last byte of the object identifiers of hash functions, 2.16.840.1.101.3.4.2.x (FIPS 204, section 5.4)
_HASH_OIDS = {
    "sha256": 1,
    "sha384": 2,
    "sha512": 3,
    "sha224": 4,
    "sha512_224": 5,
    "sha512_256": 6,
    "sha3_224": 7,
    "sha3_256": 8,
    "sha3_384": 9,
    "sha3_512": 10,
}

_Private = (MLDSA44PrivateKey, MLDSA65PrivateKey, MLDSA87PrivateKey)
_Public = (MLDSA44PublicKey, MLDSA65PublicKey, MLDSA87PublicKey)


class MLDSASigner(Signer):
    """A signature to be made."""

    __slots__ = ("_message", "_sign")

    def __init__(self, message: Message, size: int, sign: Callable[[bytes], bytes]) -> None:
        self._message = message
        self._sign = sign
        self.size = size

    def update(self, data: Input) -> None:
        self._message.update(data)

    def finish(self) -> bytes:
        return self._sign(self._message.finish())


class MLDSAVerifier(Verifier):
    """A signature to be verified; `verify` takes it and the message, and raises InvalidSignature."""

    __slots__ = ("_message", "_size", "_verify")

    def __init__(self, message: Message, size: int, verify: Callable[[bytes, bytes], None]) -> None:
        self._message = message
        self._verify = verify
        self._size = size

    def update(self, data: Input) -> None:
        self._message.update(data)

    def finish(self, signature: Input) -> None:
        if len(signature) != self._size:
            raise SignatureLenRange(f"a signature of this key has {self._size} bytes, not {len(signature)}")
        try:
            self._verify(bytes(signature), self._message.finish())
        except InvalidSignature:
            raise SignatureInvalid("the signature is not this key's over this data") from None


def signer(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Signer:
    """Start a signature. Raises KeyTypeInconsistent, MechanismParamInvalid."""
    key = keys.private(material)
    if not isinstance(key, _Private):
        raise KeyTypeInconsistent("not an ML-DSA private key")
    hash_name, context, hedge = _asked(row, parameter)
    if hedge == CKH.DETERMINISTIC_REQUIRED:
        raise MechanismParamInvalid("the primitives make hedged signatures only")
    size = BY_OID[open_private(material.reveal())[0][0]].made
    if hash_name is None:
        return MLDSASigner(Message(None), size, partial(key.sign, context=context))
    public = key.public_key().public_bytes_raw()
    return MLDSASigner(Message(row.hash), size, lambda value: key.sign_mu(_mu(public, context, hash_name, value)))


def verifier(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Verifier:
    """Start a verification. Raises KeyTypeInconsistent, MechanismParamInvalid."""
    key = keys.public(material)
    if not isinstance(key, _Public):
        raise KeyTypeInconsistent("not an ML-DSA public key")
    hash_name, context, _ = _asked(row, parameter)
    size = BY_OID[open_public(material.reveal())[0][0]].made
    if hash_name is None:
        return MLDSAVerifier(Message(None), size, partial(key.verify, context=context))
    public = key.public_bytes_raw()

    def verify(signature: bytes, value: bytes) -> None:
        key.verify_mu(signature, _mu(public, context, hash_name, value))

    return MLDSAVerifier(Message(row.hash), size, verify)


def _asked(row: MechanismRow, parameter: AnyParameter) -> tuple[str | None, bytes, int]:
    """Return hash (None: the message itself is signed), context and hedging. Raises MechanismParamInvalid."""
    if row.mode == "prehashed":
        given = checks.structure(parameter, HashSignContext)
        name = HASHES.get(given.hash, "")
        if name not in _HASH_OIDS:
            raise MechanismParamInvalid(f"the hash {given.hash:#x} is none of those here")
        found: tuple[str | None, bytes, int] = name, given.context, given.hedge
    elif parameter is None or parameter == b"":
        found = row.hash, b"", CKH.HEDGE_PREFERRED
    else:
        plain = checks.structure(parameter, SignContext)
        found = row.hash, plain.context, plain.hedge
    if len(found[1]) > _LONGEST_CONTEXT:
        raise MechanismParamInvalid(f"a context has at most {_LONGEST_CONTEXT} bytes")
    if found[2] not in (CKH.HEDGE_PREFERRED, CKH.HEDGE_REQUIRED, CKH.DETERMINISTIC_REQUIRED):
        raise MechanismParamInvalid(f"{found[2]:#x} is no way to hedge")
    return found


def _mu(public: bytes, context: bytes, hash: str, value: bytes) -> bytes:
    """Return the message representative of HashML-DSA: FIPS 204, algorithm 4 and line 6 of algorithm 7."""
    if len(value) != digests.SIZES[hash]:
        raise DataLenRange(f"{hash} gives {digests.SIZES[hash]} bytes, not {len(value)}")
    oid = der.encode(der.OID, bytes.fromhex("6086480165030402") + bytes((_HASH_OIDS[hash],)))
    message = b"\1" + bytes((len(context),)) + context + oid + value
    return hashlib.shake_256(hashlib.shake_256(public).digest(_MU_BYTES) + message).digest(_MU_BYTES)
