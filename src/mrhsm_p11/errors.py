"""One exception class a CKR: the class statement is the row.

`class KeyUnextractable(CryptokiError)` answers CKR_KEY_UNEXTRACTABLE; the code follows from the name. Errors that are
not a CKR of their own (network, files) derive from the CKR they answer, or from MrhsmError outside the boundary.
"""

from __future__ import annotations

import re
from typing import ClassVar

from mrhsm_p11.constants import CKR


class MrhsmError(Exception):
    """A failure that an operator can act on: its text is one sentence that says what is wrong and what to do."""


class CryptokiError(Exception):
    """A failure that C_* answers with `ckr`; the text goes to the log and must hold no secret."""

    ckr: ClassVar[int]

    def __init_subclass__(cls) -> None:
        own = re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", cls.__name__).upper()
        if hasattr(CKR, own):
            cls.ckr = getattr(CKR, own)
        elif not hasattr(cls, "ckr"):
            raise TypeError(f"{cls.__name__} names no CKR and derives from none")

    def __str__(self) -> str:
        return super().__str__() or CKR.name(self.ckr)


class Cancel(CryptokiError): ...


class HostMemory(CryptokiError): ...


class SlotIdInvalid(CryptokiError): ...


class GeneralError(CryptokiError): ...


class FunctionFailed(CryptokiError): ...


class ArgumentsBad(CryptokiError): ...


class NoEvent(CryptokiError): ...


class NeedToCreateThreads(CryptokiError): ...


class CantLock(CryptokiError): ...


class AttributeReadOnly(CryptokiError): ...


class AttributeSensitive(CryptokiError): ...


class AttributeTypeInvalid(CryptokiError): ...


class AttributeValueInvalid(CryptokiError): ...


class ActionProhibited(CryptokiError): ...


class DataInvalid(CryptokiError): ...


class DataLenRange(CryptokiError): ...


class DeviceError(CryptokiError):
    """`device_error` tells which fault it was: C_GetSessionInfo reports it as ulDeviceError."""

    device_error = 0


class DeviceMemory(CryptokiError): ...


class DeviceRemoved(CryptokiError): ...


class EncryptedDataInvalid(CryptokiError): ...


class EncryptedDataLenRange(CryptokiError): ...


class FunctionCanceled(CryptokiError): ...


class FunctionNotParallel(CryptokiError): ...


class FunctionNotSupported(CryptokiError): ...


class KeyHandleInvalid(CryptokiError): ...


class KeySizeRange(CryptokiError): ...


class KeyTypeInconsistent(CryptokiError): ...


class KeyNeeded(CryptokiError): ...


class KeyNotNeeded(CryptokiError): ...


class KeyChanged(CryptokiError): ...


class KeyIndigestible(CryptokiError): ...


class KeyFunctionNotPermitted(CryptokiError): ...


class KeyNotWrappable(CryptokiError): ...


class KeyUnextractable(CryptokiError): ...


class MechanismInvalid(CryptokiError): ...


class MechanismParamInvalid(CryptokiError): ...


class ObjectHandleInvalid(CryptokiError): ...


class OperationActive(CryptokiError): ...


class OperationNotInitialized(CryptokiError): ...


class PinIncorrect(CryptokiError): ...


class PinInvalid(CryptokiError): ...


class PinLenRange(CryptokiError): ...


class PinLocked(CryptokiError): ...


class SessionClosed(CryptokiError): ...


class SessionCount(CryptokiError): ...


class SessionHandleInvalid(CryptokiError): ...


class SessionParallelNotSupported(CryptokiError): ...


class SessionReadOnly(CryptokiError): ...


class SessionExists(CryptokiError): ...


class SessionReadOnlyExists(CryptokiError): ...


class SessionReadWriteSoExists(CryptokiError): ...


class SignatureInvalid(CryptokiError): ...


class SignatureLenRange(CryptokiError): ...


class TemplateIncomplete(CryptokiError): ...


class TemplateInconsistent(CryptokiError): ...


class TokenNotPresent(CryptokiError): ...


class TokenNotRecognized(CryptokiError): ...


class TokenWriteProtected(CryptokiError): ...


class UnwrappingKeyHandleInvalid(CryptokiError): ...


class UnwrappingKeySizeRange(CryptokiError): ...


class UnwrappingKeyTypeInconsistent(CryptokiError): ...


class UserAlreadyLoggedIn(CryptokiError): ...


class UserNotLoggedIn(CryptokiError): ...


class UserPinNotInitialized(CryptokiError): ...


class UserTypeInvalid(CryptokiError): ...


class UserAnotherAlreadyLoggedIn(CryptokiError): ...


class WrappedKeyInvalid(CryptokiError): ...


class WrappedKeyLenRange(CryptokiError): ...


class WrappingKeyHandleInvalid(CryptokiError): ...


class WrappingKeySizeRange(CryptokiError): ...


class WrappingKeyTypeInconsistent(CryptokiError): ...


class RandomSeedNotSupported(CryptokiError): ...


class RandomNoRng(CryptokiError): ...


class DomainParamsInvalid(CryptokiError): ...


class CurveNotSupported(CryptokiError): ...


class BufferTooSmall(CryptokiError): ...


class SavedStateInvalid(CryptokiError): ...


class InformationSensitive(CryptokiError): ...


class StateUnsaveable(CryptokiError): ...


class CryptokiNotInitialized(CryptokiError): ...


class CryptokiAlreadyInitialized(CryptokiError): ...


class PublicKeyInvalid(CryptokiError): ...


class FunctionRejected(CryptokiError): ...


class AeadDecryptFailed(CryptokiError): ...


class OperationCancelFailed(CryptokiError): ...


class TokenNotInitialized(CryptokiError): ...


class ParameterSetNotSupported(CryptokiError): ...


class SessionAsyncNotSupported(CryptokiError): ...


class TokenResourceExceeded(CryptokiError): ...
