from __future__ import annotations

import dataclasses

import pytest
from fix_stores import aes_key
from fix_tokens import TokenOnDisk

from mrhsm_p11 import store
from mrhsm_p11.config import Config
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyUse
from mrhsm_p11.store.file import FileStore
from mrhsm_p11.store.file_keys import FileKeys


@pytest.mark.parametrize("role", ["user", "so"])
def test_a_file_token_opens_file_stores_for_both_roles(file_token: TokenOnDisk, role: str) -> None:
    opened = file_token.open() if role == "user" else file_token.open_so()
    objects, keys = store.open_store(opened, Config()), store.open_keys(opened, Config())
    assert isinstance(objects, FileStore)
    assert isinstance(keys, FileKeys)
    uids = {objects.insert(aes_key(), Secret(bytes(32))).uid, keys.create("mrhsm/c/core-kek", KeyUse.CORE_KEK)}
    again = store.open_store(file_token.open_unattended(), Config())
    assert {record.uid for record in again.search({})} == uids


def test_another_store_type_opens_another_store(file_token: TokenOnDisk) -> None:
    so = file_token.open_so()
    so.save_settings(dataclasses.replace(so.settings, store="kmip"))
    opened = file_token.open()
    assert not isinstance(store.open_store(opened, Config()), FileStore)
    assert not isinstance(store.open_keys(opened, Config()), FileKeys)
