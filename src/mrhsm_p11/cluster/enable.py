"""Enable a cluster: find, import or make its keys, and keep the CLDB and DARE keys encrypted under the Core KEK.

Everything that can be refused is refused before anything is made. Each key is noted before it is made and after, so a
run that dies at any point is finished by the next one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mrhsm_p11.cluster import adopt, blob
from mrhsm_p11.cluster.adopt import NotTheKey
from mrhsm_p11.cluster.events import Event, Happened, Report
from mrhsm_p11.cluster.journal import Journal
from mrhsm_p11.cluster.keys import DARE, KEY_BYTES, KEYS, ClusterKey
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, KeyState, ObjectGone
from mrhsm_p11.tokendir.settings import KeyRecord

# KMIP's Initial Date has whole seconds: once the next second has begun, a key that another node makes is younger than
# ours, so that both nodes agree on which of them came first.
SETTLE_S = 1.1


class EnableRefused(MrhsmError):
    """The cluster cannot be enabled as things are."""


@dataclass(slots=True)
class _Plan:
    """What is to become of one key."""

    key: ClusterKey
    uid: str = ""  # empty: to be made
    recorded: KeyRecord | None = None
    own: str = ""  # what this node made for it, in this run or one that died
    settled: bool = False  # no other node can be making it now
    made_at: float = 0.0  # monotonic; when the store had made it


class Enable:
    """One run of `enable` for one token."""

    def __init__(
        self,
        journal: Journal,
        store: ClusterKeyStore,
        legacy: Mapping[ClusterKey, Secret],
        report: Report,
        *,
        chosen: Sequence[str] = (),
        settle_s: float = SETTLE_S,
    ) -> None:
        self._journal = journal
        self._store = store
        self._legacy = legacy
        self._report = report
        self._chosen = chosen
        self._settle_s = settle_s

    def run(self, *, dare: bool) -> None:
        """Bring every key into place and set the enabled flag.

        Raises EnableRefused, Ambiguous, NotTheKey before anything is made; DeviceError where the store fails.
        """
        plans = [plan for key in KEYS if (plan := self._plan(key, wanted=dare or key is not DARE))]
        unused = set(self._chosen) - {plan.uid for plan in plans}
        if unused:
            raise EnableRefused(f"-uuid: {', '.join(sorted(unused))} is not among the keys that were found")
        for plan in plans:
            if not plan.uid:
                self._make(plan)
        self._settle(plans)
        core = self._finish(plans[0], None)
        for plan in plans[1:]:
            self._finish(plan, core).wipe()
        core.wipe()
        self._journal.close()

    def _plan(self, key: ClusterKey, *, wanted: bool) -> _Plan | None:
        """Decide what to do about a key without changing anything; None: this cluster has no such key."""
        if recorded := self._journal.known(key):
            return _Plan(key, recorded.uid, recorded, settled=True)
        candidates = self._store.locate(key.name(self._journal.record.cluster))
        own = self._own(key, candidates)
        if not self._chosen and any(c.uid == own and c.state in adopt.USABLE for c in candidates):
            return _Plan(key, own, own=own)
        found = adopt.choose(key, candidates, self._chosen)
        if found is None:
            return _Plan(key) if wanted else None
        by_choice = found.uid in self._chosen
        if key in self._legacy and not by_choice:
            self._compare_with_legacy(key, found.uid, self._store.read(found.uid))
        return _Plan(key, found.uid, own=own, settled=by_choice or found.state is not KeyState.PRE_ACTIVE)

    def _own(self, key: ClusterKey, candidates: Sequence[Candidate]) -> str:
        """Return the uid of the key that a run which died had made, "" when there is none."""
        step = self._journal.step(key)
        if step is None or not step.uid or any(candidate.uid == step.uid for candidate in candidates):
            return step.uid if step else ""
        try:
            self._store.state(step.uid)
        except ObjectGone:
            return ""
        raise self._not_found_again(key, step.uid)

    def _compare_with_legacy(self, key: ClusterKey, uid: str, found: Secret) -> None:
        legacy = self._legacy.get(key)
        if legacy is not None and found != legacy:
            raise NotTheKey(
                f"the {key.title} in the key store, UUID {uid}, is not the one in {key.legacy_file} (SHA-256 checksums "
                f"{blob.checksum(found)} and {blob.checksum(legacy)}): move {key.legacy_file} away, "
                f"or give -uuid {uid}, to use the one in the key store"
            )

    def _make(self, plan: _Plan) -> None:
        name = plan.key.name(self._journal.record.cluster)
        legacy = self._legacy.get(plan.key)
        self._journal.intend(plan.key)
        if legacy is None:
            plan.uid = self._store.create(name, plan.key.use)
        else:
            plan.uid = self._store.register(name, plan.key.use, legacy)
        plan.own, plan.made_at = plan.uid, time.monotonic()
        self._journal.made(plan.key, plan.uid)

    def _settle(self, plans: Sequence[_Plan]) -> None:
        """Agree with other nodes that may be making the same keys on whose is used."""
        open_plans = [plan for plan in plans if not plan.settled]
        if not open_plans:
            return
        time.sleep(max(0.0, max(plan.made_at for plan in open_plans) + self._settle_s - time.monotonic()))
        for plan in open_plans:
            candidates = self._store.locate(plan.key.name(self._journal.record.cluster))
            usable = [candidate for candidate in candidates if candidate.state in adopt.USABLE]
            if not usable or (plan.own == plan.uid and all(candidate.uid != plan.own for candidate in usable)):
                raise self._not_found_again(plan.key, plan.uid)
            plan.uid = adopt.winner(usable).uid

    def _not_found_again(self, key: ClusterKey, uid: str) -> EnableRefused:
        return EnableRefused(
            f"the {key.title}, UUID {uid}, was made but is not found under its name in the key store: "
            "wait until all servers agree, then run mrhsm enable again"
        )

    def _finish(self, plan: _Plan, core: Secret | None) -> Secret:
        """Activate, read back, encrypt and keep one key; return its bytes."""
        if plan.recorded:
            return self._check_recorded(plan, plan.recorded, core)
        if plan.own and plan.own != plan.uid:
            self._give_way(plan)
        state = self._activate(plan)
        key = self._read_back(plan)
        encrypted = blob.encrypt(core, key) if core is not None and not plan.key.kek else b""
        name = plan.key.name(self._journal.record.cluster)
        self._journal.finish(plan.key, KeyRecord(plan.uid, blob.checksum(key), encrypted, name))
        self._tell(plan, generated=plan.own == plan.uid, state=state, checksum=blob.checksum(key))
        return key

    def _give_way(self, plan: _Plan) -> None:
        """Revoke the key that this node made in vain."""
        with contextlib.suppress(ObjectGone):
            self._store.revoke(plan.own)
        self._report(Event(Happened.REVOKED, plan.key.title, plan.own))

    def _activate(self, plan: _Plan) -> KeyState:
        """Make a key active that can be; a key of ours always, for a server may not tell states."""
        state = self._store.state(plan.uid)
        if state is not KeyState.PRE_ACTIVE and plan.own != plan.uid:
            return state
        self._store.activate(plan.uid)
        return KeyState.ACTIVE

    def _read_back(self, plan: _Plan) -> Secret:
        """Return the key's bytes, the same twice, the second time past every cache."""
        key, again = self._store.read(plan.uid), self._store.read(plan.uid, fresh=True)
        if key != again or len(key) != KEY_BYTES:
            raise EnableRefused(
                f"the key store does not give the {plan.key.title}, UUID {plan.uid}, back as the same {KEY_BYTES} bytes"
            )
        if plan.uid not in self._chosen:
            self._compare_with_legacy(plan.key, plan.uid, key)
        return key

    def _check_recorded(self, plan: _Plan, record: KeyRecord, core: Secret | None) -> Secret:
        """Verify what an earlier run finished; for a key kept encrypted the store's copy may be gone."""
        title, state = plan.key.title, KeyState.ACTIVE
        try:
            state = self._activate(plan)
            key = self._store.read(record.uid, fresh=True)
        except ObjectGone as error:
            if core is None or plan.key.kek:
                raise EnableRefused(f"the {title}, UUID {record.uid}, is no longer in the key store") from error
            self._report(Event(Happened.NO_COPY, title, record.uid))
            key = blob.decrypt(core, record.encrypted, record.checksum, title)
        if blob.checksum(key) != record.checksum:
            raise NotTheKey(f"the {title} in the key store, UUID {record.uid}, is not the one recorded by its checksum")
        if core is not None and not plan.key.kek:
            blob.decrypt(core, record.encrypted, record.checksum, title).wipe()
        self._tell(plan, generated=False, state=state, checksum=record.checksum)
        return key

    def _tell(self, plan: _Plan, *, generated: bool, state: KeyState, checksum: str) -> None:
        title = plan.key.title
        if not generated:
            self._report(Event(Happened.FOUND, title, plan.uid))
        elif plan.key not in self._legacy:
            self._report(Event(Happened.GENERATED, title, plan.uid))
        if state not in adopt.USABLE:
            self._report(Event(Happened.INACTIVE, title, plan.uid))
        self._report(Event(Happened.CHECKSUM, title, checksum))
        if not plan.key.kek:
            self._report(Event(Happened.ENCRYPTED, title))
