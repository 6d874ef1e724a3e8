"""Replacing a key-encryption key in a key store in memory: with and without Re-key, and finished after a death."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fix_cluster import CLUSTER, Failing, FakeKeys, Keeper, Killed, dying_after

from mrhsm_p11.cluster import blob
from mrhsm_p11.cluster.adopt import NotTheKey
from mrhsm_p11.cluster.blob import BlobDamaged
from mrhsm_p11.cluster.enable import Enable
from mrhsm_p11.cluster.events import PASSING, Event, Happened
from mrhsm_p11.cluster.journal import REKEY, Journal
from mrhsm_p11.cluster.keys import CLDB, COMMON, CORE, DARE, KEYS, ClusterKey
from mrhsm_p11.cluster.rekey import KEY_TYPES, Rekey, RekeyRefused, retire
from mrhsm_p11.store.base import KeyState
from mrhsm_p11.tokendir.settings import KeyRecord

STORES = pytest.mark.parametrize("rekeys", [False, True], ids=["create", "re-key"])
KEKS = pytest.mark.parametrize("key", KEY_TYPES.values(), ids=lambda key: key.field)
METHODS = ("locate", "create", "rekey", "claim", "activate", "state", "read", "revoke")


def enabled(store: FakeKeys, *, dare: bool = True) -> Keeper:
    keeper = Keeper()
    Enable(Journal(keeper, CLUSTER), store, {}, lambda _: None, settle_s=0).run(dare=dare)
    return keeper


def rekey(keeper: Keeper, store: FakeKeys, key: ClusterKey = CORE, *, chosen: str = "") -> list[Event]:
    events: list[Event] = []
    Rekey(Journal(keeper, CLUSTER, REKEY), store, events.append, key, chosen=chosen, settle_s=0).run()
    return [event for event in events if event.what not in PASSING]


def revoke_earlier(keeper: Keeper, store: FakeKeys, key: ClusterKey = CORE) -> list[Event]:
    events: list[Event] = []
    retire(Journal(keeper, CLUSTER, REKEY), store, events.append, key)
    return events


def record(keeper: Keeper, key: ClusterKey) -> KeyRecord:
    found = getattr(keeper.settings.cluster, key.field)
    assert isinstance(found, KeyRecord)
    return found


def assert_replaced(keeper: Keeper, before: Keeper, store: FakeKeys, key: ClusterKey = CORE) -> None:
    """The key is another, active, read as recorded, with the former one active; the others are what they were."""
    cluster = keeper.settings.cluster
    assert cluster is not None
    assert (cluster.enabled, cluster.journal) == (True, ())
    new, old = record(keeper, key), record(before, key)
    assert new.uid != old.uid
    assert new.checksum != old.checksum
    assert new.name == old.name
    assert new.earlier == (old.uid, *old.earlier)
    assert {store.states()[uid] for uid in (new.uid, *new.earlier)} == {KeyState.ACTIVE}
    assert blob.checksum(store.read(new.uid)) == new.checksum
    for other in KEYS:
        if other is not key:
            assert replace(record(keeper, other), encrypted=b"") == replace(record(before, other), encrypted=b"")
    for kept in (CLDB, DARE):
        sealed = record(keeper, kept)
        plain = blob.decrypt(store.read(record(keeper, CORE).uid), sealed.encrypted, sealed.checksum, kept.title)
        assert plain.reveal() == store.objects[sealed.uid][2]


def before(keeper: Keeper) -> Keeper:
    copy = Keeper()
    copy.settings = keeper.settings
    return copy


@STORES
@KEKS
def test_replaced(key: ClusterKey, rekeys: bool) -> None:
    store = FakeKeys(rekeys=rekeys)
    keeper = enabled(store)
    was, count = before(keeper), len(store.objects)
    events = rekey(keeper, store, key)
    assert_replaced(keeper, was, store, key)
    assert len(store.objects) == count + 1
    name = key.name(CLUSTER)
    assert store.objects[record(keeper, key).uid][0].name == (name if rekeys else f"{name}@2")
    assert store.claimed == ([(record(keeper, key).uid, name)] if rekeys else [])
    told = [(event.what, event.title) for event in events]
    sealed = [
        line for kept in (CLDB, DARE) for line in ((Happened.CHECKSUM, kept.title), (Happened.ENCRYPTED, kept.title))
    ]
    assert told == [
        (Happened.GENERATED, key.title),
        (Happened.CHECKSUM, key.title),
        *(sealed if key is CORE else []),
        (Happened.KEPT, key.title),
    ]


@STORES
def test_again_and_again(rekeys: bool) -> None:
    store = FakeKeys(rekeys=rekeys)
    keeper = enabled(store)
    for number in (2, 3, 4):
        was = before(keeper)
        rekey(keeper, store)
        assert_replaced(keeper, was, store)
        name = store.objects[record(keeper, CORE).uid][0].name
        assert name == CORE.name(CLUSTER) + ("" if rekeys else f"@{number}")


@STORES
def test_the_cluster_keys_open_from_every_state_that_is_saved(rekeys: bool) -> None:
    store = FakeKeys(rekeys=rekeys)
    keeper = enabled(store)
    rekey(keeper, store)
    for settings in keeper.saved[-4:]:
        cluster = settings.cluster
        assert cluster is not None
        assert cluster.core_kek is not None
        for kept in (cluster.cldb, cluster.dare):
            assert kept is not None
            blob.decrypt(store.read(cluster.core_kek.uid), kept.encrypted, kept.checksum, "key")


@STORES
@KEKS
def test_a_lost_token_directory_adopts_the_latest_generation(key: ClusterKey, rekeys: bool) -> None:
    store = FakeKeys(rekeys=rekeys)
    keeper = enabled(store)
    old = record(keeper, key).uid
    rekey(keeper, store, key)
    objects = dict(store.objects)
    again = enabled(store)
    assert record(again, key).uid == record(keeper, key).uid
    assert record(again, key).earlier == (() if rekeys else (old,))
    assert store.objects == objects


def test_a_generation_that_was_destroyed_leaves_a_gap(fake_keys: FakeKeys) -> None:
    keeper = enabled(fake_keys)
    for _ in range(3):
        rekey(keeper, fake_keys)
    for uid in record(keeper, CORE).earlier:
        del fake_keys.objects[uid]
    assert record(enabled(fake_keys), CORE).uid == record(keeper, CORE).uid
    rekey(keeper, fake_keys)
    assert fake_keys.objects[record(keeper, CORE).uid][0].name == f"{CORE.name(CLUSTER)}@5"


# ---- retired


@STORES
def test_retired_after_all_and_never_destroyed(rekeys: bool) -> None:
    store = FakeKeys(rekeys=rekeys)
    keeper = enabled(store)
    with pytest.raises(RekeyRefused, match="nothing to retire"):
        revoke_earlier(keeper, store)
    rekey(keeper, store)
    rekey(keeper, store)
    saved = len(keeper.saved)
    events = revoke_earlier(keeper, store)
    new = record(keeper, CORE)
    assert [event.text for event in events] == list(new.earlier)
    assert [store.states()[uid] for uid in (new.uid, *new.earlier)] == [
        KeyState.ACTIVE,
        KeyState.DEACTIVATED,
        KeyState.DEACTIVATED,
    ]
    assert len(keeper.saved) == saved
    assert record(enabled(store), CORE).uid == new.uid


def test_a_generation_that_is_gone_is_told(fake_keys: FakeKeys) -> None:
    keeper = enabled(fake_keys)
    rekey(keeper, fake_keys)
    del fake_keys.objects[record(keeper, CORE).earlier[0]]
    assert [event.what for event in revoke_earlier(keeper, fake_keys)] == [Happened.GONE]


def test_nothing_is_retired_while_a_recorded_key_does_not_open(fake_keys: FakeKeys) -> None:
    keeper = enabled(fake_keys)
    rekey(keeper, fake_keys)
    cluster, damaged = keeper.settings.cluster, record(keeper, DARE)
    assert cluster is not None
    broken = replace(damaged, encrypted=damaged.encrypted[:-1] + bytes([damaged.encrypted[-1] ^ 1]))
    keeper.settings = replace(keeper.settings, cluster=replace(cluster, dare=broken))
    states = fake_keys.states()
    with pytest.raises(BlobDamaged, match="DARE key"):
        revoke_earlier(keeper, fake_keys)
    fake_keys.become(record(keeper, CORE).uid, KeyState.COMPROMISED)
    with pytest.raises(RekeyRefused, match="not active"):
        revoke_earlier(keeper, fake_keys)
    assert {**fake_keys.states(), record(keeper, CORE).uid: KeyState.ACTIVE} == states


# ---- refused


def test_without_keys(fake_keys: FakeKeys) -> None:
    with pytest.raises(RekeyRefused, match="run mrhsm enable first"):
        rekey(Keeper(), fake_keys)


@pytest.mark.parametrize("kept", [CLDB, DARE])
def test_a_key_that_does_not_open_as_recorded_stops_it_before_anything_is_made(
    fake_keys: FakeKeys, kept: ClusterKey
) -> None:
    keeper = enabled(fake_keys)
    cluster = keeper.settings.cluster
    assert cluster is not None
    wrong = replace(record(keeper, kept), checksum="0" * 64)
    keeper.settings = replace(keeper.settings, cluster=replace(cluster, **{kept.field: wrong}))
    objects, saved = dict(fake_keys.objects), len(keeper.saved)
    with pytest.raises(BlobDamaged, match=kept.title):
        rekey(keeper, fake_keys)
    assert (fake_keys.objects, len(keeper.saved)) == (objects, saved)


def test_a_kek_that_is_gone_or_another_is_named(fake_keys: FakeKeys) -> None:
    keeper = enabled(fake_keys)
    candidate, use, _ = fake_keys.objects[record(keeper, COMMON).uid]
    fake_keys.objects[candidate.uid] = (candidate, use, b"z" * 32)
    with pytest.raises(NotTheKey, match="Common KEK"):
        rekey(keeper, fake_keys, COMMON)
    del fake_keys.objects[candidate.uid]
    with pytest.raises(RekeyRefused, match=f"Common KEK, UUID {candidate.uid}, is no longer"):
        rekey(keeper, fake_keys, COMMON)


@STORES
def test_a_node_with_an_older_directory_is_told_and_may_take_the_new_key_over(rekeys: bool) -> None:
    store = FakeKeys(rekeys=rekeys)
    first = enabled(store)
    second = before(first)
    rekey(first, store)
    new, objects = record(first, CORE).uid, dict(store.objects)
    with pytest.raises(RekeyRefused, match=new):
        rekey(second, store)
    with pytest.raises(RekeyRefused, match="nonesuch"):
        rekey(second, store, chosen="nonesuch")
    assert store.objects == objects
    was = before(second)
    rekey(second, store, chosen=new)
    assert_replaced(second, was, store)
    assert store.objects == objects


def test_a_store_that_gives_the_old_bytes_again_is_not_believed() -> None:
    class Copying(FakeKeys):
        def rekey(self, uid: str, name: str) -> str | None:
            return self.add(name, self.objects[uid][2], KeyState.PRE_ACTIVE)

    store = Copying()
    keeper = enabled(store)
    with pytest.raises(NotTheKey, match="the bytes of the old one"):
        rekey(keeper, store)
    assert keeper.settings.cluster is not None
    assert record(keeper, CORE).earlier == ()


# ---- two nodes at once


@STORES
@pytest.mark.parametrize("rival_is_older", [True, False])
def test_two_nodes_agree_on_one_replacement(rekeys: bool, rival_is_older: bool) -> None:
    store = FakeKeys(rekeys=rekeys)
    keeper = enabled(store)
    was, rival = before(keeper), list[str]()
    name = CORE.name(CLUSTER) + ("" if rekeys else "@2")

    def meanwhile(call: str) -> None:
        made = [uid for uid, (one, _, _) in store.objects.items() if one.name == name and uid != record(was, CORE).uid]
        if call == "locate" and made and not rival:
            store.now += -5 if rival_is_older else 5
            rival.append(store.add(name, b"r" * 32, KeyState.PRE_ACTIVE))

    store.before = meanwhile
    events = rekey(keeper, store)
    store.before = lambda _: None
    new = record(keeper, CORE).uid
    assert (new == rival[0]) == rival_is_older
    assert ((Happened.REVOKED, "Core KEK") in [(one.what, one.title) for one in events]) == rival_is_older
    assert_replaced(keeper, was, store)


def test_a_replacement_that_another_nodes_re_key_left_nameless_gives_way() -> None:
    class Raced(FakeKeys):
        def rekey(self, uid: str, name: str) -> str | None:
            self.rekeys = True
            theirs, ours = super().rekey(uid, name), super().rekey(uid, name)
            assert theirs is not None
            self.theirs = theirs
            return ours

    store = Raced()
    keeper = enabled(store)
    was = before(keeper)
    rekey(keeper, store)
    assert record(keeper, CORE).uid == store.theirs
    assert_replaced(keeper, was, store)
    nameless = [one for one, _, _ in store.objects.values() if not one.name and one.uid != record(was, CORE).uid]
    assert [one.state for one in nameless] == [KeyState.DEACTIVATED]


# ---- death at every point


def calls_of_a_whole_run(rekeys: bool, key: ClusterKey) -> int:
    store = FakeKeys(rekeys=rekeys)
    keeper = enabled(store)
    counting = Failing(10_000)
    store.before = keeper.before = counting
    rekey(keeper, store, key)
    return len(counting.calls)


@STORES
@KEKS
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_killed_anywhere_the_next_run_ends_well(key: ClusterKey, rekeys: bool, after: bool) -> None:
    points = calls_of_a_whole_run(rekeys, key)
    assert points > 10
    for point in range(points):
        store = FakeKeys(rekeys=rekeys)
        keeper = enabled(store)
        was, count = before(keeper), len(store.objects)
        if after:
            dying_after(point, store, METHODS, keeper)
        else:
            store.before = keeper.before = Failing(point, Killed)
        with pytest.raises(Killed):
            rekey(keeper, store, key)
        survivor, later = FakeKeys(objects=store.objects, rekeys=rekeys), before(keeper)
        if record(later, key).uid == record(was, key).uid or later.settings.cluster.journal:  # type: ignore[union-attr]
            rekey(later, survivor, key)
        assert_replaced(later, was, survivor, key)
        assert bool(store.claimed + survivor.claimed) == rekeys
        assert len(survivor.objects) == count + 1  # never a second one
