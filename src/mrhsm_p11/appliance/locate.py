"""Which stored objects have the attributes that a Locate names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kmip.core import enums
from kmip.pie import objects, sqltypes
from sqlalchemy import Index
from sqlalchemy.orm import selectin_polymorphic, selectinload

from mrhsm_p11.appliance import kept
from mrhsm_p11.appliance.codec import Verbatim

ASI = "Application Specific Information"
# Single-valued attributes that are a column of the same meaning.
COLUMNS = {
    "Certificate Type": "certificate_type",
    "Cryptographic Algorithm": "cryptographic_algorithm",
    "Cryptographic Length": "cryptographic_length",
    "Object Type": "object_type",
    "Operation Policy Name": "operation_policy_name",
    "Sensitive": "sensitive",
    "State": "state",
}

# PyKMIP searches these tables from end to end for each object that it reads.
INDEXES = (
    Index("names_of_object", sqltypes.ManagedObjectName.mo_uid),
    Index("information_of_object", objects.app_specific_info_map.c.managed_object_id),
    Index("groups_of_object", objects.object_group_map.c.managed_object_id),
)


def candidates(session: Any, wanted: Sequence[Any]) -> Any:
    """Return the objects that match in what the database can search by."""
    # With what Locate looks at: three statements for all, where each object would cost as many of its own.
    query = session.query(objects.ManagedObject).options(
        selectin_polymorphic(objects.ManagedObject, list(_classes())), selectinload(objects.ManagedObject.kept)
    )
    for attribute in wanted:
        name, value = attribute.attribute_name.value, attribute.attribute_value
        if name == "Name":
            query = query.filter(objects.ManagedObject._names.any(name=value.name_value.value))
        elif name == "Object Group":
            query = query.filter(objects.ManagedObject.object_groups.any(_object_group=value.value))
        elif name == ASI:
            namespace, text = value.application_namespace, value.application_data
            same = objects.ManagedObject.app_specific_info.any(_application_namespace=namespace, _application_data=text)
            query = query.filter(same)
        elif name == kept.IDENTIFIER:
            query = query.filter(objects.ManagedObject.kept.any(name=name, value=kept.text(value.value)))
    return query.all()


def _classes() -> Iterator[type]:
    return (each.class_ for each in objects.ManagedObject.__mapper__.self_and_descendants if each.inherits)


def matches(managed: Any, wanted: Sequence[Any]) -> bool:
    """Tell whether an object, of those that candidates() returned, has every attribute.

    Two Initial Dates are a range; a usage mask matches when all its bits are set.
    """
    dates = sorted(a.attribute_value.value for a in wanted if a.attribute_name.value == "Initial Date")
    if dates and not dates[0] <= managed.initial_date <= dates[-1]:
        return False
    return all(_has(managed, attribute.attribute_name.value, attribute.attribute_value) for attribute in wanted)


def _has(managed: Any, name: str, value: Any) -> bool:
    if name in {"Name", "Object Group", ASI, kept.IDENTIFIER, "Initial Date"}:
        return True
    if isinstance(value, Verbatim):
        return value.encoded in kept.instances(managed, name)
    if name == "Cryptographic Usage Mask":
        asked = enums.get_enumerations_from_bit_mask(enums.CryptographicUsageMask, value.value)
        return set(asked) <= set(getattr(managed, "cryptographic_usage_masks", ()))
    return name in COLUMNS and getattr(managed, COLUMNS[name], None) == value.value
