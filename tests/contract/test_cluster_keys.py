"""What every store of cluster keys promises; each fixture listed in KEY_STORES gives a KeysUnderTest."""

from __future__ import annotations

import importlib.util
import time

import pytest
from fix_stores import KeysUnderTest

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import ClusterKeyStore, KeyState, KeyUse, ObjectGone

KEY_STORES = ["file_keys"]
if importlib.util.find_spec("fix_kmip_store"):
    KEY_STORES.append("kmip_keys")

NAME = "mrhsm/my.cluster.com/core-kek"
KEY = Secret(bytes(range(32)))


@pytest.fixture(params=KEY_STORES)
def place(request: pytest.FixtureRequest) -> KeysUnderTest:
    found: KeysUnderTest = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def keys(place: KeysUnderTest) -> ClusterKeyStore:
    return place.open()


def test_nothing_is_found_where_nothing_is(keys: ClusterKeyStore) -> None:
    assert keys.locate(NAME) == []


def test_a_key_is_made_and_found_under_its_name_only(place: KeysUnderTest) -> None:
    before = int(time.time())
    uid = place.open().create(NAME, KeyUse.CORE_KEK)
    (found,) = place.open().locate(NAME)
    assert (found.uid, found.name, found.state) == (uid, NAME, KeyState.PRE_ACTIVE)
    assert found.initial_date is None or before - 1 <= found.initial_date <= time.time() + 1
    for other in (NAME[:-1], NAME + "x", NAME.upper(), "mrhsm/my.cluster.com/common-kek", ""):
        assert place.open().locate(other) == []


def test_made_keys_are_random_aes_256_keys(keys: ClusterKeyStore) -> None:
    made = [keys.read(keys.create(NAME, use)) for use in KeyUse]
    assert {len(key) for key in made} == {32}
    assert len({key.reveal() for key in made}) == len(KeyUse)


def test_registered_keys_come_back(place: KeysUnderTest) -> None:
    uid = place.open().register(NAME, KeyUse.CLDB_KEY, KEY)
    assert place.open().read(uid) == KEY
    assert place.open().read(uid, fresh=True) == KEY
    assert [candidate.uid for candidate in place.open().locate(NAME)] == [uid]


def test_keys_go_from_pre_active_to_active_to_deactivated(place: KeysUnderTest) -> None:
    uid = place.open().create(NAME, KeyUse.CORE_KEK)
    assert place.open().state(uid) is KeyState.PRE_ACTIVE
    for _ in range(2):
        place.open().activate(uid)
        assert place.open().state(uid) is KeyState.ACTIVE
    before = place.open().read(uid)
    for _ in range(2):
        place.open().revoke(uid)
        assert place.open().state(uid) is KeyState.DEACTIVATED
    assert place.open().locate(NAME)[0].state is KeyState.DEACTIVATED
    assert place.open().read(uid) == before


def test_several_keys_of_one_name_are_all_found(keys: ClusterKeyStore) -> None:
    made = {keys.create(NAME, KeyUse.CORE_KEK), keys.register(NAME, KeyUse.CORE_KEK, KEY)}
    revoked = keys.create(NAME, KeyUse.CORE_KEK)
    keys.activate(revoked)
    keys.revoke(revoked)
    assert {candidate.uid for candidate in keys.locate(NAME)} == {*made, revoked}


@pytest.mark.parametrize("unknown", ["00000000-0000-4000-8000-000000000000", "999999"])
def test_what_is_not_there_is_gone(keys: ClusterKeyStore, unknown: str) -> None:
    for act in (keys.state, keys.read, keys.activate, keys.revoke):
        with pytest.raises(ObjectGone):
            act(unknown)


@pytest.mark.parametrize("use", KeyUse)
def test_pkcs11_finds_the_key_as_a_secret_one(place: KeysUnderTest, use: KeyUse) -> None:
    keys = place.open()
    uid = keys.create(NAME, use)
    keys.activate(uid)
    objects = place.objects()
    record = next(one for one in objects.search({CKA.CLASS: CKO.SECRET_KEY}) if one.uid == uid)
    assert record.attributes[CKA.KEY_TYPE] == CKK.AES
    assert record.state is KeyState.ACTIVE
    is_kek = use in (KeyUse.CORE_KEK, KeyUse.COMMON_KEK)
    assert [record.attributes.get(cka, False) for cka in (CKA.WRAP, CKA.UNWRAP)] == [is_kek, is_kek]
    assert record.attributes.get(CKA.DERIVE, False) is (use is KeyUse.COMMON_KEK)
    assert objects.material(uid) == keys.read(uid)


def test_a_key_is_replaced_or_the_store_says_that_it_replaces_none(place: KeysUnderTest) -> None:
    old = place.open().create(NAME, KeyUse.CORE_KEK)
    place.open().activate(old)
    before = place.open().read(old)
    new = place.open().rekey(old, NAME)
    if new is None:
        assert [candidate.uid for candidate in place.open().locate(NAME)] == [old]
        return
    for _ in range(2):
        place.open().claim(new, NAME, KeyUse.CORE_KEK)
    assert [candidate.uid for candidate in place.open().locate(NAME)] == [new]
    place.open().activate(new)
    assert place.open().state(old) is KeyState.ACTIVE
    assert place.open().read(old) == before
    assert place.open().read(new, fresh=True) != before
    record = place.objects().load(new)
    assert (record.attributes[CKA.LABEL], record.foreign) == (NAME, False)
