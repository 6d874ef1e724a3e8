"""What `mrhsm info -verbose` adds below the manual's lines, which stay as they are."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from cryptography import x509

from mrhsm_p11.config import Config
from mrhsm_p11.doctor.certificates import days_left
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.tokens import OpenToken

if TYPE_CHECKING:
    from mrhsm_p11.store.kmip.inspecting import Inspection

SERVER = """
Server {address}:
    Answer          : {latency}
    Says it is      : {vendor}
    KMIP versions   : {versions}
    TLS             : {tls}
    Certificate     : {certificate}
"""
PROFILE = "\nProfile : {name} ({title}): {why}\n"
SEEN = "    {what:<32}: {said}\n"
USER = "\nUser name : {username}\n"
OWN = "{whose} certificate: {left}\n"
GENERATION = "Generation          : {generation}\nFingerprint         : {fingerprint}\n"


def servers(token: OpenToken, config: Config) -> str:
    """Lay out each server's own words, the profile, what was seen, and the days that each certificate has left."""
    from mrhsm_p11.store import kmip  # only where there are servers to ask

    now, connection = datetime.datetime.now(datetime.UTC), token.settings.connection
    inspected = kmip.inspect(connection, config, probe=False)
    text = "".join(_server(found, now) for found in inspected)
    profile = kmip.profile_in_force(connection, config, inspected)
    text += PROFILE.format(name=profile.name, title=profile.title, why=profile.why)
    text += "".join(SEEN.format(what=what, said=said) for what, said in kmip.seen(token, config, profile.name))
    if connection.username:
        text += USER.format(username=connection.username)
    for whose, pem in (("Client", connection.client_certificate), ("CA", connection.ca_certificate)):
        for certificate in x509.load_pem_x509_certificates(pem) if pem else ():
            text += "\n" + OWN.format(whose=whose, left=_left(certificate, now))
    return text


def generation(entry: TokenEntry) -> str:
    """Lay out what must be the same on every node."""
    return GENERATION.format(generation=entry.generation, fingerprint=entry.fingerprint())


def _server(found: Inspection, now: datetime.datetime) -> str:
    chain = [x509.load_der_x509_certificate(der) for der in found.peer.chain] if found.peer is not None else []
    return SERVER.format(
        address=found.address,
        latency=f"{found.latency_ms:.1f} ms" if found.latency_ms is not None else f"none: {found.fault}",
        vendor=found.vendor or "it does not tell",
        versions=", ".join(found.versions) or "it does not tell",
        tls=f"{found.peer.tls_version}, {found.peer.cipher}" if found.peer is not None else "no connection",
        certificate=", ".join(_left(one, now) for one in chain) or "not seen",
    )


def _left(certificate: x509.Certificate, now: datetime.datetime) -> str:
    return f"{days_left(certificate, now)} days left, until {certificate.not_valid_after_utc:%Y-%m-%d}"
