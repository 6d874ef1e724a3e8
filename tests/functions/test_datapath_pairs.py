"""Key pairs that C signs, verifies and encrypts with: the same answers as Python's, none once the grant has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fix_datapath import assert_same_answers
from fix_pairs import KINDS, ROWS_OF_PAIRS, Pair, PairBench, PairPlayer, oaep, pss
from fix_tokens import TokenOnDisk
from p11 import Cryptoki, rv_of

from mrhsm_p11.constants import CKA, CKF, CKM, CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow

MakeToken = Callable[..., TokenOnDisk]


@pytest.fixture
def token(make_token: MakeToken) -> TokenOnDisk:
    return make_token()


@pytest.fixture
def bench(library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[PairBench]:
    monkeypatch.setenv("MRHSM_DATAPATH", "1")
    made = PairBench(library_path, token)
    yield made
    assert rv_of(made.p11.finalize) in (CKR.OK, CKR.CRYPTOKI_NOT_INITIALIZED)


def usual(p11: Cryptoki, row: MechanismRow) -> Any:
    if row.mode == "pss":
        return pss(p11, row.hash or "sha256", salt=20)
    return oaep(p11, "sha1") if row.mode == "oaep" else None


def named(row: MechanismRow) -> str:
    return CKM.name(row.type)


def fitting(row: MechanismRow) -> str:
    return {"rsa": "RSA-1024", "ec": "P-256", "edwards": "Ed25519"}[row.family]


def counted(bench: PairBench, row: MechanismRow) -> list[int]:
    """Return how many calls of each function C served, once the first of each has brought the grant."""
    p11, session, data = bench.p11, bench.session, bytes(32)
    pair, mechanism = bench.pair(fitting(row)), (row.type, usual(p11, row))
    found = []
    if row.flags & CKF.SIGN:
        signature = p11.sign(session, mechanism, pair.private, data)
        found.append(bench.served(lambda: p11.sign(session, mechanism, pair.private, data)))
        found.append(bench.served(lambda: p11.verify(session, mechanism, pair.public, data, signature)))
    if row.flags & CKF.ENCRYPT:
        sealed = p11.encrypt(session, mechanism, pair.public, data)
        found.append(bench.served(lambda: p11.encrypt(session, mechanism, pair.public, data)))
        found.append(bench.served(lambda: p11.decrypt(session, mechanism, pair.private, sealed)))
        assert p11.decrypt(session, mechanism, pair.private, sealed) == data
    return found


def test_c_serves_every_mechanism(bench: PairBench) -> None:
    """So that the path cannot be off in silence: each call is counted in C. Two ask for the size first."""
    signing, crypting = [2, 1], [2, 2]
    expected = {
        named(row): (signing if row.flags & CKF.SIGN else []) + (crypting if row.flags & CKF.ENCRYPT else [])
        for row in ROWS_OF_PAIRS
    }
    expected["RSA_PKCS"] = [*signing, 2, 0]  # its decryption is Python's
    assert {named(row): counted(bench, row) for row in ROWS_OF_PAIRS} == expected


def test_a_signature_of_one_side_is_the_others_too(
    library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[tuple[str, MechanismRow, bytes]] = []
    for on in "010":
        monkeypatch.setenv("MRHSM_DATAPATH", on)
        bench = PairBench(library_path, token)
        p11, session = bench.p11, bench.session
        for kind, row, signature in signed:
            p11.verify(session, mechanism_for(p11, row, kind), bench.pair(kind).public, bytes(32), signature)
        signed = [
            (kind, row, p11.sign(session, mechanism_for(p11, row, kind), bench.pair(kind).private, bytes(32)))
            for kind in KINDS
            for row in ROWS_OF_PAIRS
            if KINDS[kind][0] in row.key_types and row.flags & CKF.SIGN
        ]
        p11.finalize()


def mechanism_for(p11: Cryptoki, row: MechanismRow, kind: str) -> tuple[int, Any]:
    if kind == "Ed448":
        return row.type, p11.new("CK_EDDSA_PARAMS *")
    return row.type, pss(p11, row.hash or "sha256", "sha1", 7) if row.mode == "pss" else None


# ---- the same answers ----


@pytest.mark.parametrize("seed", range(2 if "MRHSM_HOSTS_LONGER" not in os.environ else 40))
def test_the_answers_are_pythons(
    library_path: Path, token: TokenOnDisk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert_same_answers(
        monkeypatch, lambda: PairBench(library_path, token), lambda bench: PairPlayer(bench, seed).play(1000), 100
    )


# ---- ends ----

SHA256_RSA = (CKM.SHA256_RSA_PKCS, None)


def test_the_parameter_is_the_one_that_was_granted(bench: PairBench) -> None:
    p11, pair = bench.p11, bench.pair("RSA-1024")
    first, second = ((CKM.RSA_PKCS_PSS, pss(p11, "sha256", salt=salt)) for salt in (32, 20))
    for mechanism, other in ((first, second), (second, first)):
        signature = p11.sign(bench.session, mechanism, pair.private, bytes(32))
        assert bench.served(lambda: p11.sign(bench.session, mechanism, pair.private, bytes(32))) == 2  # noqa: B023
        p11.verify(bench.session, mechanism, pair.public, bytes(32), signature)
        assert bench.begin("Verify", other, pair.public) == CKR.OK
        rv = p11.rv("C_Verify", bench.session, *p11.encoded(bytes(32)), *p11.encoded(signature))
        assert rv == CKR.SIGNATURE_INVALID


def test_no_grant_for_a_key_that_wants_its_pin_each_time(bench: PairBench) -> None:
    pair = bench.pair("RSA-1024", {CKA.ALWAYS_AUTHENTICATE: True, CKA.PRIVATE: True})
    room, length = bench.p11.new("CK_BYTE[128]"), bench.p11.new("CK_ULONG *", 128)
    for _ in range(2):
        assert bench.begin("Sign", SHA256_RSA, pair.private) == CKR.OK
        rv = bench.p11.rv("C_Sign", bench.session, *bench.p11.encoded(b"text"), room, length)
        assert rv == CKR.USER_NOT_LOGGED_IN


@pytest.fixture
def granted(bench: PairBench) -> tuple[PairBench, Pair]:
    """A pair that C has signed with."""
    pair = bench.pair("RSA-1024")
    assert bench.served(lambda: bench.p11.sign(bench.session, SHA256_RSA, pair.private, b"text")) == 2
    return bench, pair


def test_logout(granted: tuple[PairBench, Pair]) -> None:
    bench, pair = granted
    assert bench.begin("Sign", SHA256_RSA, pair.private) == CKR.OK
    bench.p11.logout(bench.session)
    room, length = bench.p11.new("CK_BYTE[128]"), bench.p11.new("CK_ULONG *", 128)
    rv = bench.p11.rv("C_Sign", bench.session, *bench.p11.encoded(b"text"), room, length)
    assert rv == CKR.OPERATION_NOT_INITIALIZED
    assert bench.begin("Sign", SHA256_RSA, pair.private) == CKR.KEY_HANDLE_INVALID


def test_a_key_that_goes_amid_an_operation_serves_it_to_the_end(granted: tuple[PairBench, Pair]) -> None:
    bench, pair = granted
    p11, room, length = bench.p11, bench.p11.new("CK_BYTE[128]"), bench.p11.new("CK_ULONG *", 128)
    assert bench.begin("Sign", SHA256_RSA, pair.private) == CKR.OK
    assert p11.rv("C_SignUpdate", bench.session, *p11.encoded(b"te")) == CKR.OK
    p11.call("C_DestroyObject", bench.session, pair.private)
    assert p11.rv("C_SignUpdate", bench.session, *p11.encoded(b"xt")) == CKR.OK
    assert p11.rv("C_SignFinal", bench.session, room, length) == CKR.OK
    p11.verify(bench.session, SHA256_RSA, pair.public, b"text", bytes(p11.ffi.buffer(room, length[0])))
    assert bench.begin("Sign", SHA256_RSA, pair.private) == CKR.KEY_HANDLE_INVALID


def test_threads_share_a_key(granted: tuple[PairBench, Pair]) -> None:
    """One key of OpenSSL's, a session and a context a thread: each signature is right."""
    bench, pair = granted
    p11, curve = bench.p11, bench.pair("P-256")

    def work(_number: int) -> None:
        own = p11.open_session(bench.slot)
        for _ in range(100):
            for mechanism, used in ((SHA256_RSA, pair), ((CKM.ECDSA_SHA256, None), curve)):
                p11.verify(own, mechanism, used.public, b"text", p11.sign(own, mechanism, used.private, b"text"))
        p11.close_session(own)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
