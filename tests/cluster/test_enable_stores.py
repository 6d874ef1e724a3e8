"""Enabling on the stores there are: end to end, and killed at every step in a process of its own."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
from fix_cluster import CLDB_BYTES, DARE_BYTES, Home

from mrhsm_p11.cluster import blob, enabling, setup, stores
from mrhsm_p11.cluster.enabling import Request, enable_cluster
from mrhsm_p11.cluster.events import Event, Happened
from mrhsm_p11.cluster.keys import CLDB, CORE, DARE, KEYS, ClusterKey
from mrhsm_p11.cluster.paced import PacedKeys
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, KeyState
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import ClusterRecord, Connection, KeyRecord

pytestmark = pytest.mark.usefixtures("quick_pins", "quick_disk")
STORES = ("file", "kmip")


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

    @contextmanager
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


@pytest.fixture(params=STORES)
def nodes(request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Make nodes of one new cluster; those with a file store have nothing in common."""
    monkeypatch.setattr(enabling, "SETTLE_S", 0.0)
    connection = request.getfixturevalue("appliance").connection() if request.param == "kmip" else None
    cluster, made = f"cluster-{os.urandom(6).hex()}", []

    def node() -> Node:
        path = home.path.with_name(f"node{len(made)}")
        (path / "conf").mkdir(parents=True)
        made.append(Node(Home(path), request.param, connection, cluster))
        made[-1].init()
        return made[-1]

    return node


@pytest.fixture
def node(nodes: Nodes) -> Node:
    return nodes()


def test_fresh_cluster(node: Node) -> None:
    events = node.enable()
    node.assert_enabled()
    assert [event.title for event in events if event.what is Happened.GENERATED] == [key.title for key in KEYS]


def test_legacy_keys(node: Node) -> None:
    node.home.legacy(dare=DARE_BYTES.hex().encode())
    node.enable()
    node.assert_enabled()
    assert (node.opened(CLDB), node.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)
    node.enable()
    node.assert_enabled()


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


# ---- killed


def killed_after(point: int, node: Node) -> bool:
    """Enable in a child that is killed after its change of that number; tell whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            _kill_after(point)
            node.enable()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _kill_after(point: int) -> None:
    """Let every change of a key in the store and every file saved count towards the end of this process."""
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

    for owner, names in ((PacedKeys, ("create", "register", "activate", "revoke")), (TokenDirectory, ("write",))):
        for name in names:
            setattr(owner, name, deadly(getattr(owner, name)))


@pytest.mark.parametrize("legacy", [False, True], ids=["fresh", "legacy"])
def test_killed_anywhere(nodes: Nodes, legacy: bool) -> None:
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
    assert point > len(KEYS) * 5  # noted, made, noted, activated, kept
