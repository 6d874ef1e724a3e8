"""What a token is configured with: the connection to its key managers and the keys of its cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.codec import LATER

DEFAULT_PORT = 5696
DEFAULT_KMIP_VERSION = "1.1"
AUTOMATIC = "auto"  # as a version: the highest that the servers and we speak
STORES = ("kmip", "file")


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the key managers; a part that is not configured yet is empty or None."""

    addresses: tuple[str, ...] = ()  # name, IPv4 or [IPv6], each with an optional :port
    port: int = DEFAULT_PORT
    kmip_version: str = DEFAULT_KMIP_VERSION
    ca_certificate: bytes = b""  # PEM
    client_certificate: bytes = b""  # PEM
    client_key: Secret | None = None  # PEM
    server_names: tuple[str, ...] = ()  # expected in the certificates instead of the addresses
    username: str = field(default="", metadata=LATER)  # sent beside the certificate; empty: the certificate is all
    password: Secret | None = field(default=None, metadata=LATER)
    profile: str = field(default="", metadata=LATER)  # one of config.PROFILES; empty: as the servers say who they are


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One cluster key as this node knows it."""

    uid: str
    checksum: str  # SHA-256 of the plain key, upper-case hex
    encrypted: bytes = b""  # IV and ciphertext under the Core KEK; the KEKs have none
    name: str = ""
    earlier: tuple[str, ...] = ()  # uids of former generations, latest first


@dataclass(frozen=True, slots=True)
class JournalStep:
    """A step of an unfinished command, written before it is done: the next run finishes it or takes it back."""

    command: str
    step: str
    uid: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """The keys of one Data Fabric cluster; None: not made yet."""

    cluster: str
    core_kek: KeyRecord | None = None
    common_kek: KeyRecord | None = None
    cldb: KeyRecord | None = None
    dare: KeyRecord | None = None
    enabled: bool = False
    version: int = 1
    journal: tuple[JournalStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is sealed, and signed by the SO's key, for one token."""

    connection: Connection = field(default_factory=Connection)
    cluster: ClusterRecord | None = None
    store: str = "kmip"  # one of STORES
    group: str | None = None  # KMIP Object Group that bounds what the token sees
