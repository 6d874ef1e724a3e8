"""What a KMIP failure means in PKCS #11: one row a result reason, one number a fault."""

from __future__ import annotations

import enum

from mrhsm_p11.errors import (
    ActionProhibited,
    AttributeReadOnly,
    AttributeSensitive,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    CryptokiError,
    DeviceError,
    DeviceMemory,
    FunctionFailed,
    KeyFunctionNotPermitted,
    KeyUnextractable,
    MechanismParamInvalid,
    ObjectHandleInvalid,
    TokenWriteProtected,
    WrappingKeyHandleInvalid,
)
from mrhsm_p11.kmip import errors as kmip
from mrhsm_p11.kmip.vocabulary import Operation, ResultReason


class Fault(enum.IntEnum):
    """`ulDeviceError` of C_GetSessionInfo: why the last call answered CKR_DEVICE_ERROR.

    A server that refused with a reason of its own gives REFUSED + that KMIP result reason.
    """

    NONE = 0
    UNREACHABLE = 1  # no connection to any server
    TIMED_OUT = 2  # the deadline passed before an answer came
    TLS_REFUSED = 3  # a certificate was not accepted, by either side
    AUTHENTICATION_REFUSED = 4  # the server does not know this client
    PROTOCOL = 5  # the answer is not KMIP, or not the answer to what was asked
    UNRESOLVED = 6  # a request may have been executed and no server can say
    VERSION_REFUSED = 7  # the server does not speak the configured KMIP version
    REFUSED = 0x1000


class ServerFault(DeviceError):
    """A network or server fault; `device_error` is what C_GetSessionInfo reports."""

    def __init__(self, text: str, device_error: int) -> None:
        super().__init__(text)
        self.device_error = device_error


FAULTS: dict[type[kmip.KMIPError], Fault] = {
    kmip.Unreachable: Fault.UNREACHABLE,
    kmip.TimedOut: Fault.TIMED_OUT,
    kmip.TLSRefused: Fault.TLS_REFUSED,
    kmip.AuthenticationRefused: Fault.AUTHENTICATION_REFUSED,
    kmip.ProtocolError: Fault.PROTOCOL,
}

# A reason whose row says DeviceError tells of the server or of our request, not of what the caller asked for.
REASONS: dict[ResultReason, type[CryptokiError]] = {
    ResultReason.ITEM_NOT_FOUND: ObjectHandleInvalid,
    ResultReason.RESPONSE_TOO_LARGE: DeviceError,
    ResultReason.AUTHENTICATION_NOT_SUCCESSFUL: DeviceError,
    ResultReason.INVALID_MESSAGE: DeviceError,
    ResultReason.OPERATION_NOT_SUPPORTED: DeviceError,
    ResultReason.MISSING_DATA: DeviceError,
    ResultReason.INVALID_FIELD: DeviceError,
    ResultReason.FEATURE_NOT_SUPPORTED: DeviceError,
    ResultReason.OPERATION_CANCELED_BY_REQUESTER: DeviceError,
    ResultReason.CRYPTOGRAPHIC_FAILURE: FunctionFailed,
    ResultReason.ILLEGAL_OPERATION: ActionProhibited,
    ResultReason.PERMISSION_DENIED: KeyFunctionNotPermitted,
    ResultReason.OBJECT_ARCHIVED: KeyFunctionNotPermitted,
    ResultReason.INDEX_OUT_OF_BOUNDS: DeviceError,
    ResultReason.APPLICATION_NAMESPACE_NOT_SUPPORTED: DeviceError,
    ResultReason.KEY_FORMAT_TYPE_NOT_SUPPORTED: DeviceError,
    ResultReason.KEY_COMPRESSION_TYPE_NOT_SUPPORTED: DeviceError,
    ResultReason.ENCODING_OPTION_ERROR: DeviceError,
    ResultReason.KEY_VALUE_NOT_PRESENT: KeyFunctionNotPermitted,
    ResultReason.ATTESTATION_REQUIRED: DeviceError,
    ResultReason.ATTESTATION_FAILED: DeviceError,
    ResultReason.SENSITIVE: AttributeSensitive,
    ResultReason.NOT_EXTRACTABLE: KeyUnextractable,
    ResultReason.OBJECT_ALREADY_EXISTS: FunctionFailed,
    ResultReason.INVALID_TICKET: DeviceError,
    ResultReason.USAGE_LIMIT_EXCEEDED: KeyFunctionNotPermitted,
    ResultReason.NUMERIC_RANGE: AttributeValueInvalid,
    ResultReason.INVALID_DATA_TYPE: DeviceError,
    ResultReason.READ_ONLY_ATTRIBUTE: AttributeReadOnly,
    ResultReason.MULTI_VALUED_ATTRIBUTE: DeviceError,
    ResultReason.UNSUPPORTED_ATTRIBUTE: AttributeTypeInvalid,
    ResultReason.ATTRIBUTE_INSTANCE_NOT_FOUND: DeviceError,
    ResultReason.ATTRIBUTE_NOT_FOUND: DeviceError,
    ResultReason.ATTRIBUTE_READ_ONLY: AttributeReadOnly,
    ResultReason.ATTRIBUTE_SINGLE_VALUED: DeviceError,
    ResultReason.BAD_CRYPTOGRAPHIC_PARAMETERS: MechanismParamInvalid,
    ResultReason.BAD_PASSWORD: DeviceError,
    ResultReason.CODEC_ERROR: DeviceError,
    ResultReason.ILLEGAL_OBJECT_TYPE: DeviceError,
    ResultReason.INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK: KeyFunctionNotPermitted,
    ResultReason.INTERNAL_SERVER_ERROR: DeviceError,
    ResultReason.INVALID_ASYNCHRONOUS_CORRELATION_VALUE: DeviceError,
    ResultReason.INVALID_ATTRIBUTE: AttributeTypeInvalid,
    ResultReason.INVALID_ATTRIBUTE_VALUE: AttributeValueInvalid,
    ResultReason.INVALID_CORRELATION_VALUE: DeviceError,
    ResultReason.INVALID_CSR: DeviceError,
    ResultReason.INVALID_OBJECT_TYPE: DeviceError,
    ResultReason.KEY_WRAP_TYPE_NOT_SUPPORTED: DeviceError,
    ResultReason.MISSING_INITIALIZATION_VECTOR: MechanismParamInvalid,
    ResultReason.NON_UNIQUE_NAME_ATTRIBUTE: FunctionFailed,
    ResultReason.OBJECT_DESTROYED: ObjectHandleInvalid,
    ResultReason.OBJECT_NOT_FOUND: ObjectHandleInvalid,
    ResultReason.NOT_AUTHORISED: KeyFunctionNotPermitted,
    ResultReason.SERVER_LIMIT_EXCEEDED: DeviceMemory,
    ResultReason.UNKNOWN_ENUMERATION: DeviceError,
    ResultReason.UNKNOWN_MESSAGE_EXTENSION: DeviceError,
    ResultReason.UNKNOWN_TAG: DeviceError,
    ResultReason.UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS: MechanismParamInvalid,
    ResultReason.UNSUPPORTED_PROTOCOL_VERSION: DeviceError,
    ResultReason.WRAPPING_OBJECT_ARCHIVED: WrappingKeyHandleInvalid,
    ResultReason.WRAPPING_OBJECT_DESTROYED: WrappingKeyHandleInvalid,
    ResultReason.WRAPPING_OBJECT_NOT_FOUND: WrappingKeyHandleInvalid,
    ResultReason.WRONG_KEY_LIFECYCLE_STATE: KeyFunctionNotPermitted,
    ResultReason.PROTECTION_STORAGE_UNAVAILABLE: DeviceError,
    ResultReason.PKCS11_CODEC_ERROR: DeviceError,
    ResultReason.PKCS11_INVALID_FUNCTION: DeviceError,
    ResultReason.PKCS11_INVALID_INTERFACE: DeviceError,
    ResultReason.GENERAL_FAILURE: DeviceError,
}

# Where the operation says more than the reason: a server that lets this client only read, or only keep.
OPERATIONS: dict[tuple[Operation, ResultReason], type[CryptokiError]] = {
    **{
        (operation, reason): error
        for reason in (ResultReason.PERMISSION_DENIED, ResultReason.NOT_AUTHORISED)
        for operation, error in {
            Operation.CREATE: TokenWriteProtected,
            Operation.REGISTER: TokenWriteProtected,
            Operation.DESTROY: ActionProhibited,
            Operation.REVOKE: ActionProhibited,
            Operation.ACTIVATE: ActionProhibited,
            Operation.MODIFY_ATTRIBUTE: AttributeReadOnly,
        }.items()
    },
    (Operation.MODIFY_ATTRIBUTE, ResultReason.OPERATION_NOT_SUPPORTED): AttributeReadOnly,
}

# Reasons that tell of this client's identity or of the version that it speaks.
_NUMBERS: dict[ResultReason, Fault] = {
    ResultReason.AUTHENTICATION_NOT_SUCCESSFUL: Fault.AUTHENTICATION_REFUSED,
    ResultReason.BAD_PASSWORD: Fault.AUTHENTICATION_REFUSED,
    ResultReason.UNSUPPORTED_PROTOCOL_VERSION: Fault.VERSION_REFUSED,
}


def translated(error: kmip.KMIPError) -> CryptokiError:
    """Return the exception that a C_* function answers for this failure."""
    text = str(error)
    if not isinstance(error, kmip.OperationFailed):
        return ServerFault(text, next((n for cls, n in FAULTS.items() if isinstance(error, cls)), Fault.PROTOCOL))
    try:
        reason = ResultReason(error.reason)
    except ValueError:  # a vendor's own, or one of a later version
        return ServerFault(text, Fault.REFUSED + (error.reason & 0xFFFFFFFF))
    cls = _by_operation(error.operation, reason) or REASONS[reason]
    if cls is DeviceError:
        return ServerFault(text, _NUMBERS.get(reason, Fault.REFUSED + reason.value))
    return cls(text)


def _by_operation(operation: int | None, reason: ResultReason) -> type[CryptokiError] | None:
    try:
        return OPERATIONS.get((Operation(operation), reason))
    except ValueError:
        return None
