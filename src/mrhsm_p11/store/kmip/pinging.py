"""Which of the configured servers can be used: each asked alone, all at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mrhsm_p11 import log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.kmip import negotiation
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed, ProtocolError
from mrhsm_p11.kmip.transport import Endpoint
from mrhsm_p11.kmip.vocabulary import Version, version_text
from mrhsm_p11.store.kmip.connection import endpoints_of, make_pool, version_of
from mrhsm_p11.store.kmip.reader import UNSUPPORTED

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.tokendir.settings import Connection


def ping(connection: Connection, config: Config) -> list[tuple[str, str | None]]:
    """Return (address as configured, what is wrong or None) in the order of the settings."""
    try:
        spoken = version_of(connection)
        pool = make_pool(connection, config)
        endpoints = endpoints_of(connection)
    except MrhsmError as error:
        return [(address, str(error)) for address in connection.addresses]

    def problem(endpoint: Endpoint) -> str | None:
        return _problem(Client(pool).at(endpoint).fresh(), spoken, Deadline(config.deadline_s))

    try:
        with ThreadPoolExecutor(max_workers=len(endpoints)) as threads:
            return list(zip(connection.addresses, threads.map(problem, endpoints), strict=True))
    finally:
        pool.close()


def _problem(client: Client, spoken: Version | None, deadline: Deadline) -> str | None:
    """Return what keeps one server from being used in the version that is to be spoken, None: in any."""
    try:
        version = spoken or negotiation.agree(client, deadline)
        if version == negotiation.OLDEST:
            client.locate(maximum_items=1, deadline=deadline)
            return None
        offered = client.discover_versions(deadline=deadline) if spoken else (version,)
    except (OperationFailed, ProtocolError) as error:
        if spoken is None:
            return str(error)
        if isinstance(error, OperationFailed) and error.reason in UNSUPPORTED:
            return None  # it is there, and speaks the version: it only does not tell which others
        offered = _offered(client, deadline)
        if not offered or spoken in offered:
            return str(error)
    except KMIPError as error:
        return str(error)
    if version in offered:
        return None
    speaks = ", ".join(map(version_text, offered)) or "none"
    return f"it does not speak KMIP {version_text(version)} and offers {speaks}: use -kmipversion"


def _offered(client: Client, deadline: Deadline) -> tuple[Version, ...]:
    """Ask in any version which there are: a server need not answer in one that it does not speak."""
    try:
        return negotiation.offers(client, deadline)[1]
    except KMIPError as error:
        log.debug(f"which versions are spoken is not known: {error}")
        return ()
