"""What `mrhsm set -ip` takes: names, IPv4 and [IPv6] addresses, each with an optional port."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mrhsm_p11.errors import DeviceError, MrhsmError

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>\d{1,5}))?")


class AddressInvalid(MrhsmError, DeviceError):
    """A configured address is not one."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str  # an IPv6 address without brackets
    port: int


def parse(text: str, default_port: int) -> Address:
    """Return the host and port of one address. Raises AddressInvalid."""
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match["port"] or default_port) if match else 0
    if not match or not 0 < port < 65536:
        raise AddressInvalid(
            f"{text!r} is no server address: give a name, IPv4 address or [IPv6], with :port or without"
        )
    return Address(match["v6"] or match["host"], port)
