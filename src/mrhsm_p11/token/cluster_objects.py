"""A cluster's keys as PKCS #11 shows them: named by this node's own record, and changed by nothing but `mrhsm`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mrhsm_p11.constants import CKA, CKO
from mrhsm_p11.crypto.base import Key
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, ObjectGone, Record, Store, Value
from mrhsm_p11.token.fixed_objects import FIXED, FixedObjects

if TYPE_CHECKING:
    from mrhsm_p11.tokendir.settings import ClusterRecord, KeyRecord

NAME_PREFIX = "mrhsm/"
APPLICATION = "mrhsm"
BLOB_LABELS = {"cldb": "cldb.key", "dare": "dare.master.key"}  # field of ClusterRecord -> CKA_LABEL
ID_BYTES = 16
VECTOR_BYTES = 16

_SECRET: dict[int, Value] = {**FIXED, CKA.PRIVATE: True, CKA.SENSITIVE: True, CKA.EXTRACTABLE: False}
_KEK: dict[int, Value] = {
    **_SECRET,
    CKA.ENCRYPT: True,
    CKA.DECRYPT: True,
    CKA.WRAP: True,
    CKA.UNWRAP: True,
    CKA.SIGN: False,
    CKA.VERIFY: False,
    CKA.DERIVE: False,
}
_USES: dict[str, tuple[str, dict[int, Value]]] = {  # field of ClusterRecord -> last part of the name, attributes
    "core_kek": ("core-kek", _KEK),
    "common_kek": ("common-kek", {**_KEK, CKA.DERIVE: True}),
    "cldb": ("cldb-key", _SECRET),
    "dare": ("dare-key", _SECRET),
}


def is_cluster_key(record: Record) -> bool:
    """Tell whether an object's label is one that only `mrhsm` gives."""
    label = record.attributes.get(CKA.LABEL)
    return isinstance(label, str) and label.startswith(NAME_PREFIX)


def key_records(cluster: ClusterRecord) -> Iterator[tuple[str, KeyRecord]]:
    """Yield (field, record) of every key that the cluster has."""
    for field in _USES:
        record: KeyRecord | None = getattr(cluster, field)
        if record is not None:
            yield field, record


class ClusterView(Store):
    """Another store, in which the cluster's keys bear the names and the limits of this node's record.

    The server's names are not believed: a foreign object that bears a recorded key's name shows as `<name>@<uid>`.
    """

    def __init__(self, inner: Store, cluster: ClusterRecord) -> None:
        self._inner = inner
        self._last: dict[str, tuple[Record, Record]] = {}
        self._known: dict[str, dict[int, Value]] = {}
        for field, record in key_records(cluster):
            part, fixed = _USES[field]
            name = record.name or f"{NAME_PREFIX}{cluster.cluster}/{part}"
            count = len(record.earlier)
            self._known[record.uid] = _known(record.uid, name, fixed)
            for place, uid in enumerate(record.earlier):  # latest first; the first generation is @1
                self._known[uid] = _known(uid, f"{name}@{count - place}", fixed)
        self._labels = {values[CKA.LABEL]: uid for uid, values in self._known.items()}
        self._ids = {values[CKA.ID]: uid for uid, values in self._known.items()}

    def insert(self, attributes: Attributes, material: Secret) -> Record:
        return self._inner.insert(attributes, material)

    def insert_pair(
        self, public: tuple[Attributes, Secret], private: tuple[Attributes, Secret]
    ) -> tuple[Record, Record]:
        return self._inner.insert_pair(public, private)

    def generate(self, attributes: Attributes) -> Record:
        return self._inner.generate(attributes)

    def search(self, wanted: Attributes) -> Iterable[Record]:
        """As the inner store; a search for a recorded key's label or ID asks for that one object by its uid."""
        uid = self._labels.get(wanted.get(CKA.LABEL, "")) or self._ids.get(wanted.get(CKA.ID, b""))
        if uid is not None:
            try:
                return [self.load(uid)]
            except ObjectGone:
                return []
        believed = {cka: value for cka, value in wanted.items() if cka not in _KEK}  # what the record may overrule
        return (self._shown(record) for record in self._inner.search(believed))

    def load(self, uid: str) -> Record:
        return self._shown(self._inner.load(uid))

    def material(self, uid: str) -> Secret:
        return self._inner.material(uid)

    def key(self, uid: str) -> Key:
        return self._inner.key(uid)

    def lease(self, uid: str) -> float:
        return self._inner.lease(uid)

    def update(self, uid: str, changes: Attributes) -> Record:
        return self._shown(self._inner.update(uid, changes))

    def delete(self, uid: str) -> None:
        self._inner.delete(uid)

    def forget(self) -> None:
        self._inner.forget()

    def close(self) -> None:
        self._inner.close()

    def _shown(self, record: Record) -> Record:
        fixed = self._known.get(record.uid)
        if fixed is None:
            if not is_cluster_key(record):
                return record
            label = record.attributes[CKA.LABEL]
            fixed = {**FIXED, CKA.LABEL: f"{label!s}@{record.uid}"} if label in self._labels else FIXED
        last = self._last.get(record.uid)
        if last is None or last[0] is not record:  # so that an unchanged object stays one Record
            last = self._last[record.uid] = record, replace(record, attributes={**record.attributes, **fixed})
        return last[1]


class ClusterBlobs(FixedObjects):
    """The encrypted CLDB and DARE keys as data objects; there is nothing in here but the record."""

    def __init__(self, cluster: ClusterRecord) -> None:
        blobs = {BLOB_LABELS[field]: record.encrypted for field, record in key_records(cluster) if record.encrypted}
        super().__init__(map(_blob, blobs), {f"l-{label}": encrypted for label, encrypted in blobs.items()})


def names_blob(wanted: Attributes) -> bool:
    """Tell whether a search can only mean the recorded blobs, which need no server."""
    is_blob = wanted.get(CKA.CLASS) == CKO.DATA and wanted.get(CKA.APPLICATION) == APPLICATION
    return is_blob and wanted.get(CKA.LABEL) in BLOB_LABELS.values()


def vectors(cluster: ClusterRecord) -> tuple[bytes, ...]:
    """Return what each recorded blob begins with: its initialisation vector."""
    return tuple(record.encrypted[:VECTOR_BYTES] for _, record in key_records(cluster) if record.encrypted)


def checksum_broken(cluster: ClusterRecord | None, encrypted: bytes, plain: bytes | memoryview) -> str:
    """Return the name of the recorded key that `encrypted` (IV and ciphertext) is, if `plain` has not its checksum."""
    for _, record in key_records(cluster) if cluster is not None else ():
        if record.encrypted == encrypted and hashlib.sha256(plain).hexdigest().upper() != record.checksum.upper():
            return record.name or record.uid
    return ""


def _known(uid: str, label: str, fixed: dict[int, Value]) -> dict[int, Value]:
    return {**fixed, CKA.LABEL: label, CKA.ID: hashlib.sha256(uid.encode()).digest()[:ID_BYTES]}


def _blob(label: str) -> Record:
    own: dict[int, Value] = {CKA.APPLICATION: APPLICATION, CKA.LABEL: label, CKA.OBJECT_ID: b""}
    return Record(f"l-{label}", {CKA.CLASS: CKO.DATA, CKA.PRIVATE: True, **own, **FIXED})
