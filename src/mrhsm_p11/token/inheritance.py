"""What a derived key inherits of CKA_SENSITIVE, CKA_EXTRACTABLE and their histories: one table."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from mrhsm_p11.constants import CKA, CKM
from mrhsm_p11.token import rules
from mrhsm_p11.token.objects import Object
from mrhsm_p11.token.rules import Values


class Inheritance(Enum):
    """How a mechanism's section of the standard rules it; the base keys are all that the derivation reads."""

    CHOSEN = "the template says; what was always so for all base keys and is so now, stays so"
    BOUND = "one sensitive base key makes it sensitive, one that is not extractable makes it not extractable"
    SAME = "as the base key, and the template may not differ"


_BOUND = (
    *(CKM.CONCATENATE_BASE_AND_KEY, CKM.CONCATENATE_BASE_AND_DATA, CKM.CONCATENATE_DATA_AND_BASE),
    *(CKM.XOR_BASE_AND_DATA, CKM.EXTRACT_KEY_FROM_KEY),
)
_SAME = (CKM.TLS12_KEY_AND_MAC_DERIVE, CKM.TLS12_KEY_SAFE_DERIVE, CKM.TLS_KEY_AND_MAC_DERIVE)
INHERITANCE = {  # every other mechanism: CHOSEN
    **dict.fromkeys(_BOUND, Inheritance.BOUND),
    **dict.fromkeys(_SAME, Inheritance.SAME),
}


def bind(values: Values, mechanism: int, bases: Sequence[Object]) -> None:
    """Set what the base keys decide in a template. Raises TemplateInconsistent where it says otherwise."""
    rule = INHERITANCE.get(mechanism, Inheritance.CHOSEN)
    sensitive = any(base.is_true(CKA.SENSITIVE) for base in bases)
    extractable = all(base.is_true(CKA.EXTRACTABLE) for base in bases)
    if rule is Inheritance.SAME or (rule is Inheritance.BOUND and sensitive):
        rules.fix(values, CKA.SENSITIVE, sensitive)
    if rule is Inheritance.SAME or (rule is Inheritance.BOUND and not extractable):
        rules.fix(values, CKA.EXTRACTABLE, extractable)


def history(completed: Values, bases: Sequence[Object]) -> Values:
    """Return CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE of a key made from these."""
    always = all(base.is_true(CKA.ALWAYS_SENSITIVE) for base in bases)
    never = all(base.is_true(CKA.NEVER_EXTRACTABLE) for base in bases)
    return {
        CKA.ALWAYS_SENSITIVE: always and completed[CKA.SENSITIVE] is True,
        CKA.NEVER_EXTRACTABLE: never and completed[CKA.EXTRACTABLE] is False,
    }
