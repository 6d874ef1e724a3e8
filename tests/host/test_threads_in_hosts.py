"""Threads of a host that meet in one session or in the library's end, and hosts that want no thread but their own."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from fix_appliance import Server
from fix_faults import FaultProxy
from fix_host_token import MakeHostToken
from fix_native import ISOLATED, Host, Talking

from mrhsm_p11.constants import CKR

STORES = ["file", "kmip"]


def together(host: Host, what: str, times: int) -> None:
    ended = host("together", what, str(times))
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    begun = [f"{step} 0x0" for step in ("initialize", "session", "login", "key")]
    assert ended.stdout.splitlines() == [*begun, "wrong 0", "mixed up 0", "some succeeded 1", "finalize 0x0"]


@pytest.mark.parametrize("store", STORES)
def test_threads_on_one_session_never_get_each_others_results(
    host: Host, make_host_token: MakeHostToken, store: str
) -> None:
    make_host_token(store)
    together(host, "shared", 300)


@pytest.mark.parametrize("end", ["finalize", "close"])
@pytest.mark.parametrize("store", STORES)
def test_calls_in_flight_end_with_a_right_answer_or_a_code_for_it(
    host: Host, make_host_token: MakeHostToken, store: str, end: str
) -> None:
    make_host_token(store)
    together(host, end, 6 if ISOLATED else 12 if store == "kmip" else 200)


WAYS = [CKR.OK, CKR.OK, CKR.CANT_LOCK, CKR.OK, CKR.ARGUMENTS_BAD, CKR.ARGUMENTS_BAD]  # as quiet.c's table


@pytest.mark.parametrize("store", STORES)
def test_no_thread_where_the_host_forbids_it(
    talking: Callable[..., Talking],
    make_host_token: MakeHostToken,
    appliance: Server,
    fault_proxy: Callable[..., FaultProxy],
    store: str,
) -> None:
    """With a name that must be looked up, a server that is silent beside it, connections that grow old and are cut."""
    proxy, silent = fault_proxy(appliance), fault_proxy(appliance)
    silent.accept(False)
    network = "deadline_seconds = 60\nidle_seconds = 1\nage_seconds = 1\n[keys]\ncache_seconds = 0"
    make_host_token(store, network=network, addresses=(f"127.0.0.1:{silent.port}", f"localhost:{proxy.port}"))
    host = talking("quiet")
    assert host.lines(len(WAYS) + 2) == [*[f"way 0x{rv:x}" for rv in WAYS], "initialize 0x0", "use 0x0"]
    time.sleep(1.1)  # the connection is older than it may be: the next use makes another
    host.go_on()
    assert host.lines(1) == ["use 0x0"]
    proxy.cut()
    host.go_on()
    assert host.lines(1) == ["use 0x0"]
    assert proxy.accepted >= (3 if store == "kmip" else 0)
    assert host.finish() == ["tasks 1, asked for 0", "finalize 0x0"]
