"""A key that is being made: the same bytes twice before it is believed, and one that all nodes agree on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable

from mrhsm_p11.cluster import adopt
from mrhsm_p11.cluster.events import Event, Happened, Report
from mrhsm_p11.cluster.keys import KEY_BYTES, ClusterKey
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, ObjectGone

# KMIP's Initial Date has whole seconds: once the next second has begun, a key that another node makes is younger than
# ours, so that both nodes agree on which of them came first.
SETTLE_S = 1.1


class KeyNotMade(MrhsmError):
    """The store took a key and does not give it back as it should."""


def wait_for_others(made_at: float, settle_s: float, report: Report) -> None:
    """Wait until a key made at `made_at` (monotonic) is older than any that another node may still make."""
    wait_s = made_at + settle_s - time.monotonic()
    if wait_s > 0:
        report(Event(Happened.SETTLING))
        time.sleep(wait_s)


def agreed(found: Iterable[Candidate], key: ClusterKey, uid: str, *, own: bool, others: Collection[str] = ()) -> str:
    """Return which of the usable keys found under one name every node takes; `others` are known not to be meant.

    Raises KeyNotMade where none is found, or not the one that this node made (`own`).
    """
    usable = [one for one in found if one.state in adopt.USABLE and one.uid not in others]
    if not usable or (own and all(one.uid != uid for one in usable)):
        raise not_found_again(key, uid)
    return adopt.winner(usable).uid


def not_found_again(key: ClusterKey, uid: str) -> KeyNotMade:
    return KeyNotMade(
        f"the {key.title}, UUID {uid}, was made but is not found under its name in the key store: "
        "wait until all servers agree, then run this again"
    )


def give_way(store: ClusterKeyStore, key: ClusterKey, uid: str, report: Report) -> None:
    """Revoke the key that this node made in vain."""
    with contextlib.suppress(ObjectGone):
        store.revoke(uid)
    report(Event(Happened.REVOKED, key.title, uid))


def read_twice(store: ClusterKeyStore, key: ClusterKey, uid: str) -> Secret:
    """Return the key's bytes, the same twice, the second time past every cache. Raises KeyNotMade."""
    first, again = store.read(uid), store.read(uid, fresh=True)
    if first != again or len(first) != KEY_BYTES:
        raise KeyNotMade(f"the key store does not give the {key.title}, UUID {uid}, back as the same {KEY_BYTES} bytes")
    return first
