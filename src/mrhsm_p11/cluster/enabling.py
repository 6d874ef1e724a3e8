"""What `mrhsm enable` needs before the keys themselves: settings, the cluster's name, legacy keys, the store."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mrhsm_p11.cluster import site, stores
from mrhsm_p11.cluster.connection import check_complete
from mrhsm_p11.cluster.enable import SETTLE_S, Enable, EnableRefused
from mrhsm_p11.cluster.events import Event, Happened, Report
from mrhsm_p11.cluster.journal import Journal
from mrhsm_p11.cluster.keys import DARE, KEYS, ClusterKey
from mrhsm_p11.config import Config
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.settings import Connection
from mrhsm_p11.tokendir.tokens import SoToken


@dataclass(frozen=True, slots=True)
class Request:
    """What the operator asks of `enable`."""

    dare: bool
    chosen: tuple[str, ...]  # uids to adopt
    now: datetime.datetime


def enable_cluster(so: SoToken, config: Config, request: Request, report: Report) -> list[ClusterKey]:
    """Enable the token's cluster; return the keys that are now kept encrypted in the token directory.

    The caller holds the token directory's lock. Raises what Enable.run raises, ConnectionRefused, PemRefused,
    SiteFileRefused.
    """
    settings = so.settings
    if settings.store == "kmip":
        check_complete(settings.connection, request.now)
    name = site.cluster_name(config.conf_dir)
    journal = Journal(so, name)
    if journal.record.cluster != name:
        raise EnableRefused(
            f"token {so.entry.serial} holds the keys of cluster {journal.record.cluster}, "
            f"and {site.CLUSTERS_FILE} names {name}"
        )
    report(Event(Happened.CLUSTER_NAMED, text=name))
    legacy = _legacy_keys(config.conf_dir, journal, dare=request.dare)
    if settings.store == "kmip":
        _check_servers(settings.connection, config)
    report(Event(Happened.ENABLING, text=name))
    with stores.open_keys(so, config) as keys:
        settle_s = SETTLE_S if settings.store == "kmip" else 0.0  # a file store has no other node
        Enable(journal, keys, legacy, report, chosen=request.chosen, settle_s=settle_s).run(dare=request.dare)
    return [key for key in KEYS if not key.kek and journal.known(key)]


def _check_servers(connection: Connection, config: Config) -> None:
    """Refuse to begin while a server cannot be used: what only part of them hold would be missed."""
    faults = [
        f"{server.address}: {server.fault}" for server in stores.server_statuses(connection, config) if server.fault
    ]
    if faults:
        raise EnableRefused(f"not every KMIP server can be used, nothing was changed: {'; '.join(faults)}")


def _legacy_keys(conf: Path, journal: Journal, *, dare: bool) -> Mapping[ClusterKey, Secret]:
    """Return the legacy keys that this run may have to import."""
    wanted = [key for key in KEYS if key.legacy_file and not journal.known(key) and (dare or key is not DARE)]
    found = {key: site.legacy_key(conf, key) for key in wanted}
    return {key: secret for key, secret in found.items() if secret is not None}
