"""Which stores hold a token's objects, for each role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrhsm_p11.config import Config
from mrhsm_p11.store import open_store
from mrhsm_p11.store.base import Store
from mrhsm_p11.token.cluster_objects import ClusterBlobs, ClusterView
from mrhsm_p11.token.fixed_objects import Capabilities
from mrhsm_p11.tokendir import tokens
from mrhsm_p11.tokendir.tokens import OpenToken, SoToken

if TYPE_CHECKING:
    from mrhsm_p11.tokendir.entries import TokenEntry
    from mrhsm_p11.tokendir.files import TokenDirectory


def open_all(opened: OpenToken | SoToken, config: Config) -> tuple[Store, ...]:
    """Return the stores of the token's objects, the one that takes new objects first. Nothing connects here."""
    from mrhsm_p11.token.public_objects import PublicFile, Published

    main = open_store(opened, config)
    cluster = opened.settings.cluster
    if cluster is not None:
        main = ClusterView(main, cluster)
    file = PublicFile(opened.directory, opened.entry.serial)
    blobs = [ClusterBlobs(cluster)] if cluster is not None else []
    return Published(main, file, opened.token_key), *blobs, Capabilities(config)


def open_public(directory: TokenDirectory, entry: TokenEntry, config: Config) -> tuple[Store, ...]:
    """Return what a session without login sees: copies of public objects, or the objects themselves where maprhsm.conf
    says so and the PIN file lets us."""
    from mrhsm_p11.token.public_objects import PublicFile, PublicObjects

    def owner() -> Store | None:
        return next(iter(_open_unattended(directory, entry, config)), None)

    live = _open_unattended(directory, entry, config) if config.public_objects == "live" else ()
    return live or (PublicObjects(PublicFile(directory, entry.serial), owner), Capabilities(config))


def _open_unattended(directory: TokenDirectory, entry: TokenEntry, config: Config) -> tuple[Store, ...]:
    """Open the token with its PIN file; nothing where this process cannot read it."""
    kept = tokens.read_pin_file(directory, entry)
    if kept is None:
        return ()
    return open_all(tokens.login_user(directory, entry, kept, settings_key=config.settings_key, from_file=True), config)


def destroy_own(opened: OpenToken | SoToken, config: Config) -> None:
    """Destroy the objects that this token made on its key manager; the file store's go when the token is reset."""
    if opened.settings.store == "file":
        return
    from mrhsm_p11.store import kmip

    kmip.destroy_own(opened, config)
