"""What the standard answers to what is wrong: one row a fault, its codes by function, whether the operation survives.

Sections are those of PKCS #11 2.40, Base Specification; "3.0" names the later edition's where it adds something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrhsm_p11.constants import CKR

EVERY = ""  # stands for the functions that a row does not name


@dataclass(frozen=True)
class Rule:
    """`codes`: function (Encrypt, Sign, ...; EVERY) -> names of the CKRs allowed; `survives`: the operation goes on."""

    section: str
    codes: Mapping[str, tuple[str, ...]]
    survives: bool = False

    def allows(self, function: str, rv: int) -> bool:
        return rv in {getattr(CKR, name) for name in self.codes.get(function, self.codes.get(EVERY, ()))}


def _all(section: str, *codes: str, survives: bool = False, **by_function: tuple[str, ...]) -> Rule:
    return Rule(section, {EVERY: codes, **by_function}, survives)


_LENGTHS = {
    **dict.fromkeys(("Encrypt", "Sign", "SignRecover"), ("OK", "DATA_LEN_RANGE", "DATA_INVALID")),
    "Digest": ("OK",),
    "Decrypt": ("OK", "ENCRYPTED_DATA_LEN_RANGE", "ENCRYPTED_DATA_INVALID"),
    "Verify": ("SIGNATURE_INVALID", "SIGNATURE_LEN_RANGE", "DATA_LEN_RANGE", "DATA_INVALID"),
    "VerifyRecover": ("SIGNATURE_LEN_RANGE", "SIGNATURE_INVALID"),
    "DecapsulateKey": ("WRAPPED_KEY_LEN_RANGE",),
    "Unwrap": ("WRAPPED_KEY_LEN_RANGE", "WRAPPED_KEY_INVALID", "OK"),
}
_HANDLES = {
    "Wrap": ("WRAPPING_KEY_HANDLE_INVALID",),
    **dict.fromkeys(("Unwrap", "DecapsulateKey"), ("UNWRAPPING_KEY_HANDLE_INVALID",)),
}
_TYPES = {
    "Wrap": ("WRAPPING_KEY_TYPE_INCONSISTENT",),
    **dict.fromkeys(("Unwrap", "DecapsulateKey"), ("UNWRAPPING_KEY_TYPE_INCONSISTENT",)),
}
_HALVES = ("KEY_FUNCTION_NOT_PERMITTED", "UNWRAPPING_KEY_TYPE_INCONSISTENT")

RULES: dict[str, Rule] = {
    # ---- beginning
    "no such session": _all("5.1.2", "SESSION_HANDLE_INVALID"),
    "no such key": _all("5.1.6, CKR_KEY_HANDLE_INVALID", "KEY_HANDLE_INVALID", **_HANDLES),
    "an object that is no key": _all("5.1.6, CKR_KEY_HANDLE_INVALID", "KEY_HANDLE_INVALID", **_HANDLES),
    "the other half of the pair": _all(
        "5.1.6, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_TYPE_INCONSISTENT",
        "KEY_FUNCTION_NOT_PERMITTED", "KEY_TYPE_INCONSISTENT", DecapsulateKey=_HALVES,
    ),
    "a key of another type": _all("5.1.6, CKR_KEY_TYPE_INCONSISTENT", "KEY_TYPE_INCONSISTENT", **_TYPES),
    "a key without the use": _all("5.1.6, CKR_KEY_FUNCTION_NOT_PERMITTED", "KEY_FUNCTION_NOT_PERMITTED"),
    "a use that the mechanism has not": _all("5.1.6, CKR_MECHANISM_INVALID", "MECHANISM_INVALID"),
    "a parameter where there is none": _all("5.1.6, CKR_MECHANISM_PARAM_INVALID", "MECHANISM_PARAM_INVALID"),
    "no parameter": _all("5.1.6, CKR_MECHANISM_PARAM_INVALID", "MECHANISM_PARAM_INVALID"),
    "a parameter of another size": _all("5.1.6, CKR_MECHANISM_PARAM_INVALID", "MECHANISM_PARAM_INVALID"),
    "a parameter at NULL": _all(
        "5.1.6, CKR_MECHANISM_PARAM_INVALID; CKR_ARGUMENTS_BAD", "MECHANISM_PARAM_INVALID", "ARGUMENTS_BAD"
    ),
    "a second Init": _all("5.1.6, CKR_OPERATION_ACTIVE", "OPERATION_ACTIVE", survives=True),
    "Init with NULL cancels": _all("3.0: C_EncryptInit and its like", "OK"),
    # ---- going on
    "a size is asked": _all("5.2", "OK", survives=True),
    "a buffer one byte too small": _all("5.2", "BUFFER_TOO_SMALL", survives=True),
    "a buffer of nothing": _all("5.2", "BUFFER_TOO_SMALL", survives=True),
    "then a buffer large enough": _all("5.2", "OK"),
    "input and output in one place": _all("5.8.2, 5.9.2: may be the same", "OK"),
    "no place for the length": _all("5.1.6, CKR_ARGUMENTS_BAD", "ARGUMENTS_BAD"),
    "input at NULL": _all("5.1.6, CKR_ARGUMENTS_BAD", "ARGUMENTS_BAD"),
    "input of another length": Rule("5.1.6, CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_LEN_RANGE", _LENGTHS),
    "input of 2^40 bytes": _all(
        "5.1.6", "DATA_LEN_RANGE", "ENCRYPTED_DATA_LEN_RANGE", "ARGUMENTS_BAD", "SIGNATURE_LEN_RANGE"
    ),
    "a signature of another length": _all("5.1.6, CKR_SIGNATURE_LEN_RANGE", "SIGNATURE_LEN_RANGE"),
    "a changed bit": Rule(
        "5.1.6, CKR_ENCRYPTED_DATA_INVALID, CKR_SIGNATURE_INVALID",
        {
            "Decrypt": ("OK", "ENCRYPTED_DATA_INVALID", "ENCRYPTED_DATA_LEN_RANGE"),
            **dict.fromkeys(("Verify", "VerifySignature", "VerifyMessage"), ("SIGNATURE_INVALID",)),
            "VerifyRecover": ("OK", "SIGNATURE_INVALID"),
            "Unwrap": ("OK", "WRAPPED_KEY_INVALID", "WRAPPED_KEY_LEN_RANGE"),
        },
    ),
    "a changed bit under a tag": Rule(
        "5.1.6, CKR_ENCRYPTED_DATA_INVALID",
        {"Decrypt": ("ENCRYPTED_DATA_INVALID", "AEAD_DECRYPT_FAILED"), "Unwrap": ("WRAPPED_KEY_INVALID",)},
    ),
    "once more after the end": _all("5.1.6, CKR_OPERATION_NOT_INITIALIZED", "OPERATION_NOT_INITIALIZED"),
    "without Init": _all("5.1.6, CKR_OPERATION_NOT_INITIALIZED", "OPERATION_NOT_INITIALIZED"),
    "parts of what has none": _all("5.1.6, CKR_OPERATION_NOT_INITIALIZED", "OPERATION_NOT_INITIALIZED"),
    "one part after an update": _all("5.8.2 and its like", "OPERATION_NOT_INITIALIZED", "OPERATION_ACTIVE"),
    "the session was closed": _all("5.1.2", "SESSION_HANDLE_INVALID"),
    "the user has logged out": _all(
        "5.6.8: it may or may not be active", "OK", "OPERATION_NOT_INITIALIZED", "USER_NOT_LOGGED_IN"
    ),
    "it was cancelled": _all("3.0: C_SessionCancel", "OK"),
    # ---- keys
    "a key that must not leave": _all("5.1.6, CKR_KEY_UNEXTRACTABLE", "KEY_UNEXTRACTABLE"),
    "a template without class": _all("5.1.6, CKR_TEMPLATE_INCOMPLETE", "TEMPLATE_INCOMPLETE"),
    "a template that contradicts": _all(
        "5.1.6, CKR_TEMPLATE_INCONSISTENT", "TEMPLATE_INCONSISTENT", "ATTRIBUTE_VALUE_INVALID"
    ),
    "an attribute of another kind": _all(
        "5.1.6, CKR_ATTRIBUTE_TYPE_INVALID", "ATTRIBUTE_TYPE_INVALID", "TEMPLATE_INCONSISTENT"
    ),
    "a token object in a read-only session": _all("5.1.6, CKR_SESSION_READ_ONLY", "SESSION_READ_ONLY"),
}  # fmt: skip
