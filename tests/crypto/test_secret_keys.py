"""What each type of secret key is: its lengths, its parity, its check value, and what is refused."""

from __future__ import annotations

import hashlib

import pytest
from secret_samples import key_bytes

from mrhsm_p11.constants import CKA, CKK, CKM, CKO
from mrhsm_p11.crypto import engine, material, secret_keys
from mrhsm_p11.errors import AttributeValueInvalid, WrappedKeyInvalid, WrappedKeyLenRange
from mrhsm_p11.mapping import attributes
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.secret import Secret

GENERATORS = [row for row in ROWS.values() if row.family == "random"]
TYPES = [key_type for key_type in range(0x80) if attributes.supported(CKO.SECRET_KEY, key_type)]


def template(key_type: int, value: bytes) -> dict[int, Value]:
    return {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: key_type, CKA.VALUE: value}


def test_the_lengths_are_those_of_the_mechanisms() -> None:
    for row in GENERATORS:
        (key_type,) = row.key_types
        allowed = {n for n in range(1, 5000) if row.allows(n * 8)}
        assert allowed <= {n for n in range(1, 5000) if secret_keys.has_length(key_type, n)}
        if key_type in secret_keys.LENGTHS:
            assert allowed == set(secret_keys.LENGTHS[key_type])


def test_each_type_of_one_length_is_told_apart_in_the_attribute_table() -> None:
    for key_type in TYPES:
        fixed = secret_keys.fixed_length(key_type)
        wanted = attributes.for_class(CKO.SECRET_KEY, key_type)[CKA.VALUE_LEN].required_on_generate
        assert wanted == (fixed is None)


def test_every_type_with_a_mechanism_can_be_stored_and_made() -> None:
    used = {key_type for row in GENERATORS for key_type in row.key_types}
    assert used <= set(TYPES)
    derived_only = {CKK.HKDF}
    without_generation = {CKK.MD5_HMAC}
    assert set(TYPES) - used - without_generation <= derived_only


@pytest.mark.parametrize("row", GENERATORS, ids=lambda row: CKM.name(row.type))
def test_keys_that_are_made_are_well_formed(row: MechanismRow) -> None:
    (key_type,) = row.key_types
    n = secret_keys.fixed_length(key_type) or 32
    made = [engine.generate_secret(row, n) for _ in range(20)]
    assert len({key.reveal() for key in made}) == 20
    for key in made:
        assert len(key) == n
        secret_keys.check_form(key_type, key)
        assert material.split(template(key_type, key.reveal()))[1] == key


@pytest.mark.parametrize("key_type", [CKK.DES2, CKK.DES3], ids=CKK.name)
def test_each_byte_of_a_des_key_has_odd_parity(key_type: int) -> None:
    assert {byte.bit_count() % 2 for _ in range(20) for byte in secret_keys.make(key_type, 24).reveal()} == {1}
    good = key_bytes(key_type)
    assert material.split(template(key_type, good))[1].reveal() == good
    for at in range(len(good)):
        wrong = bytearray(good)
        wrong[at] ^= 1
        with pytest.raises(AttributeValueInvalid):
            material.split(template(key_type, bytes(wrong)))
        with pytest.raises(WrappedKeyInvalid):
            material.unwrapped(ROWS[CKM.AES_GCM], CKO.SECRET_KEY, key_type, None, Secret(wrong))
        assert secret_keys.shaped(key_type, bytes(wrong)) == good


def test_a_stored_des_key_is_taken_as_it_is() -> None:
    assert material.normalise(CKO.SECRET_KEY, CKK.DES3, bytes(24)) == Secret(bytes(24))


def test_the_halves_of_an_xts_key_differ() -> None:
    for n in (32, 64):
        with pytest.raises(AttributeValueInvalid):
            material.split(template(CKK.AES_XTS, bytes(n)))
        assert len(material.split(template(CKK.AES_XTS, bytes(n - 1) + b"\1"))[1]) == n


@pytest.mark.parametrize("key_type", secret_keys.LENGTHS, ids=CKK.name)
def test_no_other_length(key_type: int) -> None:
    for n in range(70):
        if n not in secret_keys.LENGTHS[key_type]:
            assert not secret_keys.has_length(key_type, n)
            with pytest.raises(WrappedKeyLenRange):
                material.unwrapped(ROWS[CKM.AES_GCM], CKO.SECRET_KEY, key_type, None, Secret(bytes(n)))


def test_filling_is_cut_off_a_key_whose_type_tells_its_length() -> None:
    ecb, kek = ROWS[CKM.AES_ECB], Secret(bytes(32))
    for key_type in (CKK.DES3, CKK.CHACHA20):
        key = Secret(key_bytes(key_type))
        plain = engine.unwrap(ecb, None, kek, engine.wrap(ecb, None, kek, key))
        assert len(plain) == 32
        assert material.unwrapped(ecb, CKO.SECRET_KEY, key_type, None, plain) == key


CHECK_VALUES = [  # made once with openssl enc, of a block of zeros
    (CKK.AES, "000102030405060708090a0b0c0d0e0f", "c6a13b"),
    (CKK.DES3, "0123456789abcdef23456789abcdef01456789abcdef0123", "4eba73"),
    (CKK.DES2, "0123456789abcdef23456789abcdef01", "86e965"),
]


@pytest.mark.parametrize(("key_type", "key", "expected"), CHECK_VALUES)
def test_check_values_of_block_ciphers(key_type: int, key: str, expected: str) -> None:
    assert secret_keys.check_value(key_type, Secret(bytes.fromhex(key))).hex() == expected


@pytest.mark.parametrize("key_type", sorted({*TYPES} - {CKK.AES, CKK.DES2, CKK.DES3}), ids=CKK.name)
def test_check_values_of_all_others_are_of_the_bytes(key_type: int) -> None:
    key = key_bytes(key_type)
    derived = material.derived(CKO.SECRET_KEY, key_type, Secret(key))
    assert derived[CKA.CHECK_VALUE] == hashlib.sha1(key).digest()[:3]
