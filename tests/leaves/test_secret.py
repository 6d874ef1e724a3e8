from __future__ import annotations

import pickle

import pytest

from mrhsm_p11.secret import Secret, SecretWiped


def test_shows_only_its_length() -> None:
    secret = Secret(b"open sesame")
    assert repr(secret) == str(secret) == f"{secret}" == "<secret 11 bytes>"


def test_equal_bytes_are_equal() -> None:
    assert Secret(b"a") == Secret(b"a")
    assert Secret(b"a") != Secret(b"b")
    assert Secret(b"a") != b"a"


def test_wiping_clears_what_was_lent() -> None:
    secret = Secret(b"key")
    lent = secret.view()
    secret.wipe()
    assert bytes(lent) == secret.reveal() == bytes(3)


def test_lent_bytes_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        Secret(b"key").view()[0] = 1


def test_is_neither_serialised_nor_hashed() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(b"key"))
    with pytest.raises(TypeError):
        hash(Secret(b"key"))


def test_a_copy_outlives_a_wipe_and_none_is_made_after_it() -> None:
    secret = Secret(b"abc")
    copied = secret.copy()
    secret.wipe()
    assert copied == Secret(b"abc")
    with pytest.raises(SecretWiped):
        secret.copy()
