from __future__ import annotations

import re
import time
import uuid

import pytest
from fix_stores import FileStorePlace

from mrhsm_p11.constants import CKA
from mrhsm_p11.errors import DeviceError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store import file_keys
from mrhsm_p11.store.base import KeyUse

NAME = "mrhsm/c/core-kek"


def test_every_use_has_a_row() -> None:
    assert set(file_keys._USES) == set(KeyUse)
    assert set().union(*file_keys._USES.values()) <= set(file_keys._USAGE)


def test_identifiers_are_random_uuids(file_place: FileStorePlace) -> None:
    keys = file_place.open_keys()
    for uid in (keys.create(NAME, KeyUse.CORE_KEK), keys.register(NAME, KeyUse.CORE_KEK, Secret(bytes(32)))):
        assert uuid.UUID(uid).version == 4
        assert re.fullmatch(r"[0-9a-f-]{36}", uid)


def test_initial_dates_are_kept(file_place: FileStorePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1234.9)
    uid = file_place.open_keys().create(NAME, KeyUse.CORE_KEK)
    monkeypatch.undo()
    keys = file_place.open_keys()
    keys.activate(uid)
    assert keys.locate(NAME)[0].initial_date == 1234


def test_a_revoked_key_is_not_made_active_again(file_place: FileStorePlace) -> None:
    keys = file_place.open_keys()
    uid = keys.create(NAME, KeyUse.CORE_KEK)
    keys.revoke(uid)
    with pytest.raises(DeviceError, match="deactivated"):
        keys.activate(uid)


def test_cluster_keys_are_closed_and_fixed(file_place: FileStorePlace) -> None:
    keys = file_place.open_keys()
    made, imported = keys.create(NAME, KeyUse.CORE_KEK), keys.register(NAME, KeyUse.CLDB_KEY, Secret(bytes(32)))
    for uid, local in ((made, True), (imported, False)):
        attributes = file_place.open().load(uid).attributes
        assert attributes[CKA.LABEL] == NAME
        true = [CKA.TOKEN, CKA.PRIVATE, CKA.SENSITIVE]
        false = [CKA.EXTRACTABLE, CKA.MODIFIABLE, CKA.COPYABLE, CKA.DESTROYABLE, CKA.SIGN, CKA.VERIFY]
        assert [attributes[cka] for cka in true + false] == [True] * len(true) + [False] * len(false)
        assert attributes[CKA.LOCAL] is attributes[CKA.NEVER_EXTRACTABLE] is attributes[CKA.ALWAYS_SENSITIVE] is local


def test_ordinary_objects_are_no_candidates(file_place: FileStorePlace) -> None:
    from fix_stores import aes_key

    file_place.open().insert(aes_key(LABEL=NAME), Secret(bytes(32)))
    assert file_place.open_keys().locate(NAME) == []
    assert file_place.open_keys().locate("") == []
