"""Commands against real servers: the way of the manual, and everything that can be wrong with a server."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates
from fix_cluster import CLDB_BYTES, DARE_BYTES, Home

from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import beginning, blob
from mrhsm_p11.secret import Secret

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")
Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., Appliance]


@pytest.fixture
def mrhsm(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)

    def run(*words: object) -> tuple[int, str, str]:
        pin = [] if words[0] == "info" else ["-sopin", "12345678"]
        status = main([*map(str, words), *pin])
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture(autouse=True)
def own_cluster(home: Home) -> None:
    (home.conf / "mapr-clusters.conf").write_text(f"cluster-{os.urandom(6).hex()} n1:7222\n")
    (home.conf / "maprhsm.conf").write_text("[network]\ndeadline_seconds = 5\nconnect_seconds = 1\n")


def options(server: Appliance, certificates: Certificates, client: str = "client") -> list[object]:
    return [
        *("-ip", server.host, "-port", server.port, "-kmipversion", "1.4", "-cacert", certificates.ca),
        *("-clientcert", certificates.certificate(client), "-clientkey", certificates.key(client)),
    ]


def ip_line(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("  IP 1 "))


def refusal(mrhsm: Run, server: Appliance) -> str:
    """Return the reason that info shows; enable gives the same server's in one line and makes nothing."""
    line = ip_line(mrhsm("info", "-config")[1])
    head = f"  IP 1                 : {server.host} Inactive ("
    assert line.startswith(head)
    status, out, err = mrhsm("enable")
    assert status == 1
    assert "generated" not in out
    assert err.count("\n") == 1
    assert err.startswith(f"Not every KMIP server can be used, nothing was changed: {server.host}: ")
    return line.removeprefix(head).removesuffix(")") + " | " + err.rstrip("\n")


def test_the_way_of_the_manual(mrhsm: Run, home: Home, appliance: Appliance, certificates: Certificates) -> None:
    home.legacy(dare=DARE_BYTES.hex().encode())
    assert mrhsm("init", "-label", "Utimaco ESKM") == (0, "", "")
    assert mrhsm("set", *options(appliance, certificates)) == (0, "", "")
    status, out, _ = mrhsm("info", "-config")
    assert status == 0
    assert ip_line(out) == "  IP 1                 : 127.0.0.1 Active"
    assert "KMIP Version           : 1.4\nKMIP Client Key        : Configured\n\nKMIP Client Cert" in out
    assert "Subject: /O=mrhsm trial appliance/CN=kmipclient\n" in out
    assert mrhsm("enable")[0] == 1
    status, out, err = mrhsm("enable", "-dare")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split(", UUID")[0] for line in lines[2:6:2]] == [
        "Successfully generated Core KEK",
        "Successfully generated Common KEK",
    ]
    status, shown, _ = mrhsm("info", "-kmip")
    for key in (CLDB_BYTES, DARE_BYTES):
        checksum = blob.checksum(Secret(key))
        assert checksum in out
        assert f"    SHA-256 checksum: {checksum}\n" in shown
    assert shown.endswith("Enabled             : Yes\n")
    assert "see mrhsm info -kmip" in mrhsm("info", "-file")[2]
    assert mrhsm("set", "-active", "false") == (0, "", "")
    assert mrhsm("info", "-kmip")[1] == shown.replace(": Yes", ": No")
    assert mrhsm("enable", "-active", "false", "-dare")[0] == 0
    assert "Found existing Core KEK" in mrhsm("enable", "-dare")[1]
    assert mrhsm("info", "-kmip")[1] == shown


def test_lost_tokens_are_set_up_again(mrhsm: Run, home: Home, appliance: Appliance, certificates: Certificates) -> None:
    mrhsm("init", "-label", "t", *options(appliance, certificates))
    assert mrhsm("enable", "-dare")[0] == 0
    before = mrhsm("info", "-kmip")[1].splitlines()
    shutil.rmtree(home.config.tokens_dir)
    mrhsm("init", "-label", "t", *options(appliance, certificates))
    out = mrhsm("enable")[1]
    assert out.count("Found existing") == 4
    after = mrhsm("info", "-kmip")[1].splitlines()
    fresh = [line for line in after if line not in before]
    assert len(fresh) == 3  # the serial, and two blobs with IVs of their own


def test_stock_server(mrhsm: Run, home: Home, stock_appliance: Appliance, certificates: Certificates) -> None:
    home.legacy()
    mrhsm("init", "-label", "t", *options(stock_appliance, certificates))
    assert ip_line(mrhsm("info", "-config")[1]).endswith("Active")
    assert mrhsm("enable")[0] == 0
    assert blob.checksum(Secret(CLDB_BYTES)) in mrhsm("info", "-kmip")[1]


def test_one_of_two_servers(mrhsm: Run, appliance: Appliance, certificates: Certificates) -> None:
    mrhsm("init", "-label", "t", *options(appliance, certificates))
    assert mrhsm("set", "-ip", f"127.0.0.1,localhost:{free_port()}")[0] == 0
    out = mrhsm("info", "-config")[1]
    assert "  IP 1                 : 127.0.0.1 Active\n" in out
    assert "  IP 2                 : localhost:" in out
    assert " Inactive (" in out
    status, told, err = mrhsm("enable")  # a part of the group cannot say that there are no keys
    assert (status, "generated" in told, err.count("\n")) == (1, False, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---- servers that cannot be used


def test_server_down(mrhsm: Run, make_appliance: Make, certificates: Certificates) -> None:
    server = make_appliance()
    mrhsm("init", "-label", "t", *options(server, certificates))
    server.stop()
    assert "refused" in refusal(mrhsm, server).lower()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("server-other-ca", "not issued by the configured CA"),
        ("server-expired", "expired"),
        ("server-wrong-name", "is not for 127.0.0.1: another server name is needed"),
    ],
)
def test_server_certificate(mrhsm: Run, make_appliance: Make, certificates: Certificates, name: str, says: str) -> None:
    server = make_appliance(server=name)
    mrhsm("init", "-label", "t", *options(server, certificates))
    told = refusal(mrhsm, server)
    assert told.count(says) == 2, told


def test_server_name_says_what_to_expect(mrhsm: Run, make_appliance: Make, certificates: Certificates) -> None:
    server = make_appliance(server="server-wrong-name")
    mrhsm("init", "-label", "t", *options(server, certificates), "-servername", "kms.example.net")
    assert ip_line(mrhsm("info", "-config")[1]).endswith(" Active")
    assert mrhsm("enable")[0] == 0


def test_client_of_another_authority(mrhsm: Run, make_appliance: Make, certificates: Certificates) -> None:
    server = make_appliance()
    mrhsm("init", "-label", "t", *options(server, certificates, "client-other-ca"))
    assert "certificate" in refusal(mrhsm, server)


def test_version_that_the_server_does_not_speak(mrhsm: Run, make_appliance: Make, certificates: Certificates) -> None:
    server = make_appliance(versions=("1.0", "1.1"))
    mrhsm("init", "-label", "t", *options(server, certificates))
    told = refusal(mrhsm, server)
    assert told.count("does not speak KMIP 1.4 and offers 1.1, 1.0") == 2, told


def test_certificate_that_expired_since(
    mrhsm: Run, home: Home, appliance: Appliance, certificates: Certificates
) -> None:
    connection = appliance.connection(client="client-expired")
    home.token("kmip", connection=connection)
    status, out, err = mrhsm("enable")
    assert (status, out) == (1, "")
    assert err.startswith("The client certificate expired on ")


def test_unreadable_files_are_named(mrhsm: Run, tmp_path: Path) -> None:
    status, _, err = mrhsm("init", "-label", "t", "-cacert", tmp_path / "none.pem")
    assert status == 1
    assert err == f"Cannot read the CA certificate {tmp_path}/none.pem: No such file or directory\n"
