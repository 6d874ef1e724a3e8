"""Enable a cluster: find, import or make its keys, and keep the CLDB and DARE keys encrypted under the Core KEK.

Everything that can be refused is refused before anything is made. Each key is noted before it is made and after, so a
run that dies at any point is finished by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mrhsm_p11.cluster import adopt, blob, generations, making
from mrhsm_p11.cluster.adopt import Ambiguous, NotTheKey
from mrhsm_p11.cluster.events import Event, Happened, Report
from mrhsm_p11.cluster.generations import Generations
from mrhsm_p11.cluster.journal import Journal
from mrhsm_p11.cluster.keys import DARE, KEYS, ClusterKey
from mrhsm_p11.cluster.making import SETTLE_S
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, KeyState, ObjectGone
from mrhsm_p11.tokendir.settings import KeyRecord

# Asked before keys are made although others of the cluster exist; True: the store has such a key already, and a second
# one is made. Raises where that is not what the operator wants.
Confirm = Callable[[Mapping[ClusterKey, bool]], None]


class EnableRefused(MrhsmError):
    """The cluster cannot be enabled as things are."""


@dataclass(slots=True)
class _Plan:
    """What is to become of one key."""

    key: ClusterKey
    uid: str = ""  # empty: to be made
    name: str = ""  # in the store
    next_name: str = ""  # of the one to be made
    recorded: KeyRecord | None = None
    earlier: tuple[str, ...] = ()  # generations that are taken over with it
    own: str = ""  # what this node made for it, in this run or one that died
    active: bool = False  # it has been: an enable that came to its end left it
    settled: bool = False  # no other node can be making it now
    made_at: float = 0.0  # monotonic; when the store had made it

    def renew(self) -> None:
        """Have a key made instead of the one that was found."""
        self.uid, self.earlier, self.settled = "", (), False

    @property
    def adopted(self) -> bool:
        """It was left in the store by an `enable` of which this node has no record."""
        return bool(self.uid) and self.recorded is None and self.active and self.uid != self.own


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
        new: Confirm | None = None,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._journal = journal
        self._store = store
        self._legacy = legacy
        self._report = report
        self._chosen = chosen
        self._new = new
        self._settle_s = settle_s

    def run(self, *, dare: bool) -> None:
        """Bring every key into place and set the enabled flag.

        Raises EnableRefused, Ambiguous, NotTheKey before anything is made; DeviceError where the store fails.
        """
        found = self._located()
        plans = [plan for key in KEYS if (plan := self._plan(key, found.get(key), wanted=dare or key is not DARE))]
        unused = set(self._chosen) - {plan.uid for plan in plans}
        if unused:
            raise EnableRefused(f"-uuid: {', '.join(sorted(unused))} is not among the keys that were found")
        self._permit_new([plan for plan in plans if dare or plan.key is not DARE], plans)
        for plan in plans:
            if not plan.uid:
                self._make(plan)
        self._settle(plans)
        core = self._finish(plans[0], None)
        for plan in plans[1:]:
            self._finish(plan, core).wipe()
        core.wipe()
        self._journal.close()

    def _located(self) -> dict[ClusterKey, Generations]:
        """Return what the store has of the keys that are not recorded."""
        cluster = self._journal.record.cluster
        names = {key: key.name(cluster) for key in KEYS if not self._journal.known(key)}
        if not names:
            return {}
        self._report(Event(Happened.LOOKING, text=cluster))
        found = generations.locate(self._store, *names.values())
        return {key: found[name] for key, name in names.items()}

    def _plan(self, key: ClusterKey, found: Generations | None, *, wanted: bool) -> _Plan | None:
        """Decide what to do about a key without changing anything; None: this cluster has no such key."""
        if (recorded := self._journal.known(key)) or found is None:
            return _Plan(key, recorded.uid, recorded=recorded, settled=True) if recorded else None
        name = key.name(self._journal.record.cluster)
        plan = _Plan(key, own=self._own(key, found), next_name=generations.name_of(name, max(found, default=0) + 1))
        if not self._chosen and any(c.uid == plan.own and c.state in adopt.USABLE for c in generations.every(found)):
            return self._takes(plan, plan.own, found)
        try:
            taken = self._choice(key, found)
        except (Ambiguous, NotTheKey):
            if self._new is None or key.kek or not wanted:
                raise
            taken = None
        if taken is None:
            return plan if wanted else None
        plan.active = taken.state is not KeyState.PRE_ACTIVE
        plan.settled = plan.active or taken.uid in self._chosen
        return self._takes(plan, taken.uid, found)

    def _takes(self, plan: _Plan, uid: str, found: Generations) -> _Plan:
        name, number = plan.key.name(self._journal.record.cluster), generations.number_of(found, uid)
        plan.uid, plan.name = uid, generations.name_of(name, number or 1)
        plan.earlier = adopt.earlier(found, uid)
        if plan.key.kek and uid != plan.own:
            nameless = generations.replaced(self._store, (uid, *plan.earlier))
            plan.earlier += tuple(one for one in nameless if self._usable(one))
        return plan

    def _usable(self, uid: str) -> bool:
        try:
            return self._store.state(uid) in adopt.USABLE
        except ObjectGone:
            return False

    def _choice(self, key: ClusterKey, found: Generations) -> Candidate | None:
        taken = adopt.choose(key, found, self._chosen)
        if taken is not None and key in self._legacy and taken.uid not in self._chosen:
            self._compare_with_legacy(key, taken.uid, self._store.read(taken.uid))
        return taken

    def _permit_new(self, wanted: Sequence[_Plan], plans: Sequence[_Plan]) -> None:
        """Refuse to make keys of a cluster of which others are found, unless that is asked for and confirmed."""
        missing = [plan for plan in wanted if not plan.uid]
        adopted = [plan for plan in plans if plan.adopted]
        if self._new is None:
            lost = [plan.key.title for plan in missing if plan.key not in self._legacy]
            if lost and adopted:
                there = ", ".join(f"{plan.key.title} (UUID {plan.uid})" for plan in adopted)
                raise EnableRefused(
                    f"the key store has {there} of this cluster, but no {', no '.join(lost)}: restore what is missing "
                    "in the key manager, or confirm with -new that it is to be made anew"
                )
            return
        if not missing:
            for plan in wanted:
                if plan.adopted and not plan.key.kek:
                    plan.renew()
            missing = [plan for plan in wanted if not plan.uid]
        if not missing:
            raise EnableRefused("-new: the token has every key already, none is made")
        second = {plan.key: plan.next_name != plan.key.name(self._journal.record.cluster) for plan in missing}
        if adopted or any(second.values()):
            self._new(second)

    def _own(self, key: ClusterKey, found: Generations) -> str:
        """Return the uid of the key that a run which died had made, "" when there is none."""
        step = self._journal.step(key)
        if step is None or not step.uid or generations.number_of(found, step.uid):
            return step.uid if step else ""
        try:
            self._store.state(step.uid)
        except ObjectGone:
            return ""
        raise making.not_found_again(key, step.uid)

    def _compare_with_legacy(self, key: ClusterKey, uid: str, found: Secret) -> None:
        legacy = self._legacy.get(key)
        if legacy is not None and found != legacy:
            raise NotTheKey(
                f"the {key.title} in the key store, UUID {uid}, is not the one in {key.legacy_file} (SHA-256 checksums "
                f"{blob.checksum(found)} and {blob.checksum(legacy)}): move {key.legacy_file} away, "
                f"or give -uuid {uid}, to use the one in the key store"
            )

    def _make(self, plan: _Plan) -> None:
        plan.name = plan.next_name
        legacy = self._legacy.get(plan.key)
        self._journal.intend(plan.key)
        if legacy is None:
            plan.uid = self._store.create(plan.name, plan.key.use)
        else:
            plan.uid = self._store.register(plan.name, plan.key.use, legacy)
        plan.own, plan.made_at = plan.uid, time.monotonic()
        self._journal.made(plan.key, plan.uid)

    def _settle(self, plans: Sequence[_Plan]) -> None:
        """Agree with other nodes that may be making the same keys on whose is used."""
        open_plans = [plan for plan in plans if not plan.settled]
        if not open_plans:
            return
        making.wait_for_others(max(plan.made_at for plan in open_plans), self._settle_s, self._report)
        found = self._store.locate(*(plan.name for plan in open_plans))
        for plan in open_plans:
            named = [one for one in found if one.name == plan.name]
            plan.uid = making.agreed(named, plan.key, plan.uid, own=plan.own == plan.uid)

    def _finish(self, plan: _Plan, core: Secret | None) -> Secret:
        """Activate, read back, encrypt and keep one key; return its bytes."""
        if plan.recorded:
            return self._check_recorded(plan, plan.recorded, core)
        if plan.own and plan.own != plan.uid:
            making.give_way(self._store, plan.key, plan.own, self._report)
        state = self._activate(plan)
        key = self._read_back(plan)
        encrypted = blob.encrypt(core, key) if core is not None and not plan.key.kek else b""
        name = plan.key.name(self._journal.record.cluster)
        self._journal.finish(plan.key, KeyRecord(plan.uid, blob.checksum(key), encrypted, name, plan.earlier))
        self._tell(plan, generated=plan.own == plan.uid, state=state, checksum=blob.checksum(key))
        return key

    def _activate(self, plan: _Plan) -> KeyState:
        """Make a key active that can be; a key of ours always, for a server may not tell states."""
        if plan.own != plan.uid and (state := self._store.state(plan.uid)) is not KeyState.PRE_ACTIVE:
            return state
        self._store.activate(plan.uid)
        return KeyState.ACTIVE

    def _read_back(self, plan: _Plan) -> Secret:
        key = making.read_twice(self._store, plan.key, plan.uid)
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
