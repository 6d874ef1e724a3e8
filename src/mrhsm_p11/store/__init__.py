"""Where objects live: memory, files, or a KMIP server; which of them holds a token's is in its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.store.base import ClusterKeyStore, Store
    from mrhsm_p11.tokendir.tokens import OpenToken, SoToken


def open_store(opened: OpenToken | SoToken, config: Config) -> Store:
    """Return the store of a token's objects. Nothing connects here."""
    if opened.settings.store == "file":
        from mrhsm_p11.store.file import FileStore

        return FileStore(opened.directory, opened.entry.serial, opened.token_key)
    from mrhsm_p11.store import kmip

    return kmip.open(opened, config)


def open_keys(opened: OpenToken | SoToken, config: Config) -> ClusterKeyStore:
    """Return the store of a cluster's keys. Nothing connects here."""
    if opened.settings.store == "file":
        from mrhsm_p11.store.file_keys import FileKeys

        return FileKeys(opened.directory, opened.entry.serial, opened.token_key)
    from mrhsm_p11.store import kmip

    return kmip.open_keys(opened, config)
