"""Several new objects, all or none, whichever stores they go to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mrhsm_p11 import log
from mrhsm_p11.errors import CryptokiError
from mrhsm_p11.store.base import Record, Store

Made = tuple[Store, Record]


def insert(steps: Iterable[tuple[Store, Callable[[], Record]]]) -> list[Made]:
    """Take the steps in their order; where one fails, take back what the others made. Raises what the step raised."""
    made: list[Made] = []
    try:
        for store, step in steps:
            made.append((store, step()))
    except BaseException:
        for store, record in made:
            _take_back(store, record)
        raise
    return made


def _take_back(store: Store, record: Record) -> None:
    """Delete, and log where that fails: the caller is to hear why there is no key, not why half of one is left."""
    try:
        store.delete(record.uid)
    except CryptokiError as error:
        log.error(f"object {record.uid} is left from a call that failed, and can be destroyed: {error}")
