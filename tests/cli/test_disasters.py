"""The disasters of the manual's FAQ, end to end against a real server: keys are found again, none is made twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates
from fix_cluster import CLDB_BYTES, DARE_BYTES, Home

from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import archive, beginning, blob, stores
from mrhsm_p11.cluster.keys import CLDB, CORE, DARE, KEYS, ClusterKey
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Candidate
from mrhsm_p11.tokendir import entries, tokens
from mrhsm_p11.tokendir.settings import ClusterRecord

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")
Make = Callable[..., Appliance]


class Node:
    """A host of the cluster, whose operator types commands."""

    def __init__(
        self,
        home: Home,
        server: Appliance,
        certificates: Certificates,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.home, self.server, self.certificates = home, server, certificates
        self._capfd, self._monkeypatch = capfd, monkeypatch
        self.pin = "12345678"

    def mrhsm(self, *words: object) -> tuple[int, str, str]:
        self._monkeypatch.setenv("MAPR_HOME", str(self.home.path))
        pin = [] if words[0] == "info" else ["-sopin", self.pin]
        status = main([*map(str, words), *pin])
        told = self._capfd.readouterr()
        return status, told.out, told.err

    def does(self, *words: object) -> str:
        status, out, err = self.mrhsm(*words)
        assert (status, err) == (0, "")
        return out

    def refused(self, *words: object) -> str:
        status, _, err = self.mrhsm(*words)
        assert status == 1
        assert err.count("\n") == 1
        return err

    def set_up(self, client: str = "client") -> None:
        """Configure from scratch, as the manual says."""
        self.does("init", "-label", f"node {os.urandom(2).hex()}")
        pair = ("-clientcert", self.certificates.certificate(client), "-clientkey", self.certificates.key(client))
        address = ("-ip", self.server.host, "-port", self.server.port, "-kmipversion", "1.4")
        self.does("set", *address, "-cacert", self.certificates.ca, *pair)

    def lose_tokens(self) -> None:
        shutil.rmtree(self.home.config.tokens_dir)

    def forget_legacy(self) -> None:
        for name in ("cldb.key", "dare.master.key"):
            (self.home.conf / name).unlink()

    @property
    def record(self) -> ClusterRecord:
        directory = self.home.directory
        found = tokens.login_so(directory, entries.load(directory)[0], Secret(self.pin.encode())).settings.cluster
        assert found is not None
        return found

    def present(self) -> dict[ClusterKey, list[Candidate]]:
        """Return every key that the server has of this cluster."""
        directory = self.home.directory
        so = tokens.login_so(directory, entries.load(directory)[0], Secret(self.pin.encode()))
        cluster = (self.home.conf / "mapr-clusters.conf").read_text().split()[0]
        with stores.open_keys(so, self.home.config) as keys:
            return {key: [*keys.locate(key.name(cluster)), *keys.locate(key.name(cluster) + "@2")] for key in KEYS}

    def assert_keys(self, before: ClusterRecord) -> None:
        """The same keys as before, one of each on the server, and the cluster's keys are those it had."""
        record = self.record
        assert record.enabled
        for key in KEYS:
            assert getattr(record, key.field).uid == getattr(before, key.field).uid
            assert [one.uid for one in self.present()[key]] == [getattr(before, key.field).uid]
        checksums = (blob.checksum(Secret(CLDB_BYTES)), blob.checksum(Secret(DARE_BYTES)))
        assert record.cldb is not None
        assert record.dare is not None
        assert (record.cldb.checksum, record.dare.checksum) == checksums


@pytest.fixture
def make_node(
    home: Home,
    make_appliance: Make,
    certificates: Certificates,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[[], Node]:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    monkeypatch.setattr(archive, "SCRYPT_N", 2**4)
    server, made = make_appliance(store=tmp_path / "appliance.sqlite"), list[Node]()

    def make() -> Node:
        path = home.path.with_name(f"node{len(made)}")
        (path / "conf").mkdir(parents=True)
        (path / "logs").mkdir()
        (path / "conf" / "mapr-clusters.conf").write_text("my.cluster.com n1:7222\n")
        (path / "conf" / "maprhsm.conf").write_text("[network]\ndeadline_seconds = 5\nconnect_seconds = 1\n")
        made.append(Node(Home(path), server, certificates, capfd, monkeypatch))
        return made[-1]

    return make


@pytest.fixture
def node(make_node: Callable[[], Node]) -> Node:
    """A node whose cluster was enabled with the keys it had, and whose legacy files are put away."""
    made = make_node()
    made.home.legacy(dare=DARE_BYTES.hex().encode())
    made.set_up()
    made.does("enable", "-dare")
    made.forget_legacy()
    return made


def test_the_client_certificate_expired(node: Node) -> None:
    before = node.record
    so = node.home.login()
    expired = {
        "client_certificate": node.certificates.certificate("client-expired").read_bytes(),
        "client_key": Secret(node.certificates.key("client-expired").read_bytes()),
    }
    so.save_settings(replace(so.settings, connection=replace(so.settings.connection, **expired)))  # time has passed
    assert "Inactive (" in node.does("info", "-config")
    assert "expired on" in node.refused("enable")
    node.does("set", "-active", "false")
    assert node.does("info", "-kmip").endswith("Enabled             : No\n")
    pair = ("-clientcert", node.certificates.certificate(), "-clientkey", node.certificates.key())
    node.does("set", *pair)
    assert "generated" not in node.does("enable")
    node.assert_keys(before)


def test_the_so_pin_is_lost(node: Node) -> None:
    before = node.record
    node.pin = "another one"
    assert "SO PIN is incorrect" in node.refused("set", "-port", 1)
    node.lose_tokens()  # all of conf/tokens, and configured from scratch
    node.set_up()
    out = node.does("enable")
    assert [line.split(",")[0] for line in out.splitlines() if "existing" in line] == [
        f"Found existing {key.title}" for key in KEYS
    ]
    node.assert_keys(before)


def test_tokens_deleted_on_one_node(node: Node, make_node: Callable[[], Node], tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_bytes(b"long enough\n")
    other = make_node()
    shutil.copytree(node.home.config.tokens_dir, other.home.config.tokens_dir)
    before = other.record
    node.lose_tokens()
    assert "run mrhsm init first" in node.refused("enable")
    other.does("export", tmp_path / "archive", "-passphrasefile", phrase)
    node.does("import", tmp_path / "archive", "-passphrasefile", phrase)
    assert node.record == before
    node.assert_keys(before)


def test_tokens_deleted_on_all_nodes(node: Node, make_node: Callable[[], Node]) -> None:
    before = node.record
    node.lose_tokens()
    other = make_node()  # wherever it is done
    other.set_up()
    other.does("enable")
    other.assert_keys(before)


def test_tokens_and_the_client_key_are_lost(node: Node) -> None:
    before = node.record
    node.lose_tokens()
    node.set_up("client-ec")  # another key and certificate of the same client
    node.does("enable")
    node.assert_keys(before)


def test_the_directory_of_one_node_is_older(node: Node, make_node: Callable[[], Node], tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_bytes(b"long enough\n")
    other = make_node()
    shutil.copytree(node.home.config.tokens_dir, other.home.config.tokens_dir)
    old = other.record
    node.does("rekey", "core")
    assert node.record.core_kek is not None
    assert node.record.core_kek.uid in other.refused("rekey", "core")
    assert "Found existing CLDB key" in other.does("enable")  # it goes on with what it has
    assert other.record == old
    node.does("export", tmp_path / "archive", "-passphrasefile", phrase)
    other.does("import", tmp_path / "archive", "-passphrasefile", phrase)
    assert other.record == node.record
    other.does("export", tmp_path / "again", "-passphrasefile", phrase)
    node.does("rekey", "core")
    assert "is newer here" in node.refused("import", tmp_path / "again", "-passphrasefile", phrase)


@pytest.mark.parametrize("missing", KEYS, ids=lambda key: key.field)
@pytest.mark.parametrize("tokens_lost", [False, True], ids=["tokens there", "tokens lost too"])
def test_the_appliance_is_restored_from_a_backup_that_lacks_a_key(
    node: Node, missing: ClusterKey, tokens_lost: bool
) -> None:
    before = node.record
    so = node.home.login()
    with stores.open_keys(so, node.home.config) as keys:
        keys.revoke(getattr(before, missing.field).uid)
    destroy(node, getattr(before, missing.field).uid)
    present = node.present()
    if tokens_lost:
        node.lose_tokens()
        node.set_up()
        assert f"but no {missing.title}: restore what is missing" in node.refused("enable", "-dare")
    elif missing.kek:
        uid = getattr(before, missing.field).uid
        assert node.refused("enable") == f"The {missing.title}, UUID {uid}, is no longer in the key store\n"
        assert f"{missing.title}, UUID {uid}" in node.refused("rekey", "core" if missing is CORE else "common")
        assert node.record == before
    else:
        assert f"Warning: {missing.title}, UUID" in node.does("enable")  # its encrypted copy is left, and checked
        assert node.record == before
    assert node.present() == present


def test_a_lost_key_is_made_anew_only_when_the_cluster_is_named(
    node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = node.record
    assert before.cldb is not None
    so = node.home.login()
    with stores.open_keys(so, node.home.config) as keys:
        keys.revoke(before.cldb.uid)
    destroy(node, before.cldb.uid)
    present = node.present()
    node.lose_tokens()
    node.set_up()
    with (tmp_path / "empty").open("w+") as nobody, monkeypatch.context() as patched:
        patched.setattr("sys.stdin", nobody)
        assert "use -confirm my.cluster.com" in node.refused("enable", "-new")
    assert "nothing was made" in node.refused("enable", "-new", "-confirm", "my.cluster")
    assert node.present() == present
    assert "Successfully generated CLDB key" in node.does("enable", "-new", "-confirm", "my.cluster.com")
    record = node.record
    assert [getattr(record, key.field).uid == getattr(before, key.field).uid for key in KEYS] == [
        True,
        True,
        False,
        True,
    ]
    assert [len(found) for found in node.present().values()] == [1, 1, 1, 1]


def test_an_older_backup_of_the_appliance(node: Node, tmp_path: Path) -> None:
    server, backup = node.server, tmp_path / "backup"
    server.stop()
    shutil.copyfile(tmp_path / "appliance.sqlite", backup)
    server.start()
    node.does("rekey", "core")
    record = node.record
    server.stop()
    shutil.copyfile(backup, tmp_path / "appliance.sqlite")
    server.start()
    assert record.core_kek is not None
    uid = record.core_kek.uid
    assert node.refused("enable") == f"The Core KEK, UUID {uid}, is no longer in the key store\n"
    node.lose_tokens()  # what the restored appliance has is still whole
    node.set_up()
    node.does("enable")
    assert node.record.cldb is not None
    assert node.record.cldb.checksum == blob.checksum(Secret(CLDB_BYTES))
    assert [len(found) for found in node.present().values()] == [1, 1, 1, 1]


def destroy(node: Node, uid: str) -> None:
    """Do at the appliance what no command of ours does."""
    from mrhsm_p11.deadline import Deadline
    from mrhsm_p11.kmip.client import Client
    from mrhsm_p11.store.kmip.connection import make_pool

    pool = make_pool(node.server.connection(), node.home.config)
    Client(pool).destroy(uid, deadline=Deadline(5.0))
    pool.close()


def test_no_command_destroys_a_cluster_key(node: Node) -> None:
    """The requests that reached the appliance in a whole life of a token."""
    node.does("rekey", "core")
    node.does("rekey", "core", "-retire")
    node.does("set", "-active", "false")
    assert [key for key in (CLDB, DARE) if len(node.present()[key]) != 1] == []
    node.does("remove", "-port")
    assert not [line for line in node.server.requests() if "DESTROY" in line]
