"""The engine's only entry: operations by mechanism row, here or where the key is kept.

Families are imported when one of theirs is first asked.

What the functions raise for a bad parameter, key type or key size: MechanismParamInvalid, KeyTypeInconsistent,
KeySizeRange (Wrapping..., Unwrapping... where the key is one of those).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from mrhsm_p11.constants import CKA, CKF
from mrhsm_p11.crypto import checks, digests, families, secret_keys
from mrhsm_p11.crypto.base import Cipher, Digest, KeptKey, Key, Signer, Verifier, lent
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    DataInvalid,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    KeyNotWrappable,
    KeySizeRange,
    KeyTypeInconsistent,
    MechanismInvalid,
    UnwrappingKeySizeRange,
    UnwrappingKeyTypeInconsistent,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
    WrappingKeySizeRange,
    WrappingKeyTypeInconsistent,
)
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret


def warm_up() -> None:
    """Import now what the first AES operation would import."""
    for family in ("block", "aead", "keywrap"):
        families.cipher(family)


def cipher(row: MechanismRow, parameter: AnyParameter, key: Key, *, encrypt: bool) -> Cipher:
    """Start an encryption or decryption; RSA encrypts with the public key's material, decrypts with the private's."""
    if isinstance(key, KeptKey):
        return key.cipher(row, parameter, encrypt=encrypt)
    return families.cipher(row.family).cipher(row, parameter, key, encrypt=encrypt)


def digest(row: MechanismRow, parameter: AnyParameter = None) -> Digest:
    """Start a hash computation."""
    if row.family != "digest" or row.hash is None:
        raise MechanismInvalid("the mechanism does not hash")
    return digests.digest(row.hash, parameter)


def signer(row: MechanismRow, parameter: AnyParameter, key_type: int, key: Key) -> Signer:
    """Start a signature or MAC."""
    checks.key_type(row, key_type)
    if isinstance(key, KeptKey):
        return key.signer(row, parameter)
    return families.signature(row.family).signer(row, parameter, key)


def verifier(row: MechanismRow, parameter: AnyParameter, key_type: int, key: Key) -> Verifier:
    """Start the verification of a signature or MAC."""
    checks.key_type(row, key_type)
    if isinstance(key, KeptKey):
        return key.verifier(row, parameter)
    return families.signature(row.family).verifier(row, parameter, key)


def recoverer(row: MechanismRow, parameter: AnyParameter, key_type: int, key: Key) -> Cipher:
    """Start the verification of a signature whose output is what was signed."""
    checks.key_type(row, key_type)
    return families.recover(row.family).recoverer(row, parameter, lent(key))


def wrap(row: MechanismRow, parameter: AnyParameter, kek: Key, plain: Key) -> bytes:
    """Encrypt a key's material, filled up with zero bytes where the mechanism says so.

    Raises KeySizeRange where the key has a length that the mechanism cannot take, KeyNotWrappable for such a value.
    """
    if isinstance(plain, KeptKey):
        if isinstance(kek, KeptKey):
            return kek.wrap(row, parameter, plain)
        plain = lent(plain)
    try:
        operation = cipher(row, parameter, kek, encrypt=True)
    except KeySizeRange as error:
        raise WrappingKeySizeRange(str(error)) from None
    except KeyTypeInconsistent as error:
        raise WrappingKeyTypeInconsistent(str(error)) from None
    filled = Secret(plain.reveal() + bytes(-len(plain) % row.fills_to))
    try:
        return operation.finish(filled.view())
    except DataLenRange as error:
        raise KeySizeRange(str(error)) from None
    except DataInvalid as error:
        raise KeyNotWrappable(str(error)) from None
    finally:
        filled.wipe()


def wrapped_size(row: MechanismRow, parameter: AnyParameter, n: int, kek: Key | None = None) -> int:
    """Return how long wrap makes `n` bytes. For RSA that is the wrapping key's size: without it, the largest."""
    public = None if isinstance(kek, KeptKey) else kek  # what is kept is no public key
    return families.cipher(row.family).encrypted_size(row, parameter, n + -n % row.fills_to, public)


def unwrap(row: MechanismRow, parameter: AnyParameter, kek: Key, wrapped: bytes | memoryview) -> Secret:
    """Decrypt a wrapped key; what filled it up is still there, see material.unwrapped.

    Raises WrappedKeyInvalid, WrappedKeyLenRange.
    """
    try:
        operation = cipher(row, parameter, kek, encrypt=False)
    except KeySizeRange as error:
        raise UnwrappingKeySizeRange(str(error)) from None
    except KeyTypeInconsistent as error:
        raise UnwrappingKeyTypeInconsistent(str(error)) from None
    try:
        return Secret(operation.finish(wrapped))
    except EncryptedDataLenRange as error:
        raise WrappedKeyLenRange(str(error)) from None
    except EncryptedDataInvalid as error:
        raise WrappedKeyInvalid(str(error)) from None


def generate_secret(row: MechanismRow, key_bytes: int) -> Secret:
    """Make a random secret key. Raises AttributeValueInvalid (CKA_VALUE_LEN)."""
    if row.family != "random":
        raise MechanismInvalid("the mechanism makes no secret keys")
    if not row.allows(key_bytes * 8):
        raise AttributeValueInvalid(f"CKA_{CKA.name(CKA.VALUE_LEN)} of {key_bytes} is none that the mechanism makes")
    return secret_keys.make(row.key_types[0], key_bytes)


def generate_pair(
    row: MechanismRow, public: Mapping[int, Value], private: Mapping[int, Value]
) -> tuple[Secret, Secret]:
    """Make a key pair as the templates ask; return (SubjectPublicKeyInfo, PKCS #8).

    Raises TemplateIncomplete, AttributeValueInvalid, CurveNotSupported, DomainParamsInvalid.
    """
    if not row.flags & CKF.GENERATE_KEY_PAIR:
        raise MechanismInvalid("the mechanism makes no key pairs")
    return families.pair(row.family).generate(row, public, private)


def derive(
    row: MechanismRow,
    parameter: AnyParameter,
    key_type: int,
    base: Secret,
    lengths: tuple[int | None, ...],
    keys: Mapping[int, Secret],
) -> list[Secret]:
    """Derive a secret of each length from a base key and the keys that the parameter names: see families.KeyDeriver."""
    checks.key_type(row, key_type)
    if row.family != "agreement":  # whose keys are pairs: their size is in the group
        checks.key_size(row, len(base) * 8)
    return families.deriver(row.family).derive(row, parameter, key_type, base, lengths, keys)


def make_secret(row: MechanismRow, parameter: AnyParameter, key_bytes: int) -> Secret:
    """Make a secret key of what a mechanism's parameter says. Raises MechanismParamInvalid."""
    return families.maker(row.family).make(row, parameter, key_bytes)


def generate_parameters(row: MechanismRow, given: Mapping[int, Value]) -> Secret:
    """Make domain parameters as the template asks; return their material.

    Raises TemplateIncomplete, AttributeValueInvalid.
    """
    return families.parameters(row.family).parameters(row, given)


def encapsulated_size(row: MechanismRow, parameter: AnyParameter, public: Secret) -> int:
    """Return how long an encapsulation for this public key is."""
    return families.encapsulation(row.family).size(parameter, public)


def encapsulate(row: MechanismRow, parameter: AnyParameter, public: Secret) -> tuple[Secret, bytes]:
    """Make a secret that the owner of the private key can learn; return it and its encapsulation."""
    return families.encapsulation(row.family).encapsulate(parameter, public)


def decapsulate(
    row: MechanismRow, parameter: AnyParameter, private: Secret, encapsulated: bytes | memoryview
) -> Secret:
    """Return the secret of an encapsulation. Raises WrappedKeyLenRange."""
    return families.encapsulation(row.family).decapsulate(parameter, private, encapsulated)


def random(n: int) -> bytes:
    """Return `n` bytes from the operating system's generator."""
    return os.urandom(n)
