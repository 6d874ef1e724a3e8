"""Which module computes a mechanism family, and what such modules offer; each is imported when it is first asked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from mrhsm_p11.constants import CKK
from mrhsm_p11.crypto.base import Cipher, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import KeyTypeInconsistent, MechanismInvalid
from mrhsm_p11.mapping.codecs import Value
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


class RecoverFamily(Protocol):
    """A module that has signed data back from signatures."""

    def recoverer(self, row: MechanismRow, parameter: AnyParameter, material: Secret, /) -> Cipher:
        """Start a verification whose output is the data. Raises as verifier, SignatureInvalid, SignatureLenRange."""


Template = Mapping[int, Value]


class PairFamily(Protocol):
    """A module that makes key pairs."""

    def generate(self, row: MechanismRow, public: Template, private: Template, /) -> tuple[Secret, Secret]:
        """Make a pair as the templates ask; return (SubjectPublicKeyInfo, PKCS #8).

        Raises TemplateIncomplete, AttributeValueInvalid, CurveNotSupported, DomainParamsInvalid.
        """


class KeyDeriver(Protocol):
    """A module that derives keys."""

    def derive(
        self,
        row: MechanismRow,
        parameter: AnyParameter,
        key_type: int,
        base: Secret,
        lengths: tuple[int | None, ...],
        keys: Mapping[int, Secret],
        /,
    ) -> list[Secret]:
        """Return a secret for each of `lengths` (bytes; None: as many as the mechanism gives by itself).

        `keys` holds the material of those keys that the parameter names, by handle. Raises MechanismParamInvalid,
        KeyTypeInconsistent, KeySizeRange, DataLenRange, TemplateIncomplete (a length is needed).
        """


class SecretMaker(Protocol):
    """A module that makes secret keys of a parameter that is more than random bytes."""

    def make(self, row: MechanismRow, parameter: AnyParameter, length: int, /) -> Secret:
        """Return a key of `length` bytes. Raises MechanismParamInvalid."""


class ParameterFamily(Protocol):
    """A module that makes domain parameters."""

    def parameters(self, row: MechanismRow, given: Template, /) -> Secret:
        """Make domain parameters as the template asks. Raises TemplateIncomplete, AttributeValueInvalid."""


class EncapsulationFamily(Protocol):
    """A module that lets two parties share a secret by one message."""

    def size(self, parameter: AnyParameter, public: Secret, /) -> int:
        """Return how long an encapsulation for this public key is. Raises MechanismParamInvalid."""

    def encapsulate(self, parameter: AnyParameter, public: Secret, /) -> tuple[Secret, bytes]:
        """Make a secret; return it and its encapsulation. Raises MechanismParamInvalid, KeyTypeInconsistent."""

    def decapsulate(self, parameter: AnyParameter, private: Secret, encapsulated: bytes | memoryview, /) -> Secret:
        """Return the secret. Raises MechanismParamInvalid, KeyTypeInconsistent, EncryptedDataLenRange."""


class KeyForm(Protocol):
    """What turns key pairs of one type into attributes and back. Raises ValueError for malformed DER."""

    def public_material(self, given: Template, /) -> bytes:
        """Return the SubjectPublicKeyInfo of C_CreateObject's attributes."""

    def private_material(self, given: Template, /) -> bytes:
        """Return the PKCS #8 of C_CreateObject's attributes."""

    def public_attributes(self, spki: bytes, /) -> dict[int, Value]:
        """Return every attribute that a public key determines, CKA_PUBLIC_KEY_INFO included."""

    def private_attributes(self, pkcs8: bytes, /) -> dict[int, Value]:
        """Return every attribute that a private key determines, CKA_PUBLIC_KEY_INFO included."""


class DomainForm(Protocol):
    """What turns domain parameters of one type into attributes and back. Raises ValueError for malformed DER."""

    def domain_material(self, given: Template, /) -> bytes:
        """Return the AlgorithmIdentifier of C_CreateObject's attributes."""

    def domain_attributes(self, value: bytes, /) -> dict[int, Value]:
        """Return every attribute that domain parameters determine."""


CIPHERS = {
    "block": "ciphers",
    "aead": "aead",
    "stream": "streams",
    "stealing": "stealing",
    "sealing": "sealing",
    "keywrap": "keywrap",
    "rsa": "rsa_cipher",
    "rsa-raw": "rsa_raw",
}
SIGNATURES = {
    "mac": "mac",
    "cmac": "block_mac",
    "poly1305": "poly1305",
    "rsa": "rsa",
    "rsa-raw": "rsa_raw",
    "ec": "dss",
    "dsa": "dss",
    "edwards": "eddsa",
    "mldsa": "mldsa",
    "tls-mac": "tls_mac",
}
RECOVERS = {"rsa": "rsa", "rsa-raw": "rsa_raw"}
PAIRS = {
    "rsa": "rsa_generate",
    "ec": "curve_generate",
    "edwards": "curve_generate",
    "montgomery": "curve_generate",
    "dsa": "finite_generate",
    "dh": "finite_generate",
    "mlkem": "lattice_generate",
    "mldsa": "lattice_generate",
}
ENCAPSULATIONS = {"mlkem": "mlkem"}
PARAMETERS = {"dsa": "finite_generate", "dh": "finite_generate"}
KEY_FORMS = {  # a module, or an instance in one
    CKK.RSA: "rsa_keys",
    CKK.EC: "ec_keys",
    CKK.EC_EDWARDS: "octet_keys.EDWARDS",
    CKK.EC_MONTGOMERY: "octet_keys.MONTGOMERY",
    CKK.DSA: "finite_keys.DSA",
    CKK.DH: "finite_keys.DH",
    CKK.ML_KEM: "lattice_keys.ML_KEM",
    CKK.ML_DSA: "lattice_keys.ML_DSA",
}
DERIVERS = {
    "simple-kdf": "kdf_simple",
    "encrypting-kdf": "kdf_encrypting",
    "hkdf": "kdf_hkdf",
    "sp800-108": "kdf_sp800_108",
    "agreement": "kdf_agreement",
    "tls": "tls",
}
MAKERS = {"password": "kdf_password", "tls": "tls"}


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


@cache
def recover(family: str) -> RecoverFamily:
    """Return the module that has data back from signatures of this family. Raises MechanismInvalid where none does."""
    if family not in RECOVERS:
        raise MechanismInvalid("no data can be had back from such a signature")
    return cast(RecoverFamily, import_module(f"mrhsm_p11.crypto.{RECOVERS[family]}"))


@cache
def pair(family: str) -> PairFamily:
    """Return the module that makes key pairs for this family. Raises MechanismInvalid where none does."""
    if family not in PAIRS:
        raise MechanismInvalid("the mechanism makes no key pairs")
    return cast(PairFamily, import_module(f"mrhsm_p11.crypto.{PAIRS[family]}"))


@cache
def maker(family: str) -> SecretMaker:
    """Return the module that makes secret keys for this family. Raises MechanismInvalid where none does."""
    if family not in MAKERS:
        raise MechanismInvalid("the mechanism makes no secret keys")
    return cast(SecretMaker, import_module(f"mrhsm_p11.crypto.{MAKERS[family]}"))


@cache
def deriver(family: str) -> KeyDeriver:
    """Return the module that derives keys for this family. Raises MechanismInvalid where none does."""
    if family not in DERIVERS:
        raise MechanismInvalid("the mechanism derives no keys")
    return cast(KeyDeriver, import_module(f"mrhsm_p11.crypto.{DERIVERS[family]}"))


@cache
def parameters(family: str) -> ParameterFamily:
    """Return the module that makes domain parameters for this family. Raises MechanismInvalid where none does."""
    if family not in PARAMETERS:
        raise MechanismInvalid("the mechanism makes no domain parameters")
    return cast(ParameterFamily, import_module(f"mrhsm_p11.crypto.{PARAMETERS[family]}"))


@cache
def encapsulation(family: str) -> EncapsulationFamily:
    """Return the module that encapsulates for this family. Raises MechanismInvalid where none does."""
    if family not in ENCAPSULATIONS:
        raise MechanismInvalid("the mechanism encapsulates no keys")
    return cast(EncapsulationFamily, import_module(f"mrhsm_p11.crypto.{ENCAPSULATIONS[family]}"))


def domain_form(key_type: int | None) -> DomainForm:
    """Return what knows domain parameters of this type. Raises KeyTypeInconsistent where none does."""
    return cast(DomainForm, key_form(key_type))


@cache
def key_form(key_type: int | None) -> KeyForm:
    """Return what knows key pairs of this type. Raises KeyTypeInconsistent where none does."""
    if key_type not in KEY_FORMS:
        raise KeyTypeInconsistent(f"key type {key_type} is no key pair's here")
    module, _, instance = KEY_FORMS[key_type].partition(".")
    found = import_module(f"mrhsm_p11.crypto.{module}")
    return cast(KeyForm, getattr(found, instance) if instance else found)
