"""Replacing the key-encryption keys on the stores there are: end to end, beside older nodes, and killed anywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fix_cluster import CLDB_BYTES, DARE_BYTES, Home
from fix_nodes import STORES, VERSIONS, Node, Nodes, killed_after, on

from mrhsm_p11.cluster import blob
from mrhsm_p11.cluster.events import Happened
from mrhsm_p11.cluster.keys import CLDB, COMMON, CORE, DARE, KEYS, ClusterKey
from mrhsm_p11.cluster.rekey import RekeyRefused
from mrhsm_p11.constants import CKA, CKO
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyState
from mrhsm_p11.token.stores import open_all
from mrhsm_p11.tokendir.settings import ClusterRecord

pytestmark = pytest.mark.usefixtures("quick_pins", "quick_disk")
BY_REKEY = {"one operation a message", "appliance", "nine operations", "nine operations, ends the old"}


def enabled(node: Node) -> ClusterRecord:
    node.home.legacy(dare=DARE_BYTES.hex().encode())
    node.enable()
    return node.record


def assert_replaced(node: Node, before: ClusterRecord, key: ClusterKey = CORE) -> None:
    after = node.record
    assert (after.enabled, after.journal) == (True, ())
    new, old = getattr(after, key.field), getattr(before, key.field)
    assert new.uid != old.uid
    assert new.checksum != old.checksum
    assert new.earlier == (old.uid, *old.earlier)
    for other in KEYS:
        if other is not key:
            was, kept = getattr(before, other.field), getattr(after, other.field)
            assert (kept.uid, kept.checksum) == (was.uid, was.checksum)
            assert (kept.encrypted != was.encrypted) == (key is CORE and not other.kek)
    assert (node.opened(CLDB), node.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)
    serial = node.home.login().entry.serial
    for file, kept in (("cldb.key.enc", after.cldb), ("dare.master.key.enc", after.dare)):
        assert kept is not None
        assert (node.home.config.tokens_dir / serial / file).read_bytes() == kept.encrypted
    with node.keys() as keys:
        assert keys.state(new.uid) is KeyState.ACTIVE


@on(*STORES)
@pytest.mark.parametrize("key", [CORE, COMMON], ids=["core", "common"])
def test_replaced_twice(node: Node, key: ClusterKey, request: pytest.FixtureRequest) -> None:
    before = enabled(node)
    for number in (2, 3):
        node.rekey(key)
        assert_replaced(node, before, key)
        before = node.record
        by_rekey = request.node.callspec.params["nodes"][0] in BY_REKEY
        with node.keys() as keys:
            name = key.name(node.cluster) + ("" if by_rekey else f"@{number}")
            assert [one.uid for one in keys.locate(name)] == [getattr(before, key.field).uid]
    node.enable()
    assert node.record == before


@on("appliance", "nine operations", versions=VERSIONS)
def test_every_version_of_kmip(node: Node) -> None:
    before = enabled(node)
    node.rekey()
    assert_replaced(node, before)


@on("stock server", versions=("2.0",))
def test_what_pykmip_speaks_of_kmip_2(node: Node) -> None:
    before = enabled(node)
    node.rekey()
    assert_replaced(node, before)


@on(*STORES)
def test_a_lost_token_directory_finds_the_latest_generation(node: Node, request: pytest.FixtureRequest) -> None:
    if node.store == "file":
        pytest.skip("a file store has no other copy")
    enabled(node)
    node.rekey()
    before = node.record
    shutil.rmtree(node.home.config.tokens_dir)
    node.init()
    assert Happened.GENERATED not in [event.what for event in node.enable()]
    assert [node.known(key).uid for key in KEYS] == [getattr(before, key.field).uid for key in KEYS]
    assert (node.opened(CLDB), node.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)
    was, former = node.record, node.known(CORE).earlier
    # What Re-key took the name from is found by its Link alone, and the nine operations tell none.
    told = not request.node.callspec.params["nodes"][0].startswith("nine")
    assert former == (before.core_kek.earlier if told else ())  # type: ignore[union-attr]
    node.rekey()
    assert_replaced(node, was)
    node.rekey(retire=True)
    with node.keys() as keys:
        assert all(keys.state(uid) is KeyState.DEACTIVATED for uid in former)


def copied(node: Node, path: Path) -> Node:
    """Return another node that has the token directory as it is now."""
    shutil.copytree(node.home.path, path)
    return Node(Home(path), node.store, node.connection, node.cluster)


@on(*STORES)
def test_nodes_with_the_old_directory_go_on_until_it_is_retired(node: Node, tmp_path: Path) -> None:
    enabled(node)
    old = copied(node, tmp_path / "old")
    node.rekey()
    assert (old.opened(CLDB), old.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)
    if node.store == "kmip":
        with pytest.raises(RekeyRefused, match=node.known(CORE).uid):
            old.rekey()
        old.rekey(chosen=node.known(CORE).uid)
        assert old.known(CORE) == node.known(CORE)
        assert old.opened(CLDB) == CLDB_BYTES
    (former,) = node.known(CORE).earlier
    node.rekey(retire=True)
    with node.keys() as keys:
        assert keys.state(former) is KeyState.DEACTIVATED
        keys.read(former)  # revoked, not destroyed
    assert node.opened(CLDB) == CLDB_BYTES


@on(*STORES)
def test_pkcs11_shows_each_generation_by_its_name(node: Node, tmp_path: Path) -> None:
    enabled(node)
    old = copied(node, tmp_path / "old")
    node.rekey()
    (former,) = node.known(CORE).earlier
    name = CORE.name(node.cluster)
    for label, uid in ((name, node.known(CORE).uid), (f"{name}@1", former)):
        assert found(node, label) == [uid]
    assert found(old, name) == [former]
    if node.store == "kmip":
        labels = {record.uid: record.attributes[CKA.LABEL] for record in searched(old)}
        assert labels[former] == name
        assert labels.get(node.known(CORE).uid, "") != name


def found(node: Node, label: str) -> list[str]:
    store, *_ = open_all(node.home.login(), node.home.config)
    records = list(store.search({CKA.LABEL: label}))
    store.close()
    assert all(record.attributes[CKA.DESTROYABLE] is False for record in records)
    return [record.uid for record in records if record.attributes[CKA.LABEL] == label]


def searched(node: Node) -> list:  # type: ignore[type-arg]
    store, *_ = open_all(node.home.login(), node.home.config)
    records = list(store.search({CKA.CLASS: CKO.SECRET_KEY}))
    store.close()
    return records


@pytest.mark.timeout(600)
@on(*STORES)
def test_killed_anywhere(nodes: Nodes) -> None:
    point, died = 0, True
    while died:
        node = nodes()
        node.rename(f"{node.cluster}-{point}")
        before = enabled(node)
        with node.keys() as keys:
            count = sum(len(keys.locate(f"{CORE.name(node.cluster)}{n}")) for n in ("", "@2", "@3"))
        died = killed_after(point, node, node.rekey)
        assert (node.opened(CLDB), node.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)
        if node.known(CORE).uid == before.core_kek.uid or node.record.journal:  # type: ignore[union-attr]
            node.rekey()
        else:
            node.enable()
        assert_replaced(node, before)
        with node.keys() as keys:
            made = sum(len(keys.locate(f"{CORE.name(node.cluster)}{n}")) for n in ("", "@2", "@3"))
        assert made - count in (0, 1)  # Re-key takes the name along
        point += 1
    assert point > 7


@pytest.mark.timeout(600)
@on("file", "appliance")
def test_what_a_jvm_reads_of_a_killed_rekey_opens(nodes: Nodes) -> None:
    """mrhsm.conf and the two files are renamed one after the other: each opens under the present KEK or the former."""
    opens_under: set[str] = set()
    point, died = 0, True
    while died:
        node = nodes()
        node.rename(f"{node.cluster}-{point}")
        enabled(node)
        died = killed_after(point, node, node.rekey)
        serial = node.home.login().entry.serial
        for key, file, plain in ((CLDB, "cldb.key.enc", CLDB_BYTES), (DARE, "dare.master.key.enc", DARE_BYTES)):
            encrypted = (node.home.config.tokens_dir / serial / file).read_bytes()
            keks = {label: kek for label, kek in shown_keks(node) if opened(kek, encrypted, node.known(key).checksum)}
            assert len(keks) == 1, f"{file} after point {point}: {list(keks)}"
            (label,) = keks
            assert opened(keks[label], encrypted, node.known(key).checksum) == plain
            opens_under.add(label.partition("core-kek")[2])
        point += 1
    assert opens_under == {"", "@1"}


def shown_keks(node: Node) -> list[tuple[str, Secret]]:
    """Return the label and bytes of each generation of the Core KEK that PKCS #11 shows."""
    store, *_ = open_all(node.home.login(), node.home.config)
    labels = {str(record.attributes[CKA.LABEL]): record.uid for record in store.search({CKA.CLASS: CKO.SECRET_KEY})}
    name = CORE.name(node.cluster)
    found = [(label, store.material(uid)) for label, uid in labels.items() if label.partition("@")[0] == name]
    store.close()
    return found


def opened(kek: Secret, encrypted: bytes, checksum: str) -> bytes | None:
    try:
        return blob.decrypt(kek, encrypted, checksum, "key").reveal()
    except blob.BlobDamaged:
        return None
