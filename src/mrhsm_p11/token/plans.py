"""What the templates of new session keys come to, kept: hosts make thousands of keys with the same one.

A plan rests on nothing but what it is kept under, so it need not end: what depends on the session, on a key or on the
material is looked at each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import material
from mrhsm_p11.mapping.codecs import Raw, Value
from mrhsm_p11.token.rules import Origin

MOST_PLANS = 64
MOST_BYTES = 256  # of one value in a template that is kept


class Plan(NamedTuple):
    """A template that has passed: its values, with what the mechanism decides, and every attribute of the new key."""

    values: Mapping[int, Value]
    completed: Mapping[int, Value]
    cls: int
    key_type: int | None
    says_of_material: bool  # among its values is what the material decides


Key = tuple[Origin, int, int | None, tuple[tuple[int, Raw], ...]]


class Plans:
    """The plans of one token. Any thread."""

    def __init__(self) -> None:
        self._kept: dict[Key, Plan] = {}

    def find(self, origin: Origin, mechanism: int, role: int | None, template: Mapping[int, Raw]) -> Plan | None:
        """Return what the same template came to with the same mechanism and role."""
        try:
            return self._kept.get((origin, mechanism, role, tuple(template.items())))
        except TypeError:  # a template in the template has no hash
            return None

    def keep(self, origin: Origin, mechanism: int, role: int | None, template: Mapping[int, Raw], plan: Plan) -> None:
        """Keep a plan, if it is of a key that will be the session's own and may be made again."""
        short = all(isinstance(raw, bytes) and len(raw) <= MOST_BYTES for raw in template.values())
        if not short or plan.completed.get(CKA.TOKEN) is not False:
            return
        if len(self._kept) >= MOST_PLANS:
            self._kept.clear()
        self._kept[origin, mechanism, role, tuple(template.items())] = plan


def frozen(values: Mapping[int, Value], completed: Mapping[int, Value], cls: int, key_type: int | None) -> Plan:
    """Return a plan that several keys may share."""
    return Plan(
        MappingProxyType(dict(values)), MappingProxyType(dict(completed)), cls, key_type, bool(material.said_of(values))
    )
