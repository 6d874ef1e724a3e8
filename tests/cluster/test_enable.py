"""Enabling against a key store in memory: what is made, adopted, refused, and finished after a death."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from fix_cluster import CLDB_BYTES, CLUSTER, DARE_BYTES, Failing, FakeKeys, Keeper, Killed, dying_after

from mrhsm_p11.cluster import blob, generations
from mrhsm_p11.cluster.adopt import Ambiguous, NotTheKey
from mrhsm_p11.cluster.enable import Confirm, Enable, EnableRefused
from mrhsm_p11.cluster.events import PASSING, Event, Happened
from mrhsm_p11.cluster.journal import Journal
from mrhsm_p11.cluster.keys import CLDB, COMMON, CORE, DARE, KEYS, ClusterKey
from mrhsm_p11.cluster.making import KeyNotMade
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Candidate, KeyState
from mrhsm_p11.tokendir.settings import ClusterRecord, KeyRecord

LEGACY = {CLDB: Secret(CLDB_BYTES), DARE: Secret(DARE_BYTES)}


def enable(
    keeper: Keeper,
    store: FakeKeys,
    legacy: Mapping[ClusterKey, Secret] | None = None,
    *,
    dare: bool = True,
    chosen: tuple[str, ...] = (),
    new: Confirm | None = None,
) -> list[Event]:
    events: list[Event] = []
    journal = Journal(keeper, CLUSTER)
    Enable(journal, store, legacy or {}, events.append, chosen=chosen, new=new, settle_s=0).run(dare=dare)
    return events


def whole_cluster(store: FakeKeys) -> dict[ClusterKey, str]:
    """Enable the cluster on a node that is forgotten; return the keys that it leaves in the store."""
    keeper = Keeper()
    enable(keeper, store)
    return {key: record(keeper, key).uid for key in KEYS}


def record(keeper: Keeper, key: ClusterKey) -> KeyRecord:
    found = getattr(keeper.settings.cluster, key.field)
    assert isinstance(found, KeyRecord)
    return found


def opened(keeper: Keeper, store: FakeKeys, key: ClusterKey) -> bytes:
    core = store.read(record(keeper, CORE).uid)
    kept = record(keeper, key)
    return blob.decrypt(core, kept.encrypted, kept.checksum, key.title).reveal()


def assert_enabled(keeper: Keeper, store: FakeKeys, *, dare: bool = True) -> None:
    """One active key of each kind, each opened from its blob as the bytes in the store, nothing left to finish."""
    cluster = keeper.settings.cluster
    assert cluster is not None
    assert cluster.enabled
    assert cluster.journal == ()
    wanted = [key for key in KEYS if dare or key is not DARE]
    active = [candidate for candidate, _, _ in store.objects.values() if candidate.state is KeyState.ACTIVE]
    assert sorted(candidate.name for candidate in active) == sorted(key.name(CLUSTER) for key in wanted)
    assert {candidate.uid for candidate in active} == {record(keeper, key).uid for key in wanted}
    for key in wanted:
        uid = record(keeper, key).uid
        if not key.kek:
            assert opened(keeper, store, key) == store.objects[uid][2]


def happened(events: list[Event], *skip: Happened) -> list[tuple[Happened, str]]:
    return [(event.what, event.title) for event in events if event.what not in (*skip, *PASSING)]


def test_fresh_cluster_makes_every_key_in_order(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    events = enable(keeper, fake_keys)
    assert_enabled(keeper, fake_keys)
    generated = [title for what, title in happened(events) if what is Happened.GENERATED]
    assert generated == ["Core KEK", "Common KEK", "CLDB key", "DARE key"]
    assert len({material for _, _, material in fake_keys.objects.values()}) == 4


def test_fresh_cluster_without_dare_has_no_dare_key(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    enable(keeper, fake_keys, dare=False)
    assert_enabled(keeper, fake_keys, dare=False)
    assert keeper.settings.cluster is not None
    assert keeper.settings.cluster.dare is None


def test_legacy_keys_are_imported_unchanged(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    events = enable(keeper, fake_keys, LEGACY)
    assert_enabled(keeper, fake_keys)
    assert opened(keeper, fake_keys, CLDB) == CLDB_BYTES
    assert opened(keeper, fake_keys, DARE) == DARE_BYTES
    assert happened(events, Happened.CHECKSUM) == [
        (Happened.GENERATED, "Core KEK"),
        (Happened.GENERATED, "Common KEK"),
        (Happened.ENCRYPTED, "CLDB key"),
        (Happened.ENCRYPTED, "DARE key"),
    ]


def test_lost_token_directory_adopts_what_the_store_has(fake_keys: FakeKeys) -> None:
    first = Keeper()
    enable(first, fake_keys, LEGACY)
    before = dict(fake_keys.objects)
    again = Keeper()
    events = enable(again, fake_keys, dare=False)  # the DARE key is found, asked for or not
    assert fake_keys.objects == before
    assert_enabled(again, fake_keys)
    assert opened(again, fake_keys, DARE) == DARE_BYTES
    assert [title for what, title in happened(events) if what is Happened.FOUND] == [key.title for key in KEYS]


def test_enabling_again_changes_nothing_but_the_flag(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    enable(keeper, fake_keys, LEGACY)
    cluster = keeper.settings.cluster
    assert cluster is not None
    keeper.settings = replace(keeper.settings, cluster=replace(cluster, enabled=False))
    before = dict(fake_keys.objects)
    events = enable(keeper, fake_keys)
    assert keeper.settings.cluster == cluster
    assert fake_keys.objects == before
    assert Happened.GENERATED not in [event.what for event in events]


def test_dare_can_be_added_later(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    enable(keeper, fake_keys, {CLDB: Secret(CLDB_BYTES)}, dare=False)
    enable(keeper, fake_keys, {DARE: Secret(DARE_BYTES)}, dare=True)
    assert_enabled(keeper, fake_keys)
    assert opened(keeper, fake_keys, DARE) == DARE_BYTES


def test_one_pre_active_key_is_activated_and_adopted(fake_keys: FakeKeys) -> None:
    uid = fake_keys.add(CLDB.name(CLUSTER), CLDB_BYTES, KeyState.PRE_ACTIVE)
    keeper = Keeper()
    enable(keeper, fake_keys)
    assert_enabled(keeper, fake_keys)
    assert record(keeper, CLDB).uid == uid


@pytest.mark.parametrize("state", [KeyState.DEACTIVATED, KeyState.COMPROMISED])
def test_inactive_kek_is_adopted_with_a_warning(fake_keys: FakeKeys, state: KeyState) -> None:
    uid = whole_cluster(fake_keys)[CORE]
    fake_keys.become(uid, state)
    keeper = Keeper()
    events = enable(keeper, fake_keys)
    assert record(keeper, CORE).uid == uid
    assert fake_keys.states()[uid] is state
    assert (Happened.INACTIVE, "Core KEK") in happened(events)


def test_a_usable_key_goes_before_revoked_ones(fake_keys: FakeKeys) -> None:
    uid = whole_cluster(fake_keys)[CLDB]
    for state in (KeyState.DEACTIVATED, KeyState.COMPROMISED):
        fake_keys.add(CLDB.name(CLUSTER), bytes([state.value]) * 32, state)
    keeper = Keeper()
    enable(keeper, fake_keys)
    assert record(keeper, CLDB).uid == uid


@pytest.mark.parametrize("missing", KEYS, ids=lambda key: key.field)
def test_a_key_missing_among_others_is_not_made_anew(fake_keys: FakeKeys, missing: ClusterKey) -> None:
    del fake_keys.objects[whole_cluster(fake_keys)[missing]]
    keeper, before = Keeper(), dict(fake_keys.objects)
    with pytest.raises(EnableRefused, match=f"but no {missing.title}: restore"):
        enable(keeper, fake_keys)
    assert (fake_keys.objects, keeper.saved) == (before, [])
    asked: dict[ClusterKey, bool] = {}
    enable(keeper, fake_keys, new=asked.update)
    assert asked == {missing: False}
    assert_enabled(keeper, fake_keys)


def test_new_keys_beside_those_there_are(fake_keys: FakeKeys) -> None:
    first = whole_cluster(fake_keys)
    asked: dict[ClusterKey, bool] = {}
    keeper = Keeper()
    enable(keeper, fake_keys, new=asked.update)
    assert asked == {CLDB: True, DARE: True}
    assert [record(keeper, key).uid == first[key] for key in KEYS] == [True, True, False, False]
    assert fake_keys.objects[record(keeper, CLDB).uid][0].name == f"{CLDB.name(CLUSTER)}@2"
    again = Keeper()
    enable(again, fake_keys)  # the latest generation is the cluster's
    assert [record(again, key).uid for key in KEYS] == [record(keeper, key).uid for key in KEYS]
    assert record(again, CLDB).earlier == (first[CLDB],)
    with pytest.raises(EnableRefused, match="none is made"):
        enable(again, fake_keys, new=asked.update)


def test_new_keys_that_are_not_confirmed_are_not_made(fake_keys: FakeKeys) -> None:
    whole_cluster(fake_keys)
    keeper, before = Keeper(), dict(fake_keys.objects)

    def declined(_: object) -> None:
        raise EnableRefused("no")

    with pytest.raises(EnableRefused, match="no"):
        enable(keeper, fake_keys, new=declined)
    assert (fake_keys.objects, keeper.saved) == (before, [])


def test_new_keys_settle_what_nobody_could_choose(fake_keys: FakeKeys) -> None:
    whole_cluster(fake_keys)
    fake_keys.add(CLDB.name(CLUSTER), b"r" * 32)
    keeper, asked = Keeper(), dict[ClusterKey, bool]()
    enable(keeper, fake_keys, new=asked.update, dare=False)
    assert asked == {CLDB: True}
    assert fake_keys.objects[record(keeper, CLDB).uid][0].name == f"{CLDB.name(CLUSTER)}@2"


def test_several_candidates_are_refused_before_anything_is_made(fake_keys: FakeKeys) -> None:
    uids = [whole_cluster(fake_keys)[DARE], fake_keys.add(DARE.name(CLUSTER), b"r" * 32)]
    keeper, before = Keeper(), dict(fake_keys.objects)
    with pytest.raises(Ambiguous) as refused:
        enable(keeper, fake_keys)
    assert all(uid in str(refused.value) for uid in uids)
    assert "Active, made 2020-09-13 12:26:40 UTC" in str(refused.value)
    assert "-uuid" in str(refused.value)
    assert (fake_keys.objects, keeper.saved) == (before, [])


def test_the_operator_chooses_among_several(fake_keys: FakeKeys) -> None:
    first = whole_cluster(fake_keys)[DARE]
    second = fake_keys.add(DARE.name(CLUSTER), b"r" * 32)
    keeper = Keeper()
    enable(keeper, fake_keys, chosen=(second,))
    assert record(keeper, DARE).uid == second
    assert fake_keys.states()[first] is KeyState.ACTIVE  # not ours to revoke


def test_a_chosen_uuid_that_is_no_candidate_is_refused(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    with pytest.raises(EnableRefused, match="nonesuch"):
        enable(keeper, fake_keys, chosen=("nonesuch",))
    assert (fake_keys.objects, keeper.saved) == ({}, [])


def test_a_legacy_key_that_is_not_the_stores_is_refused(fake_keys: FakeKeys) -> None:
    uid = whole_cluster(fake_keys)[CLDB]
    legacy, stored = {CLDB: Secret(CLDB_BYTES)}, fake_keys.objects[uid][2]
    keeper = Keeper()
    with pytest.raises(NotTheKey, match=r"cldb\.key"):
        enable(keeper, fake_keys, legacy)
    assert keeper.saved == []
    enable(keeper, fake_keys, legacy, chosen=(uid,))
    assert opened(keeper, fake_keys, CLDB) == stored
    another = Keeper()
    enable(another, fake_keys, legacy, new=lambda _: None)  # or the file's key as the cluster's new one
    assert opened(another, fake_keys, CLDB) == CLDB_BYTES


def test_a_store_that_fails_to_answer_is_never_an_empty_one(fake_keys: FakeKeys) -> None:
    fake_keys.before = Failing(0)
    keeper = Keeper()
    with pytest.raises(Exception, match="the store is away"):
        enable(keeper, fake_keys)
    assert (fake_keys.objects, keeper.saved) == ({}, [])
    whole_cluster(there := FakeKeys())
    there.add(generations.name_of(CORE.name(CLUSTER), 2), b"2" * 32)
    there.before, before = Failing(1), dict(there.objects)  # once the first nine names of each key are known
    with pytest.raises(Exception, match="the store is away"):
        enable(keeper, there)
    assert (there.objects, keeper.saved) == (before, [])


def test_all_keys_are_looked_for_at_once(fake_keys: FakeKeys) -> None:
    fake_keys.before = calls = Failing(10**6)
    enable(Keeper(), fake_keys)
    assert calls.calls.count("locate") == 2  # before anything is made, and to agree with other nodes
    fake_keys.add(generations.name_of(CORE.name(CLUSTER), 1 + generations.GAP), b"9" * 32)
    calls.calls.clear()
    keeper = Keeper()
    enable(keeper, fake_keys)
    assert calls.calls.count("locate") == 2  # as far as the gap reaches, then eight names beyond the latest
    assert record(keeper, CORE).checksum == blob.checksum(Secret(b"9" * 32))


def test_keys_that_a_rekey_left_without_a_name_are_taken_over_by_their_links(fake_keys: FakeKeys) -> None:
    uid = whole_cluster(fake_keys)[CORE]
    former = [fake_keys.add("", bytes([number]) * 32) for number in range(3)]
    ended = fake_keys.add("", b"d" * 32, KeyState.DEACTIVATED)
    fake_keys.links = {uid: former[0], former[0]: ended, ended: former[1], former[1]: "gone", former[2]: former[1]}
    keeper = Keeper()
    enable(keeper, fake_keys)
    assert (record(keeper, CORE).uid, record(keeper, CORE).earlier) == (uid, tuple(former[:2]))
    fake_keys.links[former[1]] = uid  # a circle ends the search too
    again = Keeper()
    enable(again, fake_keys)
    assert record(again, CORE) == record(keeper, CORE)


def test_a_key_that_reads_back_changed_is_not_used(fake_keys: FakeKeys) -> None:
    class Lying(FakeKeys):
        def read(self, uid: str, *, fresh: bool = False) -> Secret:
            return Secret(b"y" * 32) if fresh else super().read(uid)

    keeper = Keeper()
    with pytest.raises(KeyNotMade, match="the same 32 bytes"):
        enable(keeper, Lying())
    assert keeper.settings.cluster is not None
    assert keeper.settings.cluster.core_kek is None
    assert not keeper.settings.cluster.enabled


def test_a_key_of_another_length_is_not_adopted(fake_keys: FakeKeys) -> None:
    fake_keys.add(CORE.name(CLUSTER), b"k" * 16, KeyState.PRE_ACTIVE)
    with pytest.raises(KeyNotMade, match="Core KEK"):
        enable(Keeper(), fake_keys)


def test_a_recorded_key_that_changed_is_refused(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    enable(keeper, fake_keys)
    candidate, use, _ = fake_keys.objects[record(keeper, CLDB).uid]
    fake_keys.objects[candidate.uid] = (candidate, use, b"z" * 32)
    with pytest.raises(NotTheKey, match="CLDB key"):
        enable(keeper, fake_keys)


def test_a_recorded_kek_that_is_gone_is_refused_and_a_lost_copy_is_told(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    enable(keeper, fake_keys, LEGACY)
    del fake_keys.objects[record(keeper, CLDB).uid]
    assert (Happened.NO_COPY, "CLDB key") in happened(enable(keeper, fake_keys))
    del fake_keys.objects[record(keeper, COMMON).uid]
    with pytest.raises(EnableRefused, match="Common KEK"):
        enable(keeper, fake_keys)


# ---- two nodes at once


@pytest.mark.parametrize("rival_is_lower", [True, False])
@pytest.mark.parametrize("rival_is_older", [True, False, None])
def test_two_nodes_agree_on_one_key(rival_is_older: bool | None, rival_is_lower: bool) -> None:
    store = FakeKeys(uids=lambda number: f"{(1000 - number if rival_is_lower else number):036d}")
    rival: list[str] = []

    def before(call: str) -> None:
        if call == "locate" and len(store.objects) == 4 and not rival:
            store.now += {True: -5, False: 5, None: 0}[rival_is_older]
            rival.append(store.add(CORE.name(CLUSTER), b"r" * 32, KeyState.PRE_ACTIVE))

    store.before = before
    keeper = Keeper()
    events = enable(keeper, store)
    own = next(uid for uid, (c, _, _) in store.objects.items() if c.name == CORE.name(CLUSTER) and uid not in rival)
    rival_wins = rival_is_older or (rival_is_older is None and rival_is_lower)
    assert record(keeper, CORE).uid == (rival[0] if rival_wins else own)
    assert store.states()[rival[0]] is (KeyState.ACTIVE if rival_wins else KeyState.PRE_ACTIVE)
    assert store.states()[own] is (KeyState.DEACTIVATED if rival_wins else KeyState.ACTIVE)
    assert ((Happened.REVOKED, "Core KEK") in happened(events)) == bool(rival_wins)


def test_numbers_as_identifiers_keep_their_order() -> None:
    from mrhsm_p11.cluster.adopt import winner

    pair = [Candidate(uid, "n", KeyState.ACTIVE, 5) for uid in ("10", "9")]
    assert winner(pair).uid == "9"
    assert winner([*pair, Candidate("1", "n", KeyState.ACTIVE, None)]).uid == "9"


# ---- death at every point


def calls_of_a_whole_run(legacy: Mapping[ClusterKey, Secret]) -> int:
    counting = Failing(10_000)
    enable(Keeper(counting), FakeKeys(before=counting), legacy)
    return len(counting.calls)


@pytest.mark.parametrize("legacy", [{}, LEGACY], ids=["fresh", "legacy"])
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_killed_anywhere_the_next_run_ends_well(legacy: Mapping[ClusterKey, Secret], after: bool) -> None:
    for point in range(calls_of_a_whole_run(legacy)):
        store, keeper = _killed_at(point, legacy, after=after)
        made_before = {uid: material for uid, (_, _, material) in store.objects.items()}
        enable(keeper, store, legacy)
        assert_enabled(keeper, store)
        assert {record(keeper, key).uid for key in KEYS} >= made_before.keys()
        if legacy:
            assert opened(keeper, store, CLDB) == CLDB_BYTES
            assert opened(keeper, store, DARE) == DARE_BYTES


def _killed_at(point: int, legacy: Mapping[ClusterKey, Secret], *, after: bool) -> tuple[FakeKeys, Keeper]:
    """Run until the call of that number, which is done (`after`) or not, and go no further."""
    store, keeper = FakeKeys(), Keeper()
    if after:
        dying_after(point, store, ("locate", "create", "register", "activate", "state", "read", "revoke"), keeper)
    else:
        store.before = keeper.before = Failing(point, Killed)
    with pytest.raises(Killed):
        enable(keeper, store, legacy)
    survivor = FakeKeys(objects=store.objects)
    later = Keeper()
    later.settings = keeper.settings
    return survivor, later


def test_every_key_is_noted_before_it_is_made_and_after() -> None:
    calls: list[str] = []
    store, keeper = FakeKeys(before=calls.append), Keeper(calls.append)
    enable(keeper, store)
    made = [at for at, call in enumerate(calls) if call == "create"]
    assert [calls[at - 1 : at + 2] for at in made] == [["save", "create", "save"]] * len(KEYS)
    notes = [settings.cluster.journal for settings in keeper.saved if settings.cluster]
    assert [step.uid for step in notes[0]] == [""]
    assert [step.uid for step in notes[1]] == [next(iter(store.objects))]


def test_a_key_of_a_dead_run_gives_way_to_another_nodes() -> None:
    store, keeper = FakeKeys(), Keeper()
    rival = store.add(CORE.name(CLUSTER), b"r" * 32, KeyState.PRE_ACTIVE)
    own = store.add(CORE.name(CLUSTER), b"o" * 32, KeyState.PRE_ACTIVE)
    Journal(keeper, CLUSTER).made(CORE, own)
    events = enable(keeper, store)
    assert record(keeper, CORE).uid == rival
    assert (store.states()[rival], store.states()[own]) == (KeyState.ACTIVE, KeyState.DEACTIVATED)
    assert (Happened.REVOKED, "Core KEK") in happened(events)


def test_the_cluster_keys_can_be_unwrapped_throughout(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    enable(keeper, fake_keys, LEGACY)
    for settings in keeper.saved:
        cluster = settings.cluster
        assert cluster is not None
        for kept in (cluster.cldb, cluster.dare):
            if kept is not None:
                assert cluster.core_kek is not None
                blob.decrypt(fake_keys.read(cluster.core_kek.uid), kept.encrypted, kept.checksum, "key")


def test_a_run_without_dare_drops_what_a_dead_one_only_intended(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    Journal(keeper, CLUSTER).intend(DARE)
    enable(keeper, fake_keys, dare=False)
    assert_enabled(keeper, fake_keys, dare=False)


def test_a_key_of_ours_that_is_not_found_again_stops_the_run(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    uid = fake_keys.add("a name that replication has not brought yet", CLDB_BYTES, KeyState.PRE_ACTIVE)
    Journal(keeper, CLUSTER).made(CLDB, uid)
    with pytest.raises(KeyNotMade, match="until all servers agree"):
        enable(keeper, fake_keys)
    assert len(fake_keys.objects) == 1


def test_records_begin_empty() -> None:
    assert ClusterRecord(CLUSTER) == Journal(Keeper(), CLUSTER).record
