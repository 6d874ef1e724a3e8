"""The KMIP store: the one place that speaks both PKCS #11 and KMIP. Nothing here is imported before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mrhsm_p11.config import Config
    from mrhsm_p11.store.kmip.inspecting import Inspection
    from mrhsm_p11.store.kmip.keys import KmipKeys
    from mrhsm_p11.store.kmip.profiling import Named
    from mrhsm_p11.store.kmip.store import KmipStore
    from mrhsm_p11.tokendir.custody import Served
    from mrhsm_p11.tokendir.settings import Connection
    from mrhsm_p11.tokendir.tokens import OpenToken, SoToken
    from mrhsm_p11.tokendir.watching import ConnectionWatch


def open(opened: OpenToken | SoToken, config: Config) -> KmipStore:  # noqa: A001
    """Return the store of an opened token's objects; it connects when it is first asked."""
    from mrhsm_p11.store.kmip.store import KmipStore

    return KmipStore(
        opened.settings.connection,
        serial=opened.entry.serial,
        directory=opened.directory,
        config=config,
        group=opened.settings.group,
        watch=_watch(opened),
    )


def open_keys(opened: OpenToken | SoToken, config: Config) -> KmipKeys:
    """Return the cluster keys in an opened token's servers; it connects when it is first asked."""
    from mrhsm_p11.store.kmip.keys import KmipKeys

    return KmipKeys(
        opened.settings.connection,
        serial=opened.entry.serial,
        directory=opened.directory,
        config=config,
        group=opened.settings.group,
        watch=_watch(opened),
    )


def _watch(opened: OpenToken | SoToken) -> ConnectionWatch | None:
    """Follow what `mrhsm set` does meanwhile; a command of the SO is itself what changes the settings."""
    from mrhsm_p11.tokendir.tokens import OpenToken
    from mrhsm_p11.tokendir.watching import ConnectionWatch

    return ConnectionWatch(opened) if isinstance(opened, OpenToken) else None


def destroy_own(opened: OpenToken | SoToken, config: Config) -> None:
    """Destroy the objects that this token made, but no cluster key. Raises what Store.delete does."""
    store = open(opened, config)
    try:
        store.destroy_own()
    finally:
        store.close()


def ping(connection: Connection, config: Config) -> list[tuple[str, str | None]]:
    """Return each configured address and, where it cannot be used, why."""
    from mrhsm_p11.store.kmip.pinging import ping

    return ping(connection, config)


def probe_custody(opened: OpenToken | SoToken, config: Config) -> Served:
    """Find out what a token's key managers do with keys that they keep, note it beside the token, and return it.

    Keys for that are made and destroyed. Raises CryptokiError, and then nothing that was noted changes.
    """
    from mrhsm_p11.store.kmip.probing import probe
    from mrhsm_p11.tokendir import custody

    serial, directory = opened.entry.serial, opened.directory
    found = probe(opened.settings.connection, serial=serial, directory=directory, config=config)
    return custody.write(directory, serial, found)


def inspect(connection: Connection, config: Config, *, probe: bool = True) -> list[Inspection]:
    """Return what is found of each configured server; `probe`: also which operations work."""
    from mrhsm_p11.store.kmip.inspecting import inspect

    return inspect(connection, config, probe=probe)


def profile(name: str) -> Named:
    """Return what documents say of a product by the name of its profile."""
    from mrhsm_p11.store.kmip.profiling import named

    return named(name)


def profile_in_force(connection: Connection, config: Config, inspected: Iterable[Inspection]) -> Named:
    """Return the profile of a connection whose servers were inspected, and why it is that one."""
    from mrhsm_p11.store.kmip.profiling import in_force

    return in_force(connection, config, [one.vendor for one in inspected])


def seen(opened: OpenToken | SoToken, config: Config, profile: str) -> list[tuple[str, str]]:
    """Return what was seen, and by a profile is expected, of a token's servers, in words; nothing connects."""
    from mrhsm_p11.store.kmip.profiling import seen

    return seen(opened, config, profile)
