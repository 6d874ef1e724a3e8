"""Which product the servers are: set, found, and shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Appliance, StockAppliance
from fix_cluster import SO_PIN, Home

from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import beginning
from mrhsm_p11.config import PROFILES

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")
PATIENCE = "[network]\ndeadline_seconds = 60\nconnect_seconds = 30\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mrhsm(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Home, tmp_path: Path) -> Run:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    (home.conf / "mapr-clusters.conf").write_text(f"profile-{tmp_path.name} n1:7222\n")
    (home.conf / "maprhsm.conf").write_text(PATIENCE)

    def run(*words: str) -> tuple[int, str, str]:
        status = main([*words, *(() if words[0] in ("info", "doctor") else ("-sopin", SO_PIN.reveal().decode()))])
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


def profile(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("Profile "))


def test_an_unknown_name_is_refused_with_the_nearest_and_the_list(mrhsm: Run, home: Home) -> None:
    home.token("kmip")
    status, out, err = mrhsm("set", "-profile", "valt")
    assert (status, out) == (2, "")
    assert err == f"-profile must be {' or '.join(PROFILES)}, not 'valt': did you mean vault?\n"
    assert mrhsm("set", "-profile", "%")[2].endswith("not '%'\n")


def test_an_unknown_name_in_the_settings_file_is_refused_with_its_line(mrhsm: Run, home: Home) -> None:
    home.token("kmip")
    (home.conf / "maprhsm.conf").write_text('[network]\nprofile = "valt"\n')
    status, _, err = mrhsm("info", "-config")
    assert status == 1
    assert "maprhsm.conf, line 2: network.profile must be one of default, eskm" in err


def test_the_version_follows_a_profile_that_does_not_have_it(mrhsm: Run, home: Home) -> None:
    home.token("kmip")
    assert mrhsm("set", "-profile", "eskm") == (0, "", "")
    assert home.login().settings.connection.kmip_version == "1.1"
    assert mrhsm("set", "-profile", "vault") == (0, "The KMIP version is now 1.4: the profile vault has no 1.1\n", "")
    assert home.login().settings.connection.kmip_version == "1.4"
    assert mrhsm("set", "-profile", "keysecure", "-kmipversion", "1.0") == (0, "", "")  # the operator knows better
    connection = home.login().settings.connection
    assert (connection.profile, connection.kmip_version) == ("keysecure", "1.0")
    assert mrhsm("set", "-kmipversion", "auto") == (0, "", "")
    assert mrhsm("set", "-profile", "vault") == (0, "", "")
    assert home.login().settings.connection.kmip_version == "auto"
    assert mrhsm("remove", "-profile") == (0, "", "")
    assert home.login().settings.connection.profile == ""


def test_init_and_configure_take_it(mrhsm: Run, home: Home) -> None:
    status, out, _ = mrhsm("init", "-label", "t", "-profile", "vault")
    assert (status, out) == (0, "The KMIP version is now 1.4: the profile vault has no 1.1\n")
    assert home.login().settings.connection.profile == "vault"


def test_what_was_found_and_seen_is_shown(mrhsm: Run, home: Home, stock_appliance: StockAppliance) -> None:
    home.token("kmip", connection=stock_appliance.connection())
    said = "pykmip (PyKMIP): the server says it is 'PyKMIP 0.11.0 Software Server'"
    out = mrhsm("info", "-config", "-verbose")[1]
    assert profile(out) == f"Profile : {said}"
    assert "    Re-key                          : not expected\n" in out
    assert "Search entries" not in out
    assert mrhsm("enable")[0] == 0
    out = mrhsm("info", "-config", "-verbose")[1]
    assert "    Application Specific Information: works\n    Search entries in it            : works\n" in out
    assert said in mrhsm("doctor")[1]
    assert "Profile" not in mrhsm("info", "-config")[1]  # the manual's lines, and no others


def test_what_is_set_comes_before_what_the_server_says(
    mrhsm: Run, home: Home, stock_appliance: StockAppliance, capfd: pytest.CaptureFixture[str]
) -> None:
    home.token("kmip", connection=stock_appliance.connection(kmip_version="1.2"))
    (home.conf / "maprhsm.conf").write_text(f'{PATIENCE}profile = "dsm"\n')
    told = "dsm (Vormetric DSM): set by network.profile in maprhsm.conf"
    assert profile(mrhsm("info", "-config", "-verbose")[1]) == f"Profile : {told}"
    mrhsm("set", "-profile", "vault", "-kmipversion", "1.2")
    told = "vault (HashiCorp Vault Enterprise): set by mrhsm set -profile"
    assert profile(mrhsm("info", "-config", "-verbose")[1]) == f"Profile : {told}"
    out = mrhsm("doctor")[1]
    assert told in out
    assert "no document names KMIP 1.2 for HashiCorp Vault Enterprise, but 1.4" in out


def test_a_product_that_nobody_knows(mrhsm: Run, home: Home, appliance: Appliance) -> None:
    home.token("kmip", connection=appliance.connection())
    out = mrhsm("info", "-config", "-verbose")[1]
    assert profile(out) == "Profile : default (any other): none is known for 'mrhsm trial appliance'"
