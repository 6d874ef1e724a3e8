"""What comes in parts: the same output as at once, in buffers too small first, in one place, and after odd parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fix_matrix import USES, Good, Matrix, Use
from matrix_cases import HUGE, cases
from p11 import CKError

from mrhsm_p11.constants import CKM, CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow

ROOM = 8192
PARTED = ("Encrypt", "Decrypt", "Digest", "Sign", "Verify")
MULTIPART = [case for case in cases(PARTED) if case.values[0].multipart]


@pytest.fixture(autouse=True)
def reported(matrix: Matrix) -> Iterator[None]:
    matrix.failures.clear()
    yield
    matrix.report()


def streams(good: Good) -> bool:
    """Tell whether an update gives output."""
    return good.use.name in ("Encrypt", "Decrypt")


def small_then_large(matrix: Matrix, good: Good, name: str, *arguments: Any) -> bytes:
    """Ask the size, give a buffer that is one byte too small, then one that is large enough; return the output."""
    p11, length = matrix.p11, matrix.p11.new("CK_ULONG *")
    matrix.check("a size is asked", good, good.use.name, p11.rv(name, matrix.session, *arguments, None, length), name)
    told = length[0]
    rv, buffer = CKR.OK, p11.new("CK_BYTE[]", ROOM)
    if told:
        length[0] = told - 1
        rv = p11.rv(name, matrix.session, *arguments, buffer, length)
        if rv == CKR.OK:  # the size was an upper bound: this was all
            return bytes(p11.ffi.buffer(buffer, length[0]))
        matrix.check("a buffer one byte too small", good, good.use.name, rv, name)
        matrix.expect(told - 1 < length[0] <= told, f"{CKM.name(good.row.type)} {name}: {told}, then {length[0]}")
    length[0] = ROOM
    matrix.check(
        "then a buffer large enough",
        good,
        good.use.name,
        p11.rv(name, matrix.session, *arguments, buffer, length),
        name,
    )
    return bytes(p11.ffi.buffer(buffer, length[0]))


@pytest.mark.parametrize(("row", "use"), MULTIPART)
def test_any_parts_give_what_one_gives(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good = matrix.good(row, use)
    data, what = good.inputs[0], f"{CKM.name(row.type)} {use.name}"
    for size in (1, 3, 16, len(data), 0):
        parts = [data[at : at + size] for at in range(0, len(data), size)] if size else [b"", data, b""]
        matrix.start(good)
        output = b"".join(update(matrix, good, part) for part in parts)
        name = f"C_{use.name}Final"
        if use.name == "Verify":
            rv = matrix.p11.rv(name, matrix.session, *matrix.p11.encoded(good.inputs[1]))
            matrix.expect(rv == CKR.OK, f"{what} in parts of {size}: CKR_{CKR.name(rv)}")
        else:
            output += small_then_large(matrix, good, name)
            matrix.expect(output == good.output or not good.repeats, f"{what} in parts of {size}: other output")
    matrix.expect(matrix.whole(good) == good.output or not good.repeats, f"{what}: other output afterwards")


def update(matrix: Matrix, good: Good, part: bytes) -> bytes:
    name, given = f"C_{good.use.name}Update", matrix.p11.encoded(part)
    if streams(good):
        return small_then_large(matrix, good, name, *given)
    matrix.p11.call(name, matrix.session, *given)
    return b""


@pytest.mark.parametrize(("row", "use"), [case for case in MULTIPART if case.values[1].name in ("Encrypt", "Decrypt")])
def test_parts_in_one_place(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    """Section 5.8.3: input and output of an update may be in the same place."""
    good, p11 = matrix.good(row, use), matrix.p11
    data, output = good.inputs[0], b""
    matrix.start(good)
    for part in (data[:16], data[16:17], data[17:]):
        buffer, length = p11.new("CK_BYTE[]", part + bytes(ROOM)), p11.new("CK_ULONG *", ROOM)
        rv = p11.rv(f"C_{use.name}Update", matrix.session, buffer, len(part), buffer, length)
        matrix.check("input and output in one place", good, use.name, rv)
        output += bytes(p11.ffi.buffer(buffer, length[0]))
    output += p11.into_room(f"C_{use.name}Final", ROOM, matrix.session)
    matrix.expect(output == good.output or not good.repeats, f"{CKM.name(row.type)} {use.name}: other output in place")


@pytest.mark.parametrize(("row", "use"), MULTIPART)
def test_a_bad_part_ends_the_operation(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good, p11 = matrix.good(row, use), matrix.p11
    name, room = f"C_{use.name}Update", [p11.new("CK_BYTE[1]"), p11.new("CK_ULONG *", 1)] if streams(good) else []
    bad = [("input at NULL", (None, 5, *room)), ("input of 2^40 bytes", (p11.new("CK_BYTE[1]"), HUGE, *room))]
    bad += [("no place for the length", (p11.new("CK_BYTE[1]"), 1, room[0], None))] if room else []
    for fault, arguments in bad:
        matrix.start(good)
        matrix.check(fault, good, use.name, p11.rv(name, matrix.session, *arguments), "in an update")
        last = p11.encoded(good.inputs[1]) if use.name == "Verify" else (p11.new("CK_BYTE[]", ROOM), room_of(p11))
        rv = p11.rv(f"C_{use.name}Final", matrix.session, *last)
        matrix.check("once more after the end", good, use.name, rv, f"final after {fault}")
    try:
        matrix.whole(good)
    except CKError as error:
        matrix.failures.append(f"{CKM.name(row.type)} {use.name}: afterwards {error}")


def room_of(p11: Any) -> Any:
    return p11.new("CK_ULONG *", ROOM)


SINGLE = [case for case in cases(PARTED) if not case.values[0].multipart]


@pytest.mark.parametrize(("row", "use"), SINGLE)
def test_a_mechanism_without_parts_says_so(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good, p11 = matrix.good(row, use), matrix.p11
    for step in ("Update", "Final"):
        matrix.start(good)
        buffer, length = p11.new("CK_BYTE[]", ROOM), room_of(p11)
        given = [*p11.encoded(good.inputs[0]), buffer, length] if step == "Update" else [buffer, length]
        if use.name == "Verify" and step == "Final":
            given = [*p11.encoded(good.inputs[1])]
        elif use.name in ("Sign", "Verify") and step == "Update":
            given = given[:2]
        rv = p11.rv(f"C_{use.name}{step}", matrix.session, *given)
        matrix.check("parts of what has none", good, use.name, rv, step)
        matrix.expect(
            matrix.cancel(USES[use.name]) != CKR.OK, f"{CKM.name(row.type)} {use.name}: {step} left it active"
        )
