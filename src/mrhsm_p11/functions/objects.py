"""Object management functions."""

from __future__ import annotations

from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto import material
from mrhsm_p11.errors import (
    ActionProhibited,
    CryptokiError,
    OperationActive,
    OperationNotInitialized,
)
from mrhsm_p11.mapping import attributes
from mrhsm_p11.mapping.codecs import Raw
from mrhsm_p11.token import finding, provider, rules
from mrhsm_p11.token.objects import Object
from mrhsm_p11.token.rules import Origin, Template
from mrhsm_p11.token.session import Session

__all__ = [
    "copy_object",
    "create_object",
    "destroy_object",
    "find_objects",
    "find_objects_final",
    "find_objects_init",
    "get_attribute_value",
    "get_object_size",
    "set_attribute_value",
]


def create_object(session: int, template: Template) -> int:
    found = provider.session(session)
    token = found.token
    values = rules.decode(template)
    rules.check(values, Origin.CREATE, token.role)
    completed = rules.complete(values, Origin.CREATE, token.role)
    token.require_visible(completed)
    store = token.store_for(found, on_token=completed[CKA.TOKEN] is True)
    _, secret = material.split(values)
    record = store.insert(completed, secret)
    return token.enter_object(found, store, record).handle


def copy_object(session: int, handle: int, template: Template) -> int:
    found = provider.session(session)
    token = found.token
    original = token.object(handle)
    if not original.is_true(CKA.COPYABLE):
        raise ActionProhibited("the object must not be copied")
    changes = rules.check_change(original, rules.decode(template), token.role, copying=True)
    copied = {**original.record.attributes, CKA.TOKEN: original.session is None, **changes}
    copied.pop(CKA.UNIQUE_ID, None)
    token.require_visible(copied)
    store = token.store_for(found, on_token=copied[CKA.TOKEN] is True)
    record = store.insert(rules.without_material(copied), original.material())
    return token.enter_object(found, store, record).handle


def destroy_object(session: int, handle: int) -> None:
    found = provider.session(session)
    doomed = found.token.object(handle)
    found.token.require_changeable(found, doomed)
    if not doomed.is_true(CKA.DESTROYABLE):
        raise ActionProhibited("the object must not be destroyed")
    doomed.store.delete(doomed.uid)
    found.token.objects.forget(doomed)


def get_object_size(session: int, handle: int) -> int:
    """Return the bytes that the object's attributes and material take."""
    found = provider.session(session).token.object(handle)
    kept = (attributes.encode(cka, value) for cka, value in found.record.attributes.items())
    return len(found.key()) + sum(_size(value) for value in kept)


def get_attribute_value(session: int, handle: int, types: list[int]) -> list[Raw | CryptokiError]:
    """Return each value, or why it is not shown: one that is not leaves the others as they are."""
    found = provider.session(session).token.object(handle)
    return [_revealed(found, cka) for cka in types]


def set_attribute_value(session: int, handle: int, template: Template) -> None:
    """Change all the attributes, or none."""
    found = provider.session(session)
    changed = found.token.object(handle)
    found.token.require_changeable(found, changed)
    if not changed.is_true(CKA.MODIFIABLE):
        raise ActionProhibited("the object must not be modified")
    changes = rules.check_change(changed, rules.decode(template), found.token.role, copying=False)
    if changes:
        changed.changed(changed.store.update(changed.uid, changes))


def find_objects_init(session: int, template: Template) -> None:
    found = provider.session(session)
    if found.found is not None:
        raise OperationActive("a search is active")
    wanted = rules.decode_search(template)
    found.found = [] if wanted is None else [one.handle for one in finding.find(found, wanted)][::-1]


def find_objects(session: int, most: int) -> list[int]:
    remaining = _search(provider.session(session))
    return [remaining.pop() for _ in range(min(most, len(remaining)))]


def find_objects_final(session: int) -> None:
    found = provider.session(session)
    _search(found)
    found.found = None


def _search(session: Session) -> list[int]:
    if session.found is None:
        raise OperationNotInitialized("no search is active")
    return session.found


def _revealed(found: Object, cka: int) -> Raw | CryptokiError:
    try:
        return attributes.encode(cka, found.reveal(cka))
    except CryptokiError as error:
        return error


def _size(value: Raw) -> int:
    return len(value) if isinstance(value, bytes) else sum(_size(nested) for nested in value.values())
