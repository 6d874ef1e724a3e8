"""Attributes of stored objects changed: where the blob is, there the new one goes, whole or not at all."""

from __future__ import annotations

import dataclasses
import secrets
from types import MappingProxyType

from mrhsm_p11 import deadline, log
from mrhsm_p11.constants import CKA
from mrhsm_p11.errors import AttributeReadOnly
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import Attribute, attribute
from mrhsm_p11.kmip.errors import OperationFailed
from mrhsm_p11.mapping import kmip_objects
from mrhsm_p11.store.base import Attributes, Value
from mrhsm_p11.store.kmip import blob as blobs
from mrhsm_p11.store.kmip import found, records
from mrhsm_p11.store.kmip.blob import Blob
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.found import CUSTOM, ID_NAMESPACE, LABEL_NAMESPACE, NAMESPACE, Found, Information
from mrhsm_p11.store.kmip.plans import NEGOTIABLE
from mrhsm_p11.store.kmip.reader import HIDDEN, UNSUPPORTED, information, searchable
from mrhsm_p11.store.kmip.records import Entry, Shape
from mrhsm_p11.store.kmip.sidecar import Note, Sidecar


class Changer:
    """Raises KMIPError, AttributeReadOnly before anything has changed."""

    def __init__(self, servers: Servers, sidecar: Sidecar) -> None:
        self._servers = servers
        self._sidecar = sidecar

    def update(self, entry: Entry, changes: Attributes, writable: bool) -> Entry:
        """Change an object that was just read; return it as it is now."""
        attributes = {**entry.record.attributes, **changes}
        if entry.record.foreign and not writable:
            raise AttributeReadOnly(f"object {entry.record.uid} was made by another tool")
        if entry.record.foreign and entry.blob is None:
            return self._adopt(entry, attributes, changes)
        if entry.blob is None:
            return self._update_note(entry, attributes)
        shape = _shape(entry.found, attributes)
        _require_granted(entry.found, shape, changes)
        blob = Blob(entry.blob.serial, entry.blob.nonce, records.changes_of(attributes, shape))
        fitted, left = blobs.fit(blob)
        text = blobs.dump(fitted)
        told = _rewritten(entry.found, text, attributes)
        note = Note(entry.record.uid, left, whole=False) if left else None
        if note is not None:
            self._sidecar.write(note)
        self._modify(entry.found, told)
        if note is None and entry.blob.rest:
            self._sidecar.remove(entry.record.uid)
        return _reread(told, note)

    def rewrite(self, told: Found, blob: Blob, attributes: Attributes) -> None:
        """Make an object carry this blob and these attributes' search entries; what it carries already is not sent."""
        self._modify(told, _rewritten(told, blobs.dump(blob), attributes))

    def _adopt(self, entry: Entry, attributes: dict[int, Value], changes: Attributes) -> Entry:
        """Give another tool's object its first blob. A file of this node alone would make hosts disagree."""
        shape = _shape(entry.found, attributes)
        _require_granted(entry.found, shape, changes)
        blob, left = blobs.fit(Blob(blobs.FOREIGN, secrets.token_hex(8), records.changes_of(attributes, shape)))
        text = blobs.dump(blob)
        for home in () if left else (information(NAMESPACE, text), attribute(CUSTOM, text)):
            try:
                self._servers.client.add_attribute(entry.record.uid, home, deadline=deadline.current())
            except OperationFailed as error:
                if error.reason not in NEGOTIABLE | UNSUPPORTED | HIDDEN:
                    raise
                log.info(f"attributes of another tool's object are not taken as {home.attribute_name}: {error}")
                continue
            told = self._servers.client.get_attributes(entry.record.uid, deadline=deadline.current())
            return _reread(found.read(entry.record.uid, told), None)
        raise AttributeReadOnly(f"the server keeps no attributes of ours for object {entry.record.uid}")

    def _update_note(self, entry: Entry, attributes: dict[int, Value]) -> Entry:
        note = Note(entry.record.uid, attributes)
        self._sidecar.write(note)
        record = dataclasses.replace(entry.record, attributes=MappingProxyType(attributes))
        return dataclasses.replace(entry, record=record, note=note)

    def _modify(self, before: Found, after: Found) -> None:
        """Replace what differs, in one message, the blob first; put it back if the rest is refused."""
        changed = _modifications(before, after)
        if not changed:
            return
        requests = [
            payloads.ModifyAttributeRequest(unique_identifier=before.uid, current_attribute=old, attribute=new)
            for old, new in changed
        ]
        got = self._servers.client.batch(requests, deadline=deadline.current())
        failure = next((one for one in got if isinstance(one, OperationFailed)), None)
        if failure is None:
            return
        done = sum(not isinstance(one, OperationFailed) for one in got)
        for new, old in changed[:done]:
            self._servers.client.modify_attribute(before.uid, new, current=old, deadline=deadline.current())
        raise failure


def _modifications(before: Found, after: Found) -> list[tuple[Attribute, Attribute]]:
    """Return what differs, as it is and as it is to be."""
    changed = [
        (information(old.namespace, old.text, old.index), information(new.namespace, new.text, new.index))
        for old, new in zip(before.information, after.information, strict=True)
        if old != new
    ]
    if before.custom != after.custom:
        changed.append((attribute(CUSTOM, before.custom[0]), attribute(CUSTOM, after.custom[0])))
    return changed


def _rewritten(told: Found, blob: str, attributes: Attributes) -> Found:
    """Return what the server will tell once the blob and the search entries say the new attributes."""
    label, cka_id = attributes.get(CKA.LABEL, ""), attributes.get(CKA.ID, b"")
    texts = {
        NAMESPACE: blob,
        LABEL_NAMESPACE: searchable(label if isinstance(label, str) else ""),
        ID_NAMESPACE: searchable(cka_id if isinstance(cka_id, bytes) else b""),
    }
    return dataclasses.replace(
        told,
        information=tuple(
            Information(info.index, info.namespace, texts.get(info.namespace, info.text)) for info in told.information
        ),
        custom=(blob,) if told.custom else (),
    )


def _shape(told: Found, attributes: Attributes) -> Shape:
    """Return the object's KMIP side as it is: the attributes change, what the server holds does not."""
    shape = records.shape_of(attributes, told.length or 0)
    return dataclasses.replace(shape, mask=told.mask or 0)


def _require_granted(told: Found, shape: Shape, changes: Attributes) -> None:
    """Raise AttributeReadOnly for a use that the usage mask, which no client can change, does not grant."""
    if told.mask is None:
        return
    granted = kmip_objects.usage_flags(shape.cls, told.mask)
    for cka, value in changes.items():
        if value is True and granted.get(cka) is False:
            raise AttributeReadOnly(f"the server's usage mask of object {told.uid} does not allow CKA_{CKA.name(cka)}")


def _reread(told: Found, note: Note | None) -> Entry:
    entry = records.entry(told, note)
    if entry is None:
        raise AttributeReadOnly(f"object {told.uid} is not listed any more")
    return entry
