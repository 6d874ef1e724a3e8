"""The file store: a token's objects as sealed files beside the token, for trying out and for sites without KMIP."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from mrhsm_p11.secret import Secret
from mrhsm_p11.store import local
from mrhsm_p11.store.base import Attributes, Record, Store
from mrhsm_p11.store.folder import ObjectFolder
from mrhsm_p11.store.sealed import StoredObject
from mrhsm_p11.tokendir.files import TokenDirectory

LEASE_S = 0.1  # for so long another process's change may stay unseen


class FileStore(Store):
    """Objects that survive the process; unique identifiers are `l-<random>`, of cluster keys a random UUID."""

    def __init__(self, directory: TokenDirectory, serial: str, token_key: Secret) -> None:
        self._objects = ObjectFolder(directory, serial, token_key)
        self._records: dict[str, tuple[StoredObject, Record]] = {}  # so that one unchanged object is one Record

    def insert(self, attributes: Attributes, material: Secret) -> Record:
        uid, stored = _new(attributes)
        self._objects.add(uid, stored, material)
        return self._record(uid, stored)

    def insert_pair(
        self, public: tuple[Attributes, Secret], private: tuple[Attributes, Secret]
    ) -> tuple[Record, Record]:
        first, second = _new(public[0]), _new(private[0])
        self._objects.add_pair((*first, public[1]), (*second, private[1]))
        return self._record(*first), self._record(*second)

    def generate(self, attributes: Attributes) -> Record:
        return self.insert(*local.random_key(attributes))

    def search(self, wanted: Attributes) -> Iterable[Record]:
        records = [self._record(uid, stored) for uid, stored in self._objects.all()]
        present = {record.uid for record in records}
        self._records = {uid: known for uid, known in self._records.copy().items() if uid in present}
        return [record for record in records if local.may_match(record, wanted)]

    def load(self, uid: str) -> Record:
        return self._record(uid, self._objects.load(uid))

    def material(self, uid: str) -> Secret:
        return self._objects.material(uid)

    def lease(self, uid: str) -> float:
        return LEASE_S

    def update(self, uid: str, changes: Attributes) -> Record:
        def changed(stored: StoredObject) -> StoredObject:
            return replace(
                stored, attributes=_frozen({**stored.attributes, **changes}), generation=stored.generation + 1
            )

        return self._record(uid, self._objects.change(uid, changed))

    def delete(self, uid: str) -> None:
        self._objects.remove(uid)
        self._records.pop(uid, None)

    def close(self) -> None:
        self._objects.close()
        self._records.clear()

    def _record(self, uid: str, stored: StoredObject) -> Record:
        known = self._records.get(uid)
        if known is None or known[0] is not stored:
            known = self._records[uid] = stored, Record(uid, _frozen(stored.attributes), stored.state)
        return known[1]


def _new(attributes: Attributes) -> tuple[str, StoredObject]:
    return f"l-{os.urandom(16).hex()}", StoredObject(_frozen(attributes))


def _frozen(attributes: Attributes) -> Attributes:
    return MappingProxyType(dict(attributes))
