"""A cluster's keys: named by this node's record, used as ever, changed by nobody."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fix_provider import READ_WRITE, find, get, template
from fix_tokens import TokenOnDisk
from p11 import Cryptoki

from mrhsm_p11 import datapath
from mrhsm_p11.constants import CKA, CKK, CKM, CKO, CKU
from mrhsm_p11.crypto import engine
from mrhsm_p11.errors import (
    ActionProhibited,
    AttributeSensitive,
    CryptokiError,
    EncryptedDataInvalid,
    KeyUnextractable,
    ObjectHandleInvalid,
    WrappedKeyInvalid,
)
from mrhsm_p11.functions import crypto, general, keys, objects, sessions
from mrhsm_p11.mapping import mechanisms
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.file import FileStore
from mrhsm_p11.token import provider
from mrhsm_p11.tokendir.settings import ClusterRecord, KeyRecord, Settings

CLDB, DARE = b"c" * 32, b"d" * 32
CORE = "mrhsm/demo/core-kek"
NEW_AES: dict[int, Value] = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.EXTRACTABLE: True}


@dataclass
class Cluster:
    """A token that records a cluster: session, and what each of its keys is."""

    session: int
    record: ClusterRecord
    stranger: str  # uid of an object that bears the Core KEK's name without being it


def sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest().upper()


def blob(kek: bytes, plain: bytes) -> bytes:
    iv = os.urandom(16)
    return iv + engine.wrap(mechanisms.ROWS[CKM.AES_CBC_PAD], iv, Secret(kek), Secret(plain))


@pytest.fixture
def cluster(file_token: TokenOnDisk) -> Iterator[Cluster]:
    opened = file_token.open_so()
    store = FileStore(opened.directory, file_token.serial, opened.token_key)

    def key(value: bytes, label: str) -> str:
        kept: dict[int, Value] = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.LABEL: label, CKA.TOKEN: True}
        return store.insert({**kept, CKA.SENSITIVE: False, CKA.EXTRACTABLE: True, CKA.PRIVATE: True}, Secret(value)).uid

    core, old, oldest = key(b"k" * 32, "whatever"), key(b"o" * 32, "old"), key(b"p" * 32, "older")
    record = ClusterRecord(
        "demo",
        core_kek=KeyRecord(core, sha256(b"k" * 32), name=CORE, earlier=(old, oldest)),
        common_kek=KeyRecord(key(b"m" * 32, "x"), sha256(b"m" * 32)),
        cldb=KeyRecord(key(CLDB, "y"), sha256(CLDB), blob(b"k" * 32, CLDB), name="mrhsm/demo/cldb-key"),
        dare=KeyRecord(key(DARE, "z"), "0" * 64, blob(b"k" * 32, DARE), name="mrhsm/demo/dare-key"),  # a wrong checksum
        enabled=True,
    )
    stranger = key(b"s" * 32, CORE)
    opened.save_settings(Settings(opened.settings.connection, record, "file"))
    general.initialize(None)
    session = sessions.open_session(file_token.slot_id, READ_WRITE)
    sessions.login(session, CKU.USER, None)
    yield Cluster(session, record, stranger)
    if provider.current is not None:
        general.finalize(False)


def core_kek(cluster: Cluster) -> int:
    (handle,) = find(cluster.session, {CKA.LABEL: CORE})
    return handle


def test_labels_and_ids_come_from_the_record(cluster: Cluster) -> None:
    labels = {get(cluster.session, handle, CKA.LABEL) for handle in find(cluster.session, {CKA.CLASS: CKO.SECRET_KEY})}
    assert labels == {
        CORE,
        f"{CORE}@2",
        f"{CORE}@1",
        "mrhsm/demo/common-kek",
        "mrhsm/demo/cldb-key",
        "mrhsm/demo/dare-key",
        f"{CORE}@{cluster.stranger}",
    }
    assert cluster.record.core_kek is not None
    uid = cluster.record.core_kek.uid
    handle = core_kek(cluster)
    assert get(cluster.session, handle, CKA.UNIQUE_ID) == uid
    key_id = hashlib.sha256(uid.encode()).digest()[:16]
    assert get(cluster.session, handle, CKA.ID) == key_id
    assert find(cluster.session, {CKA.ID: key_id}) == [handle]
    assert find(cluster.session, {CKA.LABEL: "whatever"}) == []


def test_what_each_key_is_for(cluster: Cluster) -> None:
    uses = (CKA.ENCRYPT, CKA.DECRYPT, CKA.WRAP, CKA.UNWRAP, CKA.DERIVE)
    for name, expected in (("core-kek", [True] * 4 + [False]), ("common-kek", [True] * 5)):
        (handle,) = find(cluster.session, {CKA.LABEL: f"mrhsm/demo/{name}"})
        assert [get(cluster.session, handle, cka) for cka in uses] == expected
        assert find(cluster.session, {CKA.LABEL: f"mrhsm/demo/{name}", CKA.DERIVE: not expected[-1]}) == []


def test_only_mrhsm_changes_cluster_keys(cluster: Cluster) -> None:
    for handle in find(cluster.session, {}):
        for call in (
            lambda handle=handle: objects.destroy_object(cluster.session, handle),
            lambda handle=handle: objects.set_attribute_value(cluster.session, handle, template({CKA.LABEL: "x"})),
            lambda handle=handle: objects.copy_object(cluster.session, handle, template({CKA.TOKEN: False})),
        ):
            with pytest.raises(ActionProhibited):
                call()


def test_cluster_keys_show_no_bytes_and_leave_in_no_envelope(cluster: Cluster) -> None:
    for part in ("core-kek", "common-kek", "cldb-key", "dare-key"):
        (handle,) = find(cluster.session, {CKA.LABEL: f"mrhsm/demo/{part}"})
        with pytest.raises(AttributeSensitive):
            get(cluster.session, handle, CKA.VALUE)
        with pytest.raises(KeyUnextractable):
            keys.wrap_key(cluster.session, Mechanism(CKM.AES_KEY_WRAP), core_kek(cluster), handle, 4096)


@pytest.mark.parametrize(("label", "field"), [("cldb.key", "cldb"), ("dare.master.key", "dare")])
def test_the_blobs_are_private_data_objects(cluster: Cluster, label: str, field: str) -> None:
    wanted: dict[int, Value] = {CKA.CLASS: CKO.DATA, CKA.APPLICATION: "mrhsm", CKA.LABEL: label}
    (handle,) = find(cluster.session, wanted)
    assert get(cluster.session, handle, CKA.VALUE) == getattr(cluster.record, field).encrypted
    assert get(cluster.session, handle, CKA.PRIVATE) is True
    sessions.logout(cluster.session)
    assert find(cluster.session, wanted) == []
    with pytest.raises(ObjectHandleInvalid):
        get(cluster.session, handle, CKA.VALUE)


def test_the_cldb_key_is_unwrapped_and_decrypted(cluster: Cluster) -> None:
    assert cluster.record.cldb is not None
    encrypted = cluster.record.cldb.encrypted
    mechanism = Mechanism(CKM.AES_CBC_PAD, encrypted[:16])
    handle = keys.unwrap_key(cluster.session, mechanism, core_kek(cluster), encrypted[16:], template(NEW_AES))
    assert get(cluster.session, handle, CKA.VALUE) == CLDB
    crypto.decrypt_init(cluster.session, mechanism, core_kek(cluster))
    assert crypto.decrypt(cluster.session, encrypted[16:], 48) == CLDB


def test_a_recorded_key_with_another_checksum_is_refused_and_logged(cluster: Cluster, mapr_home: object) -> None:
    assert cluster.record.dare is not None
    encrypted = cluster.record.dare.encrypted
    mechanism = Mechanism(CKM.AES_CBC_PAD, encrypted[:16])
    before = sorted(find(cluster.session, {}))
    with pytest.raises(WrappedKeyInvalid):
        keys.unwrap_key(cluster.session, mechanism, core_kek(cluster), encrypted[16:], template(NEW_AES))
    assert sorted(find(cluster.session, {})) == before
    crypto.decrypt_init(cluster.session, mechanism, core_kek(cluster))
    with pytest.raises(EncryptedDataInvalid):
        crypto.decrypt(cluster.session, encrypted[16:], 48)
    log = (provider.require().config.log_path).read_text()
    assert log.count("mrhsm/demo/dare-key was") == 2
    assert DARE.hex() not in log


def test_other_objects_live_beside_the_cluster_s(cluster: Cluster) -> None:
    handle = objects.create_object(
        cluster.session, template({CKA.CLASS: CKO.DATA, CKA.TOKEN: True, CKA.LABEL: "mine", CKA.VALUE: b"v"})
    )
    assert find(cluster.session, {CKA.LABEL: "mine"}) == [handle]
    objects.set_attribute_value(cluster.session, handle, template({CKA.LABEL: "still mine"}))
    objects.destroy_object(cluster.session, handle)
    assert find(cluster.session, {CKA.LABEL: "still mine"}) == []


def test_the_blobs_are_found_without_asking_a_server(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    token = provider.session(cluster.session).token

    def down(wanted: object) -> object:
        raise CryptokiError

    monkeypatch.setattr(token, "entry", replace(token.entry, store="kmip"))
    monkeypatch.setattr(token.stores[0], "search", down)
    blob_template: dict[int, Value] = {CKA.CLASS: CKO.DATA, CKA.APPLICATION: "mrhsm", CKA.LABEL: "cldb.key"}
    assert len(find(cluster.session, blob_template)) == 1
    with pytest.raises(CryptokiError):
        find(cluster.session, {CKA.CLASS: CKO.DATA})


def test_c_unwraps_no_recorded_key(
    cluster: Cluster, file_token: TokenOnDisk, library_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it unwraps others with the same key and template: only Python compares the checksum."""
    assert cluster.record.dare is not None
    recorded, other = cluster.record.dare.encrypted, blob(b"k" * 32, DARE)
    general.finalize(False)
    monkeypatch.setenv("MRHSM_DATAPATH", "1")
    Cryptoki(library_path).initialize()  # which brings the data path
    session = sessions.open_session(file_token.slot_id, READ_WRITE)
    sessions.login(session, CKU.USER, None)
    (core,) = find(session, {CKA.LABEL: CORE})

    def unwrap(encrypted: bytes) -> int:
        mechanism = Mechanism(CKM.AES_CBC_PAD, encrypted[:16])
        return keys.unwrap_key(session, mechanism, core, encrypted[16:], template(NEW_AES))

    for _ in range(3):
        before = datapath.path.served()
        unwrap(other)
    assert datapath.path.served() == before + 1
    with pytest.raises(WrappedKeyInvalid):
        unwrap(recorded)
