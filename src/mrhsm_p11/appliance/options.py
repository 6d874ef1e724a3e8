"""What a trial appliance does and, to stand in for other vendors' products, what it refuses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from pathlib import Path

from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.kmip import profiles

NINE_OPERATIONS = frozenset(operation.name for operation in profiles.MINIMUM)
VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4", "2.0", "2.1")


@dataclass(frozen=True, slots=True)
class Options:
    """Every switch; the command line has them by these names, without underscores."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    store: Path | None = None  # SQLite file; None: a temporary one
    certs: Path | None = None  # folder with ca.pem, server.pem, server.key; made where absent; None: a temporary one
    users: Path | None = (
        None  # file of name:password lines, one of which every request must carry; None: nobody is asked
    )
    server: str = "server"  # name of the server's certificate and key in it
    imitate: str = ""  # a row of kmip.profiles, whose product this is to pass for; other options are set beside
    vendor: str = "mrhsm trial appliance"  # Vendor Identification
    versions: tuple[str, ...] = VERSIONS
    nine: bool = False  # refuse every operation but the nine
    refuse_operations: tuple[str, ...] = ()  # as KMIP's enumeration spells them: REKEY, ADD_ATTRIBUTE
    refuse_attributes: tuple[str, ...] = ()  # by name, "x-" for all custom ones
    refuse_types: tuple[str, ...] = ()  # of objects to register, as KMIP's enumeration spells them: OPAQUE_DATA
    refuse_formats: tuple[str, ...] = ()  # of keys to register, as in PKCS_8
    refuse_wrapping: bool = False  # Get with a Key Wrapping Specification
    ignore_filters: tuple[str, ...] = ()  # attribute names that Locate pretends not to see
    page: int = 0  # identifiers that Locate names at most, with the number of all; 0: any number
    unique_names: bool = False  # refuse a Name that another object has
    active_only: bool = False  # Get refuses keys that are not active
    same_name: bool = False  # hang up on a user name that is not the certificate's
    keep_destroyed: bool = False  # Destroy leaves the attributes
    rekey_deactivates: bool = False  # Re-key ends the replaced key's life
    tls12: bool = False  # no TLS 1.3
    limit: int = 8 << 20  # bytes of one message
    idle: float = 0.0  # seconds until an idle connection is cut; 0: never
    refuse_batches: bool = False  # messages of more than one operation
    nosync: bool = False  # do not wait for the disk, as with a temporary store
    with_parent: bool = False  # end when standard input ends

    def __post_init__(self) -> None:
        if not _is_loopback(self.host):
            raise MrhsmError(f"{self.host} is not a loopback address, and a trial appliance listens on no other")
        unknown = [version for version in self.versions if version not in VERSIONS]
        if unknown or not self.versions:
            raise MrhsmError(f"KMIP version {', '.join(unknown) or 'none'} is not one of {', '.join(VERSIONS)}")


NAMES = tuple(option.name for option in fields(Options))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
