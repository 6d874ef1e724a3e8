"""Keys that C decrypts for C_UnwrapKey: made and refused as Python would, and no longer than the key may unwrap."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fix_datapath import LoggedIn, assert_same_answers, wrapping_parameter
from fix_tokens import TokenOnDisk

from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO, CKR
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.mapping.native import native_wrap

MakeToken = Callable[..., TokenOnDisk]
UNWRAPPING = [row for row in ROWS.values() if row.flags & CKF.UNWRAP and row.key_types == (CKK.AES,)]
NATIVE = [row for row in UNWRAPPING if native_wrap(row, 256) is not None]
SECRET = {CKA.CLASS: CKO.SECRET_KEY, CKA.MODIFIABLE: True}
UNWRAPS = {**SECRET, CKA.KEY_TYPE: CKK.AES, CKA.WRAP: True, CKA.UNWRAP: True}
SHOWN = {**SECRET, CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.EXTRACTABLE: True, CKA.SENSITIVE: False}
VALUE = bytes(range(1, 33))
KEY_WRAP = (CKM.AES_KEY_WRAP, None)
ROOM = 400
NO_KEY = 1 << 40


class Unwrapper(LoggedIn):
    """A session that unwraps, and what it unwraps with."""

    def make(self, template: dict[int, Any], value: bytes = VALUE) -> int:
        return self.p11.create_object(self.session, {**template, CKA.VALUE: value})

    def wrapped(self, mechanism: Any, wrapping: int, value: bytes = VALUE) -> bytes:
        length, out = self.p11.new("CK_ULONG *", ROOM), self.p11.new(f"CK_BYTE[{ROOM}]")
        given, key = self.p11.mechanism(mechanism), self.make(SHOWN, value)
        self.p11.call("C_WrapKey", self.session, given, wrapping, key, out, length)
        return bytes(self.p11.ffi.buffer(out, length[0]))

    def unwrap(
        self, mechanism: Any, unwrapping: int, wrapped: bytes, template: dict[int, Any] = SHOWN
    ) -> tuple[int, object]:
        """Return CKR and the value of the new key, which is destroyed."""
        handle = self.p11.new("CK_ULONG *")
        given, there = self.p11.mechanism(mechanism), self.p11.encoded(wrapped)
        made = self.p11.template(template)
        rv = self.p11.rv("C_UnwrapKey", self.session, given, unwrapping, *there, *made, handle)
        if rv != CKR.OK:
            return rv, None
        value = self.p11.get(self.session, handle[0], CKA.VALUE)
        self.p11.destroy_object(self.session, handle[0])
        return rv, value


@pytest.fixture
def token(make_token: MakeToken) -> TokenOnDisk:
    return make_token()


@pytest.fixture
def unwrapper(library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unwrapper]:
    monkeypatch.setenv("MRHSM_DATAPATH", "1")
    made = Unwrapper(library_path, token)
    yield made
    made.p11.finalize()


@pytest.mark.parametrize("row", NATIVE, ids=lambda row: CKM.name(row.type))
def test_c_decrypts_what_was_wrapped(unwrapper: Unwrapper, row: MechanismRow) -> None:
    key, mechanism = unwrapper.make(UNWRAPS), (row.type, wrapping_parameter(row))
    wrapped = unwrapper.wrapped(mechanism, key)
    assert unwrapper.is_served(unwrapper.unwrap, mechanism, key, wrapped)
    assert unwrapper.unwrap(mechanism, key, wrapped) == (CKR.OK, VALUE)


class Player:
    """Unwraps at random, the same for the same seed, and keeps what was answered."""

    def __init__(self, it: Unwrapper, seed: int) -> None:
        self.it, self.random = it, random.Random(seed)
        self.keys = [it.make(UNWRAPS, VALUE[:n]) for n in (16, 24, 32)]
        self.keys.append(it.make({**UNWRAPS, CKA.UNWRAP_TEMPLATE: {CKA.LABEL: "the one"}}))
        self.templates: list[dict[int, Any]] = [
            SHOWN,
            {**SHOWN, CKA.VALUE_LEN: 20},
            {**SHOWN, CKA.LABEL: "the one"},
            {**SHOWN, CKA.KEY_TYPE: CKK.AES},
            {**SHOWN, CKA.KEY_TYPE: CKK.DES3},
            {**SHOWN, CKA.VALUE: VALUE},
        ]
        self.key, self.row, self.template, self.wrapped = self.keys[0], NATIVE[0], SHOWN, b""
        self._choose()

    def play(self, calls: int) -> list[object]:
        return [self._call() for _ in range(calls)]

    def _choose(self) -> None:
        self.key, self.row = self.random.choice(self.keys), self.random.choice(NATIVE)
        self.template = self.random.choice(self.templates)
        value = bytes(range(1, self.random.choice((16, 20, 24, 32, 128)) + 1))
        length, out = self.it.p11.new("CK_ULONG *", ROOM), self.it.p11.new(f"CK_BYTE[{ROOM}]")
        given, carried = (
            self.it.p11.mechanism((self.row.type, wrapping_parameter(self.row))),
            self.it.make(SHOWN, value),
        )
        rv = self.it.p11.rv("C_WrapKey", self.it.session, given, self.keys[0], carried, out, length)
        self.key = self.keys[0] if self.random.random() < 0.6 else self.key
        self.wrapped = bytes(self.it.p11.ffi.buffer(out, length[0] if rv == CKR.OK else 40))

    def _call(self) -> object:
        choice = self.random.random()
        if choice < 0.2:
            self._choose()
        elif choice < 0.24:
            change = self.it.p11.template({CKA.UNWRAP: self.random.random() < 0.7})
            return self.it.p11.rv("C_SetAttributeValue", self.it.session, self.random.choice(self.keys), *change)
        elif choice < 0.26:
            return self.it.unwrap((self.row.type, wrapping_parameter(self.row)), NO_KEY, self.wrapped, self.template)
        given, wrapped = wrapping_parameter(self.row), self.wrapped
        if self.random.random() < 0.1:
            given = self.random.choice((None, b"", bytes(15), b"\xa6" * 8, b"\xa6\x59\x59\xa6"))
        if self.random.random() < 0.15:
            place = self.random.randrange(len(wrapped))
            wrapped = wrapped[:place] + bytes([wrapped[place] ^ 1]) + wrapped[place + 1 :]
        elif self.random.random() < 0.1:
            wrapped = self.random.choice((b"", wrapped[:8], wrapped[:16], wrapped[:-1], wrapped * 2, wrapped * 20))
        return self.it.unwrap((self.row.type, given), self.key, wrapped, self.template)


@pytest.mark.parametrize("seed", range(4))
def test_the_answers_are_pythons(
    library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert_same_answers(monkeypatch, lambda: Unwrapper(library_path, token), lambda it: Player(it, seed).play(500), 20)


@pytest.mark.parametrize("row", NATIVE, ids=lambda row: CKM.name(row.type))
def test_what_does_not_open_is_refused_as_ever(
    library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch, row: MechanismRow
) -> None:
    """Each byte of what was wrapped is spoiled in turn."""
    mechanism = row.type, wrapping_parameter(row)

    def play(it: Unwrapper) -> list[object]:
        key = it.make(UNWRAPS)
        wrapped = it.wrapped(mechanism, key)
        spoiled = [wrapped[:i] + bytes([wrapped[i] ^ 0x10]) + wrapped[i + 1 :] for i in range(len(wrapped))]
        return [
            it.is_served(it.unwrap, mechanism, key, wrapped) or True,
            *(it.unwrap(mechanism, key, one) for one in spoiled),
        ]

    assert_same_answers(monkeypatch, lambda: Unwrapper(library_path, token), play, 0)


# ---- ends ----


def test_a_key_that_may_unwrap_no_more(unwrapper: Unwrapper) -> None:
    key = unwrapper.make(UNWRAPS)
    wrapped = unwrapper.wrapped(KEY_WRAP, key)
    assert unwrapper.is_served(unwrapper.unwrap, KEY_WRAP, key, wrapped)
    unwrapper.p11.set(unwrapper.session, key, {CKA.UNWRAP: False})
    assert unwrapper.unwrap(KEY_WRAP, key, wrapped)[0] == CKR.KEY_FUNCTION_NOT_PERMITTED


def test_a_destroyed_key(unwrapper: Unwrapper) -> None:
    key = unwrapper.make(UNWRAPS)
    wrapped = unwrapper.wrapped(KEY_WRAP, key)
    assert unwrapper.is_served(unwrapper.unwrap, KEY_WRAP, key, wrapped)
    unwrapper.p11.destroy_object(unwrapper.session, key)
    assert unwrapper.unwrap(KEY_WRAP, key, wrapped)[0] == CKR.UNWRAPPING_KEY_HANDLE_INVALID


def test_logout(unwrapper: Unwrapper) -> None:
    key = unwrapper.make(UNWRAPS)
    wrapped = unwrapper.wrapped(KEY_WRAP, key)
    assert unwrapper.is_served(unwrapper.unwrap, KEY_WRAP, key, wrapped)
    unwrapper.p11.logout(unwrapper.session)
    assert unwrapper.unwrap(KEY_WRAP, key, wrapped)[0] == CKR.UNWRAPPING_KEY_HANDLE_INVALID


def test_a_key_with_an_unwrap_template_is_pythons(unwrapper: Unwrapper) -> None:
    """Though another key has been served with the same template."""
    other, key = unwrapper.make(UNWRAPS), unwrapper.make({**UNWRAPS, CKA.UNWRAP_TEMPLATE: {CKA.LABEL: "a"}})
    wrapped = unwrapper.wrapped(KEY_WRAP, other)
    assert unwrapper.is_served(unwrapper.unwrap, KEY_WRAP, other, wrapped)
    assert not unwrapper.is_served(unwrapper.unwrap, KEY_WRAP, key, wrapped)
    assert unwrapper.unwrap(KEY_WRAP, key, wrapped, {**SHOWN, CKA.LABEL: "b"})[0] == CKR.TEMPLATE_INCONSISTENT


def test_a_key_may_unwrap_and_not_with_every_mechanism(unwrapper: Unwrapper) -> None:
    key = unwrapper.make({**UNWRAPS, CKA.ALLOWED_MECHANISMS: [CKM.AES_KEY_WRAP]})
    wrapped = unwrapper.wrapped(KEY_WRAP, key)
    assert unwrapper.is_served(unwrapper.unwrap, KEY_WRAP, key, wrapped)
    assert unwrapper.unwrap((CKM.AES_KEY_WRAP_KWP, None), key, wrapped)[0] == CKR.MECHANISM_INVALID


def test_a_long_key_is_pythons(unwrapper: Unwrapper) -> None:
    key, mechanism = unwrapper.make(UNWRAPS), (CKM.AES_KEY_WRAP_KWP, None)
    wrapped = unwrapper.wrapped(mechanism, key, bytes(range(200)))
    assert not unwrapper.is_served(unwrapper.unwrap, mechanism, key, wrapped)
