"""Enabling on the stores there are: end to end, and killed at every step in a process of its own."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from fix_appliance import Server
from fix_cluster import CLDB_BYTES, DARE_BYTES, Home

from mrhsm_p11.cluster import blob, enabling, setup, stores
from mrhsm_p11.cluster.adopt import Ambiguous
from mrhsm_p11.cluster.enable import SETTLE_S
from mrhsm_p11.cluster.enabling import Request, enable_cluster
from mrhsm_p11.cluster.events import Event, Happened
from mrhsm_p11.cluster.keys import CLDB, CORE, DARE, KEYS, ClusterKey
from mrhsm_p11.cluster.paced import PacedKeys
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, KeyState
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import ClusterRecord, Connection, KeyRecord

pytestmark = pytest.mark.usefixtures("quick_pins", "quick_disk")
# A name of a fixture, or options of an appliance; "file" is the store without a server.
STORES: dict[str, object] = {
    "file": None,
    "appliance": "appliance",
    "nine operations": {"nine": True},
    "stock server": "stock_appliance",
}
VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4")


@dataclass
class Node:
    """One host of a cluster: a home with a token in it."""

    home: Home
    store: str
    connection: Connection | None
    cluster: str

    def init(self) -> None:
        self.rename(self.cluster)
        self.home.token(self.store, connection=self.connection)

    def rename(self, cluster: str) -> None:
        self.cluster = cluster
        (self.home.conf / "mapr-clusters.conf").write_text(f"{cluster} n1:7222\n")

    def enable(self, *, dare: bool = True, chosen: tuple[str, ...] = ()) -> list[Event]:
        events: list[Event] = []
        so = self.home.login()
        request = Request(dare, chosen, datetime.datetime.now(datetime.UTC))
        with so.directory.lock():
            enable_cluster(so, self.home.config, request, events.append)
        return events

    @property
    def record(self) -> ClusterRecord:
        found = self.home.login().settings.cluster
        assert found is not None
        return found

    def known(self, key: ClusterKey) -> KeyRecord:
        found = getattr(self.record, key.field)
        assert isinstance(found, KeyRecord)
        return found

    @contextlib.contextmanager
    def keys(self) -> Iterator[ClusterKeyStore]:
        with stores.open_keys(self.home.login(), self.home.config) as keys:
            yield keys

    def candidates(self) -> dict[ClusterKey, list[Candidate]]:
        with self.keys() as keys:
            return {key: keys.locate(key.name(self.cluster)) for key in KEYS}

    def opened(self, key: ClusterKey) -> bytes:
        with self.keys() as keys:
            core = keys.read(self.known(CORE).uid)
        kept = self.known(key)
        return blob.decrypt(core, kept.encrypted, kept.checksum, key.title).reveal()

    def assert_enabled(self) -> None:
        """One active key of each kind, each blob opening to the bytes in the store, nothing left to finish."""
        record = self.record
        assert record.enabled
        assert record.journal == ()
        for key, found in self.candidates().items():
            assert [(one.uid, one.state) for one in found] == [(self.known(key).uid, KeyState.ACTIVE)]
        for key in (CLDB, DARE):
            with self.keys() as keys:
                assert self.opened(key) == keys.read(self.known(key).uid).reveal()


Nodes = Callable[[], Node]


@pytest.fixture
def nodes(request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Make nodes of one new cluster on the store that `stores_of` names; file stores have nothing in common."""
    monkeypatch.setattr(enabling, "SETTLE_S", 0.0)
    named, version = getattr(request, "param", ("file", "1.4"))
    server = STORES[named]
    if isinstance(server, str):
        server = request.getfixturevalue(server)
    elif isinstance(server, dict):
        server = request.getfixturevalue("make_appliance")(**server)
    connection = server.connection(kmip_version=version) if isinstance(server, Server) else None
    cluster, made = f"cluster-{os.urandom(6).hex()}", []

    def node() -> Node:
        path = home.path.with_name(f"node{len(made)}")
        (path / "conf").mkdir(parents=True)
        made.append(Node(Home(path), "kmip" if connection else "file", connection, cluster))
        made[-1].init()
        return made[-1]

    return node


def on(*names: str, versions: tuple[str, ...] = ("1.4",)) -> pytest.MarkDecorator:
    """Run a test on these stores."""
    places = [(name, version) for name in names for version in versions]
    return pytest.mark.parametrize("nodes", places, indirect=True, ids=["-".join(place) for place in places])


@pytest.fixture
def node(nodes: Nodes) -> Node:
    return nodes()


@on(*STORES)
def test_fresh_cluster(node: Node) -> None:
    events = node.enable()
    node.assert_enabled()
    assert [event.title for event in events if event.what is Happened.GENERATED] == [key.title for key in KEYS]


@on(*STORES)
def test_legacy_keys(node: Node) -> None:
    node.home.legacy(dare=DARE_BYTES.hex().encode())
    node.enable()
    node.assert_enabled()
    assert (node.opened(CLDB), node.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)
    node.enable()
    node.assert_enabled()


@on("file", "appliance")
def test_disabled_and_enabled_again(node: Node) -> None:
    node.enable()
    before = node.record
    if node.store == "file":
        with pytest.raises(setup.SetupRefused):
            setup.deactivate(node.home.login())
        return
    setup.deactivate(node.home.login())
    assert node.record == replace(before, enabled=False)
    node.enable()
    assert node.record == before


@on(*STORES)
def test_lost_token_directory(node: Node) -> None:
    node.home.legacy(dare=DARE_BYTES.hex().encode())
    node.enable()
    before = {key: node.known(key).uid for key in KEYS}
    shutil.rmtree(node.home.config.tokens_dir)
    node.home.legacy(cldb=None)
    node.init()
    events = node.enable()
    node.assert_enabled()
    found = [event.title for event in events if event.what is Happened.FOUND]
    if node.store == "file":  # a file store has no other copy
        assert found == []
        return
    assert found == [key.title for key in KEYS]
    assert {key: node.known(key).uid for key in KEYS} == before
    assert (node.opened(CLDB), node.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)


@on("appliance", versions=VERSIONS)
def test_every_version_of_kmip(node: Node) -> None:
    enable_lose_and_adopt(node)


@on("nine operations", versions=("1.0", "1.1"))
def test_nine_operations_in_old_versions(node: Node) -> None:
    enable_lose_and_adopt(node)


def enable_lose_and_adopt(node: Node) -> None:
    node.home.legacy()
    node.enable()
    node.assert_enabled()
    shutil.rmtree(node.home.config.tokens_dir)
    node.init()
    assert Happened.GENERATED not in [event.what for event in node.enable()]
    node.assert_enabled()


@on("appliance", "nine operations")
def test_several_candidates(node: Node) -> None:
    with node.keys() as keys:
        uids = [keys.create(CLDB.name(node.cluster), CLDB.use) for _ in range(2)]
    with pytest.raises(Ambiguous) as refused:
        node.enable()
    assert all(uid in str(refused.value) for uid in uids)
    assert node.home.login().settings.cluster is None
    node.enable(chosen=(uids[1],))
    assert node.known(CLDB).uid == uids[1]


# ---- two nodes at once


@on("appliance")
def test_nodes_that_enable_at_once_share_their_keys(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enabling, "SETTLE_S", SETTLE_S)
    pair = [nodes(), nodes()]
    start, go = os.pipe()
    children = []
    for node in pair:
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                os.close(go)
                os.read(start, 1)  # ends when the parent closes its end
                node.enable()
                status = 0
            os._exit(status)
        children.append(child)
    os.close(go)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    os.close(start)
    first, second = pair
    for key in KEYS:
        assert first.known(key).uid == second.known(key).uid
        active = [one.uid for one in first.candidates()[key] if one.state is KeyState.ACTIVE]
        assert active == [first.known(key).uid]
        others = [one.state for one in first.candidates()[key] if one.uid != active[0]]
        assert set(others) <= {KeyState.DEACTIVATED}
    assert first.opened(CLDB) == second.opened(CLDB)


# ---- killed

CHANGES = ("create", "register", "activate", "revoke")


def killed_after(point: int, node: Node) -> bool:
    """Enable in a child that is killed after its change of that number; tell whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            _kill_after(point, node.store)
            node.enable()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _kill_after(point: int, store: str) -> None:
    """Let each change of a key in the store count towards the end of this process; in a file store, each file saved."""
    changes = [0]

    def deadly(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            result = function(*args, **options)
            if not any(isinstance(word, str) and "node-" in word for word in args):  # what a node counts for itself
                changes[0] += 1
            if changes[0] > point:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    owner, names = (TokenDirectory, ("write",)) if store == "file" else (PacedKeys, CHANGES)
    for name in names:
        setattr(owner, name, deadly(getattr(owner, name)))


@on("file", "nine operations")
def test_killed_anywhere_on_a_fresh_cluster(nodes: Nodes) -> None:
    kill_everywhere(nodes, legacy=False)


@on("file", "appliance")
def test_killed_anywhere_with_legacy_keys(nodes: Nodes) -> None:
    kill_everywhere(nodes, legacy=True)


def kill_everywhere(nodes: Nodes, *, legacy: bool) -> None:
    point, died = 0, True
    while died:
        node = nodes()
        node.rename(f"{node.cluster}-{point}")
        if legacy:
            node.home.legacy(dare=DARE_BYTES.hex().encode())
        died = killed_after(point, node)
        node.enable()
        node.assert_enabled()
        if legacy:
            assert (node.opened(CLDB), node.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)
        point += 1
    changes = 2 if node.store == "kmip" else 5  # made and activated; and noted before and after, and kept
    assert point > len(KEYS) * changes
