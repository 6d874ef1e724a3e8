"""Replace a key-encryption key: the CLDB and DARE keys stay what they are, and are encrypted under the new one.

The store's own Re-key is used where there is one; it moves the key's Name to the replacement. Elsewhere the new key is
made beside the old one as `<name>@<n>`. The old key stays active until it is retired, for other nodes may still have
the token directory of before. A run that dies at any point is finished by the next one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mrhsm_p11.cluster import adopt, blob, generations, making
from mrhsm_p11.cluster.adopt import NotTheKey
from mrhsm_p11.cluster.events import Event, Happened, Report
from mrhsm_p11.cluster.journal import Journal
from mrhsm_p11.cluster.keys import CLDB, COMMON, CORE, DARE, ClusterKey
from mrhsm_p11.cluster.making import SETTLE_S
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import ClusterKeyStore, KeyState, ObjectGone
from mrhsm_p11.tokendir.settings import JournalStep, KeyRecord

KEY_TYPES: dict[str, ClusterKey] = {"core": CORE, "common": COMMON}
ENCRYPTED = (CLDB, DARE)


class RekeyRefused(MrhsmError):
    """A key cannot be replaced, or retired, as things are."""


@dataclass(frozen=True, slots=True)
class _Target:
    """How the replacement will be found again: noted before it is made."""

    name: str  # that Re-key gives to the replacement; "" for one made beside the old key
    next_name: str  # of one made beside the old key; "" for one that Re-key made
    before: tuple[str, ...]  # what bore one of the key's names already

    @classmethod
    def load(cls, text: str) -> _Target:
        name, next_name, *before = json.loads(text)
        return cls(name, next_name, tuple(before))

    def dump(self) -> str:
        return json.dumps([self.name, self.next_name, *self.before])

    @property
    def by_rekey(self) -> _Target:
        return replace(self, next_name="")

    @property
    def beside(self) -> _Target:
        return replace(self, name="")


class Rekey:
    """One run of `rekey` for one key of one token."""

    def __init__(
        self,
        journal: Journal,
        store: ClusterKeyStore,
        report: Report,
        key: ClusterKey,
        *,
        chosen: str = "",
        settle_s: float = SETTLE_S,
    ) -> None:
        self._journal = journal
        self._store = store
        self._report = report
        self._key = key
        self._chosen = chosen
        self._settle_s = settle_s

    def run(self) -> None:
        """Replace the key, or finish what a run that died began.

        Raises RekeyRefused, NotTheKey, BlobDamaged before anything is made; DeviceError where the store fails.
        """
        step = self._journal.step(self._key)
        if step is not None:
            self._report(Event(Happened.RESUMED, self._key.title))
        record = recorded(self._journal, self._key)
        if step is None or step.uid != record.uid:
            open_all(self._journal, self._store, self._key)
            target = self._replace(record, step)
        else:
            target = _Target.load(step.note)
        uid = recorded(self._journal, self._key).uid
        if target.name:
            self._store.claim(uid, target.name, self._key.use)
        open_all(self._journal, self._store, self._key)
        self._journal.drop(self._key)

    def _replace(self, record: KeyRecord, step: JournalStep | None) -> _Target:
        """Have a new key in the old one's place, saved; return how it is found."""
        begun, uid = self._begun(record, step)
        target = begun or self._aim(record)
        if not uid:
            target, uid = self._make(record, target)
        agreed, name = uid, target.name or target.next_name
        if name:
            known = {record.uid, *target.before}
            found = self._store.locate(name)
            agreed = making.agreed(found, self._key, uid, own=not target.name, others=known)
        if agreed != uid:
            making.give_way(self._store, self._key, uid, self._report)
            self._journal.made(self._key, agreed, target.dump())
        self._store.activate(agreed)
        self._keep(record, agreed)
        return target

    def _begun(self, record: KeyRecord, step: JournalStep | None) -> tuple[_Target | None, str]:
        """Return what a run that died had in mind, and the key that it made, "" where it made none."""
        if self._chosen or step is None:
            return None, ""
        target = _Target.load(step.note)
        if step.uid:
            try:
                self._store.state(step.uid)
            except ObjectGone:
                return None, ""
            return target, step.uid
        for found in (target.by_rekey, target.beside):
            name = found.name or found.next_name
            usable = [one for one in self._store.locate(name) if one.state in adopt.USABLE] if name else []
            made = [one for one in usable if one.uid not in (record.uid, *target.before)]
            if made:
                uid = adopt.winner(made).uid
                self._journal.made(self._key, uid, found.dump())
                return found, uid
        return target, ""

    def _aim(self, record: KeyRecord) -> _Target:
        """Choose where the replacement goes. Raises RekeyRefused where another node has replaced the key already."""
        name = self._key.name(self._journal.record.cluster)
        found = generations.locate(self._store, name)[name]
        own = generations.number_of(found, record.uid)
        known = (record.uid, *record.earlier)
        newer = [
            one
            for number, group in found.items()
            for one in group
            if one.state in adopt.USABLE and one.uid not in known and number > (own or 0)
        ]
        if newer and not self._chosen:
            raise RekeyRefused(
                f"the {self._key.title} has been replaced already: {'; '.join(map(adopt.describe, newer))}; copy the "
                "token directory from the node where that was done, or take the key over here with -uuid"
            )
        if self._chosen not in ("", *(one.uid for one in newer)):
            raise RekeyRefused(f"-uuid: {self._chosen} is no later {self._key.title} of this cluster that can be used")
        return _Target(
            generations.name_of(name, own) if own else "",
            generations.name_of(name, max(found, default=1) + 1),
            tuple(one.uid for one in generations.every(found)),
        )

    def _make(self, record: KeyRecord, target: _Target) -> tuple[_Target, str]:
        if self._chosen:
            found, uid = replace(target, name="", next_name=""), self._chosen
        else:
            self._journal.intend(self._key, target.dump())
            uid = (self._store.rekey(record.uid, target.name) if target.name else None) or ""
            found = target.by_rekey if uid else target.beside
            uid = uid or self._store.create(target.next_name, self._key.use)
        made_at = time.monotonic()
        self._journal.made(self._key, uid, found.dump())
        if not self._chosen:
            making.wait_for_others(made_at, self._settle_s, self._report)
        return found, uid

    def _keep(self, record: KeyRecord, uid: str) -> None:
        """Read the new key back, encrypt under it what was encrypted under the old one, and save all of it at once."""
        title = self._key.title
        new = making.read_twice(self._store, self._key, uid)
        if blob.checksum(new) == record.checksum:
            raise NotTheKey(f"the replacement of the {title}, UUID {uid}, has the bytes of the old one")
        self._report(Event(Happened.GENERATED if not self._chosen else Happened.FOUND, title, uid))
        self._report(Event(Happened.CHECKSUM, title, blob.checksum(new)))
        earlier = (record.uid, *(one for one in record.earlier if one != uid))
        kept = {self._key: KeyRecord(uid, blob.checksum(new), b"", record.name, earlier)}
        for key, plain in open_all(self._journal, self._store, self._key).items():
            encrypted = blob.encrypt(new, plain)
            blob.decrypt(new, encrypted, recorded(self._journal, key).checksum, key.title).wipe()
            kept[key] = replace(recorded(self._journal, key), encrypted=encrypted)
            plain.wipe()
        new.wipe()
        self._journal.keep(kept)
        for key in list(kept)[1:]:
            self._report(Event(Happened.CHECKSUM, key.title, recorded(self._journal, key).checksum))
            self._report(Event(Happened.ENCRYPTED, key.title))
        self._report(Event(Happened.KEPT, title, record.uid))


def retire(journal: Journal, store: ClusterKeyStore, report: Report, key: ClusterKey) -> None:
    """Revoke the earlier generations of a key, once everything recorded here is under the present one.

    Raises RekeyRefused, NotTheKey, BlobDamaged before anything is revoked.
    """
    record = recorded(journal, key)
    if journal.step(key) is not None:
        raise RekeyRefused(f"the {key.title} is being replaced: run mrhsm rekey without -retire first")
    if not record.earlier:
        raise RekeyRefused(f"no earlier {key.title} is recorded: there is nothing to retire")
    if store.state(record.uid) is not KeyState.ACTIVE:
        raise RekeyRefused(f"the {key.title}, UUID {record.uid}, is not active: replace it before others are retired")
    open_all(journal, store, key)
    for uid in record.earlier:
        try:
            store.revoke(uid)
        except ObjectGone:
            report(Event(Happened.GONE, key.title, uid))
        else:
            report(Event(Happened.RETIRED, key.title, uid))


def open_all(journal: Journal, store: ClusterKeyStore, key: ClusterKey) -> Mapping[ClusterKey, Secret]:
    """Return what is encrypted under a key-encryption key, each opened and compared with its checksum.

    Raises NotTheKey, BlobDamaged, and RekeyRefused where the store has the key no more.
    """
    record = recorded(journal, key)
    try:
        kek = store.read(record.uid, fresh=True)
    except ObjectGone as error:
        raise RekeyRefused(f"the {key.title}, UUID {record.uid}, is no longer in the key store") from error
    if blob.checksum(kek) != record.checksum:
        raise NotTheKey(f"the {key.title} in the key store, UUID {record.uid}, is not the one recorded by its checksum")
    opened = {}
    for kept in ENCRYPTED if key is CORE else ():
        if (sealed := journal.known(kept)) is not None:
            opened[kept] = blob.decrypt(kek, sealed.encrypted, sealed.checksum, kept.title)
    kek.wipe()
    return opened


def recorded(journal: Journal, key: ClusterKey) -> KeyRecord:
    """Return the record of a key. Raises RekeyRefused where there is none."""
    record = journal.known(key)
    if record is None:
        raise RekeyRefused(f"the token has no {key.title} yet: run mrhsm enable first")
    return record
