"""Which version is spoken where the settings leave it open: the highest that we and the servers of a group know.

Asked of the server that a first message would go to, and of another one when it turns out not to speak that version.
KMIP 1.4, "Discover Versions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrhsm_p11 import log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed, ProtocolError
from mrhsm_p11.kmip.vocabulary import VERSIONS, ResultReason, Version, version_text

if TYPE_CHECKING:
    from mrhsm_p11.kmip.client import Client

# A server need not answer a message in a version that it does not speak: the likeliest first.
ASKED_IN: tuple[Version, ...] = ((1, 4), (2, 1), (2, 0), (1, 3), (1, 2), (1, 1))
OLDEST: Version = (1, 0)  # it has no Discover Versions

# The message was understood, and so was its version; only this operation is not for us.
_UNDERSTOOD = {ResultReason.OPERATION_NOT_SUPPORTED.value, ResultReason.PERMISSION_DENIED.value}
# With which a server refuses a message as a whole.
_WHOLE = {ResultReason.INVALID_MESSAGE.value, ResultReason.UNSUPPORTED_PROTOCOL_VERSION.value}


def agree(client: Client, deadline: Deadline) -> Version:
    """Find the version to speak with the servers that were asked so far, and this one; note it in the pool.

    Raises KMIPError: ProtocolError where no version is common to all.
    """
    pool = client.pool
    server, told = offers(client, deadline)
    offered = told or (OLDEST,)  # who does not know the question is of the time before it
    pool.offers[server] = frozenset(offered)
    common = set(VERSIONS).intersection(*pool.offers.values())
    if not common:
        said = ", ".join(map(version_text, offered)) or "none"
        raise ProtocolError(f"{server} speaks KMIP {said}: none of these is ours, and every other server's", server)
    pool.version = max(common)
    log.info(f"kmip {version_text(pool.version)} is spoken: {server} offers {', '.join(map(version_text, offered))}")
    return pool.version


def offers(client: Client, deadline: Deadline) -> tuple[str, tuple[Version, ...]]:
    """Return a server and the versions it tells that it speaks. Raises KMIPError where none can be asked."""
    server = ""
    for version in ASKED_IN:
        try:
            return client.speaking(version).discover(deadline=deadline)
        except OperationFailed as error:
            server = error.server
            if error.reason in _UNDERSTOOD:
                return server, (version,)
            log.debug(f"no answer in KMIP {version_text(version)}: {error}")
        except ProtocolError as error:
            server = error.server
            log.debug(f"no answer in KMIP {version_text(version)}: {error}")
    return server, ()


def refuses(failure: OperationFailed) -> bool:
    """Tell whether a failure may be that of a whole message, for its version."""
    return failure.reason in _WHOLE


def agree_anew(client: Client, server: str, version: Version, deadline: Deadline) -> bool:
    """Ask a server that refused a message whether it speaks that version; return whether another is spoken now."""
    pool = client.pool
    if server in pool.offers:
        return False
    endpoint = next((one for one in pool.endpoints if str(one) == server), None)
    if endpoint is None:
        return False
    try:
        return agree(client.at(endpoint), deadline) != version
    except KMIPError as error:
        log.warning(f"{server} refuses KMIP {version_text(version)} and does not say what it speaks: {error}")
        return False
