"""Managed objects as PKCS #11 records, and the attributes of a new object as KMIP takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from mrhsm_p11.constants import CK, CKA, CKC, CKK, CKO
from mrhsm_p11.kmip.vocabulary import CryptographicAlgorithm, ObjectType
from mrhsm_p11.mapping import kmip_objects
from mrhsm_p11.mapping.attributes import for_class, from_material
from mrhsm_p11.store.base import Attributes, KeyState, Record, Value
from mrhsm_p11.store.kmip import blob as blobs
from mrhsm_p11.store.kmip.blob import Blob, Changes
from mrhsm_p11.store.kmip.found import NAMESPACE, Found
from mrhsm_p11.store.kmip.sidecar import Note

KEYS = (CKO.SECRET_KEY, CKO.PRIVATE_KEY, CKO.PUBLIC_KEY)  # whose use needs the Active state
# Said in the blob even where they could be derived: a Name may be changed by others, a default by a later version.
_ALWAYS_SAID = (CKA.LABEL, CKA.SENSITIVE, CKA.EXTRACTABLE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record, and what it was read from."""

    record: Record
    found: Found
    blob: Blob | None = None
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What KMIP itself is told of an object."""

    cls: int
    key_type: int | None
    object_type: ObjectType
    algorithm: CryptographicAlgorithm | None
    length: int  # bits
    mask: int

    @property
    def stateful(self) -> bool:
        """Tell whether the object is a key to the server too, and has a state there."""
        return self.cls in KEYS and self.object_type is not ObjectType.OPAQUE_DATA


def shape_of(attributes: Attributes, length: int) -> Shape:
    """Return the KMIP side of an object with these attributes and so many bits of key."""
    cls, key_type = kind_of(attributes)
    algorithms = kmip_objects.ALGORITHMS.get(-1 if key_type is None else key_type, ())
    object_type = kmip_objects.OBJECT_TYPES.get(cls, ObjectType.OPAQUE_DATA)
    if (cls in KEYS and not algorithms) or attributes.get(CKA.URL):  # such a certificate may be empty
        object_type = ObjectType.OPAQUE_DATA
    mask = kmip_objects.usage_mask(cls, dict(attributes)) if cls in KEYS else 0
    return Shape(cls, key_type, object_type, algorithms[0] if algorithms and cls in KEYS else None, length, mask)


def changes_of(attributes: Attributes, shape: Shape) -> Changes:
    """Return what a blob must say so that `attributes` come back from it and from what KMIP is told."""
    opaque = shape.object_type is ObjectType.OPAQUE_DATA
    as_read = _read_kind(None if opaque else shape.algorithm, shape.object_type)
    derived = _derived(shape.cls, shape.key_type, None if opaque else shape.mask, shape.length)
    changes: dict[int, Value | None] = {}
    uses = for_class(shape.cls, _variant(shape.cls, shape.key_type))
    for cka, value in attributes.items():
        of_material = cka in uses and from_material(uses[cka], attributes)
        if cka == CKA.PUBLIC_KEY_INFO and shape.cls == CKO.PRIVATE_KEY:
            changes[cka] = value  # told where the private key itself cannot be read
        elif not of_material and (derived.get(cka) != value or cka in _ALWAYS_SAID):
            changes[cka] = value
    changes.update({cka: None for cka in derived if cka not in attributes and cka != CKA.VALUE_LEN})
    if (shape.cls, shape.key_type) != as_read or shape.cls == CKO.DATA:  # data may come to be Secret Data
        changes[CKA.CLASS] = shape.cls
        if shape.key_type is not None and shape.cls in KEYS:
            changes[CKA.KEY_TYPE] = shape.key_type
    return changes


def entry(found: Found, note: Note | None) -> Entry | None:
    """Return the object as PKCS #11 has it; None for what is not listed: destroyed, or of no class.

    `note` is what this node's sidecar says, where there is any.
    """
    if found.state is None or found.object_type in kmip_objects.HIDDEN_TYPES:
        return None
    blob = blob_of(found)
    if blob is not None:
        rest = note.attributes if note is not None and blob.rest else {}
        attributes, foreign = _ours(found, {**rest, **blob.attributes}), blob.serial == blobs.FOREIGN
        if foreign and attributes is not None:
            attributes |= {CKA.MODIFIABLE: False, CKA.DESTROYABLE: False}
    elif note is not None and note.whole:
        attributes, foreign = {cka: value for cka, value in note.attributes.items() if value is not None}, False
    else:
        attributes, foreign = _foreign(found), True
    if attributes is None:
        return None
    cls = attributes.get(CKA.CLASS)
    idle = cls not in KEYS and found.state is KeyState.PRE_ACTIVE
    state = KeyState.ACTIVE if idle else found.state
    return Entry(Record(found.uid, MappingProxyType(attributes), state, foreign), found, blob, note)


def writable(entry: Entry) -> Entry:
    """Return another tool's object as one that may be changed and destroyed."""
    attributes = {**entry.record.attributes, CKA.MODIFIABLE: True, CKA.DESTROYABLE: True}
    return replace(entry, record=replace(entry.record, attributes=MappingProxyType(attributes)))


def blob_of(found: Found) -> Blob | None:
    """Return the blob that the object carries."""
    texts = [info.text for info in found.information if info.namespace == NAMESPACE]
    return next((blob for blob in map(blobs.load, [*texts, *found.custom]) if blob is not None), None)


def _ours(found: Found, said: Changes) -> dict[int, Value] | None:
    cls, key_type = _read_kind(found.algorithm, found.object_type)
    told = said.get(CKA.CLASS)
    cls = told if isinstance(told, int) else cls
    if cls is None:
        return None
    if CKA.KEY_TYPE in said:
        told = said[CKA.KEY_TYPE]
        key_type = told if isinstance(told, int) else None
    mask = None if found.object_type is ObjectType.OPAQUE_DATA else found.mask
    attributes = _derived(cls, key_type, mask, found.length)
    attributes.update({cka: value for cka, value in said.items() if value is not None})
    attributes = {cka: value for cka, value in attributes.items() if said.get(cka, value) is not None}
    if mask is not None and cls in KEYS:
        granted = kmip_objects.usage_flags(cls, mask)
        attributes.update({cka: False for cka, may in granted.items() if not may and attributes.get(cka) is True})
    return attributes


def _foreign(found: Found) -> dict[int, Value] | None:
    """Return what another tool's object shows: nothing of it may leave the token."""
    cls, key_type = _read_kind(found.algorithm, found.object_type)
    if cls is None:
        return None
    length = found.length
    if length is not None and found.algorithm is CryptographicAlgorithm.TRIPLE_DES:
        key_type, length = kmip_objects.TRIPLE_DES.get(length, (key_type, length))
    attributes = _derived(cls, key_type, found.mask, length)
    attributes[CKA.LABEL] = found.names[0] if found.names else found.uid
    attributes[CKA.PRIVATE] = True
    attributes[CKA.MODIFIABLE] = attributes[CKA.COPYABLE] = attributes[CKA.DESTROYABLE] = False
    if cls in (CKO.SECRET_KEY, CKO.PRIVATE_KEY):
        attributes[CKA.SENSITIVE], attributes[CKA.EXTRACTABLE] = True, False
        attributes[CKA.ALWAYS_SENSITIVE] = attributes[CKA.NEVER_EXTRACTABLE] = False
    return attributes


def _derived(cls: int, key_type: int | None, mask: int | None, length: int | None) -> dict[int, Value]:
    """Return what follows from class, key type, usage mask and length alone. Without a mask: the token's defaults."""
    uses = for_class(cls, _variant(cls, key_type))
    attributes: dict[int, Value] = {
        cka: use.default for cka, use in uses.items() if use.default is not None and not use.material
    }
    attributes |= {CKA.CLASS: cls, CKA.TOKEN: True, CKA.PRIVATE: cls in (CKO.SECRET_KEY, CKO.PRIVATE_KEY)}
    attributes.pop(CKA.ID, None)  # computed from the object, never empty unless the blob says so
    if cls == CKO.CERTIFICATE:
        attributes[CKA.CERTIFICATE_TYPE] = CKC.X_509
    if cls in KEYS:
        if key_type is not None:
            attributes[CKA.KEY_TYPE] = key_type
        attributes[CKA.KEY_GEN_MECHANISM] = CK.UNAVAILABLE_INFORMATION
        if mask is not None:
            attributes |= kmip_objects.usage_flags(cls, mask)
    if cls == CKO.SECRET_KEY and length is not None:
        attributes[CKA.VALUE_LEN] = length // 8
    return attributes


def _read_kind(
    algorithm: CryptographicAlgorithm | None, object_type: ObjectType | None
) -> tuple[int | None, int | None]:
    """Return the class and key type of an object of which nothing more is said."""
    if object_type is None:
        return None, None
    cls = kmip_objects.CLASSES.get(object_type)
    if cls not in KEYS:
        return cls, None
    key_type = kmip_objects.KEY_TYPES.get(algorithm) if algorithm is not None else None
    return cls, CKK.GENERIC_SECRET if key_type is None and cls == CKO.SECRET_KEY else key_type


def kind_of(attributes: Attributes) -> tuple[int, int | None]:
    """Return an object's class, -1 where it is not said, and key type."""
    cls, key_type = attributes.get(CKA.CLASS), attributes.get(CKA.KEY_TYPE)
    return (cls if isinstance(cls, int) else -1), (key_type if isinstance(key_type, int) else None)


def _variant(cls: int, key_type: int | None) -> int | None:
    return CKC.X_509 if cls == CKO.CERTIFICATE else key_type


def without_material(attributes: Attributes) -> dict[int, Value]:
    """Return the attributes that a record keeps of these."""
    cls, key_type = kind_of(attributes)
    uses = for_class(cls, _variant(cls, key_type))
    return {
        cka: value for cka, value in attributes.items() if not (cka in uses and from_material(uses[cka], attributes))
    }


def completed(attributes: Attributes, shape: Shape) -> dict[int, Value]:
    """Return all that a sidecar file must hold of an object of which a server tells nothing."""
    kept = without_material(attributes)
    kept |= {CKA.CLASS: shape.cls, CKA.TOKEN: True}
    if shape.cls == CKO.SECRET_KEY:
        kept[CKA.VALUE_LEN] = shape.length // 8
    return kept
