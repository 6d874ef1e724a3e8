from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrhsm_p11.errors import PinIncorrect, PinLenRange, UserNotLoggedIn
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import sealing
from mrhsm_p11.tokendir.sealing import PinRecord

SERIAL = "07137a824d621939"
KEY = Secret(bytes(range(32)))


def record(pin: bytes = b"1234", *, ours: bool = True) -> PinRecord:
    return sealing.seal_pin(KEY, Secret(pin), serial=SERIAL, role="user", generation=7, ours=ours)[0]


@pytest.mark.parametrize("ours", [True, False])
def test_the_pin_opens_the_token_key_and_no_other_does(ours: bool) -> None:
    sealed = record(b"right", ours=ours)
    opened = sealing.open_pin(sealed, Secret(b"right"), SERIAL, "user")
    assert opened.token_key == KEY
    assert sealed.ours is ours
    assert sealed.sound
    assert KEY.reveal() not in sealed.wrapped
    for wrong in (b"Right", b"right ", b""):
        with pytest.raises(PinIncorrect) as failure:
            sealing.open_pin(sealed, Secret(wrong), SERIAL, "user")
        assert "right" not in str(failure.value).lower()


@pytest.mark.parametrize("size", [4, 255])
def test_pins_have_4_to_255_bytes(size: int) -> None:
    assert record(b"p" * size)
    for wrong in (3, 256, 0):
        with pytest.raises(PinLenRange):
            record(b"p" * wrong)


def test_a_pin_may_hold_any_bytes() -> None:
    pin = bytes(range(256))[:255]
    assert sealing.open_pin(record(pin), Secret(pin), SERIAL, "user").token_key == KEY


def test_chosen_pins_cost_what_the_record_says() -> None:
    assert (record(ours=False).kdf, record(ours=False).n, record(ours=False).r, record(ours=False).p) == (
        "scrypt",
        32768,
        8,
        1,
    )
    assert record(ours=True).kdf == "hkdf"


def test_a_random_pin_has_256_bits() -> None:
    pins = {sealing.random_pin().reveal() for _ in range(10)}
    assert len(pins) == 10
    assert {len(bytes.fromhex(pin.decode())) for pin in pins} == {32}


@pytest.mark.parametrize(
    "change",
    [
        {"salt": bytes(16)},
        {"generation": 8},
        {"wrapped": b""},
        {"wrapped": bytes(60)},
    ],
)
def test_a_changed_record_opens_nothing(change: dict[str, object]) -> None:
    with pytest.raises(PinIncorrect):
        sealing.open_pin(dataclasses.replace(record(), **change), Secret(b"1234"), SERIAL, "user")  # type: ignore[arg-type]


def test_a_record_of_another_role_or_token_opens_nothing() -> None:
    with pytest.raises(PinIncorrect):
        sealing.open_pin(record(), Secret(b"1234"), SERIAL, "so")
    with pytest.raises(PinIncorrect):
        sealing.open_pin(record(), Secret(b"1234"), SERIAL[::-1], "user")


@pytest.mark.parametrize(
    ("kdf", "n", "r", "p"),
    [
        ("scrypt", 2**24, 8, 1),
        ("scrypt", 2**15, 8, 10**6),
        ("scrypt", 3, 8, 1),
        ("scrypt", 1, 8, 1),
        ("scrypt", 2**15, 0, 1),
        ("scrypt", 2**15, 8, 0),
        ("scrypt", -2, 8, 1),
        ("hkdf", 1, 0, 0),
        ("md5", 0, 0, 0),
        ("", 2**15, 8, 1),
    ],
)
def test_costs_that_we_never_write_are_not_sound(kdf: str, n: int, r: int, p: int) -> None:
    assert not PinRecord(kdf, bytes(16), n, r, p, 1, b"").sound


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=20))
def test_sealed_bytes_open_to_what_was_sealed(plain: bytes, bound: bytes) -> None:
    sealed = sealing.seal(KEY, "purpose", SERIAL, plain, bound)
    assert len(sealed) == len(plain) + 28
    assert sealing.open_sealed(KEY, "purpose", SERIAL, sealed, bound) == plain


def test_sealed_bytes_open_nowhere_else() -> None:
    sealed = sealing.seal(KEY, "purpose", SERIAL, b"plain", b"bound")
    for key, purpose, serial, content, bound in (
        (Secret(bytes(32)), "purpose", SERIAL, sealed, b"bound"),
        (KEY, "other", SERIAL, sealed, b"bound"),
        (KEY, "purpose", "0" * 16, sealed, b"bound"),
        (KEY, "purpose", SERIAL, sealed, b""),
        (KEY, "purpose", SERIAL, sealed[:-1], b"bound"),
        (KEY, "purpose", SERIAL, sealed[:5], b"bound"),
        (KEY, "purpose", SERIAL, b"", b"bound"),
    ):
        with pytest.raises(sealing.SealBroken):
            sealing.open_sealed(key, purpose, serial, content, bound)


def test_each_bit_is_covered() -> None:
    sealed = sealing.seal(KEY, "purpose", SERIAL, b"plain")
    for index in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[index // 8] ^= 1 << index % 8
        with pytest.raises(sealing.SealBroken):
            sealing.open_sealed(KEY, "purpose", SERIAL, bytes(changed))


def test_equal_plain_texts_never_look_alike() -> None:
    assert sealing.seal(KEY, "purpose", SERIAL, b"plain") != sealing.seal(KEY, "purpose", SERIAL, b"plain")


def test_the_format_is_what_other_nodes_hold() -> None:
    """A vector: sealed and derived bytes must stay readable across versions."""
    assert sealing.subkey(KEY, "settings", SERIAL).hex() == VECTOR_SUBKEY
    sealed = bytes.fromhex(VECTOR_SEALED)
    assert sealing.open_sealed(KEY, "settings", SERIAL, sealed, b"1") == b"kept across versions"
    pin = PinRecord("scrypt", bytes(16), 32768, 8, 1, 3, bytes.fromhex(VECTOR_PIN))
    assert sealing.open_pin(pin, Secret(b"1234"), SERIAL, "so").token_key == KEY


VECTOR_SUBKEY = "ab4b460b51e726ac7305968158b4528ceee2b60d66acf5f1e45069f09135d304"
VECTOR_SEALED = "000102030405060708090a0b6ac3e9e4cccbd9b50307a8eee944b51fe4ac5d5faa79d1494d11e54d70ef4d02b9a5c0eb"
VECTOR_PIN = (
    "000102030405060708090a0b897963f1418a2db64946643268a55db28ca8c245bf4db387109ea6991c90c2200e9b6ae3bdc3"
    "7b0fec097aadd809319b"
)


def test_nothing_is_sealed_under_a_key_that_was_wiped() -> None:
    key = sealing.new_token_key()
    sealed = sealing.seal(key, "settings", "0011", b"text")
    key.wipe()
    for use in (
        lambda: sealing.seal(key, "settings", "0011", b"text"),
        lambda: sealing.open_sealed(key, "settings", "0011", sealed),
    ):
        with pytest.raises(UserNotLoggedIn):
            use()
