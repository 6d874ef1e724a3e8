"""Attributes that PyKMIP's store has no columns for: kept verbatim in a table of their own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from kmip.core import enums, primitives, utils
from kmip.core.objects import Attribute
from kmip.pie import objects, sqltypes
from kmip.services.server import policy
from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import backref, relationship

from mrhsm_p11.appliance import codec

IDENTIFIER = "Unique Identifier"
ACTIVATION = "Activation Date"
DEACTIVATION = "Deactivation Date"
LINK = "Link"


class KeptAttribute(sqltypes.Base):  # type: ignore[misc]  # PyKMIP is untyped
    """One instance of one attribute; ManagedObject gains the list `kept`."""

    __tablename__ = "kept_attributes"
    id = Column(Integer, primary_key=True)
    object_uid = Column(Integer, ForeignKey("managed_objects.uid"), index=True)
    name = Column(String)
    value = Column(LargeBinary)  # the TTLV item, tagged Attribute Value
    owner = relationship(
        objects.ManagedObject, backref=backref("kept", cascade="all, delete-orphan", order_by="KeptAttribute.id")
    )
    __table_args__ = (Index("kept_by_value", "name", "value"),)


def instances(managed: Any, name: str) -> list[bytes]:
    return [kept.value for kept in managed.kept if kept.name == name]


def names(managed: Any) -> list[str]:
    return sorted({kept.name for kept in managed.kept} - {IDENTIFIER})


def attributes(managed: Any, name: str, *, indexed: bool) -> list[Any]:
    """Return the instances as core objects, as responses carry them."""
    return [
        Attribute(
            attribute_name=Attribute.AttributeName(name),
            attribute_index=Attribute.AttributeIndex(position) if indexed else None,
            attribute_value=codec.Verbatim(value),
        )
        for position, value in enumerate(instances(managed, name))
    ]


def identifier(managed: Any) -> str:
    return text_of(instances(managed, IDENTIFIER)[0])


def add(managed: Any, name: str, value: bytes) -> None:
    managed.kept.append(KeptAttribute(name=name, value=value))


def replace(managed: Any, name: str, *values: bytes) -> None:
    """Make `values` the only instances."""
    managed.kept = [kept for kept in managed.kept if kept.name != name]
    for value in values:
        add(managed, name, value)


def text(value: str) -> bytes:
    return encoded(primitives.TextString(value, enums.Tags.ATTRIBUTE_VALUE))


def date(seconds: int) -> bytes:
    return encoded(primitives.DateTime(seconds, enums.Tags.ATTRIBUTE_VALUE))


def link(kind: Any, identifier: str) -> bytes:
    """A Link structure of one enums.LinkType."""
    content = encoded(primitives.Enumeration(enums.LinkType, kind, enums.Tags.LINK_TYPE))
    content += encoded(primitives.TextString(identifier, enums.Tags.LINKED_OBJECT_IDENTIFIER))
    header = enums.Tags.ATTRIBUTE_VALUE.value << 8 | enums.Types.STRUCTURE.value
    return struct.pack("!II", header, len(content)) + content


def text_of(value: bytes) -> str:
    return value[8 : 8 + int.from_bytes(value[4:8])].decode()


def dates_of(managed: Any, name: str) -> Iterator[int]:
    for value in instances(managed, name):
        yield int.from_bytes(value[8:16], signed=True)


def encoded(item: Any) -> bytes:
    stream = utils.BytearrayStream()
    item.write(stream)
    return bytes(stream.buffer)


class AttributePolicy(policy.AttributePolicy):  # type: ignore[misc]
    """PyKMIP's rules, to which custom attributes and Extractable are known."""

    def __init__(self, version: Any) -> None:
        super().__init__(version)
        self._attribute_rule_sets["Extractable"] = self._attribute_rule_sets["Sensitive"]

    def is_attribute_supported(self, attribute: str) -> bool:
        return bool(super().is_attribute_supported(_rule(attribute)))

    def is_attribute_deprecated(self, attribute: str) -> bool:
        return bool(super().is_attribute_deprecated(_rule(attribute)))

    def is_attribute_deletable_by_client(self, attribute: str) -> bool:
        return bool(super().is_attribute_deletable_by_client(_rule(attribute)))

    def is_attribute_modifiable_by_client(self, attribute: str) -> bool:
        return bool(super().is_attribute_modifiable_by_client(_rule(attribute)))

    def is_attribute_applicable_to_object_type(self, attribute: str, object_type: Any) -> bool:
        return bool(super().is_attribute_applicable_to_object_type(_rule(attribute), object_type))

    def is_attribute_multivalued(self, attribute: str) -> bool:
        rule = self._attribute_rule_sets.get(_rule(attribute))
        return rule is not None and bool(rule.multiple_instances_permitted)


def _rule(attribute: str) -> str:
    return "Custom Attribute" if codec.is_custom(attribute) else attribute
