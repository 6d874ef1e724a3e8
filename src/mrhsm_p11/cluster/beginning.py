"""What every command on the cluster's keys sees to first: settings complete, the right cluster, all servers there."""

from __future__ import annotations

import datetime

from mrhsm_p11.cluster import site, stores
from mrhsm_p11.cluster.connection import check_complete
from mrhsm_p11.cluster.events import Event, Happened, Report
from mrhsm_p11.cluster.journal import Journal
from mrhsm_p11.cluster.making import SETTLE_S
from mrhsm_p11.config import Config
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.tokendir.settings import Settings
from mrhsm_p11.tokendir.tokens import SoToken


class ClusterRefused(MrhsmError):
    """The cluster's keys cannot be worked on as things are; nothing was changed."""


def journal_of(so: SoToken, config: Config, command: str, now: datetime.datetime, report: Report) -> Journal:
    """Return a command's journal in the token, once its settings can be used and its cluster is this node's.

    What a killed command left unwritten beside the token is written. Raises ClusterRefused, ConnectionRefused,
    PemRefused, SiteFileRefused.
    """
    if so.settings.store == "kmip":
        if config.custody == "appliance":
            raise ClusterRefused(
                f'{config.file} says custody = "appliance", and {command} computes with the bytes of the cluster\'s '
                'keys, for their checksums and to encrypt them: run it with custody = "cached", then set it back'
            )
        check_complete(so.settings.connection, now)
    name = site.cluster_name(config.conf_dir)
    journal = Journal(so, name, command)
    if journal.record.cluster != name:
        raise ClusterRefused(
            f"token {so.entry.serial} holds the keys of cluster {journal.record.cluster}, "
            f"and {site.CLUSTERS_FILE} names {name}"
        )
    so.write_blobs()
    report(Event(Happened.CLUSTER_NAMED, text=name))
    return journal


def check_servers(settings: Settings, config: Config, report: Report) -> None:
    """Refuse to begin while a server cannot be used: what only part of them hold would be missed."""
    if settings.store != "kmip":
        return
    report(Event(Happened.ASKING))
    statuses = stores.server_statuses(settings.connection, config)
    faults = [f"{server.address}: {server.fault}" for server in statuses if server.fault]
    if faults:
        raise ClusterRefused(f"not every KMIP server can be used, nothing was changed: {'; '.join(faults)}")


def settle_s(settings: Settings) -> float:
    """Return how long a new key waits for other nodes; a file store has no other node."""
    return SETTLE_S if settings.store == "kmip" else 0.0
