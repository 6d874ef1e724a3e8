"""Hosts of a cluster on the stores there are, and what kills one of them in the middle of a command."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from fix_appliance import Server
from fix_cluster import Home

from mrhsm_p11.cluster import beginning, blob, stores
from mrhsm_p11.cluster.enabling import Request, enable_cluster
from mrhsm_p11.cluster.events import Event
from mrhsm_p11.cluster.keys import CLDB, CORE, DARE, KEYS, ClusterKey
from mrhsm_p11.cluster.paced import PacedKeys
from mrhsm_p11.cluster.rekeying import RekeyRequest, rekey_cluster
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, KeyState
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import ClusterRecord, Connection, KeyRecord

# A name of a fixture, or options of an appliance; "file" is the store without a server.
STORES: dict[str, object] = {
    "file": None,
    "appliance": "appliance",
    "nine operations": {"nine": True},
    "one operation a message": {"refuse_batches": True},
    "nine operations, ends the old": {"nine": True, "rekey_deactivates": True},
    "no re-key, names unique": {"refuse_operations": ("REKEY",), "unique_names": True},
    "stock server": "stock_appliance",
}
VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4", "2.0", "2.1", "auto")


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

    def rekey(self, key: ClusterKey = CORE, *, retire: bool = False, chosen: str = "") -> list[Event]:
        events: list[Event] = []
        so = self.home.login()
        request = RekeyRequest(key, datetime.datetime.now(datetime.UTC), retire, chosen)
        with so.directory.lock():
            rekey_cluster(so, self.home.config, request, events.append)
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
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
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


CHANGES = ("create", "register", "rekey", "claim", "activate", "revoke")


def killed_after(point: int, node: Node, run: Callable[[], object]) -> bool:
    """Run in a child that is killed after its change of that number; tell whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            _kill_after(point)
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _kill_after(point: int) -> None:
    """Let each change of a key in the store, and each file saved, count towards the end of this process."""
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

    for owner, names in ((TokenDirectory, ("write",)), (PacedKeys, CHANGES)):
        for name in names:
            setattr(owner, name, deadly(getattr(owner, name)))
