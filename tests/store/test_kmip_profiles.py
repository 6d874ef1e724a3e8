"""A profile says what is tried first; what a server does is what counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from fix_appliance import Appliance, StockAppliance
from fix_kmip_store import KmipPlace
from fix_stores import aes_key, ec_pair

from mrhsm_p11 import deadline
from mrhsm_p11.constants import CKA
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyState
from mrhsm_p11.store.kmip.learned import Facts
from mrhsm_p11.store.kmip.profiling import CALLED
from mrhsm_p11.store.kmip.store import KmipStore

Make = Callable[..., KmipPlace]
MakeAppliance = Callable[..., Appliance]
KEY = bytes(range(32))
ASI = "Application Specific Information"


@pytest.fixture(autouse=True)
def in_time() -> object:
    with deadline.limit(120):
        yield


def with_profile(place: KmipPlace, name: str) -> KmipStore:
    place.connection = dataclasses.replace(place.connection, profile=name)
    return place.open()


def insert(store: KmipStore) -> None:
    uid = store.insert(aes_key(), Secret(KEY)).uid
    record = store.load(uid)
    assert (record.attributes[CKA.LABEL], record.state) == ("a label", KeyState.ACTIVE)


def test_every_fact_has_a_name_to_show() -> None:
    assert {field.name for field in dataclasses.fields(Facts)} - {"vendor"} == CALLED.keys()


def test_a_server_is_asked_once_who_it_is(make_kmip_place: Make, make_appliance: MakeAppliance) -> None:
    server = make_appliance()
    place = make_kmip_place(server)
    for _ in range(2):
        insert(place.open())
    assert " ".join(server.requests()).count("QUERY") == 1
    assert place.open()._learned.facts.vendor == "mrhsm trial appliance"
    assert place.open()._learned.profile == "default"


@pytest.mark.parametrize("options", [{"nine": True}, {"refuse_operations": ("QUERY",)}], ids=["nine", "no Query"])
def test_one_that_does_not_tell_is_not_asked_again(
    make_kmip_place: Make, make_appliance: MakeAppliance, options: dict[str, object]
) -> None:
    server = make_appliance(**options)
    place = make_kmip_place(server)
    for _ in range(2):
        insert(place.open())
    assert " ".join(server.requests()).count("QUERY") == 1
    assert (place.open()._learned.facts.vendor, place.open()._learned.profile) == ("", "default")


def test_one_whose_product_is_set_is_not_asked(make_kmip_place: Make, make_appliance: MakeAppliance) -> None:
    server = make_appliance()
    store = with_profile(make_kmip_place(server), "ciphertrust")
    insert(store)
    assert "QUERY" not in " ".join(server.requests())
    assert store._learned.facts.vendor is None
    assert store._learned.profile == "ciphertrust"


def test_pykmip_is_recognised_and_not_tried_with_what_it_refuses(
    make_kmip_place: Make, stock_appliance: StockAppliance
) -> None:
    """With a date, it would refuse the first Create: Query, Create, Activate, and nothing is tried in vain."""
    place = make_kmip_place(stock_appliance)
    store = place.open()
    before = store._servers.client.pool.statistics.messages
    store.generate({**aes_key(LOCAL=True), CKA.VALUE_LEN: 32})
    assert store._servers.client.pool.statistics.messages - before == 3
    assert store._learned.profile == "pykmip"
    facts = store._learned.facts
    assert (facts.information, facts.entries) == (True, True)
    assert (facts.activation_date, facts.custom, facts.rekey) == (None, None, None)  # not seen, only read of
    assert (store._learned.expected.activation_date, store._learned.expected.rekey) == (False, False)


@pytest.mark.parametrize(
    ("profile", "options"),
    [
        ("vault", {"refuse_attributes": ("Activation Date", ASI, "x-")}),
        ("cosmian", {"nine": True, "refuse_attributes": (ASI,)}),
        ("keysecure", {"refuse_attributes": (ASI,), "refuse_batches": True}),
        ("pykmip", {}),
        ("dsm", {"refuse_attributes": ("x-",)}),
        ("default", {"refuse_attributes": ("Activation Date",)}),
    ],
)
def test_a_wrong_profile_costs_messages_and_nothing_else(
    make_kmip_place: Make, make_appliance: MakeAppliance, profile: str, options: dict[str, object]
) -> None:
    place = make_kmip_place(make_appliance(**options))
    store = with_profile(place, profile)
    insert(store)
    public, private = ec_pair(LABEL="pair", ID=b"p")
    halves = [one.uid for one in store.insert_pair(public, private)]
    again = place.open()
    assert [again.load(uid).attributes[CKA.LABEL] for uid in halves] == ["pair", "pair"]
    assert again.material(halves[1]) == private[1]
    for field in ("information", "custom", "activation_date"):
        refused = {"information": ASI, "custom": "x-", "activation_date": "Activation Date"}[field]
        told = getattr(again._learned.facts, field)
        assert told is not True or refused not in options.get("refuse_attributes", ()), field  # type: ignore[operator]


def test_that_batches_are_refused_is_found_out_once(make_kmip_place: Make, make_appliance: MakeAppliance) -> None:
    server = make_appliance(refuse_batches=True)
    place = make_kmip_place(server)
    for _ in range(3):
        store = place.open()
        uid = store.insert(aes_key(), Secret(KEY)).uid
        assert place.open().material(uid) == Secret(KEY)
    assert len([request for request in server.requests() if "," in request]) == 1
    assert place.open()._learned.facts.batches is False
    place.connection = make_appliance().connection()
    insert(place.open())
    assert place.open()._learned.facts.batches is None


def test_a_profile_of_a_later_version_is_the_default_one(make_kmip_place: Make, appliance: Appliance) -> None:
    insert(with_profile(make_kmip_place(appliance), "of-tomorrow"))
