"""Several objects, all or none: what is told and what is left when a step fails, and when taking back fails too."""

from __future__ import annotations

import pytest

from mrhsm_p11 import log
from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.errors import DeviceError, KeySizeRange
from mrhsm_p11.functions import together
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Record
from mrhsm_p11.store.memory import MemoryStore


class Stuck(MemoryStore):
    def delete(self, uid: str) -> None:
        raise DeviceError("the store went away")


def insert(store: MemoryStore) -> Record:
    return store.insert({CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.GENERIC_SECRET}, Secret(b"k" * 16))


def fails() -> Record:
    raise KeySizeRange("no such key")


def test_all_are_made_in_their_order() -> None:
    first, second = MemoryStore(), MemoryStore()
    made = together.insert([(first, lambda: insert(first)), (second, lambda: insert(second))])
    assert [store for store, _ in made] == [first, second]
    assert [store.load(record.uid).uid for store, record in made] == [record.uid for _, record in made]


def test_none_is_left_of_a_step_that_fails() -> None:
    store = MemoryStore()
    with pytest.raises(KeySizeRange):
        together.insert([(store, lambda: insert(store)), (store, fails)])
    assert not list(store.search({}))


def test_the_first_error_is_told_where_taking_back_fails_too(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "error", said.append)
    store = Stuck()
    with pytest.raises(KeySizeRange):
        together.insert([(store, lambda: insert(store)), (store, fails)])
    (line,) = said
    assert "is left from a call that failed" in line
    assert "the store went away" in line
