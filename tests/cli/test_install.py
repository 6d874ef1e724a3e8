"""`mrhsm install`: a link that works without MAPR_HOME, and nothing of others touched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fix_clients import Made, need
from fix_cluster import Home

from mrhsm_p11 import config
from mrhsm_p11.cli import install
from mrhsm_p11.cli.main import main
from mrhsm_p11.doctor.library import LIBRARY

pytestmark = pytest.mark.usefixtures("record")


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "installed.home"
    monkeypatch.setattr(config, "HOME_RECORD", path)
    monkeypatch.setattr(install, "HOME_RECORD", path)
    return path


def test_link_record_and_lines(home: Home, tmp_path: Path, record: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # again is as good as once
        assert main(["install", "-libdir", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    link = tmp_path / "libmrhsm_p11.so"
    assert link.resolve() == LIBRARY
    assert f"pkcs11-tool --module {link} --login" in out
    assert f"module: {link}" in out
    assert f"library = {link}" in out
    assert "security.provider.13=SunPKCS11 " in out
    assert config.places({}).home == home.path.resolve()
    assert config.places({"MAPR_HOME": "/other"}).home == Path("/other")
    record.unlink()
    assert config.places({}).home == Path("/opt/mapr")


def test_an_older_link_of_ours_is_renewed(home: Home, tmp_path: Path) -> None:
    link = tmp_path / "libmrhsm_p11.so"
    link.symlink_to("/gone/site-packages/mrhsm_p11/libmrhsm_p11.so")
    assert main(["install", "-libdir", str(tmp_path)]) == 0
    assert link.resolve() == LIBRARY


def test_what_is_not_ours_stays(home: Home, tmp_path: Path, record: Path, capfd: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "libmrhsm_p11.so"
    link.write_text("another's")
    assert main(["install", "-libdir", str(tmp_path)]) == 1
    assert link.read_text() == "another's"
    assert not record.exists()
    assert main(["install", "-libdir", str(tmp_path / "none")]) == 1
    assert main(["install"]) == 2
    told = capfd.readouterr().err.splitlines()
    assert told[0].endswith("is no link of ours: move it away first")
    assert told[1].endswith("is not a folder that is there")


def test_a_linked_library_serves_a_program(make_client: Made, tmp_path: Path) -> None:
    need("pkcs11-tool")
    token = make_client("file")
    link = tmp_path / "libmrhsm_p11.so"
    link.symlink_to(LIBRARY)
    assert "core-kek" in token.good("pkcs11-tool", "--module", link, "--login", "--list-objects")


def test_verbose_info(make_client: Made) -> None:
    token = make_client("kmip")
    plain, more = token.mrhsm("info", "-config"), token.mrhsm("info", "-config", "-verbose")
    assert more.startswith(plain)
    added = more.removeprefix(plain)
    assert re.search(r"^\nServer 127\.0\.0\.1:\n    Answer          : \d+\.\d ms\n", added)
    assert "    Says it is      : mrhsm trial appliance\n    KMIP versions   : 2.1, 2.0, 1.4, 1.3" in added
    assert "    TLS             : TLSv1.3, " in added
    assert re.search(r"    Certificate     : 29 days left, until 20\d\d-", added)
    assert re.search(r"Client certificate: 29 days left.*\n\nCA certificate: 364 days left", added)
    assert "Server" not in plain
    plain, more = token.mrhsm("info", "-kmip"), token.mrhsm("info", "-kmip", "-verbose")
    assert re.fullmatch(r"Generation          : \d+\nFingerprint         : [0-9a-f]{64}\n", more.removeprefix(plain))
    assert token.mrhsm("info", "-verbose").count("Fingerprint") == 1
