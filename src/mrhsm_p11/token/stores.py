"""Which stores hold a token's objects, once a PIN has opened it."""

from __future__ import annotations

from mrhsm_p11.config import Config
from mrhsm_p11.store import open_store
from mrhsm_p11.store.base import Store
from mrhsm_p11.token.cluster_objects import ClusterBlobs, ClusterView
from mrhsm_p11.tokendir.tokens import OpenToken, SoToken


def open_all(opened: OpenToken | SoToken, config: Config) -> tuple[Store, ...]:
    """Return the stores of the token's objects, the one that takes new objects first. Nothing connects here."""
    main = open_store(opened, config)
    cluster = opened.settings.cluster
    if cluster is None:
        return (main,)
    return ClusterView(main, cluster), ClusterBlobs(cluster)


def destroy_own(opened: OpenToken | SoToken, config: Config) -> None:
    """Destroy the objects that this token made on its key manager; the file store's go when the token is reset."""
    if opened.settings.store == "file":
        return
    from mrhsm_p11.store import kmip

    kmip.destroy_own(opened, config)
