"""The library itself, asked through the C ABI: what only shows where boundary and functions meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from p11 import Cryptoki, build_ffi, rv_of

from mrhsm_p11.abi import entry
from mrhsm_p11.constants import CKA, CKM, CKR, CKU
from mrhsm_p11.functions import crypto

SO_PIN, PIN = "so pin 1234", "user pin 5678"
FAMILIES = ("Encrypt", "Decrypt", "Digest", "Sign", "Verify")


@pytest.fixture
def session(cryptoki: Cryptoki) -> int:
    """A read/write session of a new token, the user logged in."""
    cryptoki.initialize()
    slot = cryptoki.slots()[0]
    cryptoki.init_token(slot, SO_PIN, "library")
    first = cryptoki.open_session(slot)
    cryptoki.login(first, SO_PIN, CKU.SO)
    cryptoki.init_pin(first, PIN)
    cryptoki.logout(first)
    cryptoki.login(first, PIN)
    return first


@pytest.fixture
def active(cryptoki: Cryptoki, session: int) -> Callable[[], list[str]]:
    """Begin an operation of every family; the function returned tells, and ends, those still active."""
    uses = dict.fromkeys((CKA.ENCRYPT, CKA.DECRYPT), True)
    aes = cryptoki.generate_key(session, CKM.AES_KEY_GEN, {CKA.VALUE_LEN: 32, **uses})
    uses = dict.fromkeys((CKA.SIGN, CKA.VERIFY), True)
    mac = cryptoki.generate_key(session, CKM.GENERIC_SECRET_KEY_GEN, {CKA.VALUE_LEN: 32, **uses})
    for family in FAMILIES:
        kind, key = {
            "Encrypt": ((CKM.AES_CBC_PAD, bytes(16)), (aes,)),
            "Decrypt": ((CKM.AES_CBC_PAD, bytes(16)), (aes,)),
            "Digest": (CKM.SHA256, ()),
            "Sign": (CKM.SHA256_HMAC, (mac,)),
            "Verify": (CKM.SHA256_HMAC, (mac,)),
        }[family]
        cryptoki.init(family, session, kind, *key)
    return lambda: [f for f in FAMILIES if cryptoki.rv(f"C_{f}Init", session, None, *([0] * (f != "Digest"))) == CKR.OK]


GOING_ON = [p for p in build_ffi.offered() if entry.snake_case(p.name) in crypto.CONTINUES]


def test_every_function_that_goes_on_is_tried() -> None:
    assert len(GOING_ON) == len(crypto.CONTINUES) == 25


@pytest.mark.parametrize("prototype", [p for p in GOING_ON if "_PTR" in p.declared], ids=lambda p: p.name)
def test_null_ends_the_operations_that_a_call_goes_on_with(
    cryptoki: Cryptoki, session: int, active: Callable[[], list[str]], prototype: Any
) -> None:
    arguments = [7 if kind == "CK_ULONG" else None for kind, _ in prototype.arguments[1:]]
    assert cryptoki.rv(prototype.name, session, *arguments) == CKR.ARGUMENTS_BAD
    ended = crypto.CONTINUES[entry.snake_case(prototype.name)]
    assert active() == [family for family in FAMILIES if family.lower() not in ended]


def test_null_for_an_unknown_session(cryptoki: Cryptoki, session: int) -> None:
    assert cryptoki.rv("C_Encrypt", session + 1000, None, 7, None, None) == CKR.SESSION_HANDLE_INVALID


def test_null_elsewhere_ends_nothing(cryptoki: Cryptoki, session: int, active: Callable[[], list[str]]) -> None:
    assert cryptoki.rv("C_GenerateRandom", session, None, 7) == CKR.ARGUMENTS_BAD
    assert cryptoki.rv("C_SeedRandom", session, None, 7) == CKR.ARGUMENTS_BAD
    assert active() == list(FAMILIES)


def test_everything_works_again_after_finalize(cryptoki: Cryptoki, session: int) -> None:
    key = cryptoki.generate_key(session, CKM.AES_KEY_GEN, {CKA.VALUE_LEN: 32, CKA.TOKEN: True, CKA.LABEL: "kept"})
    blob = cryptoki.encrypt(session, (CKM.AES_CBC_PAD, bytes(16)), key, b"text")
    cryptoki.finalize()
    assert rv_of(cryptoki.session_info, session) == CKR.CRYPTOKI_NOT_INITIALIZED
    cryptoki.initialize()
    again = cryptoki.open_session(cryptoki.slots()[0])
    assert rv_of(cryptoki.session_info, session) == (CKR.OK if again == session else CKR.SESSION_HANDLE_INVALID)
    cryptoki.login(again, PIN)
    (found,) = cryptoki.find(again, {CKA.LABEL: "kept"})
    assert cryptoki.decrypt(again, (CKM.AES_CBC_PAD, bytes(16)), found, blob) == b"text"
