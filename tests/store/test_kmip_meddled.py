"""Each fault of a message x each kind of operation: the right outcome, and a connection that is never out of step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fix_appliance import Appliance
from fix_kmip_store import KmipPlace
from fix_meddler import FAULTS, Meddler
from fix_stores import aes_key

from mrhsm_p11 import deadline
from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA
from mrhsm_p11.mapping.results import Fault, ServerFault
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip.store import KmipStore

Make = Callable[..., KmipPlace]
MakeMeddler = Callable[..., Meddler]
KEY, OTHER = bytes(range(32)), bytes(range(32, 64))

# KMIP's numbers of the operations, and how many objects there are after each where there were two.
OPERATIONS = {"create": (1, 3), "register": (3, 3), "locate": (8, 2), "get": (10, 2), "destroy": (20, 1)}
READS = {"locate", "get"}

# All is as if nothing had happened: the answer comes after all, or is asked for again, or is found out.
UNNOTICED = {"delay", "drip", "reply twice", "reset before", "reset after", "half a frame", "close notify"}
# No answer comes before the deadline.
SILENT = {"hang", "late"}
# Nonsense is not believed. Reads tell of it, as the server may be none; a change is found out about.
NONSENSE = FAULTS.keys() - UNNOTICED - SILENT

CASES = [
    (fault, operation)
    for fault in FAULTS
    for operation in OPERATIONS
    # Where the request names no object, nothing contradicts an identifier of the reply.
    if fault != "another identifier" or operation in ("get", "destroy")
]


def expected(fault: str, operation: str) -> Fault | None:
    if fault in SILENT:
        return Fault.UNRESOLVED if operation in ("create", "register") else Fault.TIMED_OUT
    return Fault.PROTOCOL if fault in NONSENSE and operation in READS else None


def uids(store: KmipStore) -> set[str]:
    return {record.uid for record in store.search({})}


def places(make: Make, appliance: Appliance, between: Meddler, config: Config) -> tuple[KmipPlace, KmipPlace]:
    """Return the same place through the meddler and straight."""
    place, straight = make(appliance, config=config, port=between.port), make(appliance)
    straight.group, straight.folder = place.group, place.folder
    return place, straight


@pytest.mark.parametrize(("fault", "operation"), CASES)
def test_a_spoilt_message(
    make_kmip_place: Make, appliance: Appliance, meddler: MakeMeddler, fault: str, operation: str
) -> None:
    between = meddler(appliance)
    config = Config(cache_seconds=0.0, deadline_s=30.0)
    place, straight = places(make_kmip_place, appliance, between, config)
    store = place.open()
    key, other = (store.insert(aes_key(LABEL=label), Secret(value)).uid for label, value in (("a", KEY), ("b", OTHER)))
    template = {**aes_key(LABEL="new"), CKA.VALUE_LEN: 32}
    store.delete(store.generate(template).uid)  # from here on nothing is left to learn of the server
    acts: dict[str, Callable[[], object]] = {
        "create": lambda: store.material(store.generate(template).uid) != Secret(KEY),
        "register": lambda: store.material(store.insert(aes_key(LABEL="new"), Secret(KEY)).uid) == Secret(KEY),
        "locate": lambda: uids(store) == {key, other},
        "get": lambda: store.material(key) == Secret(KEY),
        "destroy": lambda: store.delete(key) is None,  # type: ignore[func-returns-value]
    }
    number, left = OPERATIONS[operation]
    between.operation, between.faults = b"\x42\x00\x5c\x05\0\0\0\4" + number.to_bytes(4, "big"), [fault]
    told = expected(fault, operation)
    with deadline.limit(1.0 if fault in SILENT else 30.0):
        if told is None:
            assert acts[operation]()
        else:
            with pytest.raises(ServerFault) as failure:
                acts[operation]()
            assert failure.value.device_error == told
    assert between.met == 1
    assert len(uids(straight.open())) == left
    for _ in range(3):
        assert store.material(other) == Secret(OTHER)


@pytest.mark.parametrize("name", ["server-expired", "server-not-yet-valid", "server-other-ca", "server-wrong-name"])
def test_a_certificate_that_is_swapped(
    make_kmip_place: Make, appliance: Appliance, meddler: MakeMeddler, name: str
) -> None:
    """Expired and not yet valid are also what a clock that is wrong makes of a good one."""
    between = meddler(appliance)
    place, straight = places(make_kmip_place, appliance, between, Config(cache_seconds=0.0, age_s=0.0))
    store = place.open()
    key = store.insert(aes_key(), Secret(KEY)).uid
    between.identity = name
    acts: list[Callable[[], object]] = [
        lambda: store.material(key),
        lambda: uids(store),
        lambda: store.insert(aes_key(), Secret(KEY)),
        lambda: store.generate({**aes_key(), CKA.VALUE_LEN: 32}),
        lambda: store.delete(key),
    ]
    for act in acts:
        with pytest.raises(ServerFault) as failure:
            act()
        assert failure.value.device_error == Fault.TLS_REFUSED
    assert uids(straight.open()) == {key}
    between.identity = "server"
    assert store.material(key) == Secret(KEY)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_is_killed_and_comes_back(
    make_kmip_place: Make, make_appliance: Callable[..., Appliance], operation: str
) -> None:
    server = make_appliance()
    store = make_kmip_place(server).open()
    key = store.insert(aes_key(), Secret(KEY)).uid
    acts: dict[str, Callable[[], object]] = {
        "create": lambda: store.generate({**aes_key(), CKA.VALUE_LEN: 32}),
        "register": lambda: store.insert(aes_key(), Secret(KEY)),
        "locate": lambda: uids(store),
        "get": lambda: store.material(key),
        "destroy": lambda: store.delete(key),
    }
    server.kill()
    with pytest.raises(ServerFault) as failure:
        acts[operation]()
    assert failure.value.device_error in (Fault.UNREACHABLE, Fault.UNRESOLVED)
    server.start()
    acts[operation]()
    assert len(uids(store)) == {"create": 2, "register": 2, "destroy": 0}.get(operation, 1)
