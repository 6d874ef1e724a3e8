"""Token objects as managed objects of KMIP servers, used here: key bytes are fetched, cached in memory, and wiped.

See "Stores and custody" and "KMIP mapping" in the decisions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from mrhsm_p11 import log
from mrhsm_p11.constants import CKA, CKO
from mrhsm_p11.crypto import secret_keys
from mrhsm_p11.errors import ActionProhibited, AttributeValueInvalid, DeviceError, TemplateIncomplete
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, ObjectGone, Record, Store
from mrhsm_p11.store.kmip import records
from mrhsm_p11.store.kmip.bare import BareReader
from mrhsm_p11.store.kmip.cache import Cache
from mrhsm_p11.store.kmip.changing import Changer
from mrhsm_p11.store.kmip.connection import Servers, reported, require_identifier
from mrhsm_p11.store.kmip.creating import Creator
from mrhsm_p11.store.kmip.custody import KEPT, Custody, shown
from mrhsm_p11.store.kmip.learned import Learned
from mrhsm_p11.store.kmip.lifecycle import Lifecycle
from mrhsm_p11.store.kmip.linking import link_pair
from mrhsm_p11.store.kmip.reader import MOST_IN_A_MESSAGE, NoGetAttributes, Reader, id_filter, label_filters
from mrhsm_p11.store.kmip.records import Entry, kind_of
from mrhsm_p11.store.kmip.sidecar import Sidecar
from mrhsm_p11.store.kmip.turns import Turns, shortened
from mrhsm_p11.tokendir.tokens import TokenReset

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.crypto.base import Key
    from mrhsm_p11.tokendir.files import TokenDirectory
    from mrhsm_p11.tokendir.settings import Connection
    from mrhsm_p11.tokendir.watching import ConnectionWatch

E = TypeVar("E", Entry, Entry | None)
W = TypeVar("W", Secret, int)

KEY_MOST_BYTES = 1 << 20
CLUSTER_PREFIX = "mrhsm/"
WARN_EVERY_S = 60.0
# Lengths of a CKA_ID that may be computed from the object instead of stored: no server can search by those.
COMPUTED_ID_BYTES = (16, 20)


class KmipStore(Store):
    """One token's view of its servers. Nothing connects before the first call that must."""

    def __init__(
        self,
        connection: Connection,
        *,
        serial: str,
        directory: TokenDirectory,
        config: Config,
        group: str | None = None,
        watch: ConnectionWatch | None = None,
    ) -> None:
        self._config = config
        self._serial = serial
        self._servers = Servers(connection, config, watch)
        self._learned = Learned(directory, serial, self._servers)
        self._sidecar = Sidecar(directory, serial)
        self._cache = Cache(shortened(config.cache_seconds), config.stale_seconds)
        # To wait for another's answer that is not kept is no use.
        self._turns = Turns() if config.cache_seconds else None
        self._servers.followers.append(self.forget)
        self._lifecycle = Lifecycle(self._servers, self._learned)
        kept = config.custody == "appliance"
        self._custody = Custody(self._servers, directory, serial) if kept else None
        self._reader = Reader(self._servers, self._learned, self._sidecar, group)
        self._bare = BareReader(self._servers, self._sidecar, self._reader.group_filter)
        self._creator = Creator(
            self._servers,
            self._learned,
            self._sidecar,
            self._lifecycle,
            serial=serial,
            group=self._reader.group_filter,
            marks=self._custody.marks if self._custody else lambda _: [],
        )
        self._changer = Changer(self._servers, self._sidecar)
        self._warned_at = -WARN_EVERY_S

    # ---- new objects

    def insert(self, attributes: Attributes, material: Secret) -> Record:
        if self._custody is not None and attributes.get(CKA.CLASS) in KEPT:
            return self._insert_kept(self._custody, attributes, material)
        entry = self._made(self._creator.register, attributes, material)
        self._cache.keep(entry)
        self._cache.keep_material(entry.record.uid, material)
        return entry.record

    def _insert_kept(self, custody: Custody, attributes: Attributes, material: Secret) -> Record:
        """Hand a key over for good: whatever comes of it, the bytes are wiped."""
        try:
            entry = self._made(self._creator.register, custody.prepared(attributes, material), material)
            return self._kept(entry).record
        finally:
            material.wipe()

    def insert_pair(
        self, public: tuple[Attributes, Secret], private: tuple[Attributes, Secret]
    ) -> tuple[Record, Record]:
        first, second = super().insert_pair(public, private)
        link_pair(self._servers, self._learned, first.uid, second.uid)
        return first, second

    def generate(self, attributes: Attributes) -> Record:
        length = attributes.get(CKA.VALUE_LEN)
        if length is None:
            raise TemplateIncomplete("a secret key needs CKA_VALUE_LEN")
        if type(length) is not int or not 0 < length <= KEY_MOST_BYTES:
            raise AttributeValueInvalid(f"a secret key has 1 to {KEY_MOST_BYTES} bytes")
        _, key_type = kind_of(attributes)
        if key_type not in secret_keys.SHAPED:  # a server's random bytes need not have parity
            told = self._custody.prepared(attributes, None) if self._custody else attributes
            entry = self._made(self._creator.create, told, length * 8)
            if entry is not None:
                return self._kept(entry).record
        return self.insert(attributes, secret_keys.make(key_type, length))

    def _made(self, make: Callable[[Attributes, W], E], attributes: Attributes, what: W) -> E:
        """Make an object, unless C_InitToken made the token anew meanwhile: nobody would know of it."""
        self._servers.require_token()
        with reported():
            entry = make(attributes, what)
        try:
            self._servers.require_token()
        except TokenReset:
            if entry is not None:
                self._lifecycle.destroy_quietly(entry.record.uid)
            raise
        return entry

    # ---- reading

    def search(self, wanted: Attributes) -> Iterable[Record]:
        with reported():
            try:
                if self._learned.facts.get_attributes is not False:
                    return [entry.record for entry in self._search(wanted)]
            except NoGetAttributes:
                log.info("the server has no Get Attributes: objects are read by Get and Locate")
            if self._custody is not None:
                self._custody.require_attributes()
            return [self._kept(entry).record for entry in self._bare.search(wanted)]

    def load(self, uid: str) -> Record:
        return self._load(uid).record

    def key(self, uid: str) -> Key:
        if self._custody is None:
            return self.material(uid)
        record = self._load(uid).record
        if not self._custody.holds(record):
            return self.material(uid)
        return self._custody.key(record, lambda: self._cache.drop(uid))

    def material(self, uid: str) -> Secret:
        if self._custody is not None:
            self._custody.refuse(self._load(uid).record)
        known = self._cache.material(uid)
        if known is not None:
            return known
        with self._turn(uid):
            known = self._cache.material(uid)
            return self._material_again(uid) if known is None else known

    def _material_again(self, uid: str) -> Secret:
        try:
            with reported():
                return self._fetch(uid)
        except DeviceError as error:
            stale = self._stale_material(uid, error)
            if stale is None:
                raise
            return stale

    def lease(self, uid: str) -> float:
        return self._cache.fresh_for(uid)

    # ---- changing

    def update(self, uid: str, changes: Attributes) -> Record:
        with reported():
            entry = self._look(uid, material=False)[0]
            changed = self._changer.update(entry, changes, self._config.foreign_objects == "writable")
        return self._kept(changed).record

    def delete(self, uid: str) -> None:
        entry = self._load(uid)
        if _is_cluster_key(entry):
            raise ActionProhibited("a cluster key is destroyed by nobody")
        if entry.record.foreign and self._config.foreign_objects != "writable":
            raise ActionProhibited(f"object {uid} was made by another tool")
        with reported():
            self._lifecycle.destroy(uid, entry.found.state)
        self._cache.drop(uid)
        self._sidecar.remove(uid)

    def destroy_own(self) -> None:
        """Destroy every object that says this token made it; cluster keys stay."""
        for record in list(self.search({})):
            entry = self._load(record.uid)
            own = entry.blob is not None and entry.blob.serial == self._serial
            if (own or entry.note is not None) and not _is_cluster_key(entry):
                self.delete(record.uid)

    def forget(self) -> None:
        self._cache.clear()

    def close(self) -> None:
        self._cache.clear()
        self._servers.close()

    # ---- below: one object or many, from the cache or a server

    def _search(self, wanted: Attributes) -> list[Entry]:
        label, cka_id = wanted.get(CKA.LABEL), wanted.get(CKA.ID)
        facts = self._learned.facts
        exact = facts.information is not False and facts.entries is not False
        if exact and isinstance(label, str) and label:
            uids = self._reader.locate(label_filters(label))
        elif exact and isinstance(cka_id, bytes) and cka_id and len(cka_id) not in COMPUTED_ID_BYTES:
            uids = self._reader.locate([id_filter(cka_id)])
        else:
            uids = self._reader.locate([[]])
        known = {uid: entry for uid in uids if (entry := self._cache.entry(uid)) is not None}
        missing = [uid for uid in uids if uid not in known]
        # Kept message by message: a search that its deadline ended goes on there when it is asked again.
        for start in range(0, len(missing), MOST_IN_A_MESSAGE):
            read = self._reader.entries(missing[start : start + MOST_IN_A_MESSAGE])
            known.update((entry.record.uid, self._kept(entry)) for entry in read)
        return list(known.values())

    def _load(self, uid: str) -> Entry:
        known = self._cache.entry(uid)
        if known is not None:
            return known
        with self._turn(uid):
            return self._cache.entry(uid) or self._load_again(uid)

    def _turn(self, uid: str) -> AbstractContextManager[None]:
        return self._turns.turn(uid) if self._turns is not None else nullcontext()

    def _load_again(self, uid: str) -> Entry:
        try:
            with reported():
                return self._look(uid, material=self._cache.wants_material(uid))[0]
        except DeviceError as error:
            stale = self._cache.stale_entry(uid)
            if stale is None or self._stale_material(uid, error) is None:
                raise
            return stale

    def _fetch(self, uid: str) -> Secret:
        """Get the bytes, and the record along with them where it is not known."""
        if self._cache.entry(uid) is not None:
            try:
                material = self._reader.get(uid)
            except OperationFailed:
                self._cache.drop(uid)
                raise
            self._cache.keep_material(uid, material)
            return material
        material_read = self._look(uid, material=True)[1]
        if material_read is None:
            raise ObjectGone(f"object {uid} is gone")
        return material_read

    def _look(self, uid: str, *, material: bool) -> tuple[Entry, Secret | None]:
        """Read an object from a server; what the server refuses to give is dropped at once."""
        require_identifier(uid)
        try:
            entry, secret = self._looked(uid, material=material)
        except OperationFailed:
            self._cache.drop(uid)
            raise
        if entry is None:
            self._cache.drop(uid)
            raise ObjectGone(f"object {uid} is destroyed")
        entry = self._kept(entry)
        if secret is not None:
            self._cache.keep_material(uid, secret)
        return entry, secret

    def _looked(self, uid: str, *, material: bool) -> tuple[Entry | None, Secret | None]:
        try:
            if self._learned.facts.get_attributes is not False:
                return self._reader.look(uid, material=material)
        except NoGetAttributes:
            log.info("the server has no Get Attributes: objects are read by Get and Locate")
        if self._custody is not None:
            self._custody.require_attributes()
        return self._bare.look(uid)

    def _kept(self, entry: Entry) -> Entry:
        if entry.record.foreign and self._config.foreign_objects == "writable":
            entry = records.writable(entry)
        if self._custody is not None:
            entry = shown(entry)
        self._cache.keep(entry)
        return entry

    def _stale_material(self, uid: str, error: DeviceError) -> Secret | None:
        """Return bytes that outlived their time, if no server can be asked and the settings allow it."""
        if not isinstance(error.__cause__, KMIPError) or isinstance(error.__cause__, OperationFailed):
            return None
        stale = self._cache.material(uid, stale=True)
        if stale is None:
            self._cache.drop_material(uid)
        elif time.monotonic() - self._warned_at >= WARN_EVERY_S:
            self._warned_at = time.monotonic()
            log.warning(f"no key manager answers, keys read earlier are used on: {error}")
        return stale


def _is_cluster_key(entry: Entry) -> bool:
    names = [*entry.found.names, entry.record.attributes.get(CKA.LABEL)]
    is_key = entry.record.attributes.get(CKA.CLASS) == CKO.SECRET_KEY
    return is_key and any(isinstance(name, str) and name.startswith(CLUSTER_PREFIX) for name in names)
