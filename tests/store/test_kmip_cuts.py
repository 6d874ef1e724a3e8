"""Connections cut at random bytes under a mixed load: no key is lost, none is made twice.

MRHSM_CUTS gives the number of cuts (60), MRHSM_SEED repeats a run.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
from collections.abc import Callable

import pytest
from fix_appliance import Appliance
from fix_faults import Fault as Cut
from fix_faults import FaultProxy
from fix_kmip_store import KmipPlace
from fix_stores import aes_key, ec_pair

from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip.attributes import attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import OperationFailed
from mrhsm_p11.kmip.vocabulary import RevocationReasonCode
from mrhsm_p11.mapping.results import Fault, ServerFault
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyUse
from mrhsm_p11.store.kmip.connection import make_pool

CUTS = int(os.environ.get("MRHSM_CUTS", "60"))
SEED = int(os.environ.get("MRHSM_SEED") or random.SystemRandom().getrandbits(32))
KEY = bytes(range(32))
# With a resumed TLS session, a connection with one message is some 1,500 bytes each way; each message has its own here.
MOST_BYTES = 1800
MESSAGES = {"create": 1, "register": 1, "pair": 3, "destroy": 2, "rekey": 2}


class Load:
    """Operations through a proxy that cuts, and what must be there afterwards."""

    def __init__(self, place: KmipPlace, straight: KmipPlace, proxy: FaultProxy, dice: random.Random) -> None:
        self.proxy, self.dice = proxy, dice
        self.group = [attribute("Object Group", place.group)]
        self.client = Client(make_pool(straight.connection, Config()))
        self.store, self.keys = place.open(), place.open_keys()
        self.there: set[str] = set()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.number = 0

    def step(self) -> None:
        """Do one operation under a cut, and compare."""
        self.number += 1
        act = self.dice.choice([self.create, self.register, self.pair, self.destroy, self.rekey])
        prepared = act()
        cut = {self.dice.choice(["cut_after", "cut_request_after"]): self.dice.randint(1, MOST_BYTES)}
        self.proxy.faults = [Cut()] * self.dice.randrange(MESSAGES[act.__name__]) + [Cut(**cut)]  # type: ignore[arg-type]
        gone, made, told = set(), set(), "done"
        try:
            gone, made = prepared()
        except ServerFault as failure:
            told = Fault(failure.device_error).name
        self.proxy.faults = []
        # It may fail where nothing could be sent: then nothing has happened.
        assert told in ("done", Fault.UNREACHABLE.name), f"{act.__name__}, seed {SEED}"
        self.outcomes[f"{act.__name__} {told}"] += 1
        self.there = self.there - gone | made
        found = self.client.locate(self.group, deadline=Deadline(30))
        assert sorted(found) == sorted(self.there), f"{act.__name__}, seed {SEED}"

    def create(self) -> Callable[[], tuple[set[str], set[str]]]:
        template = {**aes_key(LABEL=f"key {self.number}"), CKA.VALUE_LEN: 32}
        return lambda: (set(), {self.store.generate(template).uid})

    def register(self) -> Callable[[], tuple[set[str], set[str]]]:
        return lambda: (set(), {self.store.insert(aes_key(LABEL=f"key {self.number}"), Secret(KEY)).uid})

    def pair(self) -> Callable[[], tuple[set[str], set[str]]]:
        public, private = ec_pair(LABEL=f"pair {self.number}")
        return lambda: (set(), {half.uid for half in self.store.insert_pair(public, private)})

    def destroy(self) -> Callable[[], tuple[set[str], set[str]]]:
        uid = self.store.insert(aes_key(LABEL="victim"), Secret(KEY)).uid
        self.there.add(uid)

        def act() -> tuple[set[str], set[str]]:
            self.store.delete(uid)
            return {uid}, set()

        return act

    def rekey(self) -> Callable[[], tuple[set[str], set[str]]]:
        name = f"mrhsm/cuts.example/key-{self.number}"
        old = self.keys.create(name, KeyUse.CORE_KEK)
        self.there.add(old)

        def act() -> tuple[set[str], set[str]]:
            new = self.keys.rekey(old, name)
            assert new is not None
            return set(), {new}

        return act

    def clear(self) -> None:
        """Keep the server's searches short."""
        for uid in self.there:
            with contextlib.suppress(OperationFailed):  # what is not active need not be revoked
                self.client.revoke(uid, RevocationReasonCode.CESSATION_OF_OPERATION, deadline=Deadline(10))
            self.client.destroy(uid, deadline=Deadline(10))
        self.there = set()


@pytest.mark.timeout(max(300, 2 * CUTS))
def test_cuts_at_random_points(
    make_kmip_place: Callable[..., KmipPlace],
    make_appliance: Callable[..., Appliance],
    fault_proxy: Callable[..., FaultProxy],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mrhsm_p11.kmip.transport._EXPLANATION_S", 0.02)  # no server here has anything to explain
    appliance = make_appliance()
    proxy = fault_proxy(appliance)
    config = Config(cache_seconds=0.0, age_s=0.0, deadline_s=30.0, connect_s=10.0)
    place, straight = make_kmip_place(appliance, config=config, port=proxy.port), make_kmip_place(appliance)
    load = Load(place, straight, proxy, random.Random(SEED))
    while proxy.cuts < CUTS:
        load.step()
        if load.number % 10 == 0:
            load.clear()
    load.client.pool.close()
    with capsys.disabled():
        print(f"\n{proxy.cuts} cuts in {load.number} operations, seed {SEED}: {dict(load.outcomes)}")
