from __future__ import annotations

from collections.abc import Callable

import pytest
from fix_stores import aes_key

from mrhsm_p11 import log
from mrhsm_p11.errors import DeviceError, DeviceMemory
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, Record
from mrhsm_p11.store.memory import MemoryStore


def test_identifiers_tell_that_they_are_of_a_session() -> None:
    store = MemoryStore()
    uid = store.insert(aes_key(), Secret(b"k" * 16)).uid
    assert uid.startswith("s-")
    assert len(bytes.fromhex(uid[2:])) == 16


def test_bytes_are_wiped_when_an_object_ends() -> None:
    store = MemoryStore()
    one, two = (store.insert(aes_key(), Secret(b"k" * 16)).uid for _ in range(2))
    material = {uid: store._objects[uid][1] for uid in (one, two)}
    store.delete(one)
    assert material[one] == Secret(bytes(16))
    assert material[two] == Secret(b"k" * 16)
    store.close()
    assert material[two] == Secret(bytes(16))
    assert list(store.search({})) == []


def test_stores_share_nothing() -> None:
    one, two = MemoryStore(), MemoryStore()
    one.insert(aes_key(), Secret(b"k" * 16))
    assert list(two.search({})) == []


class _Failing(MemoryStore):
    """Stores one object; the next fails, and so does taking the first away."""

    def insert(self, attributes: Attributes, material: Secret) -> Record:
        if self._objects:
            raise DeviceMemory("the store is full")
        return super().insert(attributes, material)

    def delete(self, uid: str) -> None:
        raise DeviceError("the store is gone")


def test_a_pair_that_fails_tells_the_first_failure_and_logs_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    keep: Callable[[str], None] = told.append
    monkeypatch.setattr(log, "error", keep)
    store = _Failing()
    with pytest.raises(DeviceMemory):
        store.insert_pair((aes_key(), Secret(b"k" * 16)), (aes_key(), Secret(b"k" * 16)))
    assert len(told) == 1
    assert "the store is gone" in told[0]
