"""The standard's rules for templates: one interpreter of the attribute table's notes, for every function."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from mrhsm_p11.constants import CKA, CKO, CKU
from mrhsm_p11.errors import (
    AttributeReadOnly,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    TemplateIncomplete,
    TemplateInconsistent,
)
from mrhsm_p11.mapping import attributes
from mrhsm_p11.mapping.attributes import AttributeUse
from mrhsm_p11.mapping.codecs import Raw, Value
from mrhsm_p11.token.objects import KEY_CLASSES, Object, kind_of

Template = Mapping[int, Raw]
Values = dict[int, Value]

_GUARDED_CLASSES = (CKO.PRIVATE_KEY, CKO.SECRET_KEY)  # have CKA_SENSITIVE and CKA_EXTRACTABLE


class Origin(Enum):
    """How an object comes to be: which of the table's notes speak, and what is known of its history."""

    CREATE = "create"
    GENERATE = "generate"
    UNWRAP = "unwrap"
    DERIVE = "derive"

    def forbids(self, use: AttributeUse) -> bool:
        return bool(getattr(use, f"forbidden_on_{self.value}"))

    def requires(self, use: AttributeUse) -> bool:
        return bool(getattr(use, f"required_on_{self.value}"))


def decode(template: Template) -> Values:
    """Return a template's natural values. Raises AttributeTypeInvalid, AttributeValueInvalid."""
    return {cka: attributes.decode(cka, raw) for cka, raw in template.items()}


def decode_search(template: Template) -> Values | None:
    """Return a search template's values, None if no object of ours can have them (attributes of other vendors)."""
    if any(cka not in attributes.ROWS for cka in template):
        return None
    return decode(template)


def fix(values: Values, cka: int, value: Value) -> None:
    """Set what the mechanism decides. Raises TemplateInconsistent if the template says otherwise."""
    if values.setdefault(cka, value) != value:
        raise TemplateInconsistent(f"CKA_{CKA.name(cka)} does not fit the mechanism")


def is_demanding(key: Object, template: int) -> bool:
    """Tell whether `demand` may find something."""
    return bool(key.record.attributes.get(template))


def demand(values: Values, key: Object, template: int) -> None:
    """Add what a key's CKA_xyz_TEMPLATE demands of every key that it brings in. Raises TemplateInconsistent."""
    demanded = key.record.attributes.get(template)
    for cka, value in demanded.items() if isinstance(demanded, dict) else ():
        fix(values, cka, value)


def check(values: Values, origin: Origin, role: int | None) -> None:
    """Check a template against the rules of its class and key type, before defaults are filled in."""
    cls, kind = _require_kind(values)
    uses = attributes.for_class(cls, kind)
    for cka, value in values.items():
        use = uses.get(cka)
        if use is None:
            raise AttributeTypeInvalid(f"a {CKO.name(cls)} has no CKA_{CKA.name(cka)}")
        if origin.forbids(use) or (use.so_only_true and value is True and role != CKU.SO):
            raise AttributeReadOnly(f"CKA_{CKA.name(cka)} is not the caller's to give")
    for cka, use in uses.items():
        if origin.requires(use) and cka not in values:
            raise TemplateIncomplete(f"CKA_{CKA.name(cka)} is missing")
    if cls == CKO.CERTIFICATE:
        _require_certificate(values)


def complete(values: Values, origin: Origin, role: int | None, mechanism: int | None = None) -> Values:
    """Return every attribute of the new object that is not of its material: given, decided by history, or default."""
    cls, kind = kind_of(values)
    uses = attributes.for_class(cls, kind)
    completed = {
        cka: use.default
        for cka, use in uses.items()
        if use.default is not None and not use.material and cka != CKA.ID  # CKA_ID: see Object
    }
    completed |= {cka: value for cka, value in values.items() if not attributes.from_material(uses[cka], values)}
    if CKA.PRIVATE not in values:
        completed[CKA.PRIVATE] = cls in _GUARDED_CLASSES and (completed[CKA.TOKEN] is True or role == CKU.USER)
    if origin is Origin.UNWRAP and cls in _GUARDED_CLASSES:
        completed[CKA.EXTRACTABLE] = values.get(CKA.EXTRACTABLE, True)  # the standard's own default here
    if cls == CKO.DOMAIN_PARAMETERS:
        completed[CKA.LOCAL] = origin is Origin.GENERATE
    if cls in KEY_CLASSES:
        completed |= _history(cls, completed, origin, mechanism)
    if completed.get(CKA.ALWAYS_AUTHENTICATE) is True and completed[CKA.PRIVATE] is False:
        raise TemplateInconsistent("CKA_ALWAYS_AUTHENTICATE needs CKA_PRIVATE")
    _require_order(completed.get(CKA.START_DATE), completed.get(CKA.END_DATE))
    return completed


def check_change(found: Object, changes: Values, role: int | None, *, copying: bool) -> Values:
    """Check what C_SetAttributeValue or C_CopyObject would change; return the attributes whose value differs."""
    uses = attributes.for_class(found.cls, found.key_type)
    differing: Values = {}
    for cka, value in changes.items():
        use = uses.get(cka)
        if use is None:
            raise AttributeTypeInvalid(f"a {CKO.name(found.cls)} has no CKA_{CKA.name(cka)}")
        present = found.known(cka) if cka in found.record.attributes or not use.material else None
        if copying and present == value:
            continue
        if cka == CKA.CHECK_VALUE and value == b"":  # so the standard destroys it
            differing[cka] = value
            continue
        if not (use.copy_settable if copying else use.settable):
            raise AttributeReadOnly(f"CKA_{CKA.name(cka)} cannot be changed")
        if _turns_back(use, present, value) or (use.so_only_true and value is True and role != CKU.SO):
            raise AttributeReadOnly(f"CKA_{CKA.name(cka)} cannot be made {value!r}")
        if present != value:
            differing[cka] = value
    if differing.get(CKA.PRIVATE) is False:
        raise TemplateInconsistent("a copy of a private object is private")
    if not differing.keys().isdisjoint((CKA.START_DATE, CKA.END_DATE)):
        kept = found.record.attributes
        _require_order(*(differing.get(cka, kept.get(cka)) for cka in (CKA.START_DATE, CKA.END_DATE)))
    return differing


def without_material(values: Values) -> Values:
    """Leave out what comes from the material: stores keep that with the bytes."""
    uses = attributes.for_class(*kind_of(values))
    return {
        cka: value
        for cka, value in values.items()
        if cka not in uses or not attributes.from_material(uses[cka], values)
    }


def _require_kind(values: Values) -> tuple[int, int | None]:
    cls, kind = kind_of(values)
    if CKA.CLASS not in values:
        raise TemplateIncomplete("CKA_CLASS is missing")
    kind_type = CKA.CERTIFICATE_TYPE if cls == CKO.CERTIFICATE else CKA.KEY_TYPE
    if kind is None and (cls in KEY_CLASSES or cls in (CKO.CERTIFICATE, CKO.DOMAIN_PARAMETERS)):
        raise TemplateIncomplete(f"CKA_{CKA.name(kind_type)} is missing")
    if not attributes.supported(cls, kind):
        raise AttributeValueInvalid(f"objects of class {CKO.name(cls)} and this type are not kept here")
    return cls, kind


def _require_certificate(values: Values) -> None:
    """Check the rules of certificates that are, or also are, at a URL."""
    hashes = (CKA.HASH_OF_SUBJECT_PUBLIC_KEY, CKA.HASH_OF_ISSUER_PUBLIC_KEY)
    if values.get(CKA.URL) and not all(values.get(cka) for cka in hashes):
        raise TemplateIncomplete("CKA_URL needs the hashes of the subject's and of the issuer's public key")
    if values.get(CKA.VALUE) == b"" and not values.get(CKA.URL):
        raise AttributeValueInvalid("CKA_VALUE is empty, and no CKA_URL says where the certificate is")


def _require_order(start: Value | None, end: Value | None) -> None:
    if isinstance(start, bytes) and isinstance(end, bytes) and start and end and start > end:
        raise TemplateInconsistent("CKA_START_DATE is after CKA_END_DATE")


def _history(cls: int, completed: Values, origin: Origin, mechanism: int | None) -> Values:
    made_here = origin is Origin.GENERATE
    known: Values = {CKA.LOCAL: made_here}
    if made_here and mechanism is not None:
        known[CKA.KEY_GEN_MECHANISM] = mechanism
    if cls in _GUARDED_CLASSES:
        known[CKA.ALWAYS_SENSITIVE] = made_here and completed[CKA.SENSITIVE] is True
        known[CKA.NEVER_EXTRACTABLE] = made_here and completed[CKA.EXTRACTABLE] is False
    return known


def _turns_back(use: AttributeUse, present: Value | None, value: Value) -> bool:
    return (use.only_to_true and present is True and value is False) or (
        use.only_to_false and present is False and value is True
    )
