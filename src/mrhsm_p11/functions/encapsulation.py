"""C_EncapsulateKey and C_DecapsulateKey: a secret key that two parties come to share by one message."""

from __future__ import annotations

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.crypto import engine, material
from mrhsm_p11.errors import ArgumentsBad, AttributeValueInvalid
from mrhsm_p11.functions import derive
from mrhsm_p11.functions.derive import Target
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider, rules, usage
from mrhsm_p11.token.objects import Object
from mrhsm_p11.token.operations import Buffer, Outcome
from mrhsm_p11.token.rules import Origin, Template
from mrhsm_p11.token.session import Session

SECRET_BYTES = 32  # of every mechanism there is (FIPS 203, section 7); a shorter key has the leading ones, as of ECDH

__all__ = ["decapsulate_key", "encapsulate_key"]


def encapsulate_key(
    session: int, mechanism: Mechanism | None, public_key: int, template: Template, room: int | None
) -> tuple[Outcome, int | None]:
    """Make a secret key; return its encapsulation and its handle, or the size alone where there is no room."""
    found = provider.session(session)
    asked = _given(mechanism)
    row, public = usage.permit(found.token, usage.ENCAPSULATE, asked, public_key)
    target = _target(found, template, public, CKA.ENCAPSULATE_TEMPLATE)
    key = public.material()
    needed = engine.encapsulated_size(row, asked.parameter, key)
    if room is None or room < needed:
        return needed, None
    secret, encapsulated = engine.encapsulate(row, asked.parameter, key)
    return encapsulated, _insert(found, target, secret)


def decapsulate_key(
    session: int, mechanism: Mechanism | None, private_key: int, template: Template, encapsulated: Buffer
) -> int:
    found = provider.session(session)
    asked = _given(mechanism)
    row, private = usage.permit(found.token, usage.DECAPSULATE, asked, private_key)
    target = _target(found, template, private, CKA.DECAPSULATE_TEMPLATE)
    secret = engine.decapsulate(row, asked.parameter, private.material(), encapsulated)
    return _insert(found, target, secret)


def _insert(session: Session, target: Target, secret: Secret) -> int:
    kept = Secret(secret.view()[: target.length])
    secret.wipe()
    return derive.insert(session, [target], [kept])[0]


def _given(mechanism: Mechanism | None) -> Mechanism:
    if mechanism is None:
        raise ArgumentsBad("no mechanism is given")
    return mechanism


def _target(session: Session, template: Template, key: Object, demands: int) -> Target:
    """Return the new key to be: as C_UnwrapKey's, it has no history of having been safe."""
    values = rules.decode(template)
    rules.demand(values, key, demands)
    rules.fix(values, CKA.CLASS, CKO.SECRET_KEY)
    values.setdefault(CKA.KEY_TYPE, CKK.GENERIC_SECRET)
    length = material.asked_length({CKA.VALUE_LEN: SECRET_BYTES} | values) or SECRET_BYTES
    if length > SECRET_BYTES:
        raise AttributeValueInvalid(f"CKA_VALUE_LEN is {SECRET_BYTES} at most here")
    if values.get(CKA.TOKEN) is True:
        session.require_writable()
    rules.check(values, Origin.DERIVE, session.token.role)
    completed = rules.complete(values, Origin.DERIVE, session.token.role)
    session.token.require_visible(completed)
    store = session.token.store_for(session, on_token=completed[CKA.TOKEN] is True)
    return Target(values, completed, store, length)
