"""Certificates made on the spot: an authority, a server, a client, and for tests those that must be refused."""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = datetime.timedelta(days=1)
LOOPBACK_NAMES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)
ELSEWHERE: tuple[x509.GeneralName, ...] = (x509.DNSName("kms.example.net"),)
PASSPHRASE = b"trial passphrase"  # of the encrypted keys, which exist only to be refused


@dataclass(frozen=True, slots=True)
class Kind:
    """One certificate and key: <name>.pem and <name>.key."""

    common_name: str
    uses: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    names: tuple[x509.GeneralName, ...] = ()
    issuer: str = "ca"
    from_days: int = -1
    until_days: int = 30
    rsa: bool = False
    key_of: str = ""  # take the private key of another kind, which then does not fit this certificate
    encrypted: bool = False
    more_names: tuple[str, ...] = field(default=())


_SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)

# Servers take clients with exactly one common name and the extended key usage clientAuth.
GOOD = {
    "server": Kind("localhost", _SERVER, LOOPBACK_NAMES),
    "client": Kind("kmipclient", rsa=True),
}
OTHERS = {
    "client-second": Kind("second"),
    "client-ec": Kind("kmipclient"),
}
REFUSED = {
    "server-expired": Kind("localhost", _SERVER, LOOPBACK_NAMES, from_days=-20, until_days=-10),
    "server-not-yet-valid": Kind("localhost", _SERVER, LOOPBACK_NAMES, from_days=10, until_days=40),
    "server-wrong-name": Kind("kms.example.net", _SERVER, ELSEWHERE),
    "server-other-ca": Kind("localhost", _SERVER, LOOPBACK_NAMES, issuer="other-ca"),
    "client-expired": Kind("kmipclient", from_days=-20, until_days=-10),
    "client-not-yet-valid": Kind("kmipclient", from_days=10),
    "client-other-ca": Kind("kmipclient", issuer="other-ca"),
    "client-no-usage": Kind("kmipclient", uses=()),
    "client-server-usage": Kind("kmipclient", _SERVER),
    "client-two-names": Kind("kmipclient", more_names=("another",)),
    "client-no-name": Kind(""),
    "client-mismatch": Kind("kmipclient", key_of="client-ec"),
    "client-encrypted": Kind("kmipclient", encrypted=True),
}


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that lives as long as the process: its key is written nowhere."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, common_name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject([common_name])
        builder = _builder(subject, subject, key.public_key(), -1, 365)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    def issue(self, kind: Kind, key: PrivateKey) -> x509.Certificate:
        names = [name for name in (kind.common_name, *kind.more_names) if name]
        builder = _builder(_subject(names), self.certificate.subject, key.public_key(), kind.from_days, kind.until_days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(authority=False), critical=True)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if kind.uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(kind.uses), critical=False)
        if kind.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(kind.names), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def make(folder: Path, kinds: dict[str, Kind] | None = None) -> None:
    """Write ca.pem and, for each kind (the good pair by default), <name>.pem and <name>.key (0600) into `folder`."""
    kinds = GOOD if kinds is None else kinds
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authorities = {name: Authority.make(f"mrhsm trial {name}") for name in {"ca"} | {k.issuer for k in kinds.values()}}
    for name, authority in authorities.items():
        _write(folder / f"{name}.pem", authority.certificate.public_bytes(serialization.Encoding.PEM))
    keys: dict[str, PrivateKey] = {
        name: rsa.generate_private_key(65537, 2048) if kind.rsa else ec.generate_private_key(ec.SECP256R1())
        for name, kind in kinds.items()
    }
    for name, kind in kinds.items():
        certificate = authorities[kind.issuer].issue(kind, keys[name])
        _write(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(folder / f"{name}.key", _pem(keys[kind.key_of or name], encrypted=kind.encrypted))


def _subject(common_names: list[str]) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mrhsm trial appliance")
    return x509.Name([organisation, *(x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, start: int, end: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start * DAY)
        .not_valid_after(now + end * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: PrivateKey, *, encrypted: bool) -> bytes:
    protection = serialization.BestAvailableEncryption(PASSPHRASE) if encrypted else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
