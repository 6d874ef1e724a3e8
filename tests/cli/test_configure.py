"""`mrhsm configure`: run until it works, changing only what is not yet as it should be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates
from fix_cluster import CLDB_BYTES, DARE_BYTES, Home

from mrhsm_p11.cli.commands import COMMANDS
from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import beginning, blob
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries, tokens

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def configure(capfd: pytest.CaptureFixture[str], home: Home, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    (home.conf / "mapr-clusters.conf").write_text(f"cluster-{os.urandom(6).hex()} n1:7222\n")
    (home.conf / "maprhsm.conf").write_text("[network]\ndeadline_seconds = 5\nconnect_seconds = 1\n")

    def run(*words: object) -> tuple[int, str, str]:
        status = main(["configure", *map(str, words)])
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


def snapshot(home: Home) -> dict[str, bytes]:
    """Return the files, without what this node counts and what it learned of its servers, which may grow."""
    found = home.config.tokens_dir.rglob("*")
    own = (".", "node-", "learned")
    return {str(path): path.read_bytes() for path in found if path.is_file() and not path.name.startswith(own)}


def test_every_option_of_init_and_set_has_its_twin() -> None:
    table = {command.name: {option.name for option in command.options} for command in COMMANDS}
    assert table["configure"] >= {f"-hsm{name[1:]}" for name in table["init"] | table["set"] - {"-active", "-token"}}


def test_file_store_with_nothing_given(configure: Run, home: Home) -> None:
    home.legacy()
    status, out, err = configure()
    assert status == 0
    assert err.startswith("Warning: the SO PIN is the default one")
    assert f"SHA-256 checksum for CLDB key is {blob.checksum(Secret(CLDB_BYTES))}" in out
    (entry,) = entries.load(home.directory)
    assert (entry.label, entry.store) == ("MapRHSM", "file")
    assert tokens.login_so(home.directory, entry, Secret(b"1234")).settings.cluster is not None
    before = snapshot(home)
    status, out, _ = configure()
    assert (status, "generated" in out, "####" in out) == (0, False, False)
    assert snapshot(home) == before


def test_dare_has_to_be_chosen(configure: Run, home: Home) -> None:
    home.legacy(dare=DARE_BYTES.hex().encode())
    status, _, err = configure("-hsmsopin", "5678")
    assert (status, "-dare is not specified" in err) == (5, True)
    assert configure("-hsmsopin", "5678", "-dare")[0] == 0


def test_run_until_it_works(configure: Run, home: Home, appliance: Appliance, certificates: Certificates) -> None:
    pin = home.path / "pin"
    pin.write_bytes(b"so pin\n")
    so = ("-hsmsopinfile", pin)
    status, out, err = configure("-hsmip", "127.0.0.1", "-hsmport", 1, *so)
    assert (status, out, err) == (4, "", "Set: not configured yet: -hsmcacert, -hsmclientcert, -hsmclientkey\n")
    status, _, err = configure("-hsmcacert", certificates.certificate("client-expired"), *so)
    assert (status, "expired on" in err) == (4, True)
    pair = ("-hsmclientcert", certificates.certificate(), "-hsmclientkey", certificates.key())
    status, _, err = configure("-hsmcacert", certificates.ca, *pair, *so)
    assert (status, err[:45]) == (5, "Enable: not every KMIP server can be used, no")
    status, out, err = configure("-hsmport", appliance.port, "-hsmkmipversion", "1.4", *so)
    assert (status, err) == (0, "")
    assert "Successfully generated CLDB key" in out
    before = snapshot(home)
    status, out, err = configure("-hsmport", appliance.port, *so, *pair)
    assert (status, err) == (0, "")
    assert "Found existing CLDB key" in out
    assert snapshot(home) == before
    assert len(entries.load(home.directory)) == 1


def test_a_wrong_pin_is_of_the_first_step(configure: Run) -> None:
    assert configure("-hsmsopin", "5678", "-hsmlabel", "mine")[0] == 0
    assert configure("-hsmsopin", "8765") == (3, "", "Init: the SO PIN is incorrect\n")
    assert configure("-hsmsopin", "123", "-hsmlabel", "x")[0] == 3


@pytest.mark.parametrize("words", [("-hsmfrob",), ("-ip", "1.2.3.4"), ("-hsmnopinfile",), ("-hsmstoretype", "tape")])
def test_usage(configure: Run, home: Home, words: tuple[str, ...]) -> None:
    status, out, err = configure(*words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not home.config.tokens_dir.exists()


def test_the_fragments_name_options_that_there_are() -> None:
    import re

    page = (Path(__file__).parents[2] / "docs" / "configure.md").read_text()
    (options,) = [{option.name for option in command.options} for command in COMMANDS if command.name == "configure"]
    assert set(re.findall(r"-hsm[a-z]+", page)) <= options
