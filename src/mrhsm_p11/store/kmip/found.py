"""What a server says of one managed object, taken out of the attributes that it answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mrhsm_p11.kmip.attributes import ApplicationSpecificInformation, Attribute, Link, Name
from mrhsm_p11.kmip.vocabulary import CryptographicAlgorithm, LinkType, ObjectType, State
from mrhsm_p11.store.base import KeyState

NAMESPACE = "mrhsm-p11"
LABEL_NAMESPACE = "mrhsm-p11/label"
ID_NAMESPACE = "mrhsm-p11/id"
CUSTOM = "x-mrhsm-p11"

# Every object has it: asked for beside what it may lack, because in KMIP 2 PyKMIP never answers what would be empty.
EVERYWHERE = "Object Type"
# Asked for by name once a server is known to keep the blob as Application Specific Information; all before.
WANTED = (
    "Object Type",
    "Cryptographic Algorithm",
    "Cryptographic Length",
    "Cryptographic Usage Mask",
    "State",
    "Name",
    "Initial Date",
    "Object Group",
    "Application Specific Information",
)

# Objects in the other states, and in those of no version we know, are not listed.
STATES: dict[State, KeyState] = {
    State.PRE_ACTIVE: KeyState.PRE_ACTIVE,
    State.ACTIVE: KeyState.ACTIVE,
    State.DEACTIVATED: KeyState.DEACTIVATED,
    State.COMPROMISED: KeyState.COMPROMISED,
}


@dataclass(frozen=True, slots=True)
class Information:
    """One Application Specific Information, and where it stands among the object's."""

    index: int
    namespace: str
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """None: the server did not say, or said what we do not know."""

    uid: str
    object_type: ObjectType | None = None
    algorithm: CryptographicAlgorithm | None = None
    length: int | None = None  # bits
    mask: int | None = None
    state: KeyState | None = KeyState.ACTIVE  # None: destroyed; objects without a state are usable
    initial_date: int | None = None
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    information: tuple[Information, ...] = ()
    custom: tuple[str, ...] = ()
    replaces: str = ""  # the object that a Re-key replaced by this one


def read(uid: str, attributes: Iterable[Attribute]) -> Found:
    """Return what the attributes say."""
    single: dict[str, object] = {}
    many: dict[str, list[tuple[int, object]]] = {}
    for attribute in attributes:
        single.setdefault(attribute.attribute_name, attribute.attribute_value)
        instances = many.setdefault(attribute.attribute_name, [])
        index = len(instances) if attribute.attribute_index is None else attribute.attribute_index
        instances.append((index, attribute.attribute_value))
    object_type, algorithm = single.get("Object Type"), single.get("Cryptographic Algorithm")
    return Found(
        uid,
        object_type if isinstance(object_type, ObjectType) else None,
        algorithm if isinstance(algorithm, CryptographicAlgorithm) else None,
        _number(single.get("Cryptographic Length")),
        _number(single.get("Cryptographic Usage Mask")),
        state_of(single["State"]) if "State" in single else KeyState.ACTIVE,
        _number(single.get("Initial Date")),
        tuple(value.name_value for _, value in many.get("Name", ()) if isinstance(value, Name)),
        tuple(value for _, value in many.get("Object Group", ()) if isinstance(value, str)),
        tuple(
            Information(index, value.application_namespace, value.application_data or "")
            for index, value in many.get("Application Specific Information", ())
            if isinstance(value, ApplicationSpecificInformation)
        ),
        tuple(value for _, value in many.get(CUSTOM, ()) if isinstance(value, str)),
        next((link for _, value in many.get("Link", ()) if (link := _replaced(value))), ""),
    )


def state_of(value: object) -> KeyState | None:
    """Return a State's meaning, None for destroyed."""
    return STATES.get(value) if isinstance(value, State) else None


def _replaced(value: object) -> str:
    if isinstance(value, Link) and value.link_type == LinkType.REPLACED_OBJECT_LINK:
        return value.linked_object_identifier
    return ""


def _number(value: object) -> int | None:
    return value if type(value) is int else None
