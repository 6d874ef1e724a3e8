from __future__ import annotations

from fix_stores import aes_key

from mrhsm_p11.secret import Secret
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
