"""Read the operator's PEM files and say in one sentence what is wrong with them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret

MOST_BYTES = 1 << 20
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
_CERTIFICATE = (b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----")


class PemRefused(MrhsmError):
    """A certificate or key file that cannot be used."""


def read_certificates(path: Path, what: str, now: datetime.datetime) -> bytes:
    """Return the file's certificates as PEM, leaf first as they stand. Raises PemRefused."""
    text = _read(path, what)
    certificates = parse_certificates(text, f"{what} {path}")
    check_validity(certificates, f"{what} {path}", now)
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def read_key(path: Path, what: str) -> Secret:
    """Return the file's private key as PEM. Raises PemRefused."""
    text = Secret(_read(path, what))
    parse_key(text, f"{what} {path}")
    return text


def parse_certificates(text: bytes, what: str) -> list[x509.Certificate]:
    """Return the certificates that PEM text holds, at least one. Raises PemRefused."""
    if _CERTIFICATE[0] not in text:
        raise PemRefused(f"{what} is not a PEM certificate: it has no line -----BEGIN CERTIFICATE-----")
    if text.count(_CERTIFICATE[0]) != text.count(_CERTIFICATE[1]):
        raise PemRefused(f"{what} is cut off: a -----BEGIN CERTIFICATE----- has no end")
    try:
        certificates = x509.load_pem_x509_certificates(text)
        for certificate in certificates:
            certificate.public_key()
            certificate.subject.rdns  # noqa: B018  (parsed only when asked for)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PemRefused(f"{what} is not a valid PEM certificate") from error
    return certificates


def parse_key(text: Secret, what: str) -> PrivateKeyTypes:
    """Return the private key that PEM text holds. Raises PemRefused."""
    pem = text.reveal()
    if any(mark in pem for mark in _ENCRYPTED):
        raise PemRefused(f"{what} is encrypted: decrypt it first, for example with openssl pkey -in FILE -out FILE2")
    if b"PRIVATE KEY-----" not in pem:
        raise PemRefused(f"{what} is not a PEM private key: it has no line -----BEGIN PRIVATE KEY-----")
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PemRefused(f"{what} is not a valid PEM private key") from error


def check_validity(certificates: Iterable[x509.Certificate], what: str, now: datetime.datetime) -> None:
    """Refuse certificates that are not valid at `now`. Raises PemRefused."""
    for certificate in certificates:
        subject = certificate.subject.rfc4514_string()
        if now > certificate.not_valid_after_utc:
            raise PemRefused(f"{what} expired on {_date(certificate.not_valid_after_utc)} (subject {subject})")
        if now < certificate.not_valid_before_utc:
            raise PemRefused(
                f"{what} is not valid before {_date(certificate.not_valid_before_utc)} (subject {subject}): "
                "check this host's clock"
            )


def check_pair(certificate_pem: bytes, key_pem: Secret) -> None:
    """Refuse a client key that is not the certificate's. Raises PemRefused."""
    certificate = parse_certificates(certificate_pem, "the client certificate")[0]
    key = parse_key(key_pem, "the client key")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise PemRefused(
            "the client certificate and the client key do not belong together: "
            "give the pair with -clientcert and -clientkey in one command"
        )


def _date(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PemRefused(f"cannot read {what} {path}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise PemRefused(f"{what} {path} is larger than {MOST_BYTES} bytes: it is not a PEM file")
    return content
