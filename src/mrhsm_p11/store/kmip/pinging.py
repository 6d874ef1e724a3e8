"""Which of the configured servers can be used: each asked alone, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mrhsm_p11 import log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed, ProtocolError
from mrhsm_p11.kmip.transport import Endpoint
from mrhsm_p11.kmip.vocabulary import VERSIONS, Version
from mrhsm_p11.store.kmip.connection import endpoints_of, make_pool, version_of
from mrhsm_p11.store.kmip.reader import UNSUPPORTED

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.tokendir.settings import Connection

# Discover Versions came with 1.1.
_NO_DISCOVERY = (1, 0)


def ping(connection: Connection, config: Config) -> list[tuple[str, str | None]]:
    """Return (address as configured, what is wrong or None) in the order of the settings."""
    try:
        spoken = version_of(connection)
        pools = {version: make_pool(connection, config, version) for version in (spoken, *reversed(VERSIONS))}
        endpoints = endpoints_of(connection)
    except MrhsmError as error:
        return [(address, str(error)) for address in connection.addresses]

    def problem(endpoint: Endpoint) -> str | None:
        clients = {version: Client(pool).at(endpoint).fresh() for version, pool in pools.items()}
        return _problem(clients, spoken, Deadline(config.deadline_s))

    try:
        with ThreadPoolExecutor(max_workers=len(endpoints)) as threads:
            return list(zip(connection.addresses, threads.map(problem, endpoints), strict=True))
    finally:
        for pool in pools.values():
            pool.close()


def _problem(clients: Mapping[Version, Client], spoken: Version, deadline: Deadline) -> str | None:
    """Return what keeps one server from being used in the version that is to be spoken."""
    try:
        if spoken == _NO_DISCOVERY:
            clients[spoken].locate(maximum_items=1, deadline=deadline)
            return None
        offered = clients[spoken].discover_versions(deadline=deadline)
    except OperationFailed as error:
        if error.reason in UNSUPPORTED:
            return None  # it is there, and speaks the version: it only does not tell which others
        offered = _offered(clients, spoken, deadline)
        if not offered or spoken in offered:
            return str(error)
    except ProtocolError as error:
        offered = _offered(clients, spoken, deadline)
        if not offered or spoken in offered:
            return str(error)
    except KMIPError as error:
        return str(error)
    if spoken in offered:
        return None
    speaks = ", ".join(f"{major}.{minor}" for major, minor in offered) or "none"
    return f"it does not speak KMIP {spoken[0]}.{spoken[1]} and offers {speaks}: use -kmipversion"


def _offered(clients: Mapping[Version, Client], but: Version, deadline: Deadline) -> tuple[Version, ...]:
    """Ask in other versions which there are: a server need not answer in one that it does not speak."""
    for version, client in clients.items():
        if version in (but, _NO_DISCOVERY):
            continue
        try:
            return client.discover_versions(deadline=deadline)
        except KMIPError as error:
            log.debug(f"no answer in KMIP {version[0]}.{version[1]}: {error}")
    return ()
