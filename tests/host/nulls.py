"""nulls.py LIBRARY: call every function with NULL in each pointer position, in each state the library can be in.

Prints one line a call before it is made, so that a crash shows what caused it; ends with "survived N calls".
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from p11 import Cryptoki, build_ffi, rv_of

from mrhsm_p11.constants import CKA, CKF, CKM, CKR, CKU

KNOWN = {value for name, value in vars(CKR).items() if isinstance(value, int)}
SKIPPED = {"C_Initialize", "C_Finalize"}  # they change the state; called at the end
LAST = ("C_DestroyObject", "C_Logout", "C_CloseSession", "C_CloseAllSessions")  # they take away what others need


class Calls:
    """Arguments of every type, and the calls that can be made with them."""

    def __init__(self, p11: Cryptoki, session: int, slot: int) -> None:
        self.p11, self.session, self.slot, self.key = p11, session, slot, 1
        self.made = 0
        self.kept: list[Any] = []

    def pointer(self, kind: str) -> Any:
        """Return a valid pointer of a C pointer type, to room for 64 items of zeros or something harmless."""
        new = self.p11.ffi.new
        if kind == "CK_MECHANISM_PTR":
            return self.p11.mechanism((CKM.AES_CBC_PAD, bytes(16)))
        if kind == "CK_NOTIFY":
            return self.p11.ffi.NULL
        if kind == "CK_VOID_PTR":
            value = new("CK_BYTE[64]")
            self.kept.append(value)
            return self.p11.ffi.cast("void *", value)
        value = new(kind.removesuffix("_PTR") + "[64]")
        self.kept.append(value)
        return value

    def value(self, kind: str) -> Any:
        if kind == "CK_SESSION_HANDLE":
            return self.session
        if kind == "CK_SLOT_ID":
            return self.slot
        if kind == "CK_OBJECT_HANDLE":
            return self.key
        if kind == "CK_FLAGS":
            return CKF.SERIAL_SESSION | CKF.DONT_BLOCK
        if kind == "CK_USER_TYPE":
            return CKU.USER
        return 1

    def of(self, prototype: build_ffi.Prototype) -> Iterator[list[Any]]:
        """Give every choice of pointers that are NULL."""
        pointers = [i for i, (kind, _) in enumerate(prototype.arguments) if kind.endswith("_PTR")]
        for count in range(len(pointers) + 1):
            for chosen in combinations(pointers, count):
                yield [
                    (None if i in chosen else self.pointer(kind)) if i in pointers or kind == "CK_NOTIFY"
                    else self.value(kind)
                    for i, (kind, _) in enumerate(prototype.arguments)
                ]  # fmt: skip

    def make(self, state: str) -> None:
        for prototype in sorted(build_ffi.offered(), key=lambda p: p.name in LAST):
            if prototype.name in SKIPPED:
                continue
            for arguments in self.of(prototype):
                shown = ["NULL" if argument is None else "." for argument in arguments]
                print(state, prototype.name, *shown, flush=True)
                rv = self.p11.rv(prototype.name, *arguments)
                assert rv in KNOWN, f"{prototype.name} answered 0x{rv:X}"
                assert rv != CKR.GENERAL_ERROR, f"{prototype.name} failed unforeseen"
                if state == "uninitialised" and prototype.name not in build_ffi.WITHOUT_PYTHON:
                    assert rv == CKR.CRYPTOKI_NOT_INITIALIZED, f"{prototype.name}: CKR_{CKR.name(rv)}"
                self.made += 1
            self.kept.clear()

    def make_in_no_session(self) -> None:
        """Call every function of sessions with everything in order but the session."""
        self.session = 999_999
        for prototype in build_ffi.offered():
            if prototype.arguments[0][0] != "CK_SESSION_HANDLE":
                continue
            print("no session", prototype.name, flush=True)
            rv = self.p11.rv(prototype.name, *next(self.of(prototype)))
            assert rv == CKR.SESSION_HANDLE_INVALID, f"{prototype.name}: CKR_{CKR.name(rv)}"
            self.made += 1


def main() -> None:
    p11 = Cryptoki(sys.argv[1])
    calls = Calls(p11, 1, 0)
    calls.make("uninitialised")
    p11.initialize(None)
    calls.slot = p11.slots()[0]
    calls.make("initialised")
    p11.init_token(calls.slot, "12345678", "nulls")
    so = p11.open_session(calls.slot)
    p11.login(so, "12345678", CKU.SO)
    p11.init_pin(so, "abcd1234")
    p11.close_session(so)
    for login in (False, True):
        calls.session = p11.open_session(calls.slot)
        if login:
            p11.login(calls.session, "abcd1234")
        uses = {CKA.ENCRYPT: True, CKA.DECRYPT: True, CKA.WRAP: True, CKA.UNWRAP: True, CKA.VALUE_LEN: 32}
        calls.key = p11.generate_key(calls.session, CKM.AES_KEY_GEN, {CKA.PRIVATE: login, **uses})
        calls.make("logged in" if login else "open")
        rv_of(p11.close_session, calls.session)
    calls.make_in_no_session()
    assert p11.rv("C_Initialize", None) == CKR.CRYPTOKI_ALREADY_INITIALIZED
    assert p11.rv("C_Finalize", p11.new("CK_BYTE[8]")) == CKR.ARGUMENTS_BAD
    assert p11.rv("C_Finalize", None) == CKR.OK
    assert p11.rv("C_Finalize", None) == CKR.CRYPTOKI_NOT_INITIALIZED
    print(f"survived {calls.made} calls")


main()
