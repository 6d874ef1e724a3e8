"""Operations that C serves under a grant: the same answers as Python's, and none once the grant has ended."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fix_datapath import LoggedIn, assert_same_answers
from fix_tokens import TokenOnDisk
from p11 import Cryptoki, rv_of

from mrhsm_p11 import datapath
from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO, CKR
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.mapping.native import native

VALUE = bytes(range(1, 33))
USES = dict.fromkeys((CKA.ENCRYPT, CKA.DECRYPT, CKA.SIGN, CKA.VERIFY), True)
TEMPLATE = {CKA.CLASS: CKO.SECRET_KEY, CKA.VALUE: VALUE, CKA.MODIFIABLE: True, **USES}
NATIVE = [row for row in ROWS.values() if native(row, 256) is not None]
FAMILIES = {
    "Encrypt": CKF.ENCRYPT,
    "Decrypt": CKF.DECRYPT,
    "Digest": CKF.DIGEST,
    "Sign": CKF.SIGN,
    "Verify": CKF.VERIFY,
}
CBC = (CKM.AES_CBC_PAD, bytes(16))
MakeToken = Callable[..., TokenOnDisk]


class Bench(LoggedIn):
    """The keys of a session."""

    def key(self, kind: int = CKK.AES) -> int:
        return self.p11.create_object(self.session, {**TEMPLATE, CKA.KEY_TYPE: kind})

    def begin(self, name: str, mechanism: Any, key: int) -> int:
        more = () if name == "Digest" else (key,)
        return self.p11.rv(f"C_{name}Init", self.session, self.p11.mechanism(mechanism), *more)


@pytest.fixture
def token(make_token: MakeToken) -> TokenOnDisk:
    return make_token()


@pytest.fixture
def bench(library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("MRHSM_DATAPATH", "1")
    made = Bench(library_path, token)
    yield made
    assert rv_of(made.p11.finalize) in (CKR.OK, CKR.CRYPTOKI_NOT_INITIALIZED)


def parameter(p11: Cryptoki, row: MechanismRow) -> Any:
    shape = native(row, 256)[0].shape  # type: ignore[index]
    if shape == "GCM":
        return p11.gcm(bytes(12), b"more")
    if shape == "COUNTER":
        return p11.ctr(bytes(16))
    return {"VECTOR": bytes(16), "LENGTH": (8).to_bytes(8, "little"), "NONE": None}[shape]


def key_type(row: MechanismRow) -> int:
    return row.key_types[0] if row.key_types else CKK.GENERIC_SECRET


def named(row: MechanismRow) -> str:
    return CKM.name(row.type)


@pytest.mark.parametrize("row", NATIVE, ids=named)
def test_c_serves_the_mechanism(bench: Bench, row: MechanismRow) -> None:
    """So that the path cannot be off in silence: each call of every native mechanism is counted in C."""
    key, mechanism = bench.key(key_type(row)), (row.type, parameter(bench.p11, row))
    p11, session, data = bench.p11, bench.session, bytes(48)
    if row.flags & CKF.ENCRYPT:
        sealed = p11.encrypt(session, mechanism, key, data)
        assert bench.served(lambda: p11.encrypt(session, mechanism, key, data)) == 2  # the size, the output
        assert bench.served(lambda: p11.decrypt(session, mechanism, key, sealed)) == 2
    elif row.flags & CKF.SIGN:
        mac = p11.sign(session, mechanism, key, data)
        assert bench.served(lambda: p11.sign(session, mechanism, key, data)) == 2
        assert bench.served(lambda: p11.verify(session, mechanism, key, data, mac)) == 1
    else:
        assert bench.served(lambda: p11.digest(session, row.type, data)) == 2
    assert bench.served(lambda: p11.random(session, 9)) == 1


def test_the_log_says_how_many_calls_c_has_served(
    library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (token.home / "conf" / "maprhsm.conf").write_text('[log]\nlevel = "info"\n')
    for on in "10":
        monkeypatch.setenv("MRHSM_DATAPATH", on)
        bench = Bench(library_path, token)
        bench.p11.encrypt(bench.session, CBC, bench.key(), b"text")
        served = datapath.path.served()
        bench.p11.finalize()
        assert (token.home / "logs" / "mrhsm.log").read_text().endswith(f" {served} calls served in C so far\n")
        assert bool(served) == (on == "1")


def test_the_setting_turns_it_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.p11.finalize()
    monkeypatch.setenv("MRHSM_DATAPATH", "0")
    bench.p11.initialize()
    assert datapath.path is datapath.OFF


# ---- the same answers ----


class Player:
    """Plays calls at random, the same for the same seed, and keeps what was answered."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.random = bench, random.Random(seed)
        self.trace: list[tuple[object, ...]] = []
        self.keys = {kind: bench.key(kind) for kind in {key_type(row) for row in NATIVE}}
        self.outputs = [bytes(32)]  # which are inputs later: ciphertexts, MACs

    def play(self, calls: int) -> list[tuple[object, ...]]:
        for _ in range(calls):
            name = self.random.choice(tuple(FAMILIES))
            getattr(self, self.random.choice(("_init", "_init", "_once", "_once", "_update", "_final", "_odd")))(name)
        return self.trace

    def _init(self, name: str) -> None:
        row = self.random.choice([row for row in NATIVE if row.flags & FAMILIES[name]])
        given = parameter(self.bench.p11, row)
        if isinstance(given, bytes) and self.random.random() < 0.1:
            given = given[:-1]
        key = self.keys[key_type(row)] if self.random.random() < 0.95 else 999_999
        mechanism = None if self.random.random() < 0.2 else (row.type, given)
        self._note(name, "Init", mechanism and CKM.name(row.type), self.bench.begin(name, mechanism, key))

    def _input(self) -> bytes:
        if self.random.random() < 0.4:
            return self.random.choice(self.outputs[-6:])
        return self.random.randbytes(self.random.choice((0, 1, 8, 15, 16, 17, 31, 32, 33, 64, 100)))

    def _once(self, name: str) -> None:
        self._call(name, "", self._input())

    def _update(self, name: str) -> None:
        self._call(name, "Update", self._input())

    def _final(self, name: str) -> None:
        self._call(name, "Final", None)

    def _call(self, name: str, step: str, data: bytes | None) -> None:
        p11, arguments = self.bench.p11, []
        if data is not None:
            arguments += p11.encoded(data)
        gives = name in ("Encrypt", "Decrypt") or (name != "Verify" and step != "Update")
        if name == "Verify" and step != "Update":
            arguments += p11.encoded(self.random.choice(self.outputs[-6:]))
        if not gives:
            self._note(name, step, len(data or b""), p11.rv(f"C_{name}{step}", self.bench.session, *arguments))
            return
        room = self.random.choice((0, 5, 16, 33, 400, 400, 400))
        buffer = None if self.random.random() < 0.2 else p11.new("CK_BYTE[400]")
        length = p11.new("CK_ULONG *", room)
        rv = p11.rv(f"C_{name}{step}", self.bench.session, *arguments, buffer, length)
        output = bytes(p11.ffi.buffer(buffer, length[0])) if buffer and rv == CKR.OK else b""
        if output:
            self.outputs.append(output)
        told = length[0] if rv in (CKR.OK, CKR.BUFFER_TOO_SMALL) else -1
        self._note(name, step, len(data or b""), rv, told, output)

    def _odd(self, name: str) -> None:
        """Arguments that are refused, functions that look at several operations, ends."""
        p11, session = self.bench.p11, self.bench.session
        room, length = p11.new("CK_BYTE[400]"), p11.new("CK_ULONG *", 400)
        data = p11.encoded(bytes(self.random.choice((16, 20))))
        odd = self.random.choice(
            (
                lambda: p11.rv("C_Encrypt", session, None, 5, room, length),
                lambda: p11.rv("C_DecryptUpdate", session, *data, room, None),
                lambda: p11.rv("C_SignUpdate", session, data[0], 1 << 31),
                lambda: p11.rv("C_SessionCancel", session, FAMILIES[name]),
                lambda: p11.rv("C_DigestEncryptUpdate", session, *data, room, length),
                lambda: p11.rv("C_DecryptDigestUpdate", session, *data, room, length),
                lambda: p11.rv("C_SignEncryptUpdate", session, *data, room, length),
                lambda: p11.rv("C_DecryptVerifyUpdate", session, *data, room, length),
                lambda: p11.rv("C_DigestKey", session, self.keys[CKK.GENERIC_SECRET]),
                lambda: p11.rv("C_GetOperationState", session, room, length),
                lambda: p11.rv("C_Digest", 999_999, *data, room, length),
                lambda: p11.rv("C_GenerateRandom", session, None, 4),
            )
        )
        self._note(name, "odd", odd(), length[0])

    def _note(self, *what: object) -> None:
        self.trace.append(what)


@pytest.mark.parametrize("seed", range(8))
def test_the_answers_are_pythons(
    library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert_same_answers(
        monkeypatch, lambda: Bench(library_path, token), lambda bench: Player(bench, seed).play(700), 30
    )


# ---- ends ----


@pytest.fixture
def granted(bench: Bench) -> tuple[Bench, int]:
    """A key that C has encrypted with."""
    key = bench.key()
    assert bench.served(lambda: bench.p11.encrypt(bench.session, CBC, key, b"text")) == 2
    return bench, key


def test_a_destroyed_key(granted: tuple[Bench, int]) -> None:
    bench, key = granted
    bench.p11.call("C_DestroyObject", bench.session, key)
    assert bench.begin("Encrypt", CBC, key) == CKR.KEY_HANDLE_INVALID


def test_a_key_that_may_no_longer(granted: tuple[Bench, int]) -> None:
    bench, key = granted
    bench.p11.call("C_SetAttributeValue", bench.session, key, *bench.p11.template({CKA.ENCRYPT: False}))
    assert bench.begin("Encrypt", CBC, key) == CKR.KEY_FUNCTION_NOT_PERMITTED


def test_a_key_that_goes_amid_an_operation_serves_it_to_the_end(granted: tuple[Bench, int]) -> None:
    """As in Python: an operation that has begun has what it needs."""
    bench, key = granted
    p11, room, length = bench.p11, bench.p11.new("CK_BYTE[64]"), bench.p11.new("CK_ULONG *", 64)
    whole = p11.encrypt(bench.session, CBC, key, bytes(20))
    assert bench.begin("Encrypt", CBC, key) == CKR.OK
    assert p11.rv("C_EncryptUpdate", bench.session, *p11.encoded(bytes(20)), room, length) == CKR.OK
    first = bytes(p11.ffi.buffer(room, length[0]))
    p11.call("C_DestroyObject", bench.session, key)
    length[0] = 64
    assert p11.rv("C_EncryptFinal", bench.session, room, length) == CKR.OK
    assert first + bytes(p11.ffi.buffer(room, length[0])) == whole
    assert bench.begin("Encrypt", CBC, key) == CKR.KEY_HANDLE_INVALID


def test_logout(granted: tuple[Bench, int]) -> None:
    bench, key = granted
    assert bench.begin("Encrypt", CBC, key) == CKR.OK
    bench.p11.logout(bench.session)
    room, length = bench.p11.new("CK_BYTE[64]"), bench.p11.new("CK_ULONG *", 64)
    rv = bench.p11.rv("C_Encrypt", bench.session, *bench.p11.encoded(b"text"), room, length)
    assert rv == CKR.OPERATION_NOT_INITIALIZED
    assert bench.begin("Encrypt", CBC, key) == CKR.KEY_HANDLE_INVALID


def test_a_closed_session(granted: tuple[Bench, int]) -> None:
    bench, key = granted
    other, bench.session = bench.session, bench.p11.open_session(bench.slot)
    assert bench.begin("Encrypt", CBC, key) == CKR.OK  # keys of a session are seen by the others
    bench.p11.close_session(bench.session)
    assert bench.begin("Encrypt", CBC, key) == CKR.SESSION_HANDLE_INVALID
    bench.session = other
    assert bench.served(lambda: bench.p11.encrypt(other, CBC, key, b"text")) == 2


def test_finalize(granted: tuple[Bench, int]) -> None:
    bench, key = granted
    bench.p11.finalize()
    assert bench.begin("Encrypt", CBC, key) == CKR.CRYPTOKI_NOT_INITIALIZED
    bench.p11.initialize()
    assert bench.begin("Encrypt", CBC, key) == CKR.SESSION_HANDLE_INVALID


def test_a_key_with_dates_is_looked_at_again_at_midnight(bench: Bench) -> None:
    dates = {CKA.START_DATE: b"20000101", CKA.END_DATE: b"20991231"}
    key = bench.p11.create_object(bench.session, {**TEMPLATE, CKA.KEY_TYPE: CKK.AES, **dates})
    assert bench.served(lambda: bench.p11.encrypt(bench.session, CBC, key, b"text")) == 2
