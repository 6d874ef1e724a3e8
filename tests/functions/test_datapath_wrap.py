"""Keys that C wraps under grants: as Python would, told and refused as Python does, and no longer than it may."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fix_datapath import LoggedIn, assert_same_answers, wrapping_parameter
from fix_tokens import TokenOnDisk

from mrhsm_p11 import datapath
from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO, CKR
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.mapping.native import native_wrap

MakeToken = Callable[..., TokenOnDisk]
WRAPPING = [row for row in ROWS.values() if row.flags & CKF.WRAP and row.key_types == (CKK.AES,)]
NATIVE = [row for row in WRAPPING if native_wrap(row, 256) is not None]
SECRET = {CKA.CLASS: CKO.SECRET_KEY, CKA.MODIFIABLE: True}
WRAPS = {**SECRET, CKA.KEY_TYPE: CKK.AES, CKA.WRAP: True, CKA.UNWRAP: True}
WRAPPED = {**SECRET, CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.EXTRACTABLE: True}
KEY_WRAP = (CKM.AES_KEY_WRAP, None)
ROOM = 400
NO_KEY = 1 << 40


class Wrapper(LoggedIn):
    """A session that wraps, and what it wraps with."""

    def make(self, template: dict[int, Any], n: int) -> int:
        return self.p11.create_object(self.session, {**template, CKA.VALUE: bytes(range(1, n + 1))})

    def wrap(
        self, mechanism: Any, wrapping: int, key: int, room: int = ROOM, *, buffer: bool = True
    ) -> tuple[int, int, bytes]:
        """Return CKR, the length that was told, the output."""
        length, out = self.p11.new("CK_ULONG *", room), self.p11.new(f"CK_BYTE[{ROOM}]") if buffer else None
        rv = self.p11.rv("C_WrapKey", self.session, self.p11.mechanism(mechanism), wrapping, key, out, length)
        return rv, length[0], bytes(self.p11.ffi.buffer(out, ROOM)) if out is not None else b""


@pytest.fixture
def token(make_token: MakeToken) -> TokenOnDisk:
    return make_token()


@pytest.fixture
def wrapper(library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wrapper]:
    monkeypatch.setenv("MRHSM_DATAPATH", "1")
    made = Wrapper(library_path, token)
    yield made
    made.p11.finalize()


@pytest.mark.parametrize("row", NATIVE, ids=lambda row: CKM.name(row.type))
def test_c_wraps_and_what_it_wraps_is_unwrapped(wrapper: Wrapper, row: MechanismRow) -> None:
    wrapping, key = wrapper.make(WRAPS, 32), wrapper.make(WRAPPED, 32)
    mechanism = row.type, wrapping_parameter(row)
    assert wrapper.is_served(wrapper.wrap, mechanism, wrapping, key)
    _, size, output = wrapper.wrap(mechanism, wrapping, key)
    p11, handle = wrapper.p11, wrapper.p11.new("CK_ULONG *")
    template = p11.template({**WRAPPED, CKA.SENSITIVE: False})
    wrapped = p11.encoded(output[:size])
    p11.call("C_UnwrapKey", wrapper.session, p11.mechanism(mechanism), wrapping, *wrapped, *template, handle)
    assert p11.get(wrapper.session, handle[0], CKA.VALUE) == bytes(range(1, 33))


class Player:
    """Wraps at random, the same for the same seed, and keeps what was answered."""

    def __init__(self, wrapper: Wrapper, seed: int) -> None:
        self.it, self.random = wrapper, random.Random(seed)
        self.wrapping = [wrapper.make(WRAPS, n) for n in (16, 24, 32)]
        limits = {CKA.WRAP_TEMPLATE: {CKA.LABEL: "the one"}}
        self.wrapping.append(wrapper.make({**WRAPS, **limits}, 32))
        self.keys = [
            wrapper.make({**WRAPPED, CKA.LABEL: "the one"}, n) for n in (1, 7, 8, 15, 16, 20, 32, 64, 128, 129)
        ]
        self.keys += [
            wrapper.make({**WRAPPED, CKA.WRAP_WITH_TRUSTED: True}, 16),
            wrapper.make({**WRAPPED, CKA.EXTRACTABLE: False}, 16),
        ]
        self.pair = self.wrapping[0], self.keys[0]
        self.row = WRAPPING[0]

    def play(self, calls: int) -> list[object]:
        return [self._call() for _ in range(calls)]

    def _call(self) -> object:
        choice = self.random.random()
        if choice < 0.25:
            self.pair = self.random.choice(self.wrapping), self.random.choice(self.keys)
            self.row = self.random.choice([*NATIVE, *WRAPPING])
        elif choice < 0.3:
            change = self.random.choice(({CKA.WRAP: False}, {CKA.WRAP: True}, {CKA.LABEL: "another"}))
            template = self.it.p11.template(change)
            return self.it.p11.rv("C_SetAttributeValue", self.it.session, self.random.choice(self.pair), *template)
        elif choice < 0.32:
            pair = self.random.choice(((NO_KEY, self.keys[6]), (self.wrapping[0], NO_KEY), (NO_KEY, NO_KEY)))
            return self.it.wrap((self.row.type, wrapping_parameter(self.row)), *pair)
        given = wrapping_parameter(self.row)
        if self.random.random() < 0.1:
            given = self.random.choice((None, b"", bytes(15), b"\xa6" * 8, b"\xa6\x59\x59\xa6"))
        room = self.random.choice((0, 8, 16, 23, 24, 40, 48, ROOM, ROOM, ROOM))
        return self.it.wrap((self.row.type, given), *self.pair, room, buffer=self.random.random() < 0.8)


@pytest.mark.parametrize("seed", range(6))
def test_the_answers_are_pythons(
    library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert_same_answers(
        monkeypatch, lambda: Wrapper(library_path, token), lambda wrapper: Player(wrapper, seed).play(600), 20
    )


# ---- ends ----


@pytest.mark.parametrize(
    ("which", "change", "rv"),
    [
        (0, {CKA.WRAP: False}, CKR.KEY_FUNCTION_NOT_PERMITTED),
        (1, {CKA.EXTRACTABLE: False}, CKR.KEY_UNEXTRACTABLE),
        (1, {CKA.WRAP_WITH_TRUSTED: True}, CKR.KEY_NOT_WRAPPABLE),
    ],
)
def test_a_key_that_has_changed(wrapper: Wrapper, which: int, change: dict[int, bool], rv: int) -> None:
    pair = wrapper.make(WRAPS, 32), wrapper.make(WRAPPED, 32)
    assert wrapper.is_served(wrapper.wrap, KEY_WRAP, *pair)
    wrapper.p11.set(wrapper.session, pair[which], change)
    assert wrapper.wrap(KEY_WRAP, *pair)[0] == rv


@pytest.mark.parametrize(("which", "rv"), [(0, CKR.WRAPPING_KEY_HANDLE_INVALID), (1, CKR.KEY_HANDLE_INVALID)])
def test_a_destroyed_key(wrapper: Wrapper, which: int, rv: int) -> None:
    pair = wrapper.make(WRAPS, 32), wrapper.make(WRAPPED, 32)
    assert wrapper.is_served(wrapper.wrap, KEY_WRAP, *pair)
    wrapper.p11.destroy_object(wrapper.session, pair[which])
    assert wrapper.wrap(KEY_WRAP, *pair)[0] == rv


def test_a_pair_is_not_served_again_because_another_is(wrapper: Wrapper) -> None:
    """What a wrapping key has lost is asked for each key that it wrapped, not for the first to come."""
    wrapping = wrapper.make({**WRAPS, CKA.WRAP_TEMPLATE: {CKA.LABEL: "a"}}, 32)
    first, second = (wrapper.make({**WRAPPED, CKA.LABEL: "a"}, 32) for _ in range(2))
    assert wrapper.is_served(wrapper.wrap, KEY_WRAP, wrapping, first)
    assert wrapper.is_served(wrapper.wrap, KEY_WRAP, wrapping, second)
    wrapper.p11.set(wrapper.session, wrapping, {CKA.LABEL: "changed"})
    assert wrapper.is_served(wrapper.wrap, KEY_WRAP, wrapping, second)
    before = datapath.path.served()
    assert wrapper.wrap(KEY_WRAP, wrapping, first)[0] == CKR.OK
    assert datapath.path.served() == before


def test_a_key_under_another_wrapping_key(wrapper: Wrapper) -> None:
    one, other, key = wrapper.make(WRAPS, 32), wrapper.make(WRAPS, 16), wrapper.make(WRAPPED, 32)
    outputs = []
    for wrapping in (one, other, one, other):
        assert wrapper.is_served(wrapper.wrap, KEY_WRAP, wrapping, key)
        outputs.append(wrapper.wrap(KEY_WRAP, wrapping, key))
    assert outputs[0] == outputs[2] != outputs[1] == outputs[3]


def test_logout(wrapper: Wrapper) -> None:
    pair = wrapper.make(WRAPS, 32), wrapper.make(WRAPPED, 32)
    assert wrapper.is_served(wrapper.wrap, KEY_WRAP, *pair)
    wrapper.p11.logout(wrapper.session)
    assert wrapper.wrap(KEY_WRAP, *pair)[0] == CKR.WRAPPING_KEY_HANDLE_INVALID


def test_a_private_key_is_pythons(wrapper: Wrapper) -> None:
    p11, wrapping = wrapper.p11, wrapper.make(WRAPS, 32)
    public = {CKA.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}
    _, private = p11.generate_key_pair(wrapper.session, CKM.EC_KEY_PAIR_GEN, public, {CKA.EXTRACTABLE: True})
    assert not wrapper.is_served(wrapper.wrap, (CKM.AES_KEY_WRAP_KWP, None), wrapping, private)
