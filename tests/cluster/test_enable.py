"""Enabling against a key store in memory: what is made, adopted, refused, and finished after a death."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from fix_cluster import CLDB_BYTES, CLUSTER, DARE_BYTES, Failing, FakeKeys

from mrhsm_p11.cluster import blob
from mrhsm_p11.cluster.adopt import Ambiguous, NotTheKey
from mrhsm_p11.cluster.enable import Enable, EnableRefused
from mrhsm_p11.cluster.events import Event, Happened
from mrhsm_p11.cluster.journal import Journal
from mrhsm_p11.cluster.keys import CLDB, COMMON, CORE, DARE, KEYS, ClusterKey
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Candidate, KeyState
from mrhsm_p11.tokendir.settings import ClusterRecord, KeyRecord, Settings


class Keeper:
    """Signed settings in memory; `before` may fail a save."""

    def __init__(self, before: object = None) -> None:
        self.settings = Settings()
        self.before = before
        self.saved: list[Settings] = []

    def save_settings(self, settings: Settings) -> None:
        if callable(self.before):
            self.before("save")
        self.settings = settings
        self.saved.append(settings)


LEGACY = {CLDB: Secret(CLDB_BYTES), DARE: Secret(DARE_BYTES)}


def enable(
    keeper: Keeper,
    store: FakeKeys,
    legacy: Mapping[ClusterKey, Secret] | None = None,
    *,
    dare: bool = True,
    chosen: tuple[str, ...] = (),
) -> list[Event]:
    events: list[Event] = []
    journal = Journal(keeper, CLUSTER)
    Enable(journal, store, legacy or {}, events.append, chosen=chosen, settle_s=0).run(dare=dare)
    return events


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
    return [(event.what, event.title) for event in events if event.what not in skip]


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
    uid = fake_keys.add(CORE.name(CLUSTER), b"k" * 32, state)
    keeper = Keeper()
    events = enable(keeper, fake_keys)
    assert record(keeper, CORE).uid == uid
    assert fake_keys.states()[uid] is state
    assert (Happened.INACTIVE, "Core KEK") in happened(events)


def test_a_usable_key_goes_before_revoked_ones(fake_keys: FakeKeys) -> None:
    for state in (KeyState.DEACTIVATED, KeyState.ACTIVE, KeyState.DEACTIVATED):
        fake_keys.add(CLDB.name(CLUSTER), bytes([state.value]) * 32, state)
    keeper = Keeper()
    enable(keeper, fake_keys)
    assert fake_keys.states()[record(keeper, CLDB).uid] is KeyState.ACTIVE


def test_several_candidates_are_refused_before_anything_is_made(fake_keys: FakeKeys) -> None:
    uids = [fake_keys.add(DARE.name(CLUSTER), bytes([number]) * 32) for number in range(2)]
    keeper, before = Keeper(), dict(fake_keys.objects)
    with pytest.raises(Ambiguous) as refused:
        enable(keeper, fake_keys)
    assert all(uid in str(refused.value) for uid in uids)
    assert "Active, made 2020-09-13 12:26:40 UTC" in str(refused.value)
    assert "-uuid" in str(refused.value)
    assert (fake_keys.objects, keeper.saved) == (before, [])


def test_the_operator_chooses_among_several(fake_keys: FakeKeys) -> None:
    uids = [fake_keys.add(DARE.name(CLUSTER), bytes([number]) * 32) for number in range(2)]
    keeper = Keeper()
    enable(keeper, fake_keys, chosen=(uids[1],))
    assert record(keeper, DARE).uid == uids[1]
    assert fake_keys.states()[uids[0]] is KeyState.ACTIVE  # not ours to revoke


def test_a_chosen_uuid_that_is_no_candidate_is_refused(fake_keys: FakeKeys) -> None:
    keeper = Keeper()
    with pytest.raises(EnableRefused, match="nonesuch"):
        enable(keeper, fake_keys, chosen=("nonesuch",))
    assert (fake_keys.objects, keeper.saved) == ({}, [])


def test_a_legacy_key_that_is_not_the_stores_is_refused(fake_keys: FakeKeys) -> None:
    uid = fake_keys.add(CLDB.name(CLUSTER), b"x" * 32)
    keeper = Keeper()
    with pytest.raises(NotTheKey, match=r"cldb\.key"):
        enable(keeper, fake_keys, LEGACY)
    assert keeper.saved == []
    enable(keeper, fake_keys, LEGACY, chosen=(uid,))
    assert opened(keeper, fake_keys, CLDB) == b"x" * 32


def test_a_store_that_fails_to_answer_is_never_an_empty_one(fake_keys: FakeKeys) -> None:
    fake_keys.before = Failing(2)
    keeper = Keeper()
    with pytest.raises(Exception, match="the store is away"):
        enable(keeper, fake_keys)
    assert (fake_keys.objects, keeper.saved) == ({}, [])


def test_a_key_that_reads_back_changed_is_not_used(fake_keys: FakeKeys) -> None:
    class Lying(FakeKeys):
        def read(self, uid: str, *, fresh: bool = False) -> Secret:
            return Secret(b"y" * 32) if fresh else super().read(uid)

    keeper = Keeper()
    with pytest.raises(EnableRefused, match="the same 32 bytes"):
        enable(keeper, Lying())
    assert keeper.settings.cluster is not None
    assert keeper.settings.cluster.core_kek is None
    assert not keeper.settings.cluster.enabled


def test_a_key_of_another_length_is_not_adopted(fake_keys: FakeKeys) -> None:
    fake_keys.add(CORE.name(CLUSTER), b"k" * 16)
    with pytest.raises(EnableRefused, match="Core KEK"):
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


class Killed(BaseException):
    """The process is gone: nothing is caught, nothing is cleaned up."""


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
    if not after:
        store.before = keeper.before = Failing(point, Killed)
    else:
        count = [0]

        def killing(function: object) -> object:
            def call(*args: object, **options: object) -> object:
                result = function(*args, **options)  # type: ignore[operator]
                count[0] += 1
                if count[0] > point:
                    raise Killed
                return result

            return call

        for name in ("locate", "create", "register", "activate", "state", "read", "revoke"):
            setattr(store, name, killing(getattr(store, name)))
        keeper.save_settings = killing(keeper.save_settings)  # type: ignore[method-assign,assignment]
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
    with pytest.raises(EnableRefused, match="until all servers agree"):
        enable(keeper, fake_keys)
    assert len(fake_keys.objects) == 1


def test_records_begin_empty() -> None:
    assert ClusterRecord(CLUSTER) == Journal(Keeper(), CLUSTER).record
