"""Searches: which stores are asked, and which of their answers a caller may see."""

from __future__ import annotations

from collections.abc import Iterator

from mrhsm_p11.constants import CKA
from mrhsm_p11.mapping import attributes
from mrhsm_p11.store.base import Attributes, ObjectGone, Record, Store, Value
from mrhsm_p11.token import fixed_objects
from mrhsm_p11.token.cluster_objects import names_blob
from mrhsm_p11.token.objects import Object
from mrhsm_p11.token.session import Session

LOCAL_UIDS = ("s-", "l-")


def find(session: Session, wanted: dict[int, Value]) -> list[Object]:
    """Return every visible object that has the wanted attributes.

    A store that cannot answer fails the search, unless the template can only match objects that are not in it.
    """
    token = session.token
    narrowed = _searchable(wanted)
    return [
        entered
        for store in _asked(session, wanted)
        for record in store.search(narrowed)
        if token.visible(record) and (entered := _entered(session, store, record)) and entered.matches(wanted)
    ]


def _entered(session: Session, store: Store, record: Record) -> Object | None:
    """Return the object of a record that a store has found, as the store has it now; None where it is gone."""
    entered = session.token.enter_object(session, store, record)
    if entered.record is not record:
        try:
            entered.refresh()
        except ObjectGone:
            return None
    return entered


def _asked(session: Session, wanted: dict[int, Value]) -> Iterator[Store]:
    token = session.token
    if wanted.get(CKA.TOKEN) is not False:
        remote = token.stores[:1] if token.entry.store == "kmip" and _only_local(wanted) else ()
        yield from (store for store in token.stores if store not in remote)
    if wanted.get(CKA.TOKEN) is not True:
        yield token.session_store


def _only_local(wanted: dict[int, Value]) -> bool:
    """Tell whether only objects of this host can match, so that no server need be asked."""
    uid = wanted.get(CKA.UNIQUE_ID)
    of_host = isinstance(uid, str) and uid.startswith(LOCAL_UIDS)
    return of_host or wanted.get(CKA.CLASS) in fixed_objects.CLASSES or names_blob(wanted)


def _searchable(wanted: dict[int, Value]) -> Attributes:
    """Leave out what no store keeps with the record: values of the material, and the identifier itself."""
    return {
        cka: value
        for cka, value in wanted.items()
        if cka != CKA.UNIQUE_ID and not any(use.material for use in attributes.ROWS[cka].uses)
    }
