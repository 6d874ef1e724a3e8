"""Session objects: kept in this process's memory only."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from types import MappingProxyType

from mrhsm_p11.secret import Secret
from mrhsm_p11.store import local
from mrhsm_p11.store.base import Attributes, ObjectGone, Record, Store

LEASE_S = 86_400.0  # nobody but this process changes them


class MemoryStore(Store):
    """Objects that end with the process at the latest; unique identifiers are `s-<random>`."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[Record, Secret]] = {}
        self._changing = threading.Lock()

    def insert(self, attributes: Attributes, material: Secret) -> Record:
        kept = attributes if isinstance(attributes, MappingProxyType) else MappingProxyType(dict(attributes))
        record = Record(f"s-{os.urandom(16).hex()}", kept)
        with self._changing:
            self._objects[record.uid] = record, Secret(material.view())
        return record

    def generate(self, attributes: Attributes) -> Record:
        kept, material = local.random_key(attributes)
        return self.insert(kept, material)

    def search(self, wanted: Attributes) -> Iterable[Record]:
        with self._changing:
            records = [record for record, _ in self._objects.values()]
        return [record for record in records if local.may_match(record, wanted)]

    def load(self, uid: str) -> Record:
        return self._get(uid)[0]

    def material(self, uid: str) -> Secret:
        with self._changing:  # a delete in another thread must not wipe what is being copied
            return Secret(self._get(uid)[1].view())

    def lease(self, uid: str) -> float:
        return LEASE_S

    def update(self, uid: str, changes: Attributes) -> Record:
        with self._changing:
            record, material = self._get(uid)
            changed = Record(uid, MappingProxyType({**record.attributes, **changes}), record.state, record.foreign)
            self._objects[uid] = changed, material
        return changed

    def delete(self, uid: str) -> None:
        with self._changing:
            self._get(uid)[1].wipe()
            del self._objects[uid]

    def close(self) -> None:
        with self._changing:
            for _, material in self._objects.values():
                material.wipe()
            self._objects.clear()

    def _get(self, uid: str) -> tuple[Record, Secret]:
        try:
            return self._objects[uid]
        except KeyError:
            raise ObjectGone(f"object {uid} is gone") from None
