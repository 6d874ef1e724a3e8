"""The connection to the key managers: what `init` and `set` change, and what is still missing."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from mrhsm_p11.cluster import pem
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store import kmip
from mrhsm_p11.tokendir.settings import AUTOMATIC, Connection

KMIP_VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4", "2.0", "2.1", AUTOMATIC)
USERNAME_CHARACTERS = 255
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_BRACKETED = re.compile(r"\[(?P<host>[^\]]*)\](:(?P<port>.*))?")


class ConnectionRefused(MrhsmError):
    """A connection setting that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Change:
    """A subset of the connection as the operator writes it; None leaves a setting as it is."""

    addresses: str | None = None  # comma-separated
    port: str | None = None
    kmip_version: str | None = None
    ca_certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    server_names: str | None = None  # comma-separated
    username: str | None = None
    password: Secret | None = None  # goes with the user name; empty: none is sent
    profile: str | None = None  # its version is taken, unless the version that is set is one of its versions


def changed(connection: Connection, change: Change, now: datetime.datetime) -> Connection:
    """Return the connection with the change made and every file read and checked.

    Raises ConnectionRefused, pem.PemRefused.
    """
    new = connection
    if change.addresses is not None:
        new = replace(new, addresses=_addresses(change.addresses))
    if change.port is not None:
        new = replace(new, port=_port(change.port))
    if change.kmip_version is not None:
        new = replace(new, kmip_version=_version(change.kmip_version))
    if change.server_names is not None:
        new = replace(new, server_names=_server_names(change.server_names))
    if change.username is not None:
        new = replace(new, username=_username(change.username), password=_password(change.password))
    if change.profile is not None:
        new = replace(new, profile=change.profile)
        if change.kmip_version is None:
            new = replace(new, kmip_version=_version_of(new))
    if change.ca_certificate is not None:
        new = replace(new, ca_certificate=pem.read_certificates(change.ca_certificate, "the CA certificate", now))
    if change.client_certificate is not None:
        certificates = pem.read_certificates(change.client_certificate, "the client certificate", now)
        new = replace(new, client_certificate=certificates)
    if change.client_key is not None:
        new = replace(new, client_key=pem.read_key(change.client_key, "the client key"))
    if (change.client_certificate or change.client_key) and new.client_certificate and new.client_key is not None:
        pem.check_pair(new.client_certificate, new.client_key)
    if len(new.server_names) > 1 and new.addresses and len(new.server_names) != len(new.addresses):
        raise ConnectionRefused(
            f"{len(new.server_names)} names of -servername for {len(new.addresses)} addresses of -ip: "
            "give one name for all, or one for each"
        )
    return new


# What cannot be left out, and the option that sets it.
_NEEDED = (
    ("addresses", "-ip"),
    ("ca_certificate", "-cacert"),
    ("client_certificate", "-clientcert"),
    ("client_key", "-clientkey"),
)


def missing(connection: Connection) -> list[str]:
    """Return the options that still have to be given to `set`."""
    return [option for name, option in _NEEDED if not getattr(connection, name)]


def check_complete(connection: Connection, now: datetime.datetime) -> None:
    """Refuse a connection that misses something or whose certificates have run out.

    Raises ConnectionRefused, pem.PemRefused.
    """
    if absent := missing(connection):
        raise ConnectionRefused(f"not configured yet: {', '.join(absent)}; give what is missing to mrhsm set first")
    for what, text in (
        ("the CA certificate", connection.ca_certificate),
        ("the client certificate", connection.client_certificate),
    ):
        pem.check_validity(pem.parse_certificates(text, what), what, now)


def removed(connection: Connection, names: Iterable[str]) -> Connection:
    """Return the connection with the named settings back at their defaults."""
    fresh = Connection()
    return replace(connection, **{name: getattr(fresh, name) for name in names})


def _addresses(text: str) -> tuple[str, ...]:
    addresses = _list(text, "-ip")
    for address in addresses:
        _check_address(address)
    return addresses


def _check_address(address: str) -> None:
    if bracketed := _BRACKETED.fullmatch(address):
        host, port, valid = bracketed["host"], bracketed["port"], _is_ip(bracketed["host"], 6)
    elif address.count(":") > 1 and _is_ip(address, 6):
        raise ConnectionRefused(f"-ip: write the IPv6 address {address} in brackets: [{address}]")
    else:
        host, _, rest = address.partition(":")
        port = rest if ":" in address else None
        looks_numeric = re.fullmatch(r"[0-9.]+", host) is not None
        valid = _is_ip(host, 4) if looks_numeric else _HOST_NAME.fullmatch(host) is not None
    if not valid:
        raise ConnectionRefused(f"-ip: {host!r} is neither a host name nor an IP address")
    if port is not None:
        _port(port, f"-ip {address}: ")


def _is_ip(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version
    except ValueError:
        return False


def _server_names(text: str) -> tuple[str, ...]:
    names = _list(text, "-servername")
    for name in names:
        if not (_HOST_NAME.fullmatch(name) or _is_ip(name, 4) or _is_ip(name, 6)):
            raise ConnectionRefused(f"-servername: {name!r} is neither a host name nor an IP address")
    return names


def _list(text: str, option: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ConnectionRefused(f"{option}: an entry of the comma-separated list {text!r} is empty")
    if double := next((part for part in parts if parts.count(part) > 1), None):
        raise ConnectionRefused(f"{option}: {double} is listed twice")
    return tuple(parts)


def _port(text: str, where: str = "") -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise ConnectionRefused(f"{where}the port must be a number from 1 to 65535, not {text!r}")
    return int(text)


def _username(text: str) -> str:
    if not (text.strip() and text.isprintable() and len(text) <= USERNAME_CHARACTERS):
        raise ConnectionRefused(f"-username: a user name has 1 to {USERNAME_CHARACTERS} printable characters")
    return text


def _password(password: Secret | None) -> Secret | None:
    """Return a password as KMIP carries it: UTF-8."""
    if not password:
        return None
    try:
        password.reveal().decode()
    except UnicodeDecodeError:
        raise ConnectionRefused("the password of -username is not UTF-8") from None
    return password


def _version_of(connection: Connection) -> str:
    """Return the version to speak to the product of a profile: the one there is, else its latest that we speak."""
    spoken = [one for one in kmip.profile(connection.profile).versions if one in KMIP_VERSIONS]
    return connection.kmip_version if not spoken or connection.kmip_version in (*spoken, AUTOMATIC) else spoken[-1]


def _version(text: str) -> str:
    if text not in KMIP_VERSIONS:
        raise ConnectionRefused(f"the KMIP version must be one of {', '.join(KMIP_VERSIONS)}, not {text!r}")
    return text
