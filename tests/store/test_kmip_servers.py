"""Servers that take less: no Get Attributes, no blob, no dates, unique names. Objects keep their attributes anyhow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from fix_appliance import Appliance, StockAppliance
from fix_kmip_store import KmipPlace
from fix_stores import aes_key, data_object, ec_pair, kept

from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.errors import AttributeReadOnly, DeviceError
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import TimedOut
from mrhsm_p11.kmip.vocabulary import RevocationReasonCode
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyState, KeyUse, ObjectGone
from mrhsm_p11.store.kmip.connection import make_pool
from mrhsm_p11.store.kmip.records import Entry
from mrhsm_p11.store.kmip.store import KmipStore

Make = Callable[..., KmipPlace]
MakeAppliance = Callable[..., Appliance]
KEY = bytes(range(32))
ASI = "Application Specific Information"


def uids(store: KmipStore, **wanted: object) -> set[str]:
    return {record.uid for record in store.search({getattr(CKA, name): value for name, value in wanted.items()})}


def matching(store: KmipStore, label: str) -> set[str]:
    return {record.uid for record in store.search({CKA.LABEL: label}) if record.attributes[CKA.LABEL] == label}


# ---- what a server refuses

REFUSALS: dict[str, dict[str, object]] = {
    "no blob, but custom attributes": {"refuse_attributes": (ASI,)},
    "neither": {"refuse_attributes": (ASI, "x-")},
    "no activation date": {"refuse_attributes": ("Activation Date",)},
    "none of these": {"refuse_attributes": (ASI, "x-", "Activation Date")},
    "unique names": {"unique_names": True},
    "unique names and nothing else": {"refuse_attributes": (ASI, "x-", "Activation Date"), "unique_names": True},
    "the nine operations": {"nine": True},
    "the nine, no dates": {"nine": True, "refuse_attributes": ("Activation Date",)},
    "the nine, no blob": {"nine": True, "refuse_attributes": (ASI, "x-"), "unique_names": True},
    "destroyed objects stay listed": {"keep_destroyed": True},
    "the nine, and they stay listed": {"nine": True, "keep_destroyed": True},
    "one operation a message": {"refuse_batches": True},
    "the nine, one a message": {"nine": True, "refuse_batches": True},
}


@pytest.mark.parametrize("options", REFUSALS.values(), ids=REFUSALS.keys())
@pytest.mark.parametrize("version", ["1.0", "1.4"])
def test_objects_keep_their_attributes(
    make_kmip_place: Make, make_appliance: MakeAppliance, options: dict[str, object], version: str
) -> None:
    keep_attributes(make_kmip_place(make_appliance(**options), kmip_version=version))


@pytest.mark.parametrize("version", ["2.0", "2.1", "auto"])
def test_objects_in_kmip_2(make_kmip_place: Make, appliance: Appliance, version: str) -> None:
    change_attributes(make_kmip_place(appliance, kmip_version=version))
    keep_attributes(make_kmip_place(appliance, kmip_version=version))


def test_objects_in_what_pykmip_speaks_of_kmip_2(make_kmip_place: Make, stock_appliance: StockAppliance) -> None:
    change_attributes(make_kmip_place(stock_appliance, kmip_version="2.0"))


def change_attributes(place: KmipPlace) -> None:
    """Make, find, use, change and destroy keys and data."""
    store = place.open()
    key = store.generate({**aes_key(LABEL="made"), CKA.VALUE_LEN: 32})
    assert len(store.material(key.uid)) == 32
    uid = store.insert(aes_key(LABEL="first", ID=b"1"), Secret(KEY)).uid
    store.update(uid, {CKA.LABEL: "changed", CKA.ID: b"9"})
    again = place.open()
    assert matching(again, "changed") == {uid}
    assert again.load(uid).attributes[CKA.ID] == b"9"
    assert again.material(uid) == Secret(KEY)
    value = store.insert(data_object(LABEL="", APPLICATION="x"), Secret(b"a value")).uid
    assert again.material(value) == Secret(b"a value")
    for each in (key.uid, uid, value):
        again.delete(each)
        with pytest.raises(ObjectGone):
            place.open().load(each)


def keep_attributes(place: KmipPlace) -> None:
    store = place.open()
    secret = aes_key(LABEL="twin", ID=b"\1\2", EXTRACTABLE=False, LOCAL=True, UNWRAP=True)
    twins = [store.generate({**secret, CKA.VALUE_LEN: 32}).uid for _ in range(2)]
    public, private = ec_pair(LABEL="pair", ID=b"p")
    halves = [record.uid for record in store.insert_pair(public, private)]
    value = store.insert(data_object(LABEL="", APPLICATION="ä"), Secret(b"a value")).uid
    again = place.open()
    assert uids(again) == {*twins, *halves, value}
    assert matching(again, "twin") == set(twins)
    assert matching(again, "pair") == set(halves)
    assert {r.uid for r in again.search({CKA.ID: b"\1\2"}) if r.attributes.get(CKA.ID) == b"\1\2"} == set(twins)
    for uid in twins:
        record = again.load(uid)
        assert kept(record, secret) == secret
        assert record.state is KeyState.ACTIVE
        assert record.attributes[CKA.VALUE_LEN] == len(again.material(uid)) == 32
    for uid, (given, material) in zip(halves, (public, private), strict=True):
        assert kept(again.load(uid), given) == given
        assert again.material(uid) == material
    assert again.load(value).attributes[CKA.APPLICATION] == "ä"
    for uid in (*twins, *halves, value):
        again.delete(uid)
        with pytest.raises(ObjectGone):
            place.open().load(uid)
    assert uids(place.open()) == set()


@pytest.mark.parametrize("options", [REFUSALS["neither"], REFUSALS["the nine operations"]], ids=["neither", "nine"])
def test_attributes_that_only_this_host_knows_can_be_changed(
    make_kmip_place: Make, make_appliance: MakeAppliance, options: dict[str, object]
) -> None:
    place = make_kmip_place(make_appliance(**options))
    uid = place.open().insert(aes_key(), Secret(KEY)).uid
    place.open().update(uid, {CKA.LABEL: "new", CKA.ID: b"9"})
    assert matching(place.open(), "new") == {uid}
    assert matching(place.open(), "a label") == set()
    assert place.open().load(uid).attributes[CKA.ID] == b"9"


def test_without_modify_attribute_nothing_changes(make_kmip_place: Make, make_appliance: MakeAppliance) -> None:
    place = make_kmip_place(make_appliance(refuse_operations=("MODIFY_ATTRIBUTE",)))
    store = place.open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    with pytest.raises(AttributeReadOnly):
        store.update(uid, {CKA.LABEL: "new"})
    assert store.load(uid).attributes[CKA.LABEL] == "a label"
    assert place.open().load(uid).attributes[CKA.LABEL] == "a label"


def test_a_use_that_the_mask_does_not_grant_is_not_taken_up(make_kmip_place: Make, appliance: Appliance) -> None:
    store = make_kmip_place(appliance).open()
    uid = store.insert(aes_key(WRAP=False), Secret(KEY)).uid
    with pytest.raises(AttributeReadOnly):
        store.update(uid, {CKA.LABEL: "new", CKA.WRAP: True})
    assert store.load(uid).attributes[CKA.LABEL] == "a label"
    store.update(uid, {CKA.ENCRYPT: False})
    assert store.load(uid).attributes[CKA.ENCRYPT] is False
    store.update(uid, {CKA.ENCRYPT: True})
    assert store.load(uid).attributes[CKA.ENCRYPT] is True


def test_labels_that_no_server_takes_as_a_name_are_kept(make_kmip_place: Make, make_appliance: MakeAppliance) -> None:
    label = "schlüssel/鍵 \U0001f511\n"
    for options in ({}, {"nine": True}, REFUSALS["neither"]):
        place = make_kmip_place(make_appliance(**options))
        uid = place.open().insert(aes_key(LABEL=label), Secret(KEY)).uid
        assert matching(place.open(), label) == {uid}


@pytest.mark.parametrize(("page", "messages"), [(3, 4), (7, 2)])
def test_a_server_that_names_few_objects_at_a_time_is_asked_for_the_others(
    make_kmip_place: Make, make_appliance: MakeAppliance, page: int, messages: int
) -> None:
    place = make_kmip_place(make_appliance(page=page))
    store = place.open()
    made = {store.insert(data_object(LABEL="twin"), Secret(b"x")).uid for _ in range(7)}
    other = place.open()
    before = other._servers.client.pool.statistics.messages
    assert uids(other) == made
    assert other._servers.client.pool.statistics.messages - before == messages
    assert matching(place.open(), "twin") == made


def test_a_search_goes_on_where_its_deadline_ended_it(
    make_kmip_place: Make, appliance: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrhsm_p11.store.kmip.store.MOST_IN_A_MESSAGE", 2)
    place = make_kmip_place(appliance, config=Config())
    store = place.open()
    made = {store.insert(data_object(LABEL=str(n)), Secret(b"x")).uid for n in range(6)}
    other = place.open()
    entries, calls = other._reader.entries, []

    def fails_once(wanted: Sequence[str]) -> list[Entry]:
        calls.append(len(wanted))
        if len(calls) == 3:
            raise TimedOut("too late")
        return entries(wanted)

    monkeypatch.setattr(other._reader, "entries", fails_once)
    with pytest.raises(DeviceError):
        other.search({})
    assert uids(other) == made
    assert calls == [2, 2, 2, 2]


def test_what_was_learned_is_forgotten_with_the_server(make_kmip_place: Make, make_appliance: MakeAppliance) -> None:
    poor = make_appliance(refuse_attributes=(ASI, "x-", "Activation Date"))
    place = make_kmip_place(poor)
    place.open().insert(aes_key(), Secret(KEY))
    assert place.open()._learned.facts.information is False
    place.connection = make_appliance().connection()
    store = place.open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    assert store._learned.facts.information is True
    assert place.open("there").load(uid).attributes[CKA.LABEL] == "a label"


def test_a_server_that_takes_less_than_it_did_is_asked_again(
    make_kmip_place: Make, make_appliance: MakeAppliance
) -> None:
    server = make_appliance()
    place = make_kmip_place(server)
    place.open().insert(aes_key(), Secret(KEY))
    server.options["refuse_attributes"] = ("Activation Date",)
    server.restart()
    store = place.open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    assert store.load(uid).state is KeyState.ACTIVE


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"group":1}', b"\xff"])
def test_a_damaged_file_of_what_was_learned_is_no_harm(
    make_kmip_place: Make, appliance: Appliance, content: bytes
) -> None:
    place = make_kmip_place(appliance)
    directory = place.directory()
    directory.make_folder(place.serial)
    directory.write(f"{place.serial}/learned.json", content)
    uid = place.open().insert(aes_key(), Secret(KEY)).uid
    assert place.open().load(uid).uid == uid


# ---- the nine operations


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory, certificates: object) -> object:
    server = Appliance(tmp_path_factory.mktemp("nine"), certificates, nine=True)  # type: ignore[arg-type]
    server.start()
    yield server
    server.stop()


def test_another_host_finds_a_key_by_its_label(make_kmip_place: Make, nine: Appliance) -> None:
    place = make_kmip_place(nine)
    uid = place.open("here").insert(aes_key(LABEL="kek"), Secret(KEY)).uid
    there = place.open("there")
    (record,) = (one for one in there.search({CKA.LABEL: "kek"}) if one.attributes[CKA.LABEL] == "kek")
    assert record.uid == uid
    expected = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 32, CKA.SENSITIVE: True}
    assert kept(record, expected) == expected
    assert (record.foreign, record.state) == (True, KeyState.ACTIVE)
    assert there.material(uid) == Secret(KEY)


def test_what_nothing_names_is_shown_by_its_identifier(make_kmip_place: Make, nine: Appliance) -> None:
    place = make_kmip_place(nine)
    uid = place.open("here").insert(aes_key(LABEL="kek"), Secret(KEY)).uid
    (record,) = place.open("there").search({})
    assert (record.uid, record.attributes[CKA.LABEL], record.foreign) == (uid, uid, True)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (RevocationReasonCode.CESSATION_OF_OPERATION, KeyState.DEACTIVATED),
        (RevocationReasonCode.KEY_COMPROMISE, KeyState.COMPROMISED),
    ],
)
def test_states_are_found_by_locate(
    make_kmip_place: Make, nine: Appliance, code: RevocationReasonCode, state: KeyState
) -> None:
    place = make_kmip_place(nine)
    uid = place.open().insert(aes_key(), Secret(KEY)).uid
    date = 1 if state is KeyState.COMPROMISED else None
    client = Client(make_pool(nine.connection(), Config()))
    client.revoke(uid, code, compromise_occurrence_date=date, deadline=Deadline(5))
    assert place.open().load(uid).state is state
    assert [record.state for record in place.open().search({})] == [state]
    assert place.open_keys().state(uid) is state


def test_states_are_not_believed_of_a_server_that_ignores_the_filter(
    make_kmip_place: Make, make_appliance: MakeAppliance
) -> None:
    place = make_kmip_place(make_appliance(nine=True, ignore_filters=("State",)))
    uid = place.open().insert(aes_key(), Secret(KEY)).uid
    assert place.open().load(uid).state is KeyState.ACTIVE
    assert uids(place.open()) == {uid}


def test_names_are_not_believed_of_a_server_that_ignores_the_filter(
    make_kmip_place: Make, make_appliance: MakeAppliance
) -> None:
    place = make_kmip_place(make_appliance(nine=True, ignore_filters=("Name",)))
    uid = place.open("here").insert(aes_key(LABEL="kek"), Secret(KEY)).uid
    (record,) = place.open("there").search({CKA.LABEL: "other"})
    assert record.attributes[CKA.LABEL] == uid


def test_a_key_costs_one_message_to_read_and_a_search_another(make_kmip_place: Make, nine: Appliance) -> None:
    place = make_kmip_place(nine, config=Config())
    store = place.open()
    uid = store.insert(aes_key(LABEL="kek"), Secret(KEY)).uid
    reader = place.open()
    before = reader._servers.client.pool.statistics.messages
    assert matching(reader, "kek") == {uid}
    assert reader.material(uid) == Secret(KEY)
    assert reader._servers.client.pool.statistics.messages - before == 2


def test_what_others_destroyed_is_not_listed_by_its_note(make_kmip_place: Make, make_appliance: MakeAppliance) -> None:
    server = make_appliance(nine=True, keep_destroyed=True)
    place = make_kmip_place(server)
    here = place.open("here")
    kept_uid, gone = (here.insert(aes_key(LABEL=label), Secret(KEY)).uid for label in ("kept", "gone"))
    client = Client(make_pool(server.connection(), Config()))
    client.revoke(gone, RevocationReasonCode.CESSATION_OF_OPERATION, deadline=Deadline(5))
    client.destroy(gone, deadline=Deadline(5))
    assert uids(here) == {kept_uid}


# ---- cluster keys


@pytest.mark.parametrize("options", REFUSALS.values(), ids=REFUSALS.keys())
def test_cluster_keys_live_on_every_server(
    make_kmip_place: Make, make_appliance: MakeAppliance, options: dict[str, object]
) -> None:
    place = make_kmip_place(make_appliance(**options), kmip_version="1.0")
    name = "mrhsm/my.cluster.com/core-kek"
    keys = place.open_keys()
    assert keys.locate(name) == []
    uid = keys.create(name, KeyUse.CORE_KEK)
    assert [(one.uid, one.name, one.state) for one in keys.locate(name)] == [(uid, name, KeyState.PRE_ACTIVE)]
    keys.activate(uid)
    there = place.open_keys("there")
    assert [(one.uid, one.state) for one in there.locate(name)] == [(uid, KeyState.ACTIVE)]
    assert there.state(uid) is KeyState.ACTIVE
    assert len(there.read(uid)) == 32
    assert there.read(uid, fresh=True) == keys.read(uid)
    imported = keys.register("mrhsm/my.cluster.com/cldb-key", KeyUse.CLDB_KEY, Secret(KEY))
    assert there.read(imported) == Secret(KEY)
    there.revoke(uid)
    assert [one.state for one in keys.locate(name)] == [KeyState.DEACTIVATED]
    assert len(keys.read(uid)) == 32
    for unknown in ("00000000-0000-4000-8000-000000000000",):
        for act in (keys.state, keys.read, keys.activate, keys.revoke):
            with pytest.raises(ObjectGone):
                act(unknown)


def test_a_destroyed_cluster_key_is_not_a_candidate(make_kmip_place: Make, make_appliance: MakeAppliance) -> None:
    for options in ({"keep_destroyed": True}, {"keep_destroyed": True, "nine": True}):
        server = make_appliance(**options)
        place = make_kmip_place(server)
        name = "mrhsm/my.cluster.com/core-kek"
        uid = place.open_keys().create(name, KeyUse.CORE_KEK)
        Client(make_pool(server.connection(), Config())).destroy(uid, deadline=Deadline(5))
        assert place.open_keys().locate(name) == []
        with pytest.raises(ObjectGone):
            place.open_keys().state(uid)
