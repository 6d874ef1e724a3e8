"""Token objects on a KMIP server: how many messages each call costs, and what other hosts and tools see."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from fix_appliance import Appliance, Server
from fix_kmip_store import KmipPlace
from fix_stores import aes_key, data_object, ec_pair, kept

from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.errors import ActionProhibited, AttributeReadOnly, KeyFunctionNotPermitted
from mrhsm_p11.kmip.attributes import Link, attribute, name_attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.vocabulary import CryptographicAlgorithm, LinkType, ObjectType, RevocationReasonCode
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyState, ObjectGone
from mrhsm_p11.store.kmip import blob
from mrhsm_p11.store.kmip.connection import make_pool
from mrhsm_p11.store.kmip.store import KmipStore
from mrhsm_p11.store.kmip.turns import SHORTEST

Make = Callable[..., KmipPlace]
CACHED = Config()
KEY = bytes(range(32))


def messages(store: KmipStore) -> int:
    return store._servers.client.pool.statistics.messages


def cost(store: KmipStore, act: Callable[[], object]) -> int:
    before = messages(store)
    act()
    return messages(store) - before


def client_of(server: Server, version: str = "1.4") -> Client:
    return Client(make_pool(server.connection(kmip_version=version), CACHED))


@pytest.fixture
def place(make_kmip_place: Make, appliance: Appliance) -> KmipPlace:
    return make_kmip_place(appliance, config=CACHED)


# ---- messages


def test_opening_and_forgetting_connect_to_nobody(place: KmipPlace) -> None:
    store = place.open()
    store.forget()
    store.close()
    assert messages(place.open()) == 0


def test_generation_costs_one_message_once_the_server_is_known(place: KmipPlace) -> None:
    store = place.open()
    template = {**aes_key(LOCAL=True), CKA.VALUE_LEN: 32}
    # The first asks who the server is, the third sees whether the Activation Date took effect.
    assert cost(store, lambda: store.generate(template)) == 3
    assert cost(store, lambda: store.generate(template)) == 1
    assert cost(other := place.open(), lambda: other.generate(template)) == 1  # learned.json


def test_generation_costs_two_messages_where_an_activation_date_is_refused(
    make_kmip_place: Make, stock_appliance: Server
) -> None:
    store = make_kmip_place(stock_appliance, config=CACHED).open()
    template = {**aes_key(LOCAL=True), CKA.VALUE_LEN: 32}
    store.generate(template)
    assert cost(store, lambda: store.generate(template)) == 2


def test_registration_costs_one_message(place: KmipPlace) -> None:
    store = place.open()
    store.insert(aes_key(), Secret(KEY))
    assert cost(store, lambda: store.insert(aes_key(), Secret(KEY))) == 1


@pytest.mark.parametrize("wanted", [{CKA.LABEL: "one"}, {CKA.ID: b"one"}])
def test_finding_costs_one_message_and_one_more_for_what_is_new(place: KmipPlace, wanted: dict[int, str]) -> None:
    uid = place.open().insert(aes_key(LABEL="one", ID=b"one"), Secret(KEY)).uid
    store = place.open()
    assert cost(store, lambda: store.search(wanted)) == 2
    assert cost(store, lambda: store.search(wanted)) == 1
    assert [record.uid for record in store.search(wanted)] == [uid]


def test_what_is_not_there_costs_one_message(place: KmipPlace) -> None:
    store = place.open()
    assert cost(store, lambda: store.search({CKA.LABEL: "none"})) == 1


def test_enumeration_reads_fifty_objects_a_message(place: KmipPlace) -> None:
    store = place.open()
    made = {store.insert(data_object(LABEL=str(n)), Secret(b"x")).uid for n in range(51)}
    other = place.open()
    assert cost(other, lambda: other.search({})) == 3
    assert {record.uid for record in other.search({})} == made


def test_key_bytes_cost_one_message_until_they_are_cached(place: KmipPlace) -> None:
    uid = place.open().insert(aes_key(), Secret(KEY)).uid
    store = place.open()
    assert cost(store, lambda: store.material(uid)) == 1
    assert cost(store, lambda: (store.material(uid), store.load(uid))) == 0
    store.forget()
    assert cost(store, lambda: store.material(uid)) == 1


def test_a_key_that_was_just_found_costs_one_message_to_use(place: KmipPlace) -> None:
    place.open().insert(aes_key(LABEL="kek"), Secret(KEY))
    store = place.open()
    (record,) = store.search({CKA.LABEL: "kek"})
    assert cost(store, lambda: (store.load(record.uid), store.material(record.uid))) == 1


def test_a_key_in_use_is_read_again_in_one_message_when_its_time_is_over(place: KmipPlace) -> None:
    store = place.open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    now = time.monotonic()
    store._cache._clock = lambda: now + 300 * SHORTEST - 1
    assert cost(store, lambda: (store.load(uid), store.material(uid))) == 0
    store._cache._clock = lambda: now + 301
    assert cost(store, lambda: (store.load(uid), store.material(uid))) == 1


def test_an_update_costs_two_messages_and_a_deletion_one(place: KmipPlace) -> None:
    store = place.open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    assert cost(store, lambda: store.update(uid, {CKA.LABEL: "new"})) == 2
    assert cost(store, lambda: store.delete(uid)) == 1


# ---- what others see


CYCLE_VERSIONS = ["1.0", "1.1", "1.2", "1.3", "1.4"]


def cycle(place: KmipPlace) -> None:
    """Do everything once, read each result on another host, and leave nothing."""
    store = place.open()
    secret = aes_key(LABEL="a secret", ID=b"\1\2", EXTRACTABLE=False, LOCAL=True)
    made = store.generate({**secret, CKA.VALUE_LEN: 24})
    public, private = ec_pair(LABEL="pair", ID=b"p")
    halves = store.insert_pair(public, private)
    value = store.insert(data_object(LABEL=""), Secret(b"a value"))
    there = place.open("there")
    assert len(there.material(made.uid)) == 24
    assert kept(there.load(made.uid), secret) == secret
    assert there.load(made.uid).state is KeyState.ACTIVE
    assert there.load(made.uid).attributes[CKA.VALUE_LEN] == 24
    for half, (given, material) in zip(halves, (public, private), strict=True):
        assert kept(there.load(half.uid), given) == given
        assert there.material(half.uid) == material
        assert there.load(half.uid).state is KeyState.ACTIVE
    assert there.material(value.uid) == Secret(b"a value")
    there.update(made.uid, {CKA.LABEL: "renamed", CKA.DECRYPT: False})
    (found,) = (r for r in store.search({CKA.LABEL: "renamed"}) if r.attributes[CKA.LABEL] == "renamed")
    assert (found.uid, found.attributes[CKA.DECRYPT]) == (made.uid, False)
    for uid in (made.uid, value.uid, *(half.uid for half in halves)):
        store.delete(uid)
        with pytest.raises(ObjectGone):
            there.load(uid)


@pytest.mark.parametrize("version", CYCLE_VERSIONS)
def test_every_version_does_everything(make_kmip_place: Make, appliance: Appliance, version: str) -> None:
    cycle(make_kmip_place(appliance, kmip_version=version))


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.4"])
def test_unmodified_pykmip_does_everything(make_kmip_place: Make, stock_appliance: Server, version: str) -> None:
    cycle(make_kmip_place(stock_appliance, kmip_version=version))


def test_attributes_live_on_the_server_not_on_the_host(place: KmipPlace) -> None:
    given = aes_key(LABEL="shared", SENSITIVE=True, EXTRACTABLE=False, UNWRAP=True)
    uid = place.open("one").insert(given, Secret(KEY)).uid
    assert kept(place.open("two").load(uid), given) == given
    assert not [name for name in place.directory("two").names(place.serial) if name.endswith(".kmip")]


def test_the_name_is_the_label_and_never_needed(place: KmipPlace, appliance: Appliance) -> None:
    store = place.open()
    label = f"label-{place.group}"
    uids = {store.insert(aes_key(LABEL=label), Secret(KEY)).uid for _ in range(2)}
    client = client_of(appliance)
    assert set(client.locate([name_attribute(label)], deadline=Deadline(5))) == uids
    nameless = store.insert(aes_key(LABEL=""), Secret(KEY)).uid
    assert not list(client.get_attributes(nameless, ["Name"], deadline=Deadline(5)))


def test_sensitive_and_extractable_are_never_sent(place: KmipPlace, appliance: Appliance) -> None:
    uid = place.open().insert(aes_key(SENSITIVE=True, EXTRACTABLE=False), Secret(KEY)).uid
    told = client_of(appliance).get_attributes(uid, ["Sensitive", "Extractable"], deadline=Deadline(5))
    assert not [one for one in told if one.attribute_value in (True,) and one.attribute_name == "Sensitive"]
    assert not [one for one in told if one.attribute_name == "Extractable"]


@pytest.mark.parametrize(("options", "files"), [({}, 0), ({"nine": True}, 1)])
def test_the_first_key_leaves_a_file_where_the_server_does_not_tell_its_attributes(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance], options: dict[str, object], files: int
) -> None:
    place = make_kmip_place(make_appliance(**options))
    store = place.open()
    uid = store.generate({**aes_key(LABEL="first"), CKA.VALUE_LEN: 32}).uid
    assert len(list(place.folder.rglob("*.kmip"))) == files
    assert place.open().load(uid).attributes[CKA.LABEL] == "first"


def test_attributes_that_do_not_fit_stay_on_the_host(place: KmipPlace, appliance: Appliance) -> None:
    given = aes_key(LABEL="x" * 3000, ID=b"\7")
    here = place.open("here")
    uid = here.insert(given, Secret(KEY)).uid
    assert kept(place.open("here").load(uid), given) == given
    assert CKA.LABEL not in place.open("there").load(uid).attributes or (
        place.open("there").load(uid).attributes[CKA.LABEL] == ""
    )
    assert place.open("there").load(uid).attributes[CKA.ID] == b"\7"
    told = client_of(appliance).get_attributes(uid, deadline=Deadline(5))
    texts = [getattr(one.attribute_value, "application_data", "") or "" for one in told]
    assert max(len(text) for text in texts if text.startswith("{")) <= blob.LIMIT
    here.update(uid, {CKA.LABEL: "short"})
    assert place.open("there").load(uid).attributes[CKA.LABEL] == "short"
    here.delete(uid)
    assert not [name for name in place.directory("here").names(place.serial) if name.endswith(".kmip")]


# ---- objects of other tools


@pytest.fixture
def foreign(place: KmipPlace, appliance: Appliance) -> str:
    client = client_of(appliance)
    uid = client.create(
        ObjectType.SYMMETRIC_KEY,
        [
            attribute("Cryptographic Algorithm", CryptographicAlgorithm.AES),
            attribute("Cryptographic Length", 128),
            attribute("Cryptographic Usage Mask", 0x0C),
            name_attribute("theirs"),
            attribute("Object Group", place.group),
        ],
        deadline=Deadline(5),
    )
    client.activate(uid, deadline=Deadline(5))
    return uid


def test_what_another_tool_made_shows_what_the_server_knows(place: KmipPlace, foreign: str) -> None:
    (record,) = place.open().search({CKA.LABEL: "theirs"})
    assert record.uid == foreign
    assert record.foreign
    expected = {
        CKA.CLASS: CKO.SECRET_KEY,
        CKA.KEY_TYPE: CKK.AES,
        CKA.LABEL: "theirs",
        CKA.VALUE_LEN: 16,
        CKA.ENCRYPT: True,
        CKA.DECRYPT: True,
        CKA.WRAP: False,
        CKA.SIGN: False,
        CKA.PRIVATE: True,
        CKA.SENSITIVE: True,
        CKA.EXTRACTABLE: False,
        CKA.LOCAL: False,
        CKA.ALWAYS_SENSITIVE: False,
        CKA.NEVER_EXTRACTABLE: False,
        CKA.DESTROYABLE: False,
        CKA.MODIFIABLE: False,
    }
    assert kept(record, expected) == expected
    assert len(place.open().material(foreign)) == 16


def test_what_another_tool_made_is_left_alone(place: KmipPlace, foreign: str) -> None:
    store = place.open()
    with pytest.raises(ActionProhibited):
        store.delete(foreign)
    with pytest.raises(AttributeReadOnly):
        store.update(foreign, {CKA.LABEL: "ours"})
    assert len(store.material(foreign)) == 16
    writable = place.open(config=Config(foreign_objects="writable"))
    writable.delete(foreign)
    with pytest.raises(ObjectGone):
        place.open().load(foreign)


WRITABLE = Config(foreign_objects="writable")


@pytest.mark.parametrize("refused", [(), ("Application Specific Information",)], ids=["information", "custom"])
def test_what_another_tool_made_is_changed_where_the_settings_say_so(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance], refused: tuple[str, ...]
) -> None:
    place = make_kmip_place(make_appliance(refuse_attributes=refused))
    client = client_of_place(place)
    uid = make_foreign(client, place)
    changed = place.open(config=WRITABLE).update(uid, {CKA.LABEL: "ours", CKA.ID: b"7"})
    changed = place.open(config=WRITABLE).update(changed.uid, {CKA.ID: b"8", CKA.DECRYPT: False})
    assert (changed.uid, changed.foreign) == (uid, True)
    for host, config in (("here", WRITABLE), ("there", WRITABLE), ("there", CACHED)):
        record = place.open(host, config=config).load(uid)
        expected = {CKA.LABEL: "ours", CKA.ID: b"8", CKA.DECRYPT: False, CKA.ENCRYPT: True, CKA.SENSITIVE: True}
        assert kept(record, expected) == expected
        assert {record.attributes[CKA.MODIFIABLE], record.attributes[CKA.DESTROYABLE]} == {config is WRITABLE}
        assert record.foreign
    with pytest.raises(AttributeReadOnly):
        place.open().update(uid, {CKA.LABEL: "again"})
    with pytest.raises(AttributeReadOnly):
        place.open(config=WRITABLE).update(uid, {CKA.WRAP: True})  # which the usage mask does not grant
    place.open(config=WRITABLE).destroy_own()
    assert place.open().load(uid).attributes[CKA.LABEL] == "ours"
    place.open(config=WRITABLE).delete(uid)


def test_what_another_tool_made_is_not_changed_where_the_server_keeps_nothing(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance]
) -> None:
    place = make_kmip_place(make_appliance(refuse_attributes=("Application Specific Information", "x-")))
    uid = make_foreign(client_of_place(place), place)
    with pytest.raises(AttributeReadOnly):
        place.open(config=WRITABLE).update(uid, {CKA.LABEL: "ours"})
    assert place.open().load(uid).attributes[CKA.LABEL] == "theirs"


def client_of_place(place: KmipPlace) -> Client:
    return Client(make_pool(place.connection, CACHED))


def make_foreign(client: Client, place: KmipPlace) -> str:
    """Make what another tool would: an AES key to encrypt and decrypt with."""
    sent = [
        attribute("Cryptographic Algorithm", CryptographicAlgorithm.AES),
        attribute("Cryptographic Length", 128),
        attribute("Cryptographic Usage Mask", 12),
        attribute("Object Group", place.group),
        name_attribute("theirs"),
    ]
    uid = client.create(ObjectType.SYMMETRIC_KEY, sent, deadline=Deadline(5))
    client.activate(uid, deadline=Deadline(5))
    return uid


# ---- pairs and data


def links_of(place: KmipPlace, uid: str) -> list[Link]:
    told = client_of_place(place).get_attributes(uid, ["Link"], deadline=Deadline(5))
    return [one.attribute_value for one in told if isinstance(one.attribute_value, Link)]


def test_the_halves_of_a_pair_are_linked(place: KmipPlace) -> None:
    first, second = place.open().insert_pair(*ec_pair())
    assert links_of(place, first.uid) == [
        Link(link_type=LinkType.PRIVATE_KEY_LINK, linked_object_identifier=second.uid)
    ]
    assert links_of(place, second.uid) == [Link(link_type=LinkType.PUBLIC_KEY_LINK, linked_object_identifier=first.uid)]


@pytest.mark.parametrize(
    "refusal", [{"refuse_attributes": ("Link",)}, {"refuse_operations": ("ADD_ATTRIBUTE",)}], ids=str
)
def test_a_server_that_takes_no_links_is_asked_once(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance], refusal: dict[str, tuple[str, ...]]
) -> None:
    place = make_kmip_place(make_appliance(**refusal), config=CACHED)
    store = place.open()
    store.insert_pair(*ec_pair())
    assert len(place.open("there").search({})) == 2
    assert cost(store, lambda: store.insert_pair(*ec_pair())) == 2


def test_data_is_secret_data_where_there_are_no_opaque_objects(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance]
) -> None:
    place = make_kmip_place(make_appliance(refuse_types=("OPAQUE_DATA",)))
    given = data_object(LABEL="data", OBJECT_ID=b"1")
    uid = place.open().insert(given, Secret(b"some text")).uid
    store = place.open("there")
    record = store.load(uid)
    assert kept(record, given) == given
    assert [found.uid for found in store.search({CKA.LABEL: "data"})] == [uid]
    assert store.material(uid) == Secret(b"some text")
    store.update(uid, {CKA.LABEL: "renamed"})
    assert place.open().load(uid).attributes[CKA.LABEL] == "renamed"
    store.delete(uid)
    with pytest.raises(ObjectGone):
        place.open().load(uid)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (RevocationReasonCode.CESSATION_OF_OPERATION, KeyState.DEACTIVATED),
        (RevocationReasonCode.KEY_COMPROMISE, KeyState.COMPROMISED),
    ],
)
def test_states_are_told(
    place: KmipPlace, appliance: Appliance, foreign: str, code: RevocationReasonCode, state: KeyState
) -> None:
    date = 1 if state is KeyState.COMPROMISED else None
    client_of(appliance).revoke(foreign, code, compromise_occurrence_date=date, deadline=Deadline(5))
    assert place.open().load(foreign).state is state
    (record,) = place.open().search({CKA.LABEL: "theirs"})
    assert record.state is state


def test_a_key_that_is_not_active_yet_is_told(place: KmipPlace, appliance: Appliance) -> None:
    uid = client_of(appliance).create(
        ObjectType.SYMMETRIC_KEY,
        [
            attribute("Cryptographic Algorithm", CryptographicAlgorithm.AES),
            attribute("Cryptographic Length", 128),
            attribute("Cryptographic Usage Mask", 0x0C),
            attribute("Object Group", place.group),
        ],
        deadline=Deadline(5),
    )
    record = place.open().load(uid)
    assert record.state is KeyState.PRE_ACTIVE
    assert record.attributes[CKA.LABEL] == uid


def test_other_groups_are_not_seen(place: KmipPlace, make_kmip_place: Make, appliance: Appliance) -> None:
    uid = place.open().insert(aes_key(LABEL="mine"), Secret(KEY)).uid
    other = make_kmip_place(appliance).open()
    assert not list(other.search({CKA.LABEL: "mine"}))
    with pytest.raises(ObjectGone):
        other.load(uid)


# ---- cluster keys


def test_nobody_destroys_a_cluster_key(place: KmipPlace) -> None:
    store = place.open()
    uid = store.insert(aes_key(LABEL="mrhsm/my.cluster.com/core-kek"), Secret(KEY)).uid
    with pytest.raises(ActionProhibited):
        store.delete(uid)
    with pytest.raises(ActionProhibited):
        place.open().delete(uid)
    store.destroy_own()
    assert place.open().material(uid) == Secret(KEY)


def test_a_token_that_is_made_anew_destroys_its_own_objects_only(place: KmipPlace, foreign: str) -> None:
    mine = place.open().insert(aes_key(), Secret(KEY)).uid
    place.serial = "ffffffffffffffff"
    theirs = place.open("other").insert(aes_key(), Secret(KEY)).uid
    place.open("other").destroy_own()
    left = {record.uid for record in place.open().search({})}
    assert left == {mine, foreign}
    assert theirs not in left


# ---- the cache


def test_cached_bytes_are_wiped(place: KmipPlace) -> None:
    store = place.open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    held = store._cache._materials[uid].secret
    store.forget()
    assert held == Secret(bytes(32))
    store.material(uid)
    held = store._cache._materials[uid].secret
    store.delete(uid)
    assert held == Secret(bytes(32))


def test_bytes_whose_time_is_over_are_wiped(place: KmipPlace) -> None:
    store = place.open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    held = store._cache._materials[uid].secret
    now = time.monotonic()
    store._cache._clock = lambda: now + 301
    other = store.insert(aes_key(), Secret(bytes(32))).uid
    assert held == Secret(bytes(32))
    assert set(store._cache._materials) == {other}


def test_what_the_server_does_not_give_is_dropped(place: KmipPlace, appliance: Appliance) -> None:
    store = place.open()
    uid = store.insert(aes_key(), Secret(KEY)).uid
    place.open().delete(uid)
    assert store.material(uid) == Secret(KEY)  # its time is not over
    now = time.monotonic()
    store._cache._stale_s = 1000  # for when no server answers; this one does
    store._cache._clock = lambda: now + 301
    with pytest.raises(ObjectGone):
        store.material(uid)
    assert not store._cache._materials


def test_a_key_that_this_client_may_not_read_is_not_permitted(make_kmip_place: Make, stock_appliance: Server) -> None:
    place = make_kmip_place(stock_appliance)
    uid = place.open().insert(aes_key(), Secret(KEY)).uid
    stranger = place.open("there", connection=stock_appliance.connection(client="client-second"))
    with pytest.raises((KeyFunctionNotPermitted, ObjectGone)):
        stranger.material(uid)
    assert not list(stranger.search({}))
