"""What every store promises; each fixture listed in STORES gives a StoreUnderTest."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from fix_stores import StoreUnderTest, aes_key, data_object, ec_pair, kept

from mrhsm_p11.constants import CKA, CKK, CKM, CKO
from mrhsm_p11.crypto import secret_keys
from mrhsm_p11.errors import ObjectHandleInvalid, TemplateIncomplete
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyState, ObjectGone, Store, Value

STORES = ["memory_store", "file_store"]
if importlib.util.find_spec("fix_kmip_store"):
    STORES.append("kmip_store")

KEY = bytes(range(32))


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest) -> StoreUnderTest:
    found: StoreUnderTest = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(place: StoreUnderTest) -> Store:
    return place.open()


@pytest.fixture(params=[name for name in STORES if name != "memory_store"])
def durable(request: pytest.FixtureRequest) -> StoreUnderTest:
    """A store whose objects outlive it."""
    found: StoreUnderTest = request.getfixturevalue(request.param)
    return found


def uids(store: Store, wanted: dict[int, Value]) -> set[str]:
    return {record.uid for record in store.search(wanted)}


# ---- what is put in comes out


def test_an_object_comes_back_whole(store: Store) -> None:
    given = aes_key(ID=b"\0\1\xff")
    record = store.insert(given, Secret(KEY))
    assert kept(record, given) == given
    assert record.state is KeyState.ACTIVE
    assert not record.foreign
    loaded = store.load(record.uid)
    assert (loaded.uid, kept(loaded, given)) == (record.uid, given)
    assert store.material(record.uid) == Secret(KEY)


VALUES: dict[str, Value] = {
    "LABEL": "mrhsm/ümlaut/鍵/\U0001f511 \x01\\\"'#",
    "ID": bytes(range(256)),
    "START_DATE": b"20200101",
    "END_DATE": b"",
    "DERIVE": True,
    "TRUSTED": False,
    "KEY_GEN_MECHANISM": CKM.AES_KEY_GEN,
    "ALLOWED_MECHANISMS": (CKM.AES_CBC_PAD, CKM.AES_GCM),
    "WRAP_TEMPLATE": {CKA.KEY_TYPE: CKK.AES, CKA.LABEL: "ü", CKA.EXTRACTABLE: True, CKA.ID: b"\0"},
}


@pytest.mark.parametrize("name", VALUES)
def test_every_kind_of_value_survives(place: StoreUnderTest, name: str) -> None:
    given = aes_key(**{name: VALUES[name]})
    uid = place.open().insert(given, Secret(KEY)).uid
    for found in (place.open().load(uid), next(r for r in place.open().search({}) if r.uid == uid)):
        value = found.attributes[getattr(CKA, name)]
        assert value == VALUES[name]
        assert type(value) is type(VALUES[name])


def test_empty_values_survive(place: StoreUnderTest) -> None:
    given = data_object(LABEL="", APPLICATION="", OBJECT_ID=b"")
    uid = place.open().insert(given, Secret(b"")).uid
    assert kept(place.open().load(uid), given) == given
    assert len(place.open().material(uid)) == 0


@pytest.mark.parametrize("size", [0, 1, 4096, 1 << 20])
def test_data_of_any_size_survives(place: StoreUnderTest, size: int) -> None:
    value = bytes(index * 31 % 251 for index in range(size))
    uid = place.open().insert(data_object(), Secret(value)).uid
    assert place.open().material(uid) == Secret(value)


def test_labels_need_not_differ(store: Store) -> None:
    made = {store.insert(aes_key(LABEL=label), Secret(KEY)).uid for label in ("", "", "same", "same", "Same")}
    assert len(made) == 5
    for label, count in (("", 2), ("same", 2), ("Same", 1)):
        found = [record for record in store.search({CKA.LABEL: label}) if record.attributes.get(CKA.LABEL) == label]
        assert len(found) == count


def test_the_caller_keeps_what_it_gave(store: Store) -> None:
    given, material = aes_key(), Secret(KEY)
    uid = store.insert(given, material).uid
    given[CKA.LABEL] = "changed afterwards"
    material.wipe()
    assert store.load(uid).attributes[CKA.LABEL] == "a label"
    lent = store.material(uid)
    assert lent == Secret(KEY)
    lent.wipe()
    assert store.material(uid) == Secret(KEY)


def test_a_record_holds_no_material(store: Store) -> None:
    uid = store.insert(aes_key(), Secret(KEY)).uid
    for record in (store.load(uid), *store.search({})):
        assert CKA.VALUE not in record.attributes
        assert repr(KEY) not in repr(record)


# ---- pairs


def test_a_pair_comes_back_in_order(place: StoreUnderTest) -> None:
    public, private = ec_pair(ID=b"pair")
    first, second = place.open().insert_pair(public, private)
    assert first.attributes[CKA.CLASS] == CKO.PUBLIC_KEY
    assert second.attributes[CKA.CLASS] == CKO.PRIVATE_KEY
    store = place.open()
    assert uids(store, {CKA.ID: b"pair"}) == {first.uid, second.uid}
    assert kept(store.load(first.uid), public[0]) == public[0]
    assert kept(store.load(second.uid), private[0]) == private[0]
    assert store.material(first.uid) == public[1]
    assert store.material(second.uid) == private[1]


def test_halves_are_objects_of_their_own(place: StoreUnderTest) -> None:
    first, second = place.open().insert_pair(*ec_pair())
    store = place.open()
    store.delete(first.uid)
    assert uids(store, {}) == {second.uid}
    assert len(store.material(second.uid)) > 0


# ---- keys that the store makes


MADE_TYPES = sorted(key_type for row in ROWS.values() if row.family == "random" for key_type in row.key_types)


@pytest.mark.parametrize("key_type", MADE_TYPES, ids=CKK.name)
def test_every_type_of_secret_key_is_made_well_formed(place: StoreUnderTest, key_type: int) -> None:
    given = aes_key(KEY_TYPE=key_type, VALUE_LEN=max(secret_keys.LENGTHS.get(key_type, (20,))))
    uid = place.open().generate(given).uid
    found = place.open()
    assert found.load(uid).attributes[CKA.KEY_TYPE] == key_type
    key = found.material(uid)
    assert len(key) == given[CKA.VALUE_LEN]
    secret_keys.check_form(key_type, key)
    assert key != found.material(place.open().generate(given).uid)


@pytest.mark.parametrize("key_bytes", [16, 24, 32])
def test_generated_keys_are_random_and_of_the_asked_length(store: Store, key_bytes: int) -> None:
    given = aes_key(LOCAL=True)
    made = [store.generate({**given, CKA.VALUE_LEN: key_bytes}) for _ in range(2)]
    keys = [store.material(record.uid) for record in made]
    assert [len(key) for key in keys] == [key_bytes, key_bytes]
    assert keys[0] != keys[1]
    assert kept(store.load(made[0].uid), given) == given
    assert made[0].state is KeyState.ACTIVE


def test_a_key_without_a_length_is_not_made(store: Store) -> None:
    with pytest.raises(TemplateIncomplete):
        store.generate(aes_key())
    assert uids(store, {}) == set()


# ---- search


def test_search_leaves_out_nothing_that_matches(store: Store) -> None:
    made = {
        name: store.insert(aes_key(LABEL=name, ID=name.encode(), WRAP=name > "b"), Secret(KEY)).uid for name in "abcd"
    }
    made["data"] = store.insert(data_object(LABEL="a"), Secret(b"x")).uid
    wanted: list[tuple[dict[int, Value], set[str]]] = [
        ({}, {"a", "b", "c", "d", "data"}),
        ({CKA.LABEL: "a"}, {"a", "data"}),
        ({CKA.LABEL: "a", CKA.CLASS: CKO.SECRET_KEY}, {"a"}),
        ({CKA.CLASS: CKO.SECRET_KEY}, {"a", "b", "c", "d"}),
        ({CKA.CLASS: CKO.DATA}, {"data"}),
        ({CKA.ID: b"c"}, {"c"}),
        ({CKA.KEY_TYPE: CKK.AES, CKA.WRAP: True}, {"c", "d"}),
        ({CKA.LABEL: "none"}, set()),
    ]
    for attributes, names in wanted:
        found = list(store.search(attributes))
        matching = {r.uid for r in found if all(r.attributes.get(cka) == value for cka, value in attributes.items())}
        assert matching == {made[name] for name in names}, attributes
        assert len({record.uid for record in found}) == len(found)


def test_attributes_of_the_material_narrow_nothing_wrongly(store: Store) -> None:
    uid = store.insert(aes_key(), Secret(KEY)).uid
    assert uids(store, {CKA.VALUE_LEN: 32, CKA.CLASS: CKO.SECRET_KEY}) == {uid}


# ---- changes


def test_an_update_changes_what_it_names(place: StoreUnderTest) -> None:
    given = aes_key(ID=b"1")
    uid = place.open().insert(given, Secret(KEY)).uid
    changed = place.open().update(uid, {CKA.LABEL: "new ü", CKA.ID: b"2", CKA.ENCRYPT: False})
    expected = {**given, CKA.LABEL: "new ü", CKA.ID: b"2", CKA.ENCRYPT: False}
    assert changed.uid == uid
    assert kept(changed, expected) == expected
    store = place.open()
    assert kept(store.load(uid), expected) == expected
    assert store.material(uid) == Secret(KEY)
    assert {r.uid for r in store.search({CKA.LABEL: "new ü"}) if r.attributes[CKA.LABEL] == "new ü"} == {uid}
    assert not [r for r in store.search({CKA.LABEL: "a label"}) if r.attributes[CKA.LABEL] == "a label"]


def test_a_record_in_hand_does_not_change(store: Store) -> None:
    record = store.insert(aes_key(), Secret(KEY))
    found = next(iter(store.search({})))
    store.update(record.uid, {CKA.LABEL: "new"})
    assert record.attributes[CKA.LABEL] == found.attributes[CKA.LABEL] == "a label"


def test_deleted_objects_are_gone_for_everybody(place: StoreUnderTest) -> None:
    uid = place.open().insert(aes_key(), Secret(KEY)).uid
    other = place.open()
    assert uids(other, {}) == {uid}
    place.open().delete(uid)
    assert uids(other, {}) == uids(place.open(), {}) == set()
    with pytest.raises(ObjectGone):
        other.load(uid)


@pytest.mark.parametrize("unknown", ["s-0", "l-00000000000000000000000000000000", "", "../../mrhsm.conf", "ü", "a\0b"])
def test_what_is_not_there_is_gone(store: Store, unknown: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: store.load(unknown),
        lambda: store.material(unknown),
        lambda: store.update(unknown, {CKA.LABEL: "x"}),
        lambda: store.delete(unknown),
    ]
    for act in acts:
        with pytest.raises(ObjectGone) as failure:
            act()
        assert isinstance(failure.value, ObjectHandleInvalid)


def test_forgetting_loses_nothing(store: Store) -> None:
    uid = store.insert(aes_key(), Secret(KEY)).uid
    store.forget()
    assert store.material(uid) == Secret(KEY)
    assert uids(store, {}) == {uid}


# ---- others


def test_objects_survive(durable: StoreUnderTest) -> None:
    given = aes_key()
    store = durable.open()
    uid = store.insert(given, Secret(KEY)).uid
    store.close()
    again = durable.open()
    assert kept(again.load(uid), given) == given
    assert again.material(uid) == Secret(KEY)


def test_another_process_sees_each_change(durable: StoreUnderTest) -> None:
    one, other = durable.open(), durable.open()
    assert uids(other, {}) == set()
    uid = one.insert(aes_key(), Secret(KEY)).uid
    assert uids(other, {CKA.LABEL: "a label"}) == {uid}
    one.update(uid, {CKA.LABEL: "new"})
    assert other.load(uid).attributes[CKA.LABEL] == "new"
    other.update(uid, {CKA.ID: b"7"})
    assert (one.load(uid).attributes[CKA.LABEL], one.load(uid).attributes[CKA.ID]) == ("new", b"7")
    other.delete(uid)
    with pytest.raises(ObjectGone):
        one.material(uid)


def test_threads_lose_nothing_and_see_whole_objects(place: StoreUnderTest) -> None:
    store = place.open()
    steady = store.insert(aes_key(LABEL="steady-0", ID=b"steady-0"), Secret(KEY)).uid
    failures: list[BaseException] = []
    made: list[list[str]] = [[] for _ in range(3)]
    done = threading.Event()

    def guarded(act: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                act()
            except BaseException as error:
                failures.append(error)

        return run

    def write(number: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(6):
                made[number].append(store.insert(aes_key(LABEL=f"{number}-{turn}"), Secret(KEY)).uid)
            store.delete(made[number].pop())

        return run

    def rename() -> None:
        for turn in range(1, 6):
            store.update(steady, {CKA.LABEL: f"steady-{turn}", CKA.ID: f"steady-{turn}".encode()})

    def read() -> None:
        while not done.is_set():
            found = {record.uid: record for record in store.search({})}
            assert steady in found
            label, key_id = found[steady].attributes[CKA.LABEL], found[steady].attributes[CKA.ID]
            assert isinstance(label, str)
            assert label.encode() == key_id
            assert store.material(steady) == Secret(KEY)

    reader = threading.Thread(target=guarded(read))
    writers = [threading.Thread(target=guarded(act)) for act in (write(0), write(1), write(2), rename)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    reader.join(60)
    assert failures == []
    assert uids(store, {}) == {steady, *made[0], *made[1], *made[2]}
    assert store.load(steady).attributes[CKA.LABEL] == "steady-5"


def test_identifiers_never_come_back(store: Store) -> None:
    made = []
    for _ in range(5):
        uid = store.insert(data_object(), Secret(b"x")).uid
        made.append(uid)
        store.delete(uid)
    assert len(set(made)) == 5
    assert all(a != b for a, b in pairwise(made))
