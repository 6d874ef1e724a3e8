"""Key management functions: generate, wrap, unwrap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mrhsm_p11 import datapath, log
from mrhsm_p11.constants import CKA, CKF, CKO
from mrhsm_p11.crypto import engine, material, secret_keys
from mrhsm_p11.crypto.base import KeptKey
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import (
    ArgumentsBad,
    AttributeValueInvalid,
    KeyFunctionNotPermitted,
    KeyHandleInvalid,
    KeyNotWrappable,
    KeyUnextractable,
    MechanismParamInvalid,
    TemplateInconsistent,
    WrappedKeyInvalid,
)
from mrhsm_p11.functions import together
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.parameters.symmetric import CCMWrapParams, GCMWrapParams
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Store
from mrhsm_p11.token import cluster_objects, grants, provider, rules, usage
from mrhsm_p11.token.objects import Object, kind_of
from mrhsm_p11.token.operations import Buffer, Outcome
from mrhsm_p11.token.plans import Plan, frozen
from mrhsm_p11.token.rules import Origin, Template, Values
from mrhsm_p11.token.session import Session
from mrhsm_p11.token.token import Token

__all__ = ["generate_key", "generate_key_pair", "unwrap_key", "wrap_key"]


def generate_key(session: int, mechanism: Mechanism | None, template: Template) -> int:
    found = provider.session(session)
    asked = given(mechanism)
    row = usage.mechanism_row(found.token.config, asked.type, CKF.GENERATE)
    if row.mode == "parameters":
        return _generate_parameters(found, row, asked.type, template)
    plan, store = _planned(found, Origin.GENERATE, row, template, lambda: _plan_generation(found, row, template))
    value_len = plan.values.get(CKA.VALUE_LEN, secret_keys.fixed_length(plan.key_type))
    if (
        not isinstance(value_len, int)
        or not row.allows(value_len * 8)
        or not secret_keys.has_length(plan.key_type, value_len)
    ):
        raise AttributeValueInvalid("CKA_VALUE_LEN is no size of such keys")
    if row.family == "random":
        record = store.generate({**plan.completed, CKA.VALUE_LEN: value_len})
    else:
        record = store.insert(plan.completed, engine.make_secret(row, asked.parameter, value_len))
    return found.token.enter_object(found, store, record).handle


def _generate_parameters(session: Session, row: MechanismRow, mechanism: int, template: Template) -> int:
    values = _prepared(row, CKO.DOMAIN_PARAMETERS, template, session.token)
    completed, store = _completed(values, Origin.GENERATE, session, mechanism)
    record = store.insert(completed, engine.generate_parameters(row, values))
    return session.token.enter_object(session, store, record).handle


def generate_key_pair(
    session: int, mechanism: Mechanism | None, public_template: Template, private_template: Template
) -> tuple[int, int]:
    """Make both halves or neither; return the handles of public and private key."""
    found = provider.session(session)
    asked = given(mechanism)
    row = usage.mechanism_row(found.token.config, asked.type, CKF.GENERATE_KEY_PAIR)
    public_values = _prepared(row, CKO.PUBLIC_KEY, public_template, found.token)
    private_values = _prepared(row, CKO.PRIVATE_KEY, private_template, found.token)
    public, public_store = _completed(public_values, Origin.GENERATE, found, asked.type)
    private, private_store = _completed(private_values, Origin.GENERATE, found, asked.type)
    spki, pkcs8 = engine.generate_pair(row, public_values, private_values)
    if public_store is private_store:
        halves = [(public_store, half) for half in public_store.insert_pair((public, spki), (private, pkcs8))]
    else:
        steps = ((public_store, public, spki), (private_store, private, pkcs8))
        halves = together.insert((store, partial(store.insert, values, key)) for store, values, key in steps)
    public_key, private_key = (found.token.enter_object(found, store, half).handle for store, half in halves)
    return public_key, private_key


def wrap_key(session: int, mechanism: Mechanism | None, wrapping_key: int, key: int, room: int | None) -> Outcome:
    """Wrap here; what a session asks for a second time, C does from then on."""
    found = provider.session(session)
    asked = given(mechanism)
    seen = datapath.path.changes()
    row, wrapping = usage.permit(found.token, usage.WRAP, asked, wrapping_key)
    wrapped = usage.find_key(found.token, key)
    require_wrappable(row, wrapping, wrapped)
    plain = usage.computing(wrapped)
    kek = usage.computing(wrapping, usage.WRAP.handle_invalid)
    this, last, found.wrapped = (row.type, wrapping_key, key), found.wrapped, (row.type, wrapping_key, key)
    if this == last:
        grants.wrap(found, row, (wrapping, wrapped), (kek, plain), seen)
    needed = engine.wrapped_size(row, _without_generator(asked.parameter), len(plain), kek)
    if room is None or room < needed:
        return needed
    parameter, tell_iv = _with_iv(asked.parameter)
    output = engine.wrap(row, parameter, kek, plain)
    tell_iv()
    return output


def unwrap_key(
    session: int, mechanism: Mechanism | None, unwrapping_key: int, wrapped: Buffer, template: Template
) -> int:
    """Unwrap here; where the template has been planned before, C decrypts from the next time on."""
    found = provider.session(session)
    token = found.token
    asked = given(mechanism)
    plan = token.plans.find(Origin.UNWRAP, asked.type, token.role, template)
    if plan is not None and (opened := grants.unwrapped(found, asked, unwrapping_key, wrapped)) is not None:
        token.require_visible(plan.completed)
        store = token.store_for(found, on_token=False)  # what is kept is of session keys
        return _take_in(found, usage.mechanism_row(token.config, asked.type), plan, store, opened)
    seen = datapath.path.changes()
    row, unwrapping = usage.permit(token, usage.UNWRAP, asked, unwrapping_key)

    def unwrap() -> Secret:
        kek = usage.computing(unwrapping, usage.UNWRAP.handle_invalid)
        if isinstance(kek, KeptKey) and rules.decode(template).get(CKA.TOKEN) is True:
            raise KeyFunctionNotPermitted("no token key is unwrapped where its bytes would pass through here")
        plain = engine.unwrap(row, _without_generator(asked.parameter), kek, wrapped)
        _require_checksum(token, asked, wrapped, plain)
        if plan is not None and not rules.is_demanding(unwrapping, CKA.UNWRAP_TEMPLATE):
            grants.unwrap(found, row, unwrapping, kek, seen)
        return plain

    return bring_in(found, row, unwrapping, template, unwrap)


def _without_generator(parameter: AnyParameter) -> AnyParameter:
    return parameter.plain(parameter.iv) if isinstance(parameter, GCMWrapParams | CCMWrapParams) else parameter


def _with_iv(parameter: AnyParameter) -> tuple[AnyParameter, Callable[[], None]]:
    """Return the parameter to wrap with, its IV made where that is asked for, and what tells that to the caller."""
    if not isinstance(parameter, GCMWrapParams | CCMWrapParams):
        return parameter, lambda: None
    from mrhsm_p11.token.messages import COUNTING, IVs

    if parameter.generator in COUNTING:
        raise MechanismParamInvalid("each wrapped key would have the same counted initialisation vector")
    iv = IVs().next(parameter)
    return parameter.plain(iv), lambda: parameter.made.fill(iv)


def bring_in(
    session: Session, row: MechanismRow, unwrapping: Object, template: Template, unwrap: Callable[[], Secret]
) -> int:
    """Make the key that `unwrap` gives, once its template has passed; return its handle."""
    plan, store = _planned(
        *(session, Origin.UNWRAP, row, template),
        lambda: _plan_unwrapping(session, row, unwrapping, template),
        demanding=rules.is_demanding(unwrapping, CKA.UNWRAP_TEMPLATE),
    )
    return _take_in(session, row, plan, store, unwrap())


def _take_in(session: Session, row: MechanismRow, plan: Plan, store: Store, plain: Secret) -> int:
    """Make a key of what was unwrapped, as planned; return its handle."""
    value_len = plan.values.get(CKA.VALUE_LEN)
    secret = material.unwrapped(row, plan.cls, plan.key_type, value_len if isinstance(value_len, int) else None, plain)
    if plan.says_of_material:
        material.require_agreement(plan.values, secret)
    record = store.insert(plan.completed, secret)
    return session.token.enter_object(session, store, record).handle


def _plan_unwrapping(session: Session, row: MechanismRow, unwrapping: Object, template: Template) -> Plan:
    values = rules.decode(template)
    rules.demand(values, unwrapping, CKA.UNWRAP_TEMPLATE)
    if values.get(CKA.TOKEN) is True:
        session.require_writable()
    role = session.token.role
    rules.check(values, Origin.UNWRAP, role)
    cls, key_type = kind_of(values)
    if key_type is None or cls not in ((CKO.SECRET_KEY, CKO.PRIVATE_KEY) if row.wraps_private else (CKO.SECRET_KEY,)):
        raise TemplateInconsistent("the mechanism wraps no such object")
    return frozen(values, rules.complete(values, Origin.UNWRAP, role), cls, key_type)


def _plan_generation(session: Session, row: MechanismRow, template: Template) -> Plan:
    values = _prepared(row, CKO.SECRET_KEY, template, session.token)
    completed = rules.complete(values, Origin.GENERATE, session.token.role, row.type)
    return frozen(values, completed, CKO.SECRET_KEY, kind_of(values)[1])


def _planned(
    session: Session,
    origin: Origin,
    row: MechanismRow,
    template: Template,
    make: Callable[[], Plan],
    *,
    demanding: bool = False,
) -> tuple[Plan, Store]:
    """Return what a template comes to, and the new key's store. `demanding`: it depends on a key too.

    Raises what `make` raises, and where this session may not make such a key.
    """
    token, role = session.token, session.token.role
    plan = None if demanding else token.plans.find(origin, row.type, role, template)
    if plan is None:
        plan = make()
        if not demanding and role == token.role:
            token.plans.keep(origin, row.type, role, template, plan)
    token.require_visible(plan.completed)
    return plan, token.store_for(session, on_token=plan.completed[CKA.TOKEN] is True)


def given(mechanism: Mechanism | None) -> Mechanism:
    if mechanism is None:
        raise ArgumentsBad("no mechanism is given")
    return mechanism


def _prepared(row: MechanismRow, cls: int, template: Template, token: Token) -> Values:
    """Return a generation template, checked, with the class and key type that the mechanism makes."""
    values = rules.decode(template)
    rules.fix(values, CKA.CLASS, cls)
    if len(row.key_types) == 1:
        rules.fix(values, CKA.KEY_TYPE, row.key_types[0])
    elif values.get(CKA.KEY_TYPE, row.key_types[0]) not in row.key_types:
        raise TemplateInconsistent("CKA_KEY_TYPE is none that the mechanism makes")
    if row.mode == "premaster":
        rules.fix(values, CKA.VALUE_LEN, row.min_key)
    if any(values.get(cka) for cka in (CKA.CHECK_VALUE, CKA.PUBLIC_KEY_INFO)):
        raise TemplateInconsistent("a key has no such value before it is made")
    rules.check(values, Origin.GENERATE, token.role)
    return values


def _completed(values: Values, origin: Origin, session: Session, mechanism: int | None) -> tuple[Values, Store]:
    """Return a new key's attributes and its store, or say why this session may not make it."""
    completed = rules.complete(values, origin, session.token.role, mechanism)
    session.token.require_visible(completed)
    return completed, session.token.store_for(session, on_token=completed[CKA.TOKEN] is True)


def require_wrappable(row: MechanismRow, wrapping: Object, wrapped: Object) -> None:
    if wrapped.cls == CKO.PUBLIC_KEY or (wrapped.cls == CKO.PRIVATE_KEY and not row.wraps_private):
        raise KeyNotWrappable("the mechanism wraps no key of this class")
    if not wrapped.is_true(CKA.EXTRACTABLE):
        raise KeyUnextractable
    if wrapped.is_true(CKA.WRAP_WITH_TRUSTED) and not wrapping.is_true(CKA.TRUSTED):
        raise KeyNotWrappable("the key wants a wrapping key with CKA_TRUSTED")
    limits = wrapping.record.attributes.get(CKA.WRAP_TEMPLATE)
    if isinstance(limits, dict) and not wrapped.matches(limits):
        raise KeyHandleInvalid("CKA_WRAP_TEMPLATE of the wrapping key leaves out this key")


def _require_checksum(token: Token, asked: Mechanism, wrapped: Buffer, plain: Secret) -> None:
    opened = token.opened
    if opened is None or not isinstance(asked.parameter, bytes):
        return
    broken = cluster_objects.checksum_broken(opened.settings.cluster, asked.parameter + bytes(wrapped), plain.view())
    if broken:
        log.error(f"{broken} was unwrapped to something else than its checksum tells")
        raise WrappedKeyInvalid(f"the checksum of {broken} does not fit")
