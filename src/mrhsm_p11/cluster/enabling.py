"""What `mrhsm enable` needs before the keys themselves: settings, the cluster's name, legacy keys, the store."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mrhsm_p11.cluster import beginning, site, stores
from mrhsm_p11.cluster.enable import Confirm, Enable
from mrhsm_p11.cluster.events import Event, Happened, Report
from mrhsm_p11.cluster.journal import ENABLE, Journal
from mrhsm_p11.cluster.keys import DARE, KEYS, ClusterKey
from mrhsm_p11.config import Config
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.tokens import SoToken


@dataclass(frozen=True, slots=True)
class Request:
    """What the operator asks of `enable`."""

    dare: bool
    chosen: tuple[str, ...]  # uids to adopt
    now: datetime.datetime
    new: Confirm | None = None  # make keys although others of the cluster exist


def enable_cluster(so: SoToken, config: Config, request: Request, report: Report) -> list[ClusterKey]:
    """Enable the token's cluster; return the keys that are now kept encrypted in the token directory.

    The caller holds the token directory's lock. Raises what Enable.run and beginning.journal_of raise.
    """
    journal = beginning.journal_of(so, config, ENABLE, request.now, report)
    legacy = _legacy_keys(config.conf_dir, journal, dare=request.dare)
    beginning.check_servers(so.settings, config, report)
    report(Event(Happened.ENABLING, text=journal.record.cluster))
    with stores.open_keys(so, config) as keys:
        settle_s = beginning.settle_s(so.settings)
        run = Enable(journal, keys, legacy, report, chosen=request.chosen, new=request.new, settle_s=settle_s)
        run.run(dare=request.dare)
    return [key for key in KEYS if not key.kek and journal.known(key)]


def _legacy_keys(conf: Path, journal: Journal, *, dare: bool) -> Mapping[ClusterKey, Secret]:
    """Return the legacy keys that this run may have to import."""
    wanted = [key for key in KEYS if key.legacy_file and not journal.known(key) and (dare or key is not DARE)]
    found = {key: site.legacy_key(conf, key) for key in wanted}
    return {key: secret for key, secret in found.items() if secret is not None}
