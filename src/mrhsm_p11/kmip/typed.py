"""Attributes in the form of KMIP 2, and back: the value under its own tag, instead of name, index and value.

KMIP 2.1, "Attributes", "Attribute Reference", "Vendor Attribute".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from mrhsm_p11.kmip.attributes import Attribute, Attributes, VendorAttribute, attribute, attribute_rows
from mrhsm_p11.kmip.structure import InTwo, Structure, schema, structure
from mrhsm_p11.kmip.ttlv import Item, TTLVError
from mrhsm_p11.kmip.vocabulary import Tags, attribute_name, tag_name, tag_of

# The vendors of custom attributes: their 1.x names begin with these letters.
CUSTOM = ("x", "y")
_VENDOR = tag_of("attribute")


@structure
class AttributeReference(Structure):
    """The name of a vendor attribute; attributes of the standard are referred to by their tag."""

    vendor_identification: str
    attribute_name: str


def gather(attributes: Iterable[Attribute]) -> Attributes:
    """Return the attributes in their order. Raises TTLVError for one that has no form in KMIP 2."""
    values: dict[str, list[object]] = {}
    unknown: list[Item] = []
    order: list[int] = []
    for each in attributes:
        tag, value = _typed(each)
        order.append(tag)
        row = schema(Attributes).by_tag.get(tag)
        if row is not None:
            values.setdefault(row.name, []).append(value)
        else:
            assert isinstance(value, Item)
            unknown.append(value)
    fields = {name: tuple(several) for name, several in values.items()}
    made = Attributes(unknown=tuple(unknown), **fields)  # type: ignore[arg-type]
    return made if _tags(made) == order else Attributes(unknown=tuple(unknown), order=tuple(order), **fields)  # type: ignore[arg-type]


def spread(gathered: Attributes) -> tuple[Attribute, ...]:
    """Return the attributes one by one, in their order."""
    held: dict[int, deque[object]] = {}
    for row in schema(Attributes).fields:
        if several := getattr(gathered, row.name):
            held[row.kinds[0][0]] = deque(several)
    for item in gathered.unknown:
        held.setdefault(item.tag, deque()).append(item)
    return tuple(_named(tag, held[tag].popleft()) for tag in gathered.order or _tags(gathered))


def _tags(gathered: Attributes) -> list[int]:
    """Return the tags of attributes in the order of the table."""
    tags = [row.kinds[0][0] for row in schema(Attributes).fields for _ in getattr(gathered, row.name)]
    return tags + [item.tag for item in gathered.unknown]


def _typed(one: Attribute) -> tuple[int, object]:
    """Return an attribute's tag, and the value in its form."""
    name, value = one.attribute_name, one.attribute_value
    if value is None:
        raise TTLVError(f"the attribute {name} has no value")
    row = attribute_rows().get(name)
    if row is not None:
        tag = row.kinds[0][0]
        return tag, Item(tag, value.type, value.value) if isinstance(value, Item) else value
    if isinstance(value, Item) and name == _name_of(value.tag):
        return value.tag, value
    vendor, own = vendor_of(name)
    return _VENDOR, VendorAttribute(vendor_identification=vendor, attribute_name=own, attribute_value=value)


def _named(tag: int, value: object) -> Attribute:
    row = schema(Attributes).by_tag.get(tag)
    if isinstance(value, VendorAttribute):
        return attribute(custom_name(value.vendor_identification, value.attribute_name), value.attribute_value)
    return attribute(attribute_name(row.name) if row and tag != _VENDOR else _name_of(tag), value)  # type: ignore[arg-type]


def _name_of(tag: int) -> str:
    """Return what an attribute is called that the table lacks."""
    name = tag_name(tag)
    return name if name.startswith("0x") else attribute_name(name.lower())


def custom_name(vendor: str, name: str) -> str:
    """Return the 1.x name of a vendor attribute, or what stands for one."""
    return f"{vendor}-{name}" if vendor in CUSTOM else f"{vendor}:{name}"


def vendor_of(name: str) -> tuple[str, str]:
    """Return the vendor and the own name of an attribute that is none of the standard's. Raises TTLVError."""
    if name[:1] in CUSTOM and name[1:2] == "-":
        return name[0], name[2:]
    vendor, colon, own = name.rpartition(":")
    if not colon:
        raise TTLVError(f"{name!r} is no attribute of KMIP 2, and of no vendor")
    return vendor, own


def _refer(name: str) -> Tags | int | AttributeReference:
    row = attribute_rows().get(name)
    if row is not None:
        return Tags(row.kinds[0][0])
    for tag in Tags:
        if name == _name_of(tag.value):
            return tag
    if name.startswith("0x"):
        return int(name, 16)
    vendor, own = vendor_of(name)
    return AttributeReference(vendor_identification=vendor, attribute_name=own)


def _referred(reference: Tags | int | AttributeReference) -> str:
    if isinstance(reference, AttributeReference):
        return custom_name(reference.vendor_identification, reference.attribute_name)
    tag = int(getattr(reference, "value", reference))
    row = schema(Attributes).by_tag.get(tag)
    return attribute_name(row.name) if row else _name_of(tag)


def _only(sets: tuple[Attributes, ...]) -> tuple[Attribute, ...]:
    if len(sets) != 1:
        raise TTLVError(f"{len(sets)} sets of attributes where one was expected")
    return spread(sets[0])


def _single(sets: tuple[Attributes, ...]) -> Attribute:
    found = _only(sets)
    if len(found) != 1:
        raise TTLVError(f"{len(found)} attributes where one was expected")
    return found[0]


def in_two(name: str, *, empty: bool = True) -> InTwo:
    """Mark a field of several attributes that KMIP 2 writes as this set; `empty`: also where there are none."""
    return InTwo(name, tuple[Attributes, ...], lambda several: (gather(several),) if several or empty else (), _only)


def one_in_two(name: str, *, only: bool = False) -> InTwo:
    """Mark a field of one attribute that KMIP 2 writes as this set of one."""
    return InTwo(name, tuple[Attributes, ...], lambda one: (gather([one]),), _single, only)


# Marks a field of attribute names, or of one.
REFERENCES = InTwo(
    "attribute_reference",
    tuple[Tags | int | AttributeReference, ...],
    lambda names: tuple(map(_refer, names)),
    lambda references: tuple(map(_referred, references)),
)
REFERENCE = InTwo(
    REFERENCES.name, REFERENCES.hint, lambda name: (_refer(name),), lambda references: _referred(references[-1])
)
