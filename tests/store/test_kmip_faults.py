"""A KMIP store when servers fail, answer too late, or not at all: no key is lost, none is made twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from fix_appliance import Appliance
from fix_faults import Fault, FaultProxy
from fix_kmip_store import KmipPlace
from fix_stores import aes_key, data_object, kept

from mrhsm_p11 import deadline
from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKR
from mrhsm_p11.errors import DeviceError
from mrhsm_p11.kmip import waiting
from mrhsm_p11.kmip.errors import Unreachable
from mrhsm_p11.kmip.transport import Connection as Wire
from mrhsm_p11.mapping.results import Fault as Number
from mrhsm_p11.mapping.results import ServerFault
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyUse
from mrhsm_p11.store.kmip.store import KmipStore

Make = Callable[..., KmipPlace]
KEY = bytes(range(32))
CREATE, REGISTER = b"\x42\x00\x5c\x05\0\0\0\4\0\0\0\1", b"\x42\x00\x5c\x05\0\0\0\4\0\0\0\3"
REKEY = b"\x42\x00\x5c\x05\0\0\0\4\0\0\0\4"
NAME = "mrhsm/my.cluster.com/core-kek"


def template(label: str = "a label") -> dict[int, object]:
    return {**aes_key(LABEL=label, LOCAL=True), CKA.VALUE_LEN: 32}


@pytest.fixture
def place(make_kmip_place: Make, appliance: Appliance) -> KmipPlace:
    """A place on the shared appliance, of which all is known."""
    place = make_kmip_place(appliance)
    store = place.open()
    store.delete(store.generate(template()).uid)
    return place


def uids(store: KmipStore, **wanted: object) -> set[str]:
    return {record.uid for record in store.search({getattr(CKA, name): value for name, value in wanted.items()})}


# ---- an answer that does not come


@dataclass
class Cut:
    """Loses the connection at the first request for `operation`.

    `executed`: after the server has done it. `late`: it does it only when it is asked again.
    """

    operation: bytes
    executed: bool = True
    late: bool = False
    ever_after: bool = False  # and nothing reaches a server any more
    cuts: int = 0
    held: bytes = b""
    requests: int = 0


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cut]:
    whole = Wire.exchanging

    def begin(operation: bytes, **how: bool) -> Cut:
        plan = Cut(operation, **how)

        def exchanging(self: Wire, request: bytes | bytearray, limit: deadline.Deadline) -> waiting.Steps[bytearray]:
            plan.requests += 1
            if plan.cuts and plan.ever_after:
                raise Unreachable("gone", str(self.endpoint))
            if plan.operation not in bytes(request):
                return (yield from whole(self, request, limit))
            if not plan.cuts:
                plan.cuts += 1
                plan.held = bytes(request)
                if plan.executed and not plan.late:
                    yield from whole(self, request, limit)
                raise Unreachable("cut", str(self.endpoint), sent=True)
            if plan.late and plan.held:
                held, plan.held = plan.held, b""
                yield from whole(self, held, limit)
            return (yield from whole(self, request, limit))

        monkeypatch.setattr(Wire, "exchanging", exchanging)
        return plan

    return begin


@pytest.mark.parametrize("how", [{"executed": True}, {"executed": False}, {"late": True}])
@pytest.mark.parametrize("operation", [CREATE, REGISTER], ids=["create", "register"])
def test_an_unanswered_request_leaves_exactly_one_key(
    place: KmipPlace, cut: Callable[..., Cut], operation: bytes, how: dict[str, bool]
) -> None:
    store = place.open()
    plan = cut(operation, **how)
    given = aes_key(LABEL="once")
    made = store.generate(template("once")) if operation is CREATE else store.insert(given, Secret(KEY))
    assert plan.cuts == 1
    assert uids(place.open("there")) == {made.uid}
    given |= {CKA.LOCAL: operation is CREATE}
    assert kept(place.open("there").load(made.uid), given) == given
    key = place.open("there").material(made.uid)
    assert len(key) == 32
    assert operation is CREATE or key == Secret(KEY)


def test_an_object_without_a_label_is_found_again_too(place: KmipPlace, cut: Callable[..., Cut]) -> None:
    cut(REGISTER)
    made = place.open().insert(data_object(LABEL=""), Secret(b"value"))
    assert uids(place.open()) == {made.uid}


def test_what_cannot_be_known_is_said_and_taken_back_later(place: KmipPlace, cut: Callable[..., Cut]) -> None:
    store = place.open()
    plan = cut(CREATE, ever_after=True)
    with pytest.raises(ServerFault) as failure:
        store.generate(template("lost"))
    assert failure.value.ckr == CKR.DEVICE_ERROR
    assert failure.value.device_error == Number.UNRESOLVED
    plan.ever_after = False
    assert len(uids(place.open(), LABEL="lost")) == 1
    made = store.generate(template("kept"))
    assert uids(place.open()) == {made.uid}


@pytest.mark.parametrize("register", [False, True])
@pytest.mark.parametrize("how", [{"executed": True}, {"executed": False}])
def test_a_cluster_key_is_made_once(
    place: KmipPlace, cut: Callable[..., Cut], register: bool, how: dict[str, bool]
) -> None:
    keys = place.open_keys()
    cut(REGISTER if register else CREATE, **how)
    uid = keys.register(NAME, KeyUse.CLDB_KEY, Secret(KEY)) if register else keys.create(NAME, KeyUse.CORE_KEK)
    assert [candidate.uid for candidate in place.open_keys().locate(NAME)] == [uid]


def test_a_cluster_key_is_never_destroyed_for_order(place: KmipPlace, cut: Callable[..., Cut]) -> None:
    keys = place.open_keys()
    plan = cut(CREATE, ever_after=True)
    with pytest.raises(DeviceError):
        keys.create(NAME, KeyUse.CORE_KEK)
    plan.ever_after = False
    keys.create(NAME + "x", KeyUse.CORE_KEK)
    assert len(place.open_keys().locate(NAME)) == 1


def test_an_unanswered_deletion_is_asked_again(place: KmipPlace, cut: Callable[..., Cut]) -> None:
    store = place.open()
    uid = store.generate(template()).uid
    plan = cut(b"\x42\x00\x5c\x05\0\0\0\4\0\0\0\x14")  # Destroy
    store.delete(uid)
    assert plan.cuts == 1
    assert uids(place.open()) == set()


@pytest.mark.parametrize("executed", [True, False])
def test_servers_without_a_blob_are_asked_by_name(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance], cut: Callable[..., Cut], executed: bool
) -> None:
    place = make_kmip_place(make_appliance(refuse_attributes=("Application Specific Information", "x-")))
    store = place.open()
    first = store.generate(template("twin")).uid
    cut(CREATE, executed=executed)
    second = store.generate(template("twin")).uid
    assert first != second
    assert uids(place.open()) == {first, second}


@pytest.mark.parametrize("executed", [True, False])
def test_a_server_that_ignores_filters_is_not_believed(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance], cut: Callable[..., Cut], executed: bool
) -> None:
    place = make_kmip_place(make_appliance(ignore_filters=("Application Specific Information", "Name")))
    store = place.open()
    others = {store.generate(template(label)).uid for label in ("one", "two")}
    cut(CREATE, executed=executed)
    made = store.generate(template("three"))
    assert made.uid not in others
    assert uids(place.open()) == {*others, made.uid}
    found = [record.uid for record in place.open().search({CKA.LABEL: "three"})]
    assert made.uid in found


# ---- servers that are down


@pytest.fixture
def proxied(
    make_kmip_place: Make, appliance: Appliance, fault_proxy: Callable[..., FaultProxy]
) -> tuple[KmipPlace, FaultProxy]:
    proxy = fault_proxy(appliance)
    config = Config(cache_seconds=0.0, deadline_s=2.0, connect_s=1.0)
    return make_kmip_place(appliance, config=config, port=proxy.port), proxy


def test_a_server_that_is_down_is_a_device_error(proxied: tuple[KmipPlace, FaultProxy]) -> None:
    place, proxy = proxied
    store = place.open()
    uid = store.generate(template()).uid
    proxy.accept(False)
    proxy.cut()
    acts: list[Callable[[], object]] = [
        lambda: store.load(uid),
        lambda: store.material(uid),
        lambda: store.search({}),
        lambda: store.insert(aes_key(), Secret(KEY)),
        lambda: store.generate(template()),
        lambda: store.update(uid, {CKA.LABEL: "x"}),
        lambda: store.delete(uid),
    ]
    for act in acts:
        with pytest.raises(ServerFault) as failure:
            act()
        assert failure.value.device_error in (Number.UNREACHABLE, Number.UNRESOLVED)
    proxy.accept(True)
    assert len(store.material(uid)) == 32
    assert uids(store) == {uid}


def test_a_silent_server_costs_no_more_than_the_deadline(proxied: tuple[KmipPlace, FaultProxy]) -> None:
    place, proxy = proxied
    store = place.open()
    uid = store.generate(template()).uid
    proxy.cut()
    proxy.default = Fault(black_hole=True)
    began = time.monotonic()
    with deadline.limit(0.5), pytest.raises(ServerFault) as failure:
        store.material(uid)
    assert failure.value.device_error == Number.TIMED_OUT
    assert time.monotonic() - began < 1.5


def test_a_server_that_restarts_is_not_noticed(make_kmip_place: Make, make_appliance: Callable[..., Appliance]) -> None:
    server = make_appliance()
    place = make_kmip_place(server)
    store = place.open()
    first = store.generate(template("first")).uid
    server.restart()
    assert len(store.material(first)) == 32
    server.restart()
    second = store.generate(template("second")).uid
    server.restart()
    store.delete(first)
    assert uids(store) == {second}


def test_what_one_server_has_not_another_may_have(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance], appliance: Appliance
) -> None:
    place = make_kmip_place(appliance)
    uid = place.open().insert(aes_key(), Secret(KEY)).uid
    lagging = make_appliance()
    addresses = (f"127.0.0.1:{lagging.port}", f"127.0.0.1:{appliance.port}")
    store = place.open("there", connection=replace(place.connection, addresses=addresses))
    assert store.load(uid).uid == uid
    assert store.material(uid) == Secret(KEY)
    keys = place.open_keys("there", connection=replace(place.connection, addresses=addresses))
    assert keys.read(uid) == keys.read(uid, fresh=True) == Secret(KEY)


def test_no_cluster_key_is_said_to_be_missing_while_a_server_is_down(
    make_kmip_place: Make, appliance: Appliance, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(appliance)
    place = make_kmip_place(appliance)
    addresses = (f"127.0.0.1:{appliance.port}", f"127.0.0.1:{proxy.port}")
    keys = place.open_keys(connection=replace(place.connection, addresses=addresses))
    assert keys.locate(NAME) == []
    proxy.accept(False)
    proxy.cut()
    with pytest.raises(DeviceError):
        keys.locate(NAME)
    uid = place.open_keys().create(NAME, KeyUse.CORE_KEK)
    with pytest.raises(DeviceError):
        keys.locate(NAME)
    proxy.accept(True)
    assert [candidate.uid for candidate in keys.locate(NAME)] == [uid]


# ---- keys that outlive their servers


def test_stale_keys_are_used_only_where_that_is_allowed(proxied: tuple[KmipPlace, FaultProxy]) -> None:
    place, proxy = proxied
    strict = place.open(config=Config(cache_seconds=300, deadline_s=2, connect_s=1))
    lenient = place.open(config=Config(cache_seconds=300, stale_seconds=3600, deadline_s=2, connect_s=1))
    uid = strict.insert(aes_key(), Secret(KEY)).uid
    lenient.load(uid)
    lenient.material(uid)
    proxy.accept(False)
    proxy.cut()
    now = time.monotonic()
    for store in (strict, lenient):
        assert store.material(uid) == Secret(KEY)
        store._cache._clock = lambda: now + 301
    with pytest.raises(DeviceError):
        strict.material(uid)
    assert not strict._cache._materials
    assert lenient.load(uid).uid == uid
    assert lenient.material(uid) == Secret(KEY)
    lenient._cache._clock = lambda: now + 301 + 3600
    with pytest.raises(DeviceError):
        lenient.material(uid)
    with pytest.raises(DeviceError):
        lenient.load(uid)
    assert not lenient._cache._materials


@pytest.mark.parametrize("how", [{"executed": True}, {"executed": False}])
def test_a_cluster_key_is_replaced_once(place: KmipPlace, cut: Callable[..., Cut], how: dict[str, bool]) -> None:
    old = place.open_keys().create(NAME, KeyUse.CORE_KEK)
    plan = cut(REKEY, **how)
    new = place.open_keys().rekey(old, NAME)
    assert plan.cuts == 1
    assert new not in (None, old)
    assert [candidate.uid for candidate in place.open_keys().locate(NAME)] == [new]
    assert uids(place.open()) == {old, new}


def test_whether_a_cluster_key_was_replaced_is_said_not_to_be_known(place: KmipPlace, cut: Callable[..., Cut]) -> None:
    old = place.open_keys().create(NAME, KeyUse.CORE_KEK)
    plan = cut(REKEY, ever_after=True)
    with pytest.raises(ServerFault) as failure:
        place.open_keys().rekey(old, NAME)
    assert failure.value.device_error == Number.UNRESOLVED
    plan.ever_after = False
    assert len(uids(place.open())) == 2
