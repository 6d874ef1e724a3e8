"""Wrapping, unwrapping, deriving and generating: each mechanism, each fault; and what fails leaves no object behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fix_matrix import ROWS, USES, Good, Matrix, Use, pair_template
from matrix_cases import HUGE, cases, wrong_keys, wrong_parameters, wrong_templates
from p11 import CKError, rv_of

from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO, CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow

UNWRAPPED = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 32}
TAGGED = ("aead", "keywrap")


@pytest.fixture(autouse=True)
def reported(matrix: Matrix) -> Iterator[None]:
    """Report what a test collected, and any object that a refused call left."""
    matrix.failures.clear()
    yield
    matrix.report()


def wrapping(matrix: Matrix, row: MechanismRow, use: Use) -> Good:
    """Return a case of wrapping an AES key that works; its output is the wrapped key."""
    key, victim, p11 = matrix.key(row, USES["Wrap"]), matrix.victim(EXTRACTABLE=True, SENSITIVE=False), matrix.p11
    parameters = matrix.parameters(row)
    if not parameters:
        pytest.skip(f"no sample of a parameter for CKM_{CKM.name(row.type)}")
    for parameter in parameters:
        try:
            wrapped = p11.wrap_key(matrix.session, (row.type, parameter), key, victim)
            again = p11.wrap_key(matrix.session, (row.type, parameter), key, victim)
        except CKError:
            continue
        return Good(row, use, matrix.key(row, use), parameter, (wrapped,), wrapped, repeats=wrapped == again)
    pytest.fail(f"CKM_{CKM.name(row.type)} wraps no AES key")


def wrap(matrix: Matrix, good: Good, struct: Any, key: int, *, victim: int | None = None, session: int = 0) -> int:
    length, buffer = matrix.p11.new("CK_ULONG *", 8192), matrix.p11.new("CK_BYTE[8192]")
    subject = matrix.victim(EXTRACTABLE=True, SENSITIVE=False) if victim is None else victim
    return matrix.p11.rv("C_WrapKey", session or matrix.session, struct, key, subject, buffer, length)


def unwrap(
    matrix: Matrix, good: Good, struct: Any, key: int, *, template: Any = None, blob: Any = None, session: int = 0
) -> int:
    """Unwrap; destroy what that makes, and return the CKR."""
    p11, handle = matrix.p11, matrix.p11.new("CK_OBJECT_HANDLE *")
    given = p11.encoded(good.inputs[0]) if blob is None else blob
    attributes = p11.template(UNWRAPPED if template is None else template)
    rv = p11.rv("C_UnwrapKey", session or matrix.session, struct, key, *given, *attributes, handle)
    if rv == CKR.OK:
        p11.destroy_object(matrix.session, handle[0])
    return rv


CALLS = {"Wrap": wrap, "Unwrap": unwrap}


@pytest.mark.parametrize(("row", "use"), cases(("Wrap", "Unwrap")))
def test_keys_and_parameters(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good, call = wrapping(matrix, row, use), CALLS[use.name]
    struct, before = matrix.struct(*good.mechanism), len(matrix.p11.find(matrix.session))
    answers = [("no such session", call(matrix, good, struct, good.key, session=matrix.session + 10_000), "")]
    answers += [(fault, call(matrix, good, struct, key), str(key)) for fault, key in wrong_keys(matrix, good)]
    answers += [
        (fault, call(matrix, good, wrong, good.key), detail) for fault, wrong, detail in wrong_parameters(matrix, good)
    ]
    for fault, rv, detail in answers:
        matrix.check(fault, good, use.name, rv, detail)
    matrix.expect(call(matrix, good, struct, good.key) == CKR.OK, f"{CKM.name(row.type)}: does not work any more")
    known = 4  # keys of other kinds that wrong_keys may have made and keeps
    matrix.expect(len(matrix.p11.find(matrix.session)) <= before + known, f"{CKM.name(row.type)}: left objects behind")


@pytest.mark.parametrize(("row", "use"), cases(("Wrap",)))
def test_wrapping(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good, p11 = wrapping(matrix, row, use), matrix.p11
    struct, victim, length = matrix.struct(*good.mechanism), matrix.victim(EXTRACTABLE=True, SENSITIVE=False), None
    hidden = matrix.victim(EXTRACTABLE=False)
    matrix.check("a key that must not leave", good, "Wrap", wrap(matrix, good, struct, good.key, victim=hidden))
    matrix.check("no such key", good, "", wrap(matrix, good, struct, good.key, victim=999_999_999))
    length, size = p11.new("CK_ULONG *"), len(good.output)

    def into(buffer: Any, place: Any) -> int:
        return p11.rv("C_WrapKey", matrix.session, struct, good.key, victim, buffer, place)

    matrix.check("a size is asked", good, "Wrap", into(None, length))
    matrix.expect(length[0] >= size, f"{CKM.name(row.type)}: {length[0]} is told for {size} bytes")
    for fault, room in (("a buffer of nothing", 0), ("a buffer one byte too small", size - 1)):
        buffer, length[0] = p11.new("CK_BYTE[]", b"\xa5" * (room + 16)), room
        matrix.check(fault, good, "Wrap", into(buffer, length))
        matrix.expect(bytes(buffer)[room:].startswith(b"\xa5" * 16), f"{CKM.name(row.type)}: written past the buffer")
    buffer = p11.new("CK_BYTE[]", length[0])
    matrix.check("then a buffer large enough", good, "Wrap", into(buffer, length))
    output = bytes(p11.ffi.buffer(buffer, length[0]))
    matrix.expect(output == good.output or not good.repeats, f"{CKM.name(row.type)}: another blob after small buffers")
    matrix.check("no place for the length", good, "Wrap", into(buffer, None))


@pytest.mark.parametrize(("row", "use"), cases(("Unwrap",)))
def test_unwrapping(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    good, p11 = wrapping(matrix, row, use), matrix.p11
    struct, blob, before = matrix.struct(*good.mechanism), good.inputs[0], len(matrix.p11.find(matrix.session))

    def check(fault: str, **changed: Any) -> None:
        matrix.check(fault, good, "Unwrap", unwrap(matrix, good, struct, good.key, **changed), str(changed)[:60])

    tagged = row.family in TAGGED or row.mode.startswith("oaep")
    for at in sorted({0, 1, len(blob) // 2, len(blob) - 1}):
        spoilt = blob[:at] + bytes((blob[at] ^ 1,)) + blob[at + 1 :]
        check("a changed bit under a tag" if tagged else "a changed bit", blob=p11.encoded(spoilt))
    for length in sorted({0, 1, len(blob) - 1, len(blob) + 1, len(blob) + 16, 5000} - {len(blob)}):
        check("input of another length", blob=p11.encoded((blob + bytes(5000))[:length]))
    check("input at NULL", blob=(None, 5))
    rv = unwrap(matrix, good, struct, good.key, blob=(p11.new("CK_BYTE[1]"), HUGE))
    matrix.check("input of 2^40 bytes", good, "Unwrap", CKR.DATA_LEN_RANGE if rv in LARGE else rv)
    for fault, template in wrong_templates(UNWRAPPED):
        check(fault, template=template)
    reading = p11.open_session(matrix.slot, rw=False)
    check("a token object in a read-only session", template={**UNWRAPPED, CKA.TOKEN: True}, session=reading)
    p11.close_session(reading)
    matrix.expect(len(p11.find(matrix.session)) == before, f"{CKM.name(row.type)}: a refused unwrapping left an object")
    matrix.expect(unwrap(matrix, good, struct, good.key) == CKR.OK, f"{CKM.name(row.type)}: does not work any more")


LARGE = (CKR.DATA_LEN_RANGE, CKR.WRAPPED_KEY_LEN_RANGE, CKR.ARGUMENTS_BAD)


@pytest.mark.parametrize(("row", "use"), cases(("Derive",)))
def test_deriving(matrix: Matrix, row: MechanismRow, use: Use) -> None:
    """What is wrong with keys; a mechanism's own parameters are its own tests' to know."""
    p11, handle = matrix.p11, matrix.p11.new("CK_OBJECT_HANDLE *")
    parameters = matrix.parameters(row)
    if not parameters:
        pytest.skip(f"no sample of a parameter for CKM_{CKM.name(row.type)}")
    good = Good(row, use, matrix.key(row, use), parameters[0], (), b"", repeats=True)
    struct, template = matrix.struct(*good.mechanism), p11.template(UNWRAPPED)

    def derive(struct: Any, key: int, session: int = 0, attributes: Any = template) -> int:
        return p11.rv("C_DeriveKey", session or matrix.session, struct, key, *attributes, handle)

    matrix.check("no such session", good, "Derive", derive(struct, good.key, matrix.session + 10_000))
    for fault, key in wrong_keys(matrix, good):
        matrix.check(fault, good, "Derive", derive(struct, key), key)
    for fault, wrong, detail in wrong_parameters(matrix, good):
        matrix.check(fault, good, "Derive", derive(wrong, good.key), detail)
    if row.type == CKM.TLS_PRF:
        return  # makes no key: its template is not read
    alien = p11.template({**UNWRAPPED, CKA.MODULUS: b"1"})
    matrix.check("an attribute of another kind", good, "Derive", derive(struct, good.key, attributes=alien))


def made_from(row: MechanismRow) -> dict[int, Any]:
    """Return the template of a new secret key, or of new domain parameters."""
    if CKM.name(row.type).endswith("PARAMETER_GEN"):
        return {CKA.PRIME_BITS: 1024}
    chosen = {CKA.KEY_TYPE: row.key_types[0]} if len(row.key_types) > 1 else {}
    return chosen if row.min_key == row.max_key else {**chosen, CKA.VALUE_LEN: 32}


MAKERS = [row for row in ROWS.values() if row.flags & (CKF.GENERATE | CKF.GENERATE_KEY_PAIR)]


@pytest.mark.parametrize("row", MAKERS, ids=lambda row: CKM.name(row.type))
def test_generating(matrix: Matrix, row: MechanismRow) -> None:
    p11, before = matrix.p11, len(matrix.p11.find(matrix.session))
    pair = bool(row.flags & CKF.GENERATE_KEY_PAIR)
    parameters = matrix.parameters(row)
    if not parameters or not row.key_types:
        pytest.skip(f"no sample of a parameter for CKM_{CKM.name(row.type)}")
    good = Good(row, USES["Derive"], 0, parameters[0], (), b"", repeats=False)
    base = pair_template(row.key_types[0]) if pair else made_from(row)
    if base is None:
        pytest.skip(f"nothing here says how to make a pair of CKK_{CKK.name(row.key_types[0])}")

    def make(struct: Any, changed: dict[int, Any] | None = None, session: int = 0) -> int:
        handles = p11.new("CK_OBJECT_HANDLE[2]")
        arguments: list[Any] = [*p11.template({**base, **(changed or {})})]
        arguments += [*p11.template({}), handles, handles + 1] if pair else [handles]
        name = "C_GenerateKeyPair" if pair else "C_GenerateKey"
        rv = p11.rv(name, session or matrix.session, struct, *arguments)
        for made in handles if rv == CKR.OK else ():
            rv_of(p11.destroy_object, matrix.session, made)
        return rv

    if row.parameter is not None:
        good.parameter = next(each for each in parameters if make(matrix.struct(row.type, each)) == CKR.OK)
    struct, name = matrix.struct(*good.mechanism), "Generate"
    matrix.check("no such session", good, name, make(struct, session=matrix.session + 10_000))
    for fault, wrong, detail in wrong_parameters(matrix, good):
        matrix.check(fault, good, name, make(wrong), detail)
    contradicting = {CKA.CLASS: CKO.CERTIFICATE}
    matrix.check("a template that contradicts", good, name, make(struct, contradicting))
    matrix.check("an attribute of another kind", good, name, make(struct, {CKA.SERIAL_NUMBER: b"1"}))
    reading = p11.open_session(matrix.slot, rw=False)
    on_token = {CKA.TOKEN: True}
    matrix.check("a token object in a read-only session", good, name, make(struct, on_token, session=reading))
    p11.close_session(reading)
    matrix.expect(len(p11.find(matrix.session)) == before, f"{CKM.name(row.type)}: a refused call left an object")
