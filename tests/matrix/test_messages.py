"""Signing and verifying messages (3.0), and signatures that are given first (3.2): each mechanism, each fault.

The good case is that of C_Sign and C_Verify: a message's signature is what these make and take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fix_matrix import ROWS, USES, Good, Matrix
from matrix_cases import wrong_keys, wrong_parameters

from mrhsm_p11.constants import CKF, CKM
from mrhsm_p11.mapping.mechanisms import MechanismRow

ALL = CKF.MESSAGE_SIGN | CKF.MESSAGE_VERIFY | CKF.VERIFY | CKF.SIGN


def rows(flag: int) -> list[object]:
    return [pytest.param(row, id=CKM.name(row.type)) for row in ROWS.values() if row.flags & flag]


@pytest.fixture(autouse=True)
def reported(matrix: Matrix) -> Iterator[None]:
    """Report what a test collected; nothing that it began goes on."""
    matrix.failures.clear()
    yield
    matrix.p11.rv("C_SessionCancel", matrix.session, ALL)
    matrix.report()


class Signing:
    """One family's calls, beginning with `init`, on a good case of C_Sign or C_Verify."""

    def __init__(self, matrix: Matrix, good: Good, init: str, name: str) -> None:
        self.matrix, self.good, self.init, self.name = matrix, good, init, name
        self.first = name == "VerifySignature"  # whose signature is given with its Init
        self.signature = list(matrix.p11.encoded(good.inputs[-1])) if good.use.name == "Verify" else []

    def begin(self, struct: Any, key: int, session: int | None = None) -> int:
        at = self.matrix.session if session is None else session
        return self.matrix.p11.rv(self.init, at, struct, key, *(self.signature if self.first else ()))

    def start(self) -> None:
        rv = self.begin(self.matrix.struct(*self.good.mechanism), self.good.key)
        self.matrix.expect(rv == 0, f"{CKM.name(self.good.row.type)} {self.init}: CKR {rv:#x}")

    def call(self, *data: Any, output: list[Any] | None = None, signature: list[Any] | None = None) -> int:
        """Make the one call that does it all."""
        given = list(data) or list(self.matrix.p11.encoded(self.good.inputs[0]))
        if self.first:
            return self.matrix.p11.rv("C_VerifySignature", self.matrix.session, *given)
        if self.good.use.name == "Verify":
            rest = self.signature if signature is None else signature
        else:
            room = self.matrix.p11.new("CK_BYTE[8192]"), self.matrix.p11.new("CK_ULONG *", 8192)
            rest = list(room) if output is None else output
        return self.matrix.p11.rv(f"C_{self.name}", self.matrix.session, None, 0, *given, *rest)

    def check(self, fault: str, rv: int, detail: object = "") -> None:
        self.matrix.check(fault, self.good, self.name, rv, detail)

    def ended(self, fault: str) -> None:
        self.check("once more after the end", self.call(), f"({fault})")


def begun_wrongly(matrix: Matrix, calls: Signing) -> None:
    """Check what a beginning is refused for, each time with nothing left that goes on."""
    good, struct = calls.good, matrix.struct(*calls.good.mechanism)
    calls.check("without Init", calls.call())
    calls.check("no such session", calls.begin(struct, good.key, matrix.session + 10_000))
    for fault, key in wrong_keys(matrix, good):
        calls.check(fault, calls.begin(struct, key), key)
        calls.ended(fault)
    for fault, wrong, detail in wrong_parameters(matrix, good):
        calls.check(fault, calls.begin(wrong, good.key), detail)
        calls.ended(fault)
    calls.start()
    calls.check("a second Init", calls.begin(struct, good.key))
    calls.check("then a buffer large enough", calls.call(), "after a second Init")


def finish(matrix: Matrix, calls: Signing, name: str) -> None:
    """End what goes on over several messages, once."""
    matrix.expect(matrix.p11.rv(name, matrix.session) == 0, f"{CKM.name(calls.good.row.type)} {name} is refused")
    calls.check("without Init", matrix.p11.rv(name, matrix.session), name)
    calls.ended(name)


@pytest.mark.parametrize("row", rows(CKF.VERIFY))
def test_signatures_given_first(matrix: Matrix, row: MechanismRow) -> None:
    calls = Signing(matrix, matrix.good(row, USES["Verify"]), "C_VerifySignatureInit", "VerifySignature")
    begun_wrongly(matrix, calls)
    calls.ended("the end")
    calls.start()
    calls.check("input at NULL", calls.call(None, 5))
    calls.ended("input at NULL")
    right = calls.signature
    spoilt = bytearray(calls.good.inputs[1])
    spoilt[-1] ^= 1
    calls.signature = list(matrix.p11.encoded(bytes(spoilt)))
    calls.start()
    calls.check("a changed bit", calls.call())
    calls.ended("a changed bit")
    calls.signature = right
    calls.start()
    calls.check("then a buffer large enough", calls.call(), "after all that")


@pytest.mark.parametrize("row", rows(CKF.MESSAGE_SIGN))
def test_signing_messages(matrix: Matrix, row: MechanismRow) -> None:
    calls = Signing(matrix, matrix.good(row, USES["Sign"]), "C_MessageSignInit", "SignMessage")
    begun_wrongly(matrix, calls)
    length, output = matrix.p11.new("CK_ULONG *", 0), matrix.p11.new("CK_BYTE[8192]")
    calls.check("a size is asked", calls.call(output=[None, length]))
    told = length[0]
    matrix.expect(told >= len(calls.good.output), f"{CKM.name(row.type)}: size {told} is told")
    length[0] = 0
    calls.check("a buffer of nothing", calls.call(output=[output, length]))
    length[0] = 8192
    calls.check("then a buffer large enough", calls.call(output=[output, length]))
    made = bytes(matrix.p11.ffi.buffer(output, length[0]))
    matrix.expect(made == calls.good.output or not calls.good.repeats, f"{CKM.name(row.type)}: another signature")
    finish(matrix, calls, "C_MessageSignFinal")


@pytest.mark.parametrize("row", rows(CKF.MESSAGE_VERIFY))
def test_verifying_messages(matrix: Matrix, row: MechanismRow) -> None:
    calls = Signing(matrix, matrix.good(row, USES["Verify"]), "C_MessageVerifyInit", "VerifyMessage")
    begun_wrongly(matrix, calls)
    spoilt = bytearray(calls.good.inputs[1])
    spoilt[-1] ^= 1
    calls.check("a changed bit", calls.call(signature=list(matrix.p11.encoded(bytes(spoilt)))))
    calls.check("then a buffer large enough", calls.call(), "after a wrong signature")
    finish(matrix, calls, "C_MessageVerifyFinal")
