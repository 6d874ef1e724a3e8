"""How each role of an argument crosses the boundary: C value to Python value, and the result back.

Everything that can be looked up is looked up once, when the wrapper is made: a crossing is a few closures. cffi reads
and writes C memory by copying, so misaligned pointers are harmless. Nothing beyond the caller's length is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from mrhsm_p11.abi.messages import LentParameter
from mrhsm_p11.abi.parameters import parameter_reader
from mrhsm_p11.abi.plan import Role, Step
from mrhsm_p11.abi.structs import LONGEST, info_writer, pointed_bytes
from mrhsm_p11.abi.templates import template_reader, wanted_reader, wanted_writer
from mrhsm_p11.constants import CK, CKR
from mrhsm_p11.errors import ArgumentsBad, AttributeValueInvalid, DataLenRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.parameters import Mechanism, Parameter
from mrhsm_p11.parameters.messages import LentMechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.token.operations import MORE_FOLLOWS

Arguments = tuple[Any, ...]
LABEL_LENGTH = 32
LONGEST_NAME = 64  # of a function, in bytes


class InitializeArgs(NamedTuple):
    """What C_Initialize is told: CKF flags, how many of the four mutex functions came, whether pReserved was set."""

    flags: int
    callbacks: int
    reserved: bool


class Crossing(NamedTuple):
    """One step on its way: `check` runs before everything, `read` gives an argument, `write` takes a result."""

    check: Callable[[Arguments], None] | None = None
    read: Callable[[Arguments], object] | None = None
    write: Callable[[Arguments, Any], int] | None = None


def _present(*indexes: int) -> Callable[[Arguments], None]:
    """Refuse NULL, so that no object is made whose handle could not be told."""

    def check(args: Arguments) -> None:
        for index in indexes:
            if not args[index]:
                raise ArgumentsBad(f"argument {index + 1} is NULL")

    return check


def _number(ffi: Any, step: Step) -> Crossing:
    return Crossing(read=itemgetter(step.index))


def _truth(ffi: Any, step: Step) -> Crossing:
    return Crossing(read=lambda args: bool(args[step.index]))


def _dropped(ffi: Any, step: Step) -> Crossing:
    return Crossing()


def _bytes(ffi: Any, step: Step) -> Crossing:
    at, buffer = step.index, ffi.buffer
    nothing = memoryview(b"")

    def read(args: Arguments) -> memoryview:
        pointer, length = args[at], args[at + 1]
        if not length:
            return nothing
        if length > LONGEST:
            raise step.too_long(f"{length} bytes")
        if not pointer:
            raise ArgumentsBad(f"{length} bytes at NULL")
        return memoryview(buffer(pointer, length)).toreadonly()

    return Crossing(read=read)


def _last_input(ffi: Any, step: Step) -> Crossing:
    at, read = step.index, _bytes(ffi, step).read
    assert read
    return Crossing(read=lambda args: read(args) if args[at] else None)


def _pin(ffi: Any, step: Step) -> Crossing:
    at, buffer = step.index, ffi.buffer

    def read(args: Arguments) -> Secret | None:
        pointer, length = args[at], args[at + 1]
        if not pointer:
            return None
        if length > LONGEST:
            raise step.too_long(f"{length} bytes")
        return Secret(buffer(pointer, length))

    return Crossing(read=read)


def _label(ffi: Any, step: Step) -> Crossing:
    at = step.index
    return Crossing(check=_present(at), read=lambda args: bytes(ffi.buffer(args[at], LABEL_LENGTH)))


def _name(ffi: Any, step: Step) -> Crossing:
    at = step.index
    return Crossing(check=_present(at), read=lambda args: ffi.string(args[at], LONGEST_NAME).decode("ascii", "replace"))


def _message(ffi: Any, step: Step) -> Crossing:
    at = step.index

    def read(args: Arguments) -> LentParameter:
        return LentParameter(ffi, args[at], args[at + 1])

    return Crossing(read=read)


def _lent_mechanism(ffi: Any, step: Step) -> Crossing:
    at = step.index

    def read(args: Arguments) -> LentMechanism | None:
        given = args[at]
        return (
            LentMechanism(given.mechanism, LentParameter(ffi, given.pParameter, given.ulParameterLen))
            if given
            else None
        )

    return Crossing(read=read)


def _mechanism(ffi: Any, step: Step) -> Crossing:
    at = step.index
    readers: dict[type[Parameter], Callable[[Any, int], Parameter]] = {}

    def parameter(kind: int, pointer: Any, length: int) -> Parameter | bytes | None:
        row = ROWS.get(kind)
        if row is None:
            return None  # the function will say that there is no such mechanism
        if row.parameter is None:
            if length:
                raise MechanismParamInvalid(f"mechanism 0x{kind:X} has no parameter, {length} bytes given")
            return None
        if not issubclass(row.parameter, Parameter) or (length and length == row.bare_bytes):
            return pointed_bytes(ffi, pointer, length)
        if row.optional_parameter and not pointer and not length:
            return None
        other = row.wrap_parameter
        shape = other if other and length == ffi.sizeof(other.struct) else row.parameter
        if shape not in readers:
            readers[shape] = parameter_reader(ffi, shape)
        return readers[shape](pointer, length)

    def read(args: Arguments) -> Mechanism | None:
        pointer = args[at]
        if not pointer:
            return None
        kind = pointer.mechanism
        return Mechanism(kind, parameter(kind, pointer.pParameter, pointer.ulParameterLen))

    return Crossing(read=read)


def _template(ffi: Any, step: Step) -> Crossing:
    at, read = step.index, template_reader(ffi)
    return Crossing(read=lambda args: read(args[at], args[at + 1]))


def _sought(ffi: Any, step: Step) -> Crossing:
    """As a template, but a contradiction is one of values: CKR_TEMPLATE_INCONSISTENT is for objects that are made."""
    at, read = step.index, template_reader(ffi, AttributeValueInvalid)
    return Crossing(read=lambda args: read(args[at], args[at + 1]))


def _wanted(ffi: Any, step: Step) -> Crossing:
    at, read, write = step.index, wanted_reader(ffi), wanted_writer(ffi)
    return Crossing(
        read=lambda args: read(args[at], args[at + 1]),
        write=lambda args, values: write(args[at], values),
    )


def _initialize_args(ffi: Any, step: Step) -> Crossing:
    pointer_type = ffi.typeof("CK_C_INITIALIZE_ARGS *")

    def read(args: Arguments) -> InitializeArgs | None:
        if not args[step.index]:
            return None
        given = ffi.cast(pointer_type, args[step.index])
        callbacks = (given.CreateMutex, given.DestroyMutex, given.LockMutex, given.UnlockMutex)
        return InitializeArgs(given.flags, sum(map(bool, callbacks)), bool(given.pReserved))

    return Crossing(read=read)


def _room(ffi: Any, step: Step) -> Crossing:
    """Two-call output: bytes are what fits, a number is what would be needed (PKCS #11, "Producing output")."""
    at, memmove = step.index, ffi.memmove

    def read(args: Arguments) -> int | None:
        return args[at + 1][0] if args[at] else None

    def write(args: Arguments, result: bytes | int) -> int:
        buffer, length = args[at], args[at + 1]
        if isinstance(result, int):
            length[0] = result
            return CKR.BUFFER_TOO_SMALL if buffer else CKR.OK
        size = len(result)
        if not buffer or size > length[0]:
            raise RuntimeError(f"{size} bytes of output for a caller who has less room")
        memmove(buffer, result, size)
        length[0] = size
        return CKR.OK

    return Crossing(check=_present(at + 1), read=read, write=write)


def _last_room(ffi: Any, step: Step) -> Crossing:
    """Without a length, more parts follow: the handler's answer is then None."""
    at, room = step.index, _room(ffi, step)
    read, write = room.read, room.write
    assert read
    assert write

    def write_last(args: Arguments, result: bytes | int | None) -> int:
        return CKR.OK if result is None else write(args, result)

    def check(args: Arguments) -> None:
        if args[at] and not args[at + 1]:
            raise ArgumentsBad("a buffer without its length")

    return Crossing(check=check, read=lambda args: read(args) if args[at + 1] else MORE_FOLLOWS, write=write_last)


def _list(ffi: Any, step: Step) -> Crossing:
    at = step.index

    def write(args: Arguments, values: Sequence[int]) -> int:
        array, count = args[at], args[at + 1]
        room, count[0] = count[0], len(values)
        if not array:
            return CKR.OK
        if room < len(values):
            return CKR.BUFFER_TOO_SMALL
        for index, value in enumerate(values):
            array[index] = value
        return CKR.OK

    return Crossing(check=_present(at + 1), write=write)


def _fill(ffi: Any, step: Step) -> Crossing:
    at = step.index

    def read(args: Arguments) -> int:
        length: int = args[at + 1]
        if length > LONGEST:
            raise DataLenRange(f"{length} bytes")
        return length

    def check(args: Arguments) -> None:
        if args[at + 1] and not args[at]:
            raise ArgumentsBad("NULL cannot be filled")

    def write(args: Arguments, result: bytes) -> int:
        if len(result) != args[at + 1]:
            raise RuntimeError(f"{len(result)} bytes for a buffer of {args[at + 1]}")
        if result:
            ffi.memmove(args[at], result, len(result))
        return CKR.OK

    return Crossing(check=check, read=read, write=write)


def _found(ffi: Any, step: Step) -> Crossing:
    at = step.index

    def write(args: Arguments, values: Sequence[int]) -> int:
        array, most, count = args[at : at + 3]
        if len(values) > most:
            raise RuntimeError(f"{len(values)} objects for a caller who asked for {most}")
        for index, value in enumerate(values):
            array[index] = value
        count[0] = len(values)
        return CKR.OK

    return Crossing(check=_present(at, at + 2), read=itemgetter(at + 1), write=write)


def _info(ffi: Any, step: Step) -> Crossing:
    at, fill = step.index, info_writer(ffi, step.type)
    zeros = bytes(ffi.sizeof(step.type.removesuffix("_PTR")))

    def check(args: Arguments) -> None:
        if not args[at]:
            raise ArgumentsBad(f"argument {at + 1} is NULL")
        ffi.memmove(args[at], zeros, len(zeros))  # a caller that ignores the answer reads nothing of its own stack

    def write(args: Arguments, values: Sequence[object]) -> int:
        fill(args[at], values)
        return CKR.OK

    return Crossing(check=check, write=write)


def _result(ffi: Any, step: Step) -> Crossing:
    at = step.index

    def write(args: Arguments, value: int) -> int:
        args[at][0] = value
        return CKR.OK

    return Crossing(check=_present(at), write=write)


def _made(ffi: Any, step: Step) -> Crossing:
    """As _result, behind a buffer and its length: without buffer nothing is made, and there may be no pointer."""
    at = step.index

    def check(args: Arguments) -> None:
        if args[at - 2] and not args[at]:
            raise ArgumentsBad(f"argument {at + 1} is NULL")

    def write(args: Arguments, value: int | None) -> int:
        if value is not None:
            args[at][0] = value
        return CKR.OK

    return Crossing(check=check, write=write)


def _result_or_none(ffi: Any, step: Step) -> Crossing:
    """Tell the function whether there is room for a handle, which it then gives, or None where it has none."""
    at = step.index

    def write(args: Arguments, value: int | None) -> int:
        if args[at]:
            args[at][0] = CK.INVALID_HANDLE if value is None else value
        return CKR.OK

    return Crossing(read=lambda args: bool(args[at]), write=write)


CROSSINGS: dict[Role, Callable[[Any, Step], Crossing]] = {
    Role.NUMBER: _number,
    Role.TRUTH: _truth,
    Role.BYTES: _bytes,
    Role.LAST_INPUT: _last_input,
    Role.PIN: _pin,
    Role.LABEL: _label,
    Role.NAME: _name,
    Role.MECHANISM: _mechanism,
    Role.LENT_MECHANISM: _lent_mechanism,
    Role.SIZED_MECHANISM: _lent_mechanism,
    Role.MESSAGE: _message,
    Role.NO_MESSAGE: _message,
    Role.TEMPLATE: _template,
    Role.SOUGHT: _sought,
    Role.INITIALIZE_ARGS: _initialize_args,
    Role.RESERVED: _truth,
    Role.DROPPED: _dropped,
    Role.ROOM: _room,
    Role.LAST_ROOM: _last_room,
    Role.LIST: _list,
    Role.FILL: _fill,
    Role.FOUND: _found,
    Role.WANTED: _wanted,
    Role.INFO: _info,
    Role.RESULT: _result,
    Role.MADE: _made,
    Role.RESULT_OR_NONE: _result_or_none,
}


def crossings(ffi: Any, steps: Sequence[Step]) -> list[Crossing]:
    """Return how each step of a plan crosses."""
    return [CROSSINGS[step.role](ffi, step) for step in steps]
