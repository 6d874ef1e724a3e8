"""The wrapper and every crossing, with handlers of the tests' own and C values made by cffi."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from p11 import Cryptoki, declarations

from mrhsm_p11 import deadline, log
from mrhsm_p11.abi import entry
from mrhsm_p11.abi._prototypes import OFFERED, PROTOTYPES
from mrhsm_p11.abi.marshal import InitializeArgs
from mrhsm_p11.abi.structs import LONGEST
from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKF, CKG, CKM, CKR
from mrhsm_p11.errors import KeyUnextractable, MechanismParamInvalid, MrhsmError
from mrhsm_p11.mapping.results import Fault, ServerFault
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.parameters.messages import GCMMessageParams
from mrhsm_p11.parameters.symmetric import GCMParams
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider
from mrhsm_p11.token.operations import MORE_FOLLOWS

ffi = declarations()
new, NULL = ffi.new, ffi.NULL
Call = Callable[..., int]


class Recorder:
    """A handler that keeps its arguments and answers what it was told to."""

    def __init__(self, answer: Any = None) -> None:
        self.answer, self.calls = answer, []

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(tuple(bytes(a) if isinstance(a, memoryview) else a for a in arguments))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "current", SimpleNamespace(config=Config(deadline_s=7.0)))


@pytest.fixture
def log_file(tmp_path: Path) -> Any:
    log.open_target(tmp_path / "log", "debug")
    yield tmp_path / "log"
    log.close()


def wrapped(name: str, answer: Any = None) -> tuple[Call, Recorder]:
    handler = Recorder(answer)
    return entry.wrap(ffi, name, handler), handler


def guarded(size: int) -> Any:
    return new("CK_BYTE[]", bytes(size) + b"\xa5" * 8)


def untouched_after(buffer: Any, size: int) -> bool:
    return bytes(ffi.buffer(buffer + size, 8)) == b"\xa5" * 8


# ---- input ----


def test_numbers_and_truths() -> None:
    call, handler = wrapped("C_CloseSession")
    assert call(5) == CKR.OK
    assert handler.calls == [(5,)]
    call, handler = wrapped("C_GetSlotList", [])
    assert call(2, NULL, new("CK_ULONG *")) == CKR.OK
    assert handler.calls == [(True,)]


def test_input_bytes_are_lent_read_only() -> None:
    seen: list[memoryview] = []
    call = entry.wrap(ffi, "C_SeedRandom", lambda session, seed: seen.append((bytes(seed), seed.readonly)))
    assert call(1, new("CK_BYTE[]", b"seed!"), 4) == CKR.OK
    assert seen == [(b"seed", True)]


@pytest.mark.parametrize(
    ("pointer", "length", "answer"),
    [
        (NULL, 0, CKR.OK),
        (ffi.cast("CK_BYTE *", 1), 0, CKR.OK),
        (NULL, 1, CKR.ARGUMENTS_BAD),
        (ffi.cast("CK_BYTE *", 1), LONGEST + 1, CKR.DATA_LEN_RANGE),
        (ffi.cast("CK_BYTE *", 1), 2**64 - 1, CKR.DATA_LEN_RANGE),
    ],
)
def test_input_that_cannot_be_read(pointer: Any, length: int, answer: int) -> None:
    call, handler = wrapped("C_SeedRandom")
    assert call(1, pointer, length) == answer
    assert handler.calls == ([(1, b"")] if answer == CKR.OK else [])


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("C_Encrypt", CKR.DATA_LEN_RANGE),
        ("C_Decrypt", CKR.ENCRYPTED_DATA_LEN_RANGE),
        ("C_VerifyRecover", CKR.SIGNATURE_LEN_RANGE),
    ],
)
def test_input_that_is_too_long_is_answered_in_its_own_way(name: str, answer: int) -> None:
    call, handler = wrapped(name)
    assert call(1, ffi.cast("CK_BYTE *", 1), LONGEST + 1, NULL, new("CK_ULONG *")) == answer
    assert not handler.calls


def test_pins_are_secrets_and_null_is_the_protected_path() -> None:
    call, handler = wrapped("C_Login")
    assert call(1, 1, new("CK_BYTE[]", b"1234"), 4) == CKR.OK
    assert call(1, 1, NULL, 4) == CKR.OK
    assert call(1, 1, new("CK_BYTE[]", b"1234"), 0) == CKR.OK
    assert handler.calls == [(1, 1, Secret(b"1234")), (1, 1, None), (1, 1, Secret(b""))]
    too_long = (ffi.cast("CK_BYTE *", 1), LONGEST + 1)
    assert call(1, 1, *too_long) == CKR.PIN_INCORRECT  # the other code is for functions that set a PIN
    assert wrapped("C_InitPIN")[0](1, *too_long) == CKR.PIN_LEN_RANGE
    old = (new("CK_BYTE[]", b"1234"), 4)
    assert wrapped("C_SetPIN")[0](1, *old, *too_long) == CKR.PIN_LEN_RANGE
    assert wrapped("C_SetPIN")[0](1, *too_long, *old) == CKR.PIN_INCORRECT


def test_two_values_of_an_attribute_contradict() -> None:
    values = [new("CK_BYTE *", value) for value in (0, 1)]
    template = new("CK_ATTRIBUTE[2]", [(CKA.TOKEN, value, 1) for value in values])
    assert wrapped("C_CreateObject")[0](1, template, 2, new("CK_ULONG *")) == CKR.TEMPLATE_INCONSISTENT
    assert wrapped("C_FindObjectsInit")[0](1, template, 2) == CKR.ATTRIBUTE_VALUE_INVALID


def test_a_label_is_32_bytes() -> None:
    call, handler = wrapped("C_InitToken")
    assert call(1, NULL, 0, new("CK_BYTE[]", b"label".ljust(32) + b"behind")) == CKR.OK
    assert handler.calls == [(1, None, b"label".ljust(32))]
    assert call(1, NULL, 0, NULL) == CKR.ARGUMENTS_BAD


def test_mechanisms_come_with_what_their_row_says(library_path: Path) -> None:
    p11 = Cryptoki(library_path)
    call, handler = wrapped("C_DigestInit")
    cases = [
        (CKM.SHA256, Mechanism(CKM.SHA256)),
        ((CKM.AES_CBC, bytes(16)), Mechanism(CKM.AES_CBC, bytes(16))),
        (CKM.AES_CBC, Mechanism(CKM.AES_CBC, b"")),
        ((CKM.AES_GCM, p11.gcm(b"n" * 12)), Mechanism(CKM.AES_GCM, GCMParams(b"n" * 12, b"", 128))),
        ((0x7FFFFFFF, b"unknown"), Mechanism(0x7FFFFFFF)),
        (None, None),
    ]
    for given, _ in cases:
        assert call(1, p11.mechanism(given)) == CKR.OK
    assert handler.calls == [(1, expected) for _, expected in cases]


def test_parameters_that_a_mechanism_does_not_take(library_path: Path) -> None:
    p11 = Cryptoki(library_path)
    call, handler = wrapped("C_DigestInit")
    for given in [(CKM.SHA256, b"x"), (CKM.AES_GCM, bytes(12)), CKM.AES_GCM]:
        assert call(1, p11.mechanism(given)) == CKR.MECHANISM_PARAM_INVALID
    for length in (16, LONGEST + 1):
        struct = new("CK_MECHANISM *", [CKM.AES_CBC, NULL if length == 16 else ffi.cast("void *", 1), length])
        assert call(1, struct) == CKR.MECHANISM_PARAM_INVALID
    assert not handler.calls


def test_initialize_is_told_what_came() -> None:
    call, handler = wrapped("C_Initialize")
    arguments = new("CK_C_INITIALIZE_ARGS *", {"flags": CKF.OS_LOCKING_OK})
    assert call(ffi.cast("void *", arguments)) == CKR.OK
    arguments.LockMutex = ffi.cast("CK_LOCKMUTEX", 1)
    arguments.pReserved = ffi.cast("void *", 1)
    assert call(ffi.cast("void *", arguments)) == CKR.OK
    assert call(NULL) == CKR.OK
    flags = CKF.OS_LOCKING_OK
    assert handler.calls == [(InitializeArgs(flags, 0, False),), (InitializeArgs(flags, 1, True),), (None,)]


def test_templates_come_as_dictionaries(library_path: Path) -> None:
    call, handler = wrapped("C_FindObjectsInit")
    array, count = Cryptoki(library_path).template({CKA.LABEL: "x", CKA.TOKEN: True})
    assert call(1, array, count) == CKR.OK
    assert handler.calls == [(1, {CKA.LABEL: b"x", CKA.TOKEN: b"\1"})]


# ---- output ----


def test_output_fits_or_its_size_is_told() -> None:
    length, buffer = new("CK_ULONG *"), guarded(4)
    call, handler = wrapped("C_DigestFinal", b"1234")
    length[0] = 4
    assert call(1, buffer, length) == CKR.OK
    assert (bytes(ffi.buffer(buffer, 4)), length[0], untouched_after(buffer, 4)) == (b"1234", 4, True)
    assert handler.calls == [(1, 4)]


@pytest.mark.parametrize(("room", "answer"), [(None, CKR.OK), (3, CKR.BUFFER_TOO_SMALL)])
def test_output_that_needs_more_room(room: int | None, answer: int) -> None:
    length, buffer = new("CK_ULONG *", room or 99), guarded(3)
    call, handler = wrapped("C_DigestFinal", 4)
    assert call(1, NULL if room is None else buffer, length) == answer
    assert length[0] == 4
    assert bytes(ffi.buffer(buffer, 3)) == bytes(3)
    assert handler.calls == [(1, room)]


@pytest.mark.parametrize("room", [None, 3])
def test_a_handler_that_answers_too_much_harms_nobody(room: int | None) -> None:
    length, buffer = new("CK_ULONG *", room or 0), guarded(3)
    call, _ = wrapped("C_DigestFinal", b"1234")
    assert call(1, NULL if room is None else buffer, length) == CKR.GENERAL_ERROR
    assert untouched_after(buffer, 3)


def test_a_length_is_written_where_it_is_misaligned() -> None:
    raw = new("CK_BYTE[32]")
    call, _ = wrapped("C_DigestFinal", 4)
    assert call(1, NULL, ffi.cast("CK_ULONG *", raw + 3)) == CKR.OK
    assert bytes(ffi.buffer(raw, 12)) == bytes(3) + b"\4" + bytes(8)


@pytest.mark.parametrize(("room", "answer", "written"), [(3, CKR.OK, 3), (2, CKR.BUFFER_TOO_SMALL, 0), (9, CKR.OK, 3)])
def test_lists_are_asked_for_twice(room: int, answer: int, written: int) -> None:
    count, array = new("CK_ULONG *"), new("CK_ULONG[9]", [77] * 9)
    call, _ = wrapped("C_GetMechanismList", [1, 2, 3])
    assert call(0, NULL, count) == CKR.OK
    assert count[0] == 3
    count[0] = room
    assert call(0, array, count) == answer
    assert count[0] == 3
    assert list(array) == [1, 2, 3][:written] + [77] * (9 - written)


def test_found_objects_are_at_most_what_was_asked_for() -> None:
    count, array = new("CK_ULONG *"), new("CK_ULONG[3]", [77] * 3)
    call, handler = wrapped("C_FindObjects", [8, 9])
    assert call(1, array, 2, count) == CKR.OK
    assert (list(array), count[0], handler.calls) == ([8, 9, 77], 2, [(1, 2)])
    assert call(1, array, 1, count) == CKR.GENERAL_ERROR


def test_a_buffer_is_filled_to_its_length() -> None:
    buffer = guarded(3)
    call, handler = wrapped("C_GenerateRandom", b"abc")
    assert call(1, buffer, 3) == CKR.OK
    assert (bytes(ffi.buffer(buffer, 3)), untouched_after(buffer, 3)) == (b"abc", True)
    assert call(1, buffer, 2) == CKR.GENERAL_ERROR
    assert call(1, NULL, 3) == CKR.ARGUMENTS_BAD
    assert call(1, buffer, LONGEST + 1) == CKR.DATA_LEN_RANGE
    assert handler.calls == [(1, 3), (1, 2)]


def test_a_failed_call_leaves_no_stack_in_an_info_struct() -> None:
    info = new("CK_SESSION_INFO *", [1, 2, 3, 4])
    call, _ = wrapped("C_GetSessionInfo", KeyUnextractable())
    assert call(1, info) == CKR.KEY_UNEXTRACTABLE
    assert bytes(ffi.buffer(info)) == bytes(32)


def test_an_info_struct_and_results() -> None:
    info = new("CK_SESSION_INFO *")
    call, _ = wrapped("C_GetSessionInfo", (1, 2, 3, 4))
    assert call(1, info) == CKR.OK
    assert (info.slotID, info.state, info.flags, info.ulDeviceError) == (1, 2, 3, 4)
    handles = new("CK_ULONG[2]")
    call, _ = wrapped("C_GenerateKeyPair", (8, 9))
    assert call(1, NULL, NULL, 0, NULL, 0, handles, handles + 1) == CKR.OK
    assert list(handles) == [8, 9]


def test_asked_attributes_are_types_in_and_values_out() -> None:
    array = new("CK_ATTRIBUTE[1]", [[CKA.LABEL, NULL, 0]])
    call, handler = wrapped("C_GetAttributeValue", [b"label"])
    assert call(1, 2, array, 1) == CKR.OK
    assert (array[0].ulValueLen, handler.calls) == (5, [(1, 2, [CKA.LABEL])])


def test_the_last_part_of_a_message_is_told_by_its_output() -> None:
    length, buffer = new("CK_ULONG *", 4), guarded(4)
    call, handler = wrapped("C_SignMessageNext", b"1234")
    assert call(1, NULL, 0, NULL, 0, buffer, length) == CKR.OK
    assert bytes(ffi.buffer(buffer, 4)) == b"1234"
    assert call(1, NULL, 0, NULL, 0, buffer, NULL) == CKR.ARGUMENTS_BAD
    handler.answer = None
    assert call(1, NULL, 0, NULL, 0, NULL, NULL) == CKR.OK
    assert [arguments[3] for arguments in handler.calls] == [4, MORE_FOLLOWS]


def test_the_last_part_of_a_message_is_told_by_its_signature() -> None:
    call, handler = wrapped("C_VerifyMessageNext")
    assert call(1, NULL, 0, NULL, 0, NULL, 9) == CKR.OK
    assert call(1, NULL, 0, NULL, 0, new("CK_BYTE[]", b"12"), 2) == CKR.OK
    assert call(1, NULL, 0, NULL, 0, new("CK_BYTE[]", b"12"), 0) == CKR.OK
    assert [arguments[3] for arguments in handler.calls] == [None, b"12", b""]


def test_a_handle_is_told_only_of_what_was_made() -> None:
    handle, length, buffer = new("CK_ULONG *", 77), new("CK_ULONG *", 4), guarded(4)
    call, handler = wrapped("C_EncapsulateKey", (9, None))
    assert call(1, NULL, 2, NULL, 0, NULL, length, NULL) == CKR.OK
    assert length[0] == 9
    assert call(1, NULL, 2, NULL, 0, buffer, length, handle) == CKR.BUFFER_TOO_SMALL
    assert call(1, NULL, 2, NULL, 0, buffer, length, NULL) == CKR.ARGUMENTS_BAD
    assert handle[0] == 77
    handler.answer = (b"1234", 5)
    assert call(1, NULL, 2, NULL, 0, buffer, length, handle) == CKR.OK
    assert (handle[0], length[0]) == (5, 4)


def test_a_function_is_named_by_text_that_ends() -> None:
    call, handler = wrapped("C_AsyncGetID", 3)
    number = new("CK_ULONG *")
    assert call(1, new("CK_BYTE[]", b"C_Sign\0behind"), number) == CKR.OK
    assert call(1, new("CK_BYTE[]", b"x" * 200), number) == CKR.OK
    assert call(1, NULL, number) == CKR.ARGUMENTS_BAD
    assert handler.calls == [(1, "C_Sign"), (1, "x" * 64)]


def test_a_message_parameter_is_read_and_written_where_it_lies() -> None:
    iv, tag = new("CK_BYTE[]", b"n" * 12), guarded(16)
    struct = new("CK_GCM_MESSAGE_PARAMS *", [iv, 12, 32, CKG.GENERATE_COUNTER, tag, 128])
    call, handler = wrapped("C_EncryptMessageBegin")
    assert call(1, ffi.cast("void *", struct), ffi.sizeof("CK_GCM_MESSAGE_PARAMS"), NULL, 0) == CKR.OK
    parameter = handler.calls[0][1]
    assert parameter.given
    assert parameter.read(GCMMessageParams) == GCMMessageParams(b"n" * 12, 32, CKG.GENERATE_COUNTER, 128)
    parameter.give(GCMMessageParams, "tag", b"t" * 16)
    assert untouched_after(tag, 16)
    assert parameter.take(GCMMessageParams, "tag", 16) == b"t" * 16
    struct.pTag = NULL
    with pytest.raises(MechanismParamInvalid, match="no room for the tag"):
        parameter.give(GCMMessageParams, "tag", b"t" * 16)


@pytest.mark.parametrize("length", [0, 1, 47, 49])
def test_a_message_parameter_of_another_size_is_none(length: int) -> None:
    call, handler = wrapped("C_EncryptMessageBegin")
    assert call(1, NULL, length, NULL, 0) == CKR.OK
    assert handler.calls[0][1].given == bool(length)
    with pytest.raises(MechanismParamInvalid):
        handler.calls[0][1].read(GCMMessageParams)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("C_GenerateKey", (1, NULL, NULL, 0, NULL)),
        ("C_GenerateKeyPair", (1, NULL, NULL, 0, NULL, 0, NULL, new("CK_ULONG *"))),
        ("C_Sign", (1, NULL, 0, NULL, NULL)),
        ("C_GetSlotList", (0, NULL, NULL)),
        ("C_FindObjects", (1, NULL, 1, new("CK_ULONG *"))),
        ("C_FindObjects", (1, new("CK_ULONG *"), 1, NULL)),
        ("C_GetInfo", (NULL,)),
    ],
)
def test_a_call_that_cannot_report_is_not_made(name: str, arguments: tuple[Any, ...]) -> None:
    call, handler = wrapped(name, 1)
    assert call(*arguments) == CKR.ARGUMENTS_BAD
    assert not handler.calls


# ---- the wrapper ----


@pytest.mark.parametrize("name", [name for name in OFFERED if name != "C_Initialize"])
def test_nothing_is_looked_at_before_initialization(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "current", None)
    call, handler = wrapped(name)
    assert call(*[None] * len(PROTOTYPES[name])) == CKR.CRYPTOKI_NOT_INITIALIZED
    assert entry.unsupported(*PROTOTYPES[name]) == CKR.CRYPTOKI_NOT_INITIALIZED
    assert entry.later(ffi, name, {name: handler}, Recorder())(*PROTOTYPES[name]) == CKR.CRYPTOKI_NOT_INITIALIZED
    assert not handler.calls


def test_a_function_without_handler_says_so() -> None:
    assert entry.later(ffi, "C_EncapsulateKeys", {}, Recorder())(1, NULL, NULL) == CKR.FUNCTION_NOT_SUPPORTED


def test_the_first_call_puts_the_wrapped_handler_in_place() -> None:
    handler, put = Recorder(), Recorder()
    assert entry.later(ffi, "C_CloseSession", {"C_CloseSession": handler}, put)(5) == CKR.OK
    ((function,),) = put.calls
    assert function(6) == CKR.OK
    assert handler.calls == [(5,), (6,)]
    assert len(put.calls) == 1


def test_a_call_has_the_configured_deadline() -> None:
    left: list[float] = []
    assert entry.wrap(ffi, "C_CloseSession", lambda session: left.append(deadline.current().remaining_s()))(1) == CKR.OK
    assert 6.5 < left[0] <= 7.0
    assert time.monotonic() + 9 < deadline.current().at


@pytest.mark.parametrize(
    ("error", "answer", "line"),
    [
        (
            KeyUnextractable("it may not leave"),
            CKR.KEY_UNEXTRACTABLE,
            "debug .*CKR_KEY_UNEXTRACTABLE: it may not leave",
        ),
        (MrhsmError("the file is damaged"), CKR.DEVICE_ERROR, "error .*C_CloseSession: the file is damaged"),
        (
            ValueError("key 00112233"),
            CKR.GENERAL_ERROR,
            r"error .*C_CloseSession: ValueError at .*test_entry.py:\d+ __call__",
        ),
        (KeyboardInterrupt(), CKR.GENERAL_ERROR, "error .*KeyboardInterrupt"),
        (MemoryError(), CKR.HOST_MEMORY, ""),
    ],
)
def test_every_failure_is_a_code_and_a_line(error: BaseException, answer: int, line: str, log_file: Path) -> None:
    call, _ = wrapped("C_CloseSession", error)
    assert call(1) == answer
    text = log_file.read_text() if line else ""
    assert re.search(line, text), text
    assert "00112233" not in text


def test_a_server_fault_is_kept_for_session_info_and_logged(monkeypatch: pytest.MonkeyPatch, log_file: Path) -> None:
    session = SimpleNamespace(device_error=0)
    monkeypatch.setattr(provider, "session", {7: session}.__getitem__)
    call, _ = wrapped("C_DestroyObject", ServerFault("keys.example:5696 did not answer", Fault.TIMED_OUT))
    assert call(7, 1) == CKR.DEVICE_ERROR
    assert session.device_error == Fault.TIMED_OUT
    assert "warning" in log_file.read_text()


def test_handlers_are_found_by_name_and_strays_refused() -> None:
    module = ModuleType("stray")
    module.__all__ = ["init_pin"]  # type: ignore[attr-defined]
    module.init_pin = Recorder()  # type: ignore[attr-defined]
    assert entry.find_handlers([module]) == {"C_InitPIN": module.init_pin}
    module.__all__ = ["init_pins"]  # type: ignore[attr-defined]
    module.init_pins = Recorder()  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match=r"stray\.init_pins is the handler of no function"):
        entry.find_handlers([module])


def test_names_are_told_apart() -> None:
    assert len({entry.snake_case(name) for name in PROTOTYPES}) == len(PROTOTYPES)
    assert entry.snake_case("C_GenerateKeyPair") == "generate_key_pair"
    assert entry.snake_case("C_SetPIN") == "set_pin"
