"""C_DeriveKey: who may derive what, what the new keys are, and where the answers go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.crypto import checks, engine, material
from mrhsm_p11.errors import ArgumentsBad, MechanismParamInvalid
from mrhsm_p11.functions import together
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters import Mechanism, Parameter, Place
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Record, Store
from mrhsm_p11.token import inheritance, provider, rules, usage
from mrhsm_p11.token.objects import Object, kind_of
from mrhsm_p11.token.rules import Origin, Template, Values
from mrhsm_p11.token.session import Session

__all__ = ["derive_key"]

_ELSEWHERE = ("key-material", "key-safe", "prf")  # modes whose answers go into the parameter


@dataclass(frozen=True, slots=True)
class Target:
    """A key to be: its attributes, its store, its length in bytes (None: what the mechanism gives).

    `said`: what the template says, of the value too.
    """

    said: Values
    completed: Values
    store: Store
    length: int | None

    def insert(self, secret: Secret) -> Record:
        made = material.derived_key(*kind_of(self.completed), secret)
        material.require_agreement(self.said, made)
        return self.store.insert(self.completed, made)


def derive_key(
    session: int, mechanism: Mechanism | None, base_key: int, template: Template, has_place: bool
) -> int | None:
    """Derive what the mechanism derives, all or nothing; `has_place` tells whether phKey was given."""
    found = provider.session(session)
    if mechanism is None:
        raise ArgumentsBad("no mechanism is given")
    row, bases = _bases(found, mechanism, base_key)
    if row.mode in _ELSEWHERE:
        from mrhsm_p11.functions import derive_tls

        derive_tls.deliver(found, row, mechanism, bases, template)
        return None
    if not has_place:
        raise ArgumentsBad("the new key's handle has nowhere to go")
    additional = getattr(mechanism.parameter, "additional", ())
    places: list[Place] = [one.handle for one in additional]
    if not all(place.given for place in places):
        raise MechanismParamInvalid("an additional key's handle has nowhere to go")
    targets = [_target(found, row, given, bases) for given in (template, *(one.template for one in additional))]
    handle, *more = insert(found, targets, derived(row, mechanism, bases, [target.length for target in targets]))
    for place, additional_handle in zip(places, more, strict=True):
        place.fill(additional_handle)
    _tell_version(row, mechanism, bases[0])
    return handle


def _tell_version(row: MechanismRow, mechanism: Mechanism, premaster: Object) -> None:
    """Write what the client said it can, where the premaster secret begins with it: RFC 5246, section 7.4.7.1."""
    version: Place | None = getattr(mechanism.parameter, "version", None)
    if version is not None and version.given and row.mode == "master":
        version.fill(premaster.material().reveal()[:2])


def _bases(session: Session, mechanism: Mechanism, base_key: int) -> tuple[MechanismRow, list[Object]]:
    """Return the mechanism and the keys that it reads: the base key, then those that the parameter names."""
    row, base = usage.permit(session.token, usage.DERIVE, mechanism, base_key)
    others = [
        usage.permit_beside(session.token, usage.DERIVE, row.type, handle) for handle in _named_keys(row, mechanism)
    ]
    return row, [base, *others]


def _named_keys(row: MechanismRow, mechanism: Mechanism) -> tuple[int, ...]:
    if isinstance(mechanism.parameter, Parameter):
        return mechanism.parameter.named_keys()
    return (checks.number(mechanism.parameter),) if row.mode == "base-and-key" else ()


def derived(
    row: MechanismRow, mechanism: Mechanism, bases: Sequence[Object], lengths: Sequence[int | None]
) -> list[Secret]:
    """Compute the secrets of these lengths."""
    base, *others = bases
    keys = {key.handle: key.material() for key in others}
    return engine.derive(row, mechanism.parameter, base.key_type or 0, base.material(), tuple(lengths), keys)


def _target(session: Session, row: MechanismRow, template: Template, bases: Sequence[Object]) -> Target:
    """Return what one template asks for, checked before anything is computed."""
    cls = CKO.DATA if row.mode == "data" else CKO.SECRET_KEY
    values = decoded(template, bases[0], cls)
    if cls == CKO.SECRET_KEY:
        values.setdefault(CKA.KEY_TYPE, CKK.GENERIC_SECRET)
        length = material.asked_length(values)
        inheritance.bind(values, row.type, bases)
    else:
        asked = values.pop(CKA.VALUE_LEN, None)  # no attribute of data, but how else could the caller say
        length = asked if isinstance(asked, int) else None
    return complete(session, row, values, bases, length)


def decoded(template: Template, base: Object, cls: int) -> Values:
    """Return a template's values, with the class that is derived and what the base key demands of its children."""
    values = rules.decode(template)
    rules.demand(values, base, CKA.DERIVE_TEMPLATE)
    rules.fix(values, CKA.CLASS, cls)
    return values


def complete(
    session: Session, row: MechanismRow, values: Values, bases: Sequence[Object], length: int | None
) -> Target:
    """Check a template whose class and key type are settled, and fill in what it leaves open."""
    token = session.token
    if values.get(CKA.TOKEN) is True:
        session.require_writable()
    rules.check(values, Origin.DERIVE, token.role)
    completed = rules.complete(values, Origin.DERIVE, token.role)
    if kind_of(values)[0] == CKO.SECRET_KEY:
        completed |= inheritance.history(completed, bases)
    token.require_visible(completed)
    return Target(values, completed, token.store_for(session, on_token=completed[CKA.TOKEN] is True), length)


def insert(session: Session, targets: Sequence[Target], secrets: Sequence[Secret]) -> list[int]:
    """Store all keys or none; return their handles."""
    try:
        made = together.insert(
            (target.store, partial(target.insert, secret)) for target, secret in zip(targets, secrets, strict=True)
        )
    finally:
        for secret in secrets:
            secret.wipe()
    return [session.token.enter_object(session, store, record).handle for store, record in made]
