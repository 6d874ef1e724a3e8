"""Our own certificates and the servers': days left, what they are for, whether the key fits."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from mrhsm_p11.cluster import pem
from mrhsm_p11.doctor.findings import Finding, broken, warning, well
from mrhsm_p11.doctor.subjects import Token

SOON_DAYS = 21


def own(token: Token) -> Iterator[Finding]:
    connection = token.settings.connection
    client = pem.parse_certificates(connection.client_certificate, "the client certificate")
    yield from lifetimes(client, "the client certificate", token.node.now, "mrhsm set -clientcert ... -clientkey ...")
    authorities = pem.parse_certificates(connection.ca_certificate, "the CA certificate")
    yield from lifetimes(authorities, "the CA certificate", token.node.now, "mrhsm set -cacert ...")
    if not for_clients(client[0]):
        yield warning(
            "the client certificate is not marked for clients (extended key usage clientAuth)",
            "have it issued again with clientAuth: many key managers refuse it otherwise",
        )
    if connection.client_key is not None:
        try:
            pem.check_pair(connection.client_certificate, connection.client_key)
        except pem.PemRefused as error:
            yield broken(str(error), "mrhsm set -clientcert ... -clientkey ...")


def for_clients(certificate: x509.Certificate) -> bool:
    """Tell whether the certificate says that it is a client's."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def days_left(certificate: x509.Certificate, now: datetime.datetime) -> int:
    """Return whole days until it ends; negative once it has."""
    return (certificate.not_valid_after_utc - now).days


def lifetimes(
    certificates: Iterable[x509.Certificate], what: str, now: datetime.datetime, renew: str
) -> Iterator[Finding]:
    """Yield what is to be said of the time that each has left."""
    for certificate in certificates:
        left, end = days_left(certificate, now), f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        subject = certificate.subject.rfc4514_string() or "no subject"
        if now > certificate.not_valid_after_utc:
            yield broken(f"{what} expired on {end} ({subject})", renew)
        elif now < certificate.not_valid_before_utc:
            begin = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            yield broken(f"{what} is not valid before {begin} ({subject})", f"check this host's clock, or {renew}")
        elif left < SOON_DAYS:
            yield warning(f"{what} has {left} days left, until {end} ({subject})", renew)
        else:
            yield well(f"{what} has {left} days left, until {end} ({subject})")
