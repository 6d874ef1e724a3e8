"""From a C prototype to what its arguments mean, by pairs of adjacent types."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mrhsm_p11.abi._prototypes import Prototype
from mrhsm_p11.errors import (
    CryptokiError,
    DataLenRange,
    EncryptedDataLenRange,
    PinIncorrect,
    PinLenRange,
    SignatureLenRange,
    WrappedKeyLenRange,
)

ErrorClass = type[CryptokiError]


class Role(enum.Enum):
    """What one argument, or a pointer and its length, is to the function that it is passed to."""

    NUMBER = "a handle, identifier or number"
    TRUTH = "a CK_BBOOL"
    BYTES = "pointer and length of input"
    LAST_INPUT = "pointer and length of input that comes with the last part only, NULL before"
    PIN = "pointer and length of a PIN, NULL for the protected path"
    LABEL = "32 bytes of text, blank-padded"
    NAME = "text that a zero byte ends"
    MECHANISM = "a mechanism with its parameter"
    LENT_MECHANISM = "a mechanism whose parameter is a message's, read and written"
    SIZED_MECHANISM = "the same, but of the parameter only the size counts"
    MESSAGE = "pointer and length of a message's parameter, read and written"
    NO_MESSAGE = "pointer and length of a message's parameter, which ought to be NULL"
    TEMPLATE = "attributes with values"
    SOUGHT = "attributes with values that objects are looked for by"
    INITIALIZE_ARGS = "the argument of C_Initialize"
    RESERVED = "a pointer that ought to be NULL"
    DROPPED = "nothing that we use"
    ROOM = "a buffer and its length, asked twice"
    LAST_ROOM = "a buffer and its length, asked twice with the last part; both NULL before"
    LIST = "an array and its count, asked twice"
    FILL = "a buffer that is filled to its length"
    FOUND = "an array, its size and the number filled"
    WANTED = "attributes whose values are asked for"
    INFO = "a structure that is filled"
    RESULT = "one number that is returned"
    MADE = "a handle that is returned unless only a size was asked for"
    RESULT_OR_NONE = "one number that is returned, unless the answer goes elsewhere"


@dataclass(frozen=True, slots=True)
class Step:
    """One role and the C arguments that it covers: `width` of them from `index` on."""

    role: Role
    index: int
    width: int
    type: str  # the first argument's C type
    too_long: ErrorClass = DataLenRange  # where it is input: what its length is answered with


SINGLE = {
    "CK_BBOOL": Role.TRUTH,
    "CK_FLAGS": Role.NUMBER,
    "CK_MECHANISM_TYPE": Role.NUMBER,
    "CK_OBJECT_HANDLE": Role.NUMBER,
    "CK_SESSION_HANDLE": Role.NUMBER,
    "CK_SESSION_VALIDATION_FLAGS_TYPE": Role.NUMBER,
    "CK_SLOT_ID": Role.NUMBER,
    "CK_ULONG": Role.NUMBER,
    "CK_USER_TYPE": Role.NUMBER,
    "CK_NOTIFY": Role.DROPPED,
    "CK_MECHANISM_PTR": Role.MECHANISM,
    "CK_INFO_PTR": Role.INFO,
    "CK_SLOT_INFO_PTR": Role.INFO,
    "CK_TOKEN_INFO_PTR": Role.INFO,
    "CK_SESSION_INFO_PTR": Role.INFO,
    "CK_MECHANISM_INFO_PTR": Role.INFO,
    "CK_FLAGS_PTR": Role.RESULT,
    "CK_OBJECT_HANDLE_PTR": Role.RESULT,
    "CK_SESSION_HANDLE_PTR": Role.RESULT,
    "CK_SLOT_ID_PTR": Role.RESULT,
    "CK_ULONG_PTR": Role.RESULT,
}
PAIRS = {
    ("CK_BYTE_PTR", "CK_ULONG"): Role.BYTES,
    ("CK_BYTE_PTR", "CK_ULONG_PTR"): Role.ROOM,
    ("CK_UTF8CHAR_PTR", "CK_ULONG"): Role.PIN,
    ("CK_ATTRIBUTE_PTR", "CK_ULONG"): Role.TEMPLATE,
    ("CK_VOID_PTR", "CK_ULONG"): Role.MESSAGE,
    ("CK_SLOT_ID_PTR", "CK_ULONG_PTR"): Role.LIST,
    ("CK_MECHANISM_TYPE_PTR", "CK_ULONG_PTR"): Role.LIST,
}
# Where the types do not tell: (function, argument) -> role and the number of C arguments that it covers.
EXCEPTIONS = {
    ("C_Initialize", "pInitArgs"): (Role.INITIALIZE_ARGS, 1),
    ("C_Finalize", "pReserved"): (Role.RESERVED, 1),
    ("C_InitToken", "pLabel"): (Role.LABEL, 1),
    ("C_OpenSession", "pApplication"): (Role.DROPPED, 1),
    ("C_GetAttributeValue", "pTemplate"): (Role.WANTED, 2),
    ("C_FindObjectsInit", "pTemplate"): (Role.SOUGHT, 2),
    ("C_FindObjects", "phObject"): (Role.FOUND, 3),
    ("C_DeriveKey", "phKey"): (Role.RESULT_OR_NONE, 1),
    ("C_GenerateRandom", "RandomData"): (Role.FILL, 2),
    ("C_WaitForSlotEvent", "pRserved"): (Role.RESERVED, 1),
    ("C_LoginUser", "pUsername"): (Role.BYTES, 2),
    ("C_MessageEncryptInit", "pMechanism"): (Role.SIZED_MECHANISM, 1),
    ("C_MessageDecryptInit", "pMechanism"): (Role.SIZED_MECHANISM, 1),
    ("C_SignMessage", "pParameter"): (Role.NO_MESSAGE, 2),
    ("C_SignMessageBegin", "pParameter"): (Role.NO_MESSAGE, 2),
    ("C_SignMessageNext", "pParameter"): (Role.NO_MESSAGE, 2),
    ("C_VerifyMessage", "pParameter"): (Role.NO_MESSAGE, 2),
    ("C_VerifyMessageBegin", "pParameter"): (Role.NO_MESSAGE, 2),
    ("C_VerifyMessageNext", "pParameter"): (Role.NO_MESSAGE, 2),
    ("C_WrapKeyAuthenticated", "pMechanism"): (Role.LENT_MECHANISM, 1),
    ("C_UnwrapKeyAuthenticated", "pMechanism"): (Role.LENT_MECHANISM, 1),
    ("C_SignMessageNext", "pSignature"): (Role.LAST_ROOM, 2),
    ("C_VerifyMessageNext", "pSignature"): (Role.LAST_INPUT, 2),
    ("C_EncapsulateKey", "phKey"): (Role.MADE, 1),
    ("C_AsyncComplete", "pFunctionName"): (Role.NAME, 1),
    ("C_AsyncComplete", "pResult"): (Role.DROPPED, 1),
    ("C_AsyncGetID", "pFunctionName"): (Role.NAME, 1),
    ("C_AsyncJoin", "pFunctionName"): (Role.NAME, 1),
}

# Input whose length has an error of its own: by argument, or by function and argument.
TOO_LONG: dict[str | tuple[str, str], ErrorClass] = {
    ("C_DecapsulateKey", "pCiphertext"): WrappedKeyLenRange,
    ("C_Login", "pPin"): PinIncorrect,  # CKR_PIN_LEN_RANGE is for functions that set a PIN
    ("C_LoginUser", "pPin"): PinIncorrect,
    "pCiphertext": EncryptedDataLenRange,
    "pCiphertextPart": EncryptedDataLenRange,
    "pEncryptedData": EncryptedDataLenRange,
    "pEncryptedPart": EncryptedDataLenRange,
    "pNewPin": PinLenRange,
    "pOldPin": PinIncorrect,
    "pPin": PinLenRange,
    "pSignature": SignatureLenRange,
    "pWrappedKey": WrappedKeyLenRange,
}


def plan(name: str, prototype: Prototype) -> tuple[Step, ...]:
    """Return the roles of a function's arguments, in order. Raises LookupError for a type without a row."""
    steps: list[Step] = []
    index = 0
    while index < len(prototype):
        kind, argument = prototype[index]
        following = prototype[index + 1][0] if index + 1 < len(prototype) else ""
        if (name, argument) in EXCEPTIONS:
            role, width = EXCEPTIONS[name, argument]
        elif (kind, following) in PAIRS:
            role, width = PAIRS[kind, following], 2
        elif kind in SINGLE:
            role, width = SINGLE[kind], 1
        else:
            raise LookupError(f"{name}: no row says what {kind} {argument} is")
        too_long: ErrorClass = DataLenRange
        if role in (Role.BYTES, Role.LAST_INPUT, Role.PIN):
            too_long = TOO_LONG.get((name, argument)) or TOO_LONG.get(argument, DataLenRange)
        steps.append(Step(role, index, width, kind, too_long))
        index += width
    return tuple(steps)
