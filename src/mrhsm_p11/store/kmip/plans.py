"""Which optional attributes a new object is sent with: what a server refuses is left away, the least loss first."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from mrhsm_p11.constants import CKA, CKO
from mrhsm_p11.kmip.attributes import Attribute, attribute, name_attribute
from mrhsm_p11.kmip.vocabulary import ObjectType, ResultReason
from mrhsm_p11.store.base import Attributes
from mrhsm_p11.store.kmip.found import CUSTOM, ID_NAMESPACE, LABEL_NAMESPACE, NAMESPACE
from mrhsm_p11.store.kmip.learned import Facts
from mrhsm_p11.store.kmip.reader import information, searchable
from mrhsm_p11.store.kmip.records import KEYS, Shape

LONGEST_NAME = 128
# A clock that is behind must not leave the key Pre-Active.
ACTIVE_FROM = 1
_CLASS_NAMES = {
    CKO.DATA: "data",
    CKO.CERTIFICATE: "certificate",
    CKO.PUBLIC_KEY: "public",
    CKO.PRIVATE_KEY: "private",
    CKO.SECRET_KEY: "secret",
}

# Refusals of a new object that may be for an attribute that it was sent with, or for its format.
NEGOTIABLE = {
    reason.value
    for reason in (
        ResultReason.INVALID_MESSAGE,
        ResultReason.INVALID_FIELD,
        ResultReason.FEATURE_NOT_SUPPORTED,
        ResultReason.ILLEGAL_OPERATION,
        ResultReason.INDEX_OUT_OF_BOUNDS,
        ResultReason.APPLICATION_NAMESPACE_NOT_SUPPORTED,
        ResultReason.KEY_FORMAT_TYPE_NOT_SUPPORTED,
        ResultReason.ENCODING_OPTION_ERROR,
        ResultReason.GENERAL_FAILURE,
        ResultReason.OBJECT_ALREADY_EXISTS,
        ResultReason.NON_UNIQUE_NAME_ATTRIBUTE,
        ResultReason.READ_ONLY_ATTRIBUTE,
        ResultReason.ATTRIBUTE_READ_ONLY,
        ResultReason.MULTI_VALUED_ATTRIBUTE,
        ResultReason.ATTRIBUTE_SINGLE_VALUED,
        ResultReason.UNSUPPORTED_ATTRIBUTE,
        ResultReason.INVALID_ATTRIBUTE,
        ResultReason.INVALID_ATTRIBUTE_VALUE,
        ResultReason.INVALID_DATA_TYPE,
        ResultReason.INVALID_OBJECT_TYPE,
        ResultReason.ILLEGAL_OBJECT_TYPE,
        ResultReason.NUMERIC_RANGE,
        ResultReason.CODEC_ERROR,
        ResultReason.UNKNOWN_TAG,
        ResultReason.UNKNOWN_ENUMERATION,
    )
}
# Of these, the ones that are for the format before they are for an attribute.
OF_FORMAT = {
    reason.value
    for reason in (
        ResultReason.KEY_FORMAT_TYPE_NOT_SUPPORTED,
        ResultReason.ENCODING_OPTION_ERROR,
        ResultReason.GENERAL_FAILURE,
        ResultReason.INVALID_OBJECT_TYPE,
        ResultReason.ILLEGAL_OBJECT_TYPE,
    )
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to send a new object."""

    information: bool = True  # the blob as Application Specific Information
    entries: bool = True  # and the search entries beside it
    custom: bool = False  # the blob as custom attribute
    activation_date: bool = True
    plain_name: bool = True  # the label as Name; else one that no other object has


# Where the blob goes, best first: information, entries, custom.
_HOMES = ((True, True, False), (True, False, False), (False, False, True), (False, False, False))


def plans(facts: Facts, *, activates: bool, plain: bool) -> Iterator[Plan]:
    """Yield the plans that the facts leave open, those that lose least first.

    `activates`: the object has a state that an Activation Date would change; `plain`: its label can be a Name.
    """
    homes = [home for home in _HOMES if _open(home, facts)] or [_HOMES[-1]]
    if not activates:
        dates: tuple[bool, ...] = (False,)
    else:
        dates = (True, False) if facts.activation_date is None else (facts.activation_date,)
    names = (True, False) if plain else (False,)
    ways = [(i + j + k, home, date, name) for i, home in enumerate(homes) for j, date in enumerate(dates)
            for k, name in enumerate(names)]  # fmt: skip
    for _, (blob, entries, custom), date, name in sorted(ways, key=lambda way: way[0]):
        yield Plan(blob, entries, custom, date, name)


def _open(home: tuple[bool, bool, bool], facts: Facts) -> bool:
    """Tell whether what is known of the server leaves this home open, and no better one is known to work."""
    blob, entries, custom = home
    if blob:
        return facts.information is not False and (facts.entries is not False if entries else facts.entries is not True)
    if facts.information is True:
        return False
    return facts.custom is not False if custom else facts.custom is not True


def names_plainly(label: str, facts: Facts) -> bool:
    """Tell whether a label may be a Name as it is."""
    if not label or len(label) > LONGEST_NAME or not label.isprintable():
        return False
    return label.isascii() or facts.plain_names is not False


def name_of(label: str, cls: int, *, plain: bool) -> str:
    """Return the Name of a new object; without a label it has only what makes it one of its kind."""
    if plain:
        return label
    ascii_label = label.encode("ascii", "backslashreplace").decode()[:LONGEST_NAME]
    readable = "".join(c if c.isprintable() else "?" for c in ascii_label)
    return f"{readable}#{_CLASS_NAMES.get(cls, 'object')}-{secrets.token_hex(4)}"


def sent_attributes(shape: Shape, attributes: Attributes, plan: Plan, name: str, blob: str) -> list[Attribute]:
    """Return the attributes of Create or Register; values that repeat carry their index."""
    sent: list[Attribute] = []
    if shape.algorithm is not None:
        sent.append(attribute("Cryptographic Algorithm", shape.algorithm))
        sent.append(attribute("Cryptographic Length", shape.length))
    if shape.cls in KEYS and shape.algorithm is not None:
        sent.append(attribute("Cryptographic Usage Mask", shape.mask))
    elif shape.object_type is ObjectType.CERTIFICATE:
        sent.append(attribute("Cryptographic Usage Mask", 0))
    if name:
        sent.append(name_attribute(name, 0))
    if plan.information:
        sent.append(information(NAMESPACE, blob, 0))
    if plan.entries:
        label, cka_id = attributes.get(CKA.LABEL, ""), attributes.get(CKA.ID, b"")
        sent.append(information(LABEL_NAMESPACE, searchable(label if isinstance(label, str) else ""), 1))
        sent.append(information(ID_NAMESPACE, searchable(cka_id if isinstance(cka_id, bytes) else b""), 2))
    if plan.custom:
        sent.append(attribute(CUSTOM, blob))
    if plan.activation_date:
        sent.append(attribute("Activation Date", ACTIVE_FROM))
    return sent
