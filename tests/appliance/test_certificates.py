"""The certificates are what their names say."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fix_appliance import Certificates

from mrhsm_p11.appliance import certificates as issue

NAMES = sorted(issue.GOOD | issue.OTHERS | issue.REFUSED)


def load(certificates: Certificates, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificates.certificate(name).read_bytes())


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def faults(certificates: Certificates, name: str) -> set[str]:
    """Name everything that makes a certificate unfit for its role."""
    certificate = load(certificates, name)
    found = set()
    try:
        certificate.verify_directly_issued_by(load(certificates, "ca"))
    except (InvalidSignature, ValueError):
        found.add("issuer")
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc < now < certificate.not_valid_after_utc:
        found.add("time")
    server = name.startswith("server")
    if usages(certificate) != [ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH]:
        found.add("usage")
    if server:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
        if names.get_values_for_type(x509.DNSName) != ["localhost"] or addresses != ["127.0.0.1", "::1"]:
            found.add("name")
    elif len(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)) != 1:
        found.add("name")
    try:
        key = load_pem_private_key(certificates.key(name).read_bytes(), None)
    except TypeError:
        found.add("passphrase")
    else:
        shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if key.public_key().public_bytes(*shape) != certificate.public_key().public_bytes(*shape):
            found.add("key")
    return found


FAULTS = {
    "server-expired": {"time"},
    "server-not-yet-valid": {"time"},
    "server-wrong-name": {"name"},
    "server-other-ca": {"issuer"},
    "client-expired": {"time"},
    "client-not-yet-valid": {"time"},
    "client-other-ca": {"issuer"},
    "client-no-usage": {"usage"},
    "client-server-usage": {"usage"},
    "client-two-names": {"name"},
    "client-no-name": {"name"},
    "client-mismatch": {"key"},
    "client-encrypted": {"passphrase"},
}


def test_every_refused_kind_has_its_fault() -> None:
    assert FAULTS.keys() == issue.REFUSED.keys()


@pytest.mark.parametrize("name", NAMES)
def test_has_exactly_the_fault_of_its_name(certificates: Certificates, name: str) -> None:
    assert faults(certificates, name) == FAULTS.get(name, set())


def test_encrypted_key_opens_with_the_passphrase(certificates: Certificates) -> None:
    load_pem_private_key(certificates.key("client-encrypted").read_bytes(), issue.PASSPHRASE)


def test_only_the_owner_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "certs"
    issue.make(folder)
    assert {file.name for file in folder.iterdir()} == {
        "ca.pem",
        "client.pem",
        "client.key",
        "server.pem",
        "server.key",
    }
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
