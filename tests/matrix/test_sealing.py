"""Sealed messages (3.0) at once and in parts, and wrapping with associated data (3.2): each mechanism, each fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fix_matrix import ROWS, USES, Good, Matrix
from matrix_cases import wrong_keys, wrong_templates
from matrix_sealing import MessageGiven

from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO, CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow

PLAIN, AAD, ROOM = bytes(range(40)), b"beside", 200
SEALERS = [row for row in ROWS.values() if row.flags & CKF.MESSAGE_ENCRYPT]
BOTH = [
    pytest.param(row, name, id=f"{CKM.name(row.type)}-{name}") for row in SEALERS for name in ("Encrypt", "Decrypt")
]
WRAPPERS = [row for row in SEALERS if row.flags & CKF.WRAP]


@pytest.fixture(autouse=True)
def reported(matrix: Matrix) -> Iterator[None]:
    """Report what a test collected; nothing that it began goes on."""
    matrix.failures.clear()
    yield
    matrix.p11.rv("C_SessionCancel", matrix.session, CKF.MESSAGE_ENCRYPT | CKF.MESSAGE_DECRYPT)
    matrix.report()


class Sealing:
    """The calls of one process, on a message that is known: its plaintext, its ciphertext and its tag."""

    def __init__(self, matrix: Matrix, row: MechanismRow, name: str) -> None:
        self.matrix, self.p11, self.row, self.name = matrix, matrix.p11, row, name
        self.key = matrix.secret(row)
        self.good = Good(row, USES[name], self.key, None, (), b"", repeats=True)
        self.input, self.output, self.tag = PLAIN, b"", bytes(16)
        if name == "Decrypt":
            sealing = Sealing(matrix, row, "Encrypt")
            sealing.start()
            self.input, self.output, self.tag = *sealing.known(), sealing.tag
            sealing.end()

    def known(self) -> tuple[bytes, bytes]:
        """Return ciphertext and plaintext of the message, and remember its tag."""
        given, length, room = self.given(), self.p11.new("CK_ULONG *", ROOM), self.p11.new("CK_BYTE[]", ROOM)
        assert self.whole(given, length=length, room=room) == CKR.OK
        self.tag = given.tag
        return bytes(room)[: length[0]], PLAIN

    def given(self, tag: bytes | None = None) -> MessageGiven:
        return MessageGiven(self.p11, self.row, len(PLAIN), self.tag if tag is None else tag)

    def begin(self, key: int, mechanism: Any = None, session: int = 0) -> int:
        struct = self.matrix.struct(self.row.type, None) if mechanism is None else mechanism
        return self.p11.rv(f"C_Message{self.name}Init", session or self.matrix.session, struct, key)

    def start(self) -> None:
        self.matrix.expect(self.begin(self.key) == CKR.OK, f"{CKM.name(self.row.type)} does not begin")

    def end(self) -> int:
        return self.p11.rv(f"C_Message{self.name}Final", self.matrix.session)

    def whole(
        self, given: MessageGiven | tuple[Any, int], data: Any = None, *, aad: bytes = AAD, length: Any = None,
        room: Any = ...,
    ) -> int:  # fmt: skip
        """Make the one call that does it all, with room enough."""
        parameter = given.arguments if isinstance(given, MessageGiven) else given
        text = self.p11.encoded(self.input) if data is None else data
        buffer = self.p11.new("CK_BYTE[]", ROOM) if room is ... else room
        place = self.p11.new("CK_ULONG *", ROOM) if length is None else length
        beside = self.p11.encoded(aad)
        return self.p11.rv(f"C_{self.name}Message", self.matrix.session, *parameter, *beside, *text, buffer, place)

    def message(self, given: MessageGiven) -> int:
        return self.p11.rv(f"C_{self.name}MessageBegin", self.matrix.session, *given.arguments, *self.p11.encoded(AAD))

    def next(self, given: MessageGiven, part: Any, *, last: bool, room: Any = None, length: Any = None) -> int:
        text = self.p11.encoded(part) if isinstance(part, bytes) else part
        buffer = self.p11.new("CK_BYTE[]", ROOM) if room is None else room
        place = self.p11.new("CK_ULONG *", ROOM) if length is None else length
        flags = CKF.END_OF_MESSAGE if last else 0
        session, name = self.matrix.session, f"C_{self.name}MessageNext"
        return self.p11.rv(name, session, *given.arguments, *text, buffer, place, flags)

    def check(self, fault: str, rv: int, detail: object = "") -> None:
        self.matrix.check(fault, self.good, self.name, rv, f"of a message {detail}")

    def goes_on(self, after: str) -> None:
        self.check("then a buffer large enough", self.whole(self.given()), f"after {after}")


@pytest.mark.parametrize(("row", "name"), BOTH)
def test_a_process_begun_wrongly(matrix: Matrix, row: MechanismRow, name: str) -> None:
    calls = Sealing(matrix, row, name)
    calls.check("without Init", calls.whole(calls.given()))
    calls.check("without Init", calls.message(calls.given()), "in parts")
    calls.check("without Init", calls.end(), "at its end")
    calls.check("no such session", calls.begin(calls.key, session=matrix.session + 10_000))
    for fault, key in wrong_keys(matrix, calls.good):
        calls.check(fault, calls.begin(key), key)
        calls.check("once more after the end", calls.whole(calls.given()), fault)
    given = calls.given()
    for length in (1, given.size - 1, given.size + 1):
        wrong = matrix.struct(row.type, given.struct, length)
        calls.check("a parameter of another size", calls.begin(calls.key, wrong), length)
    calls.start()
    calls.check("a second Init", calls.begin(calls.key))
    calls.goes_on("a second Init")
    calls.check("Init with NULL cancels", matrix.p11.rv(f"C_Message{name}Init", matrix.session, None, 0))
    calls.check("once more after the end", calls.whole(calls.given()), "cancelled")


@pytest.mark.parametrize(("row", "name"), BOTH)
def test_messages_at_once(matrix: Matrix, row: MechanismRow, name: str) -> None:
    """A message that is refused ends; the process goes on."""
    calls, p11 = Sealing(matrix, row, name), matrix.p11
    given, length, room = calls.given(), p11.new("CK_ULONG *", 0), p11.new("CK_BYTE[]", b"\xa5" * ROOM)
    calls.start()
    calls.check("a size is asked", calls.whole(given, length=length, room=None))
    matrix.expect(length[0] == len(PLAIN), f"{CKM.name(row.type)}: {length[0]} is told")
    for fault, size in (("a buffer of nothing", 0), ("a buffer one byte too small", len(PLAIN) - 1)):
        length[0] = size
        calls.check(fault, calls.whole(given, length=length, room=room))
        matrix.expect(set(bytes(room)[size:]) <= {0xA5, 0}, f"{CKM.name(row.type)}: written past the buffer")
    length[0] = ROOM
    calls.check("then a buffer large enough", calls.whole(given, length=length, room=room))
    made = bytes(room)[: length[0]]
    matrix.expect(made == (calls.output or made) and len(made) == len(PLAIN), f"{CKM.name(row.type)}: other output")
    for size in (0, 1, given.size - 1, given.size + 1):
        calls.check("a parameter of another size", calls.whole((given.arguments[0], size)), size)
    calls.check("a parameter at NULL", calls.whole((None, given.size)))
    calls.check("input at NULL", calls.whole(given, (None, 5)))
    calls.goes_on("what was refused")
    if name == "Decrypt":
        spoilt = bytes((calls.input[0] ^ 1, *calls.input[1:]))
        for what in (
            calls.whole(calls.given(bytes(16))),
            calls.whole(calls.given(), p11.encoded(spoilt)),
            calls.whole(calls.given(), aad=b"other"),
        ):
            calls.check("a changed bit under a tag", what)
        calls.goes_on("a changed bit")
    matrix.expect(calls.end() == CKR.OK, f"{CKM.name(row.type)}: the end is refused")
    calls.check("once more after the end", calls.whole(calls.given()), "of all")


@pytest.mark.parametrize(("row", "name"), BOTH)
def test_messages_in_parts(matrix: Matrix, row: MechanismRow, name: str) -> None:
    calls, p11 = Sealing(matrix, row, name), matrix.p11
    calls.start()
    calls.check("without Init", calls.next(calls.given(), b"part", last=False), "a part before its message")
    length, room = p11.new("CK_ULONG *", ROOM), p11.new("CK_BYTE[]", ROOM)
    matrix.expect(calls.whole(calls.given(), length=length, room=room) == CKR.OK, "at once")
    at_once = bytes(room)[: length[0]]
    for size in (1, 7, 16, len(PLAIN)):
        given, output = calls.given(), b""
        matrix.expect(calls.message(given) == CKR.OK, f"{CKM.name(row.type)}: no message begins")
        calls.check("a second Init", calls.message(calls.given()), "within a message")
        calls.check("a second Init", calls.whole(calls.given()), "within a message, at once")
        for at in range(0, len(PLAIN), size):
            last, part = at + size >= len(PLAIN), calls.input[at : at + size]
            output += _part(calls, given, part, last=last)
        matrix.expect(output == at_once, f"{CKM.name(row.type)} {name}: other output in parts of {size}")
        matrix.expect(given.tag == calls.given().tag or name == "Encrypt", f"{CKM.name(row.type)}: the tag was changed")
        calls.check("without Init", calls.next(given, b"part", last=True), "a part after its message")
    given = calls.given()
    matrix.expect(calls.message(given) == CKR.OK, "another")
    calls.check("input at NULL", calls.next(given, (None, 5), last=False), "in a part")
    calls.check("without Init", calls.next(given, b"part", last=True), "a part after a bad one")
    calls.goes_on("a bad part")
    if name == "Decrypt":
        false = calls.given(bytes(16))
        matrix.expect(calls.message(false) == CKR.OK, "another")
        calls.check("a changed bit under a tag", calls.next(false, calls.input, last=True), "in parts")
        calls.check("without Init", calls.next(false, b"part", last=True), "a part after a false tag")
        calls.goes_on("a false tag")


def _part(calls: Sealing, given: MessageGiven, part: bytes, *, last: bool) -> bytes:
    """Give a part a buffer that is too small first; return its output."""
    length, room = calls.p11.new("CK_ULONG *", 0), calls.p11.new("CK_BYTE[]", ROOM)
    rv = calls.next(given, part, last=last, room=room, length=length)
    if rv == CKR.OK:
        return b""  # nothing to give yet
    calls.check("a buffer of nothing", rv, "in a part")
    calls.check("then a buffer large enough", calls.next(given, part, last=last, room=room, length=length), "in a part")
    return bytes(room)[: length[0]]


# ---- wrapping with associated data ----

MADE = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES}


class Wrapping:
    """C_WrapKeyAuthenticated and C_UnwrapKeyAuthenticated of one mechanism, and what the first has made."""

    def __init__(self, matrix: Matrix, row: MechanismRow) -> None:
        self.matrix, self.p11, self.row, self.key = matrix, matrix.p11, row, matrix.secret(row)
        self.victim, self.blob, self.tag = matrix.victim(EXTRACTABLE=True, SENSITIVE=False), bytes(32), bytes(16)
        given, room = MessageGiven(self.p11, row, 32), self.p11.new("CK_BYTE[]", ROOM)
        length = self.p11.new("CK_ULONG *", ROOM)
        assert self.wrap(given=given, room=room, length=length) == CKR.OK
        self.blob, self.tag = bytes(room)[: length[0]], given.tag

    def struct(self, given: MessageGiven | None, size: int | None = None) -> Any:
        self._held = given  # what the mechanism points to, until the call is over
        return self.matrix.struct(self.row.type, given and given.struct, size)

    def given(self, tag: bytes | None = None) -> MessageGiven:
        return MessageGiven(self.p11, self.row, 32, self.tag if tag is None else tag)

    def wrap(
        self, key: int = 0, victim: int = 0, given: Any = ..., size: int | None = None, session: int = 0,
        room: Any = ..., length: Any = ...,
    ) -> int:  # fmt: skip
        struct = self.struct(self.given() if given is ... else given, size)
        buffer = self.p11.new("CK_BYTE[]", ROOM) if room is ... else room
        place = self.p11.new("CK_ULONG *", ROOM) if length is ... else length
        at, subject, beside = session or self.matrix.session, victim or self.victim, self.p11.encoded(AAD)
        return self.p11.rv("C_WrapKeyAuthenticated", at, struct, key or self.key, subject, *beside, buffer, place)

    def unwrap(
        self, key: int = 0, given: Any = ..., size: int | None = None, session: int = 0, blob: Any = None,
        template: Any = None, aad: bytes = AAD,
    ) -> int:  # fmt: skip
        """Unwrap; destroy what that makes, and return the CKR."""
        struct, handle = self.struct(self.given() if given is ... else given, size), self.p11.new("CK_ULONG *")
        text = self.p11.encoded(self.blob) if blob is None else blob
        attributes, at = self.p11.template(MADE if template is None else template), session or self.matrix.session
        values = (struct, key or self.key, *text, *attributes, *self.p11.encoded(aad), handle)
        rv = self.p11.rv("C_UnwrapKeyAuthenticated", at, *values)
        if rv == CKR.OK:
            self.p11.destroy_object(self.matrix.session, handle[0])
        return rv


@pytest.mark.parametrize("name", ["Wrap", "Unwrap"])
@pytest.mark.parametrize("row", WRAPPERS, ids=lambda row: CKM.name(row.type))
def test_keys_and_parameters_beside_data(matrix: Matrix, row: MechanismRow, name: str) -> None:
    calls = Wrapping(matrix, row)
    call = {"Wrap": calls.wrap, "Unwrap": calls.unwrap}[name]
    good = Good(row, USES[name], calls.key, None, (), b"", repeats=True)
    matrix.check("no such session", good, name, call(session=matrix.session + 10_000))
    for fault, key in wrong_keys(matrix, good):
        if key:
            matrix.check(fault, good, name, call(key=key), key)
    size = calls.given().size
    matrix.check("no parameter", good, name, call(given=None))
    matrix.check("a parameter at NULL", good, name, call(given=None, size=size))
    for length in (0, 1, size - 1, size + 1):
        matrix.check("a parameter of another size", good, name, call(size=length), length)
    matrix.expect(call() == CKR.OK, f"{CKM.name(row.type)} {name}: does not work any more")


@pytest.mark.parametrize("row", WRAPPERS, ids=lambda row: CKM.name(row.type))
def test_wrapping_beside_data(matrix: Matrix, row: MechanismRow) -> None:
    calls, p11 = Wrapping(matrix, row), matrix.p11
    good = Good(row, USES["Wrap"], calls.key, None, (), calls.blob, repeats=True)
    hidden = calls.wrap(victim=matrix.victim(EXTRACTABLE=False))
    matrix.check("a key that must not leave", good, "Wrap", hidden)
    matrix.check("no such key", good, "", calls.wrap(victim=999_999_999))
    length, room = p11.new("CK_ULONG *", 0), p11.new("CK_BYTE[]", ROOM)
    matrix.check("a size is asked", good, "Wrap", calls.wrap(room=None, length=length))
    matrix.expect(length[0] == len(calls.blob), f"{CKM.name(row.type)}: {length[0]} is told")
    for fault, size in (("a buffer of nothing", 0), ("a buffer one byte too small", len(calls.blob) - 1)):
        length[0] = size
        matrix.check(fault, good, "Wrap", calls.wrap(room=room, length=length))
    matrix.check("then a buffer large enough", good, "Wrap", calls.wrap(room=room, length=length))
    matrix.expect(bytes(room)[: length[0]] == calls.blob, f"{CKM.name(row.type)}: another blob")
    matrix.check("no place for the length", good, "Wrap", calls.wrap(length=None))


@pytest.mark.parametrize("row", WRAPPERS, ids=lambda row: CKM.name(row.type))
def test_unwrapping_beside_data(matrix: Matrix, row: MechanismRow) -> None:
    calls, p11 = Wrapping(matrix, row), matrix.p11
    good, before = Good(row, USES["Unwrap"], calls.key, None, (), b"", repeats=True), len(p11.find(matrix.session))

    def check(fault: str, **changed: Any) -> None:
        matrix.check(fault, good, "Unwrap", calls.unwrap(**changed), str(changed)[:60])

    check("a changed bit under a tag", given=calls.given(bytes(16)))
    check("a changed bit under a tag", aad=b"other")
    check("a changed bit under a tag", blob=p11.encoded(bytes((calls.blob[0] ^ 1, *calls.blob[1:]))))
    check("input at NULL", blob=(None, 5))
    for fault, template in wrong_templates(MADE):
        check(fault, template=template)
    reading = p11.open_session(matrix.slot, rw=False)
    check("a token object in a read-only session", template={**MADE, CKA.TOKEN: True}, session=reading)
    p11.close_session(reading)
    matrix.expect(len(p11.find(matrix.session)) == before, f"{CKM.name(row.type)}: a refused call left an object")
    matrix.expect(calls.unwrap() == CKR.OK, f"{CKM.name(row.type)}: does not work any more")
