from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_tokens import TokenOnDisk

from mrhsm_p11.errors import DeviceError, MrhsmError
from mrhsm_p11.tokendir import codec, entries
from mrhsm_p11.tokendir.entries import ConfigurationDamaged, LabelInvalid
from mrhsm_p11.tokendir.files import TokenDirectory


def test_slot_ids_are_those_of_the_manual() -> None:
    assert entries.slot_id("07137a824d621939") == 1298274617
    assert entries.slot_id("00000000ffffffff") == 0x7FFFFFFF


def test_without_directory_or_file_there_is_no_token(mapr_home: Path) -> None:
    assert entries.load(TokenDirectory(mapr_home / "conf" / "tokens")) == ()
    assert entries.load(TokenDirectory(mapr_home / "conf" / "tokens", create=True)) == ()


def test_tokens_come_back_in_order_of_creation(make_token: Callable[..., TokenOnDisk]) -> None:
    made = [make_token(label, user_pin=None) for label in ("b", "a", "ü" * 16)]
    found = entries.load(made[0].directory)
    assert [(token.serial, token.label) for token in found] == [
        (token.serial, label) for token, label in zip(made, ("b", "a", "ü" * 16), strict=True)
    ]
    assert all(0 < token.slot_id < 2**31 for token in made)


@pytest.mark.parametrize("label", ["", "x" * 33, "ü" * 17, "\ud800"])
def test_labels_that_do_not_fit_are_refused_and_never_cut(make_token: Callable[..., TokenOnDisk], label: str) -> None:
    with pytest.raises(LabelInvalid, match="label"):
        make_token(label)
    entries.check_label("x" * 32)


def test_a_file_cut_anywhere_is_refused_named_and_left(file_token: TokenOnDisk) -> None:
    whole = file_token.configuration.read_bytes()
    for end in range(0, len(whole) - 1, 7):
        file_token.configuration.write_bytes(whole[:end])
        with pytest.raises(ConfigurationDamaged, match=r"conf/tokens/mrhsm\.conf is damaged and was left untouched"):
            entries.load(file_token.directory)
        assert file_token.configuration.read_bytes() == whole[:end]


def test_a_file_edited_anywhere_is_refused(file_token: TokenOnDisk) -> None:
    whole = file_token.configuration.read_bytes()
    before = entries.load(file_token.directory)
    for index in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[index] ^= 1
        file_token.configuration.write_bytes(changed)
        try:
            found = entries.load(file_token.directory)
        except ConfigurationDamaged:
            continue
        assert found == before, "only white space may differ"


def reseal(document: dict[str, object]) -> bytes:
    """Give an edited document the checksum that it should have: what remains to be noticed are its values."""
    from hashlib import sha256

    tokens = document["tokens"]
    document["sha256"] = sha256(codec.canonical(tokens)).hexdigest()  # type: ignore[arg-type]
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("member", "value", "what"),
    [
        ("serial", "07137A824D621939", "serial"),
        ("serial", "07137a8200000000", "serial"),
        ("serial", "../../etc/passwd", "serial"),
        ("label", "x" * 33, "label"),
        ("label", None, "label"),
        ("generation", "1", "generation"),
        ("generation", True, "generation"),
        ("public_key", "QUJD", "key"),
        ("signature", "?", "signature"),
        ("so_pin", None, "so_pin"),
        ("so_pin.n", 2**40, "PIN record"),
        ("so_pin.kdf", "hkdf", "PIN record"),
        ("user_pin.p", 0, "PIN record"),
        ("surplus", 1, "surplus"),
    ],
)
def test_values_that_mrhsm_does_not_write_are_refused(
    file_token: TokenOnDisk, member: str, value: object, what: str
) -> None:
    document = json.loads(file_token.configuration.read_bytes())
    *parents, last = member.split(".")
    at = document["tokens"][0]
    for name in parents:
        at = at[name]
    at[last] = value
    file_token.configuration.write_bytes(reseal(document))
    with pytest.raises(ConfigurationDamaged, match=what):
        entries.load(file_token.directory)


def test_a_later_format_is_not_guessed_at(file_token: TokenOnDisk) -> None:
    document = json.loads(file_token.configuration.read_bytes())
    document["format"] = "mrhsm-tokens/2"
    file_token.configuration.write_bytes(json.dumps(document).encode())
    with pytest.raises(ConfigurationDamaged, match="format is not known"):
        entries.load(file_token.directory)


def test_two_tokens_with_one_slot_are_refused(file_token: TokenOnDisk) -> None:
    document = json.loads(file_token.configuration.read_bytes())
    document["tokens"].append({**document["tokens"][0], "serial": "f" * 8 + file_token.serial[8:]})
    file_token.configuration.write_bytes(reseal(document))
    with pytest.raises(ConfigurationDamaged, match="two tokens"):
        entries.load(file_token.directory)


def test_a_token_that_is_gone_is_named(file_token: TokenOnDisk) -> None:
    with pytest.raises(ConfigurationDamaged, match="token 0123456789abcdef is no longer in it") as failure:
        entries.find(file_token.directory, "0123456789abcdef")
    assert isinstance(failure.value, MrhsmError)
    assert isinstance(failure.value, DeviceError)


def test_nothing_secret_is_in_the_file(file_token: TokenOnDisk) -> None:
    content = file_token.configuration.read_bytes()
    opened = file_token.open()
    for secret in (file_token.so_pin, file_token.user_pin, opened.token_key):
        encoded = codec.to_json(secret)
        assert isinstance(encoded, str)
        assert secret.reveal() not in content
        assert encoded.encode() not in content
