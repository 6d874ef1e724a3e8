from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from fix_appliance import Certificates

from mrhsm_p11.cluster.connection import (
    Change,
    ConnectionRefused,
    changed,
    check_complete,
    missing,
    removed,
)
from mrhsm_p11.cluster.pem import PemRefused
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.settings import Connection

NOW = datetime.datetime.now(datetime.UTC)


def whole(certificates: Certificates) -> Connection:
    change = Change(
        addresses="127.0.0.1,localhost:5697",
        ca_certificate=certificates.ca,
        client_certificate=certificates.certificate(),
        client_key=certificates.key(),
    )
    return changed(Connection(), change, NOW)


def test_subsets_add_up(certificates: Certificates) -> None:
    steps = [
        Change(addresses="127.0.0.1, localhost:5697"),
        Change(ca_certificate=certificates.ca),
        Change(client_certificate=certificates.certificate()),
        Change(client_key=certificates.key()),
    ]
    connection = Connection()
    absent = ["-ip", "-cacert", "-clientcert", "-clientkey"]
    for number, step in enumerate(steps):
        assert missing(connection) == absent[number:]
        with pytest.raises(ConnectionRefused, match=", ".join(absent[number:])):
            check_complete(connection, NOW)
        connection = changed(connection, step, NOW)
    assert connection == whole(certificates)
    check_complete(connection, NOW)
    assert (connection.port, connection.kmip_version) == (5696, "1.1")


def test_what_is_not_named_stays(certificates: Certificates) -> None:
    before = whole(certificates)
    after = changed(before, Change(port="1234", kmip_version="1.4", server_names="kms.example.net"), NOW)
    assert after == replace(before, port=1234, kmip_version="1.4", server_names=("kms.example.net",))


@pytest.mark.parametrize(
    "text", ["10.0.0.1", "kms", "kms-1.example.net:5696", "[::1]", "[fe80::1]:5696", "a,b,c", "_kmip.example.net"]
)
def test_addresses_accepted(text: str) -> None:
    assert changed(Connection(), Change(addresses=text), NOW).addresses == tuple(text.split(","))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("a,,b", "empty"),
        ("a,b,a", "a is listed twice"),
        ("300.1.1.1", "'300.1.1.1' is neither"),
        ("1.2.3", "neither"),
        ("::1", r"in brackets: \[::1\]"),
        ("[1.2.3.4]", "neither"),
        ("[::1", "neither"),
        ("a b", "neither"),
        ("https://kms", "neither|port"),
        ("kms:0", "1 to 65535, not '0'"),
        ("kms:65536", "65535"),
        ("kms:", "1 to 65535, not ''"),
        ("[::1]:x", "not 'x'"),
        ("-kms", "neither"),
    ],
)
def test_addresses_refused(text: str, says: str) -> None:
    with pytest.raises(ConnectionRefused, match=says):
        changed(Connection(), Change(addresses=text), NOW)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "", "1e3", "٣", "99999999999"])
def test_port_refused(port: str) -> None:
    with pytest.raises(ConnectionRefused, match="from 1 to 65535"):
        changed(Connection(), Change(port=port), NOW)


@pytest.mark.parametrize("version", ["1.5", "2", "", "1.10"])
def test_version_refused(version: str) -> None:
    with pytest.raises(ConnectionRefused, match=r"1\.0, 1\.1, 1\.2, 1\.3, 1\.4"):
        changed(Connection(), Change(kmip_version=version), NOW)


def test_server_names() -> None:
    two = Change(addresses="a,b")
    assert changed(Connection(), replace(two, server_names="x,y"), NOW).server_names == ("x", "y")
    with pytest.raises(ConnectionRefused, match="2 names of -servername for 3 addresses"):
        changed(Connection(), Change(addresses="a,b,c", server_names="x,y"), NOW)
    with pytest.raises(ConnectionRefused, match="'x y' is neither"):
        changed(Connection(), Change(server_names="x y"), NOW)


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        ("client-expired", "expired on"),
        ("client-not-yet-valid", "is not valid before"),
    ],
)
def test_certificates_out_of_their_time(certificates: Certificates, certificate: str, says: str) -> None:
    path = certificates.certificate(certificate)
    for change in (Change(client_certificate=path), Change(ca_certificate=path)):
        with pytest.raises(PemRefused, match=f"{path} {says}"):
            changed(Connection(), change, NOW)


def test_certificate_that_expired_since_it_was_set(certificates: Certificates) -> None:
    later = NOW + datetime.timedelta(days=60)
    with pytest.raises(PemRefused, match="the client certificate expired on"):
        check_complete(whole(certificates), later)


def test_mismatched_pair(certificates: Certificates) -> None:
    pair = Change(
        client_certificate=certificates.certificate("client-mismatch"), client_key=certificates.key("client-mismatch")
    )
    with pytest.raises(PemRefused, match="do not belong together"):
        changed(Connection(), pair, NOW)
    with pytest.raises(PemRefused, match="-clientcert and -clientkey in one command"):
        changed(whole(certificates), Change(client_key=certificates.key("client-ec")), NOW)


def test_encrypted_key(certificates: Certificates) -> None:
    with pytest.raises(PemRefused, match="is encrypted"):
        changed(Connection(), Change(client_key=certificates.key("client-encrypted")), NOW)


def test_chains_are_kept_whole(certificates: Certificates, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    first, second = certificates.ca.read_bytes(), certificates.certificate().read_bytes()
    chain.write_bytes(b"a comment\n" + first + second)
    assert changed(Connection(), Change(ca_certificate=chain), NOW).ca_certificate == first + second


def contents(certificates: Certificates) -> dict[str, tuple[bytes, str]]:
    good = certificates.certificate().read_bytes()
    return {
        "empty": (b"", "is not a PEM"),
        "DER": (b"\x30\x82\x01\x00", "is not a PEM"),
        "cut": (good[: len(good) // 2], "is cut off"),
        "broken": (good.replace(b"M", b"!", 5), "is not a valid PEM certificate"),
        "large": (b"x" * (2 << 20), "larger than"),
    }


@pytest.mark.parametrize("case", ["empty", "DER", "cut", "broken", "large"])
def test_not_a_certificate(certificates: Certificates, tmp_path: Path, case: str) -> None:
    content, says = contents(certificates)[case]
    path = tmp_path / "client.pem"
    path.write_bytes(content)
    for change in (Change(client_certificate=path), Change(ca_certificate=path)):
        with pytest.raises(PemRefused) as refused:
            changed(Connection(), change, NOW)
        assert str(path) in str(refused.value)
        assert says in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a PEM private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is not a valid PEM private key"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "is encrypted"),
    ],
)
def test_not_a_key(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "client.key"
    path.write_bytes(content)
    with pytest.raises(PemRefused, match=f"the client key {path} {says}"):
        changed(Connection(), Change(client_key=path), NOW)


def test_a_key_is_no_certificate_and_a_certificate_no_key(certificates: Certificates) -> None:
    with pytest.raises(PemRefused, match="is not a PEM certificate"):
        changed(Connection(), Change(client_certificate=certificates.key()), NOW)
    with pytest.raises(PemRefused, match="is not a PEM private key"):
        changed(Connection(), Change(client_key=certificates.certificate()), NOW)


def test_unreadable_files(tmp_path: Path) -> None:
    for name in ("ca_certificate", "client_certificate", "client_key"):
        for path, says in ((tmp_path / "none.pem", "No such file"), (tmp_path, "Is a directory")):
            with pytest.raises(PemRefused, match=f"cannot read the .* {path}: {says}"):
                changed(Connection(), Change(**{name: path}), NOW)


def test_removed_settings_are_the_defaults(certificates: Certificates) -> None:
    before = replace(whole(certificates), port=1, kmip_version="1.4", client_key=Secret(b"x"))
    after = removed(before, ["port", "kmip_version", "client_key"])
    assert after == replace(before, port=5696, kmip_version="1.1", client_key=None)
