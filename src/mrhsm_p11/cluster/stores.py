"""Open the store that a token's cluster keys live in, and ask whether its servers answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mrhsm_p11 import store
from mrhsm_p11.cluster.paced import PacedKeys
from mrhsm_p11.cluster.status import ServerStatus
from mrhsm_p11.config import Config
from mrhsm_p11.store.base import ClusterKeyStore
from mrhsm_p11.tokendir.settings import Connection
from mrhsm_p11.tokendir.tokens import SoToken


@contextmanager
def open_keys(so: SoToken, config: Config) -> Iterator[ClusterKeyStore]:
    """Lend the cluster keys of a token; each operation has the configured time."""
    keys = store.open_keys(so, config)
    try:
        yield PacedKeys(keys, config.deadline_s)
    finally:
        keys.close()


def server_statuses(connection: Connection, config: Config) -> list[ServerStatus]:
    """Ask every configured server whether it can be used, in order."""
    from mrhsm_p11.store import kmip  # only where there are servers to ask

    return [ServerStatus(address, fault or "") for address, fault in kmip.ping(connection, config)]
