"""kill -9 before every change to a file, in every command that changes any: services log in, and the next run ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fix_appliance import Appliance
from fix_cluster import CLDB_BYTES, DARE_BYTES, SO_PIN, Home
from fix_tokens import run_all_killed

from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import beginning, blob, setup, stores
from mrhsm_p11.cluster.keys import CLDB, CORE, DARE
from mrhsm_p11.errors import PinIncorrect
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries, tokens
from mrhsm_p11.tokendir.tokens import SoToken

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")
CHANGES = ("write", "rename", "unlink", "mkdir")  # what other processes see of a command
NEW_PIN = Secret(b"87654321")
SOPIN = ("-sopin", SO_PIN.reveal().decode())


@dataclass(frozen=True, slots=True)
class Case:
    """A command, what was done before it, and what it may leave when it is killed."""

    words: tuple[str, ...]
    enabled: bool = True  # else only made
    made: bool = True
    least: int = 4


CASES = {
    "init": Case(("init", "-label", "t", "-storetype", "file", *SOPIN), enabled=False, made=False),
    "init of a second token": Case(("init", "-label", "u", "-storetype", "file", *SOPIN)),
    "set": Case(("set", "-port", "7777", *SOPIN)),
    "remove": Case(("remove", "-port", *SOPIN)),
    "enable": Case(("enable", "-dare", *SOPIN), enabled=False, least=20),
    "rekey core": Case(("rekey", "core", *SOPIN), least=20),
    "rekey common": Case(("rekey", "common", *SOPIN), least=20),
    "sopin": Case(("sopin", "-oldsopin", "12345678", "-newsopin", "87654321"), least=3),
    "userpin": Case(("userpin", *SOPIN)),
    "userpin, kept nowhere": Case(("userpin", "-userpin", "abcd", "-nopinfile", *SOPIN)),
    "configure": Case(("configure", "-dare", "-hsmsopin", "12345678"), enabled=False, made=False, least=20),
}


def as_officer(home: Home) -> SoToken:
    """Log in with the old or the new SO PIN."""
    entry = entries.load(home.directory)[0]
    try:
        return tokens.login_so(home.directory, entry, SO_PIN)
    except PinIncorrect:
        return tokens.login_so(home.directory, entry, NEW_PIN)


def assert_usable(home: Home, *, enabled: bool) -> None:
    """Services log in, and the cluster's keys open under the KEK that is recorded with them."""
    entry = entries.load(home.directory)[0]
    pin = tokens.read_pin_file(home.directory, entry) or Secret(b"abcd")
    setup.login_user(home.directory, entry, pin, home.config, from_file=True)
    if not enabled:
        return
    so = as_officer(home)
    record = so.settings.cluster
    assert record is not None
    assert record.core_kek is not None
    with stores.open_keys(so, home.config) as keys:
        core = keys.read(record.core_kek.uid)
    for key, plain in ((CLDB, CLDB_BYTES), (DARE, DARE_BYTES)):
        kept = getattr(record, key.field)
        assert blob.decrypt(core, kept.encrypted, kept.checksum, key.title).reveal() == plain


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_killed_anywhere(
    name: str, home: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str], record_property: Callable[..., None]
) -> None:
    case, saved = CASES[name], tmp_path / "saved"
    home.legacy(dare=DARE_BYTES.hex().encode())
    if case.made:
        home.token()
    if case.enabled:
        assert main(["enable", "-dare", *SOPIN]) == 0
    home.conf.joinpath("tokens").mkdir(exist_ok=True)
    shutil.copytree(home.config.tokens_dir, saved)

    def check(_: int) -> None:
        present = entries.load(home.directory)
        if case.made:
            assert_usable(home, enabled=case.enabled)
        if name.startswith("init") and len(present) > case.made:
            assert main(["set", "-port", "1", "-token", case.words[2], *SOPIN]) == 0  # it was made whole
        elif name == "sopin" and as_officer(home).entry.so_pin.generation > before:
            assert main(["set", "-port", "1", "-sopin", "87654321"]) == 0
        elif not name.startswith("rekey") or unfinished(home):
            assert main(list(case.words)) == 0
        assert_usable(home, enabled=case.enabled or name in ("enable", "configure"))
        if name.startswith("rekey"):
            record = as_officer(home).settings.cluster
            assert record is not None
            key = record.core_kek if name.endswith("core") else record.common_kek
            assert key is not None
            assert len(key.earlier) == 1
            assert not record.journal
        assert_files_agree(home)
        shutil.rmtree(home.config.tokens_dir)
        shutil.copytree(saved, home.config.tokens_dir)

    before = as_officer(home).entry.so_pin.generation if case.made else 0
    steps = run_all_killed(lambda: main(list(case.words)), check, CHANGES)
    capfd.readouterr()
    record_property("kill points", steps)
    print(f"\n{name}: killed at {steps} points, survived all")
    assert steps > case.least


def unfinished(home: Home) -> bool:
    """Tell whether a rekey is still to be run: nothing kept yet, or something begun."""
    record = as_officer(home).settings.cluster
    assert record is not None
    return bool(record.journal) or not any(getattr(record, key).earlier for key in ("core_kek", "common_kek"))


def assert_files_agree(home: Home) -> None:
    """The encrypted keys beside each token are those that it records."""
    for entry in entries.load(home.directory)[:1]:
        record = as_officer(home).settings.cluster
        for field, file in (("cldb", "cldb.key.enc"), ("dare", "dare.master.key.enc")):
            path = home.config.tokens_dir / entry.serial / file
            kept = getattr(record, field, None)
            assert path.exists() == (kept is not None)
            assert kept is None or path.read_bytes() == kept.encrypted


def test_the_core_kek_is_what_was_replaced(home: Home) -> None:
    """The case above would pass if rekey changed nothing."""
    home.legacy(dare=DARE_BYTES.hex().encode())
    home.token()
    assert main(["enable", "-dare", *SOPIN]) == 0
    before = as_officer(home).settings.cluster
    assert main(["rekey", "core", *SOPIN]) == 0
    after = as_officer(home).settings.cluster
    assert getattr(before, CORE.field).uid != getattr(after, CORE.field).uid


WITH_A_KEY_MANAGER = {
    "set": ("set", "-kmipversion", "1.3", *SOPIN),
    "remove": ("remove", "-kmipversion", *SOPIN),
    "sopin": CASES["sopin"].words,
    "userpin": CASES["userpin"].words,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WITH_A_KEY_MANAGER)
def test_killed_anywhere_with_a_key_manager(
    name: str, home: Home, appliance: Appliance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    words, saved = WITH_A_KEY_MANAGER[name], tmp_path / "saved"
    (home.conf / "mapr-clusters.conf").write_text(f"killed-{os.urandom(6).hex()} n1:7222\n")
    home.legacy(dare=DARE_BYTES.hex().encode())
    home.token("kmip", connection=appliance.connection())
    assert main(["enable", "-dare", *SOPIN]) == 0
    shutil.copytree(home.config.tokens_dir, saved)
    before = as_officer(home).entry.so_pin.generation

    def check(_: int) -> None:
        assert_usable(home, enabled=True)
        changed = as_officer(home).entry.so_pin.generation > before
        assert changed or main(list(words)) == 0
        assert_usable(home, enabled=True)
        assert_files_agree(home)
        shutil.rmtree(home.config.tokens_dir)
        shutil.copytree(saved, home.config.tokens_dir)

    steps = run_all_killed(lambda: main(list(words)), check, CHANGES)
    print(f"\n{name}, KMIP: killed at {steps} points, survived all")
    assert steps > 3
