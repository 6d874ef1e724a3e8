"""Which module computes a mechanism family, and what such modules offer; each is imported when it is first asked."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Protocol, cast

from mrhsm_p11.crypto.base import Cipher, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import MechanismInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret


class CipherFamily(Protocol):
    """A module that encrypts."""

    def cipher(self, row: MechanismRow, parameter: AnyParameter, key: Secret, *, encrypt: bool) -> Cipher:
        """Start an operation. Raises MechanismParamInvalid, KeySizeRange, KeyTypeInconsistent."""

    def encrypted_size(self, row: MechanismRow, parameter: AnyParameter, n: int, key: Secret | None, /) -> int:
        """Return how long `n` bytes are once encrypted in one part."""


class SignatureFamily(Protocol):
    """A module that makes and checks signatures or MACs."""

    def signer(self, row: MechanismRow, parameter: AnyParameter, material: Secret, /) -> Signer:
        """Start a signature. Raises MechanismParamInvalid, KeySizeRange, KeyTypeInconsistent."""

    def verifier(self, row: MechanismRow, parameter: AnyParameter, material: Secret, /) -> Verifier:
        """Start a verification. Raises MechanismParamInvalid, KeySizeRange, KeyTypeInconsistent."""


CIPHERS = {"block": "ciphers", "aead": "aead", "keywrap": "keywrap", "rsa": "rsa_cipher"}
SIGNATURES = {"mac": "mac", "rsa": "rsa", "ec": "ec"}


@cache
def cipher(family: str) -> CipherFamily:
    """Return the module that encrypts for this family. Raises MechanismInvalid where none does."""
    if family not in CIPHERS:
        raise MechanismInvalid("the mechanism does not encrypt")
    return cast(CipherFamily, import_module(f"mrhsm_p11.crypto.{CIPHERS[family]}"))


@cache
def signature(family: str) -> SignatureFamily:
    """Return the module that signs for this family. Raises MechanismInvalid where none does."""
    if family not in SIGNATURES:
        raise MechanismInvalid("the mechanism does not sign")
    return cast(SignatureFamily, import_module(f"mrhsm_p11.crypto.{SIGNATURES[family]}"))
