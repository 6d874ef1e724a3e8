"""Enabling on the stores there are: end to end, and killed at every step in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace

import pytest
from fix_cluster import CLDB_BYTES, DARE_BYTES
from fix_nodes import STORES, VERSIONS, Node, Nodes, killed_after, on

from mrhsm_p11.cluster import beginning, setup
from mrhsm_p11.cluster.adopt import Ambiguous
from mrhsm_p11.cluster.events import Happened
from mrhsm_p11.cluster.keys import CLDB, DARE, KEYS
from mrhsm_p11.cluster.making import SETTLE_S
from mrhsm_p11.store.base import KeyState

pytestmark = pytest.mark.usefixtures("quick_pins", "quick_disk")


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


@on("stock server", versions=("1.0", "1.4", "2.0", "auto"))
def test_what_pykmip_speaks_of_them(node: Node) -> None:
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
    monkeypatch.setattr(beginning, "SETTLE_S", SETTLE_S)
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


@pytest.mark.timeout(600)
@on("file", "nine operations")
def test_killed_anywhere_on_a_fresh_cluster(nodes: Nodes) -> None:
    kill_everywhere(nodes, legacy=False)


@pytest.mark.timeout(600)
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
        died = killed_after(point, node, node.enable)
        node.enable()
        node.assert_enabled()
        if legacy:
            assert (node.opened(CLDB), node.opened(DARE)) == (CLDB_BYTES, DARE_BYTES)
        point += 1
    assert point > len(KEYS) * 5  # noted before and after, made, activated, and kept
