"""What `mrhsm rekey` needs around the keys themselves: settings, the cluster's name, the store."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from mrhsm_p11.cluster import beginning, stores
from mrhsm_p11.cluster.events import Event, Happened, Report
from mrhsm_p11.cluster.journal import ENABLE, REKEY
from mrhsm_p11.cluster.keys import KEYS, ClusterKey
from mrhsm_p11.cluster.rekey import Rekey, RekeyRefused, recorded, retire
from mrhsm_p11.config import Config
from mrhsm_p11.tokendir.tokens import SoToken


@dataclass(frozen=True, slots=True)
class RekeyRequest:
    """What the operator asks of `rekey`."""

    key: ClusterKey
    now: datetime.datetime
    retire: bool = False  # make no new key, revoke the earlier ones
    chosen: str = ""  # uid of a replacement that is there


def rekey_cluster(so: SoToken, config: Config, request: RekeyRequest, report: Report) -> list[ClusterKey]:
    """Replace a key of the token's cluster, or retire its earlier generations.

    The caller holds the token directory's lock. Return the keys that are kept encrypted in the token directory. Raises
    what Rekey.run and beginning.journal_of raise.
    """
    journal = beginning.journal_of(so, config, REKEY, request.now, report)
    recorded(journal, request.key)
    if any(step.command == ENABLE for step in journal.record.journal):
        raise RekeyRefused("mrhsm enable was interrupted: run it again first")
    beginning.check_servers(so.settings, config, report)
    if not request.retire:
        report(Event(Happened.REKEYING, request.key.title, journal.record.cluster))
    with stores.open_keys(so, config) as keys:
        if request.retire:
            retire(journal, keys, report, request.key)
        else:
            settle_s = beginning.settle_s(so.settings)
            Rekey(journal, keys, report, request.key, chosen=request.chosen, settle_s=settle_s).run()
    return [key for key in KEYS if not key.kek and journal.known(key)]
