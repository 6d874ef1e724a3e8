"""KMIP failures in PKCS #11's words: every reason and every failure of the client has its row."""

from __future__ import annotations

import pytest

from mrhsm_p11.constants import CKR
from mrhsm_p11.errors import CryptokiError, DeviceError
from mrhsm_p11.kmip import errors as kmip
from mrhsm_p11.kmip.vocabulary import Operation, ResultReason
from mrhsm_p11.mapping import results
from mrhsm_p11.mapping.results import Fault, ServerFault, translated


def refusal(operation: Operation, reason: int) -> kmip.OperationFailed:
    return kmip.OperationFailed(operation, 1, reason, "no", "kms.example")


def test_every_reason_that_pykmip_knows_has_a_row() -> None:
    assert set(results.REASONS) == set(ResultReason)


def test_every_failure_of_the_client_has_a_number() -> None:
    leaves = {cls for cls in _below(kmip.KMIPError) if cls is not kmip.OperationFailed}
    assert leaves
    for cls in leaves:
        assert any(issubclass(cls, row) for row in results.FAULTS), cls


def _below(cls: type) -> set[type]:
    return {leaf for sub in cls.__subclasses__() for leaf in {sub, *_below(sub)}}


@pytest.mark.parametrize("reason", list(ResultReason), ids=lambda reason: reason.name)
def test_a_refusal_answers_its_row(reason: ResultReason) -> None:
    error = translated(refusal(Operation.LOCATE, reason.value))
    assert isinstance(error, results.REASONS[reason])
    if isinstance(error, DeviceError):
        assert isinstance(error, ServerFault)
        assert error.device_error in (Fault.REFUSED + reason.value, *results._NUMBERS.values())


@pytest.mark.parametrize(
    ("operation", "reason", "ckr"),
    [
        (Operation.GET, ResultReason.ITEM_NOT_FOUND, CKR.OBJECT_HANDLE_INVALID),
        (Operation.GET, ResultReason.PERMISSION_DENIED, CKR.KEY_FUNCTION_NOT_PERMITTED),
        (Operation.CREATE, ResultReason.PERMISSION_DENIED, CKR.TOKEN_WRITE_PROTECTED),
        (Operation.DESTROY, ResultReason.PERMISSION_DENIED, CKR.ACTION_PROHIBITED),
        (Operation.MODIFY_ATTRIBUTE, ResultReason.OPERATION_NOT_SUPPORTED, CKR.ATTRIBUTE_READ_ONLY),
        (Operation.CREATE, ResultReason.SERVER_LIMIT_EXCEEDED, CKR.DEVICE_MEMORY),
        (Operation.GET, ResultReason.NOT_EXTRACTABLE, CKR.KEY_UNEXTRACTABLE),
        (Operation.LOCATE, ResultReason.GENERAL_FAILURE, CKR.DEVICE_ERROR),
    ],
)
def test_the_better_code_is_given(operation: Operation, reason: ResultReason, ckr: int) -> None:
    assert translated(refusal(operation, reason.value)).ckr == ckr


@pytest.mark.parametrize("reason", [0x80000001, 0x7FFF, 0xFFFFFFFF])
def test_a_vendor_reason_is_a_device_error_with_its_number(reason: int) -> None:
    error = translated(refusal(Operation.GET, reason))
    assert isinstance(error, ServerFault)
    assert error.device_error == 0x1000 + reason


def test_an_unknown_operation_does_not_hide_the_reason() -> None:
    error = translated(kmip.OperationFailed(0x7777, 1, ResultReason.ITEM_NOT_FOUND.value, ""))
    assert error.ckr == CKR.OBJECT_HANDLE_INVALID


def test_numbers_are_distinct_and_below_those_of_refusals() -> None:
    numbers = [fault.value for fault in Fault]
    assert len(set(numbers)) == len(numbers)
    assert max(n for n in numbers if n != Fault.REFUSED) < Fault.REFUSED


def test_rows_are_exceptions_that_pkcs11_knows() -> None:
    for cls in (*results.REASONS.values(), *results.OPERATIONS.values()):
        assert issubclass(cls, CryptokiError)
