"""Each mechanism, each function, each fault: the standard's answer, then a good call that works.

The cases follow from the table of mechanisms and from matrix_rules.RULES; one test holds all faults of a mechanism in a
function and reports every wrong answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fix_matrix import ROWS, USES, Good, Matrix, Use
from matrix_cases import HUGE, cases, wrong_keys, wrong_parameters
from p11 import CKError, rv_of

from mrhsm_p11.constants import CKM, CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow

CRYPT = ("Encrypt", "Decrypt", "Digest", "Sign", "Verify", "SignRecover", "VerifyRecover")
AUTHENTICATED = ("aead", "keywrap")


@pytest.fixture(autouse=True)
def reported(matrix: Matrix) -> Iterator[None]:
    """Report what a test collected, whatever else it raises."""
    matrix.failures.clear()
    yield
    matrix.report()


def works(matrix: Matrix, good: Good, after: str) -> None:
    """Check that the good case still works."""
    matrix.cases += 1
    try:
        output = matrix.whole(good)
    except CKError as error:
        matrix.failures.append(f"{CKM.name(good.row.type)} {good.use.name}: after {after}: {error}")
        matrix.cancel(good.use)
        return
    matrix.expect(output == good.output or not good.repeats, f"{good.use.name}: other output after {after}")


def ended(matrix: Matrix, good: Good, fault: str) -> None:
    """Check that nothing goes on."""
    rv = rv_of(matrix.finish, good, *good.inputs)
    matrix.check("once more after the end", good, good.use.name, rv, f"({fault})")


@pytest.mark.parametrize(("row", "use"), cases(CRYPT))
def test_beginning(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good = matrix.good(row, use)
    struct = matrix.struct(*good.mechanism)

    def refused(fault: str, rv: int, detail: object = "") -> None:
        matrix.check(fault, good, use.name, rv, detail)
        ended(matrix, good, fault)

    refused("no such session", matrix.begin(use, struct, good.key, session=matrix.session + 10_000))
    for fault, key in wrong_keys(matrix, good):
        refused(fault, matrix.begin(use, struct, key), key)
    for fault, wrong, detail in wrong_parameters(matrix, good):
        refused(fault, matrix.begin(use, wrong, good.key), detail)
    matrix.start(good)
    matrix.check("a second Init", good, use.name, matrix.begin(use, struct, good.key))
    matrix.expect(
        rv_of(matrix.finish, good, *good.inputs) == CKR.OK, f"{CKM.name(row.type)} {use.name}: a second Init ended it"
    )
    matrix.start(good)
    matrix.check("Init with NULL cancels", good, use.name, matrix.cancel(use))
    ended(matrix, good, "cancelled")
    works(matrix, good, "all that")


@pytest.mark.parametrize(("row", "use"), cases(CRYPT))
def test_going_on(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good = matrix.good(row, use)
    if use.name != "Verify":
        output_faults(matrix, good)
    input_faults(matrix, good)
    matrix.p11.rv("C_CloseSession", closing := matrix.p11.open_session(matrix.slot))
    name, arguments = f"C_{use.name}", [part for each in good.inputs for part in matrix.p11.encoded(each)]
    if use.name != "Verify":
        arguments += [None, matrix.p11.new("CK_ULONG *")]
    matrix.check("the session was closed", good, use.name, matrix.p11.rv(name, closing, *arguments))
    works(matrix, good, "all that")


def output_faults(matrix: Matrix, good: Good) -> None:
    p11, name, function = matrix.p11, good.use.name, f"C_{good.use.name}"
    length = p11.new("CK_ULONG *", 7)
    data, size = p11.encoded(good.inputs[0])
    matrix.start(good)
    matrix.check("a size is asked", good, name, p11.rv(function, matrix.session, data, size, None, length))
    what = f"{CKM.name(good.row.type)} {name}"
    matrix.expect(length[0] >= len(good.output), f"{what}: size {length[0]} for {len(good.output)} bytes")
    for fault, room in (("a buffer of nothing", 0), ("a buffer one byte too small", len(good.output) - 1)):
        if room < 0:
            continue
        buffer = p11.new("CK_BYTE[]", b"\xa5" * (room + 16))
        length[0] = room
        matrix.check(fault, good, name, p11.rv(function, matrix.session, data, size, buffer, length))
        matrix.expect(length[0] >= len(good.output), f"{what}: {fault}: size {length[0]} is told")
        matrix.expect(bytes(buffer)[room:].startswith(b"\xa5" * 16), f"{what}: {fault}: written past the buffer")
    buffer = p11.new("CK_BYTE[]", max(length[0], 1))
    matrix.check("then a buffer large enough", good, name, p11.rv(function, matrix.session, data, size, buffer, length))
    output = bytes(p11.ffi.buffer(buffer, length[0]))
    matrix.expect(output == good.output or not good.repeats, f"{what}: other output after small buffers")
    ended(matrix, good, "the end")
    in_place(matrix, good)
    matrix.start(good)
    matrix.check(
        "no place for the length", good, name, p11.rv(function, matrix.session, data, size, p11.new("CK_BYTE[1]"), None)
    )
    ended(matrix, good, "no place for the length")


def in_place(matrix: Matrix, good: Good) -> None:
    """Let the output overwrite the input, from its start and from its second byte on."""
    p11, what = matrix.p11, f"{CKM.name(good.row.type)} {good.use.name}"
    for shift in (0, 1):
        data = good.inputs[0]
        room = max(len(data), len(good.output)) + 64 + shift
        buffer = p11.new("CK_BYTE[]", room)
        p11.ffi.memmove(buffer, data, len(data))
        length = p11.new("CK_ULONG *", room - shift)
        matrix.start(good)
        rv = p11.rv(f"C_{good.use.name}", matrix.session, buffer, len(data), buffer + shift, length)
        matrix.check("input and output in one place", good, good.use.name, rv)
        output = bytes(p11.ffi.buffer(buffer + shift, length[0]))
        matrix.expect(output == good.output or not good.repeats, f"{what}: other output in place")


def input_faults(matrix: Matrix, good: Good) -> None:
    name = good.use.name
    subject = good.inputs[0]
    changed = {0: b"", 1: subject[:1], len(subject) + 1: subject + b"\0", len(subject) - 1: subject[:-1]}
    changed |= {5000: bytes(5000), 16: (subject * 16)[:16], len(subject) + 16: subject + bytes(16)}
    for length, data in changed.items():
        if length == len(subject):
            continue
        matrix.start(good)
        rv = rv_of(matrix.finish, good, data, *good.inputs[1:])
        if name != "Verify" or rv != CKR.OK:  # of a shorter hash that is padded, ECDSA may say so
            matrix.check("input of another length", good, name, rv, f"{length} instead of {len(subject)}")
        ended(matrix, good, f"{length} bytes")
    raw_input_faults(matrix, good)
    if name == "Verify":
        signature = good.inputs[1]
        for length in {0, 1, len(signature) - 1, len(signature) + 1}:
            matrix.start(good)
            rv = rv_of(matrix.finish, good, subject, (signature + b"\0")[:length])
            matrix.check("a signature of another length", good, name, rv, length)
            ended(matrix, good, "a signature of another length")
    changed_bits(matrix, good)


def raw_input_faults(matrix: Matrix, good: Good) -> None:
    p11, name, function = matrix.p11, good.use.name, f"C_{good.use.name}"
    rest = list(p11.encoded(good.inputs[1])) if name == "Verify" else [p11.new("CK_BYTE[1]"), p11.new("CK_ULONG *", 1)]
    byte = p11.new("CK_BYTE[1]")
    for fault, pointer, length in (("input at NULL", None, 5), ("input of 2^40 bytes", byte, HUGE)):
        matrix.start(good)
        matrix.check(fault, good, name, p11.rv(function, matrix.session, pointer, length, *rest))
        ended(matrix, good, fault)
    if name == "Verify":
        data = p11.encoded(good.inputs[0])
        matrix.start(good)
        matrix.check("input at NULL", good, name, p11.rv(function, matrix.session, *data, None, 5), "signature")
        ended(matrix, good, "signature at NULL")


def changed_bits(matrix: Matrix, good: Good) -> None:
    name, row = good.use.name, good.row
    if name not in ("Decrypt", "Verify", "VerifyRecover"):
        return
    tagged = row.family in AUTHENTICATED or row.mode == "oaep"
    fault = "a changed bit under a tag" if tagged and name == "Decrypt" else "a changed bit"
    subject = good.inputs[-1]
    for at in sorted({0, 1, len(subject) // 2, len(subject) - 1}):
        spoilt = subject[:at] + bytes((subject[at] ^ 1,)) + subject[at + 1 :]
        matrix.start(good)
        try:
            output = matrix.finish(good, *good.inputs[:-1], spoilt)
            matrix.check(fault, good, name, CKR.OK, f"at {at}")
            matrix.expect(
                name == "Verify" or output != good.output, f"{CKM.name(row.type)} {name}: the same from spoilt input"
            )
        except CKError as error:
            matrix.check(fault, good, name, error.rv, f"at {at}")
        ended(matrix, good, fault)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: CKM.name(row.type))
def test_uses_that_a_mechanism_has_not(matrix: Matrix, row: MechanismRow) -> None:
    key = matrix.secret(ROWS[CKM.AES_CBC])
    parameter = matrix.parameters(row)
    struct = matrix.struct(row.type, parameter[0] if parameter else None)
    for name in CRYPT:
        use = USES[name]
        if not row.flags & use.flag and parameter:
            rv = matrix.begin(use, struct, key)
            matrix.check("a use that the mechanism has not", None, name, rv, CKM.name(row.type))


def test_most_mechanisms_can_be_tried(matrix: Matrix) -> None:
    """Those skipped for want of a sample are few; add one to fix_matrix.SAMPLES or PAIRS."""
    untold = []
    for row in ROWS.values():
        for use in (USES[name] for name in CRYPT if row.flags & USES[name].flag):
            try:
                matrix.good(row, use)
            except pytest.skip.Exception:
                untold.append(f"{CKM.name(row.type)}-{use.name}")
    assert len(untold) <= len(ROWS) // 20, untold
