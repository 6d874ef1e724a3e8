"""Signals of a host: they interrupt calls at every moment, change nothing, and reach the host's threads only."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from fix_appliance import Appliance, Server
from fix_faults import Fault, FaultProxy
from fix_host_token import MakeHostToken
from fix_native import Host, Talking

from mrhsm_p11.constants import CKR

USES = ["initialize 0x0", *["use 0x0"] * 6, "held back 1 1"]
END = ["finalize 0x0", "changed 0, strayed 0, caught 1 1"]


@pytest.mark.parametrize("restart", [(), ("restart",)], ids=["", "SA_RESTART"])
@pytest.mark.parametrize("store", ["file", "kmip"])
def test_a_storm_of_signals_disturbs_no_call(
    talking: Callable[..., Talking], make_host_token: MakeHostToken, store: str, restart: tuple[str, ...]
) -> None:
    make_host_token(store)
    host = talking("storm", *restart)
    assert host.lines(len(USES)) == USES
    assert host.finish() == END


def test_connections_that_end_disturb_no_call_amid_a_storm(
    talking: Callable[..., Talking],
    make_host_token: MakeHostToken,
    make_appliance: Callable[..., Appliance],
    fault_proxy: Callable[..., FaultProxy],
) -> None:
    """An interrupted call that is not resumed would fail."""
    appliance = make_appliance()
    proxy = fault_proxy(appliance)
    make_host_token("kmip", at=appliance, port=proxy.port)
    host = talking("storm")
    assert host.lines(len(USES)) == USES
    for disturb in (proxy.cut, appliance.restart, proxy.cut):
        disturb()
        host.go_on()
        assert host.lines(1) == ["use 0x0"]
    assert host.finish() == END


def test_a_server_that_hangs_up_amid_a_handshake_does_not_end_the_host(
    talking: Callable[..., Talking],
    make_host_token: MakeHostToken,
    appliance: Server,
    fault_proxy: Callable[..., FaultProxy],
) -> None:
    """What the library sends next meets a connection that was closed, then reset: SIGPIPE would end this host."""
    proxy = fault_proxy(appliance)
    make_host_token("kmip", port=proxy.port)
    host = talking("storm")
    assert host.lines(len(USES)) == USES
    until = time.monotonic() + 60
    proxy.default = Fault(hang_up=True)
    answer = []
    while proxy.cuts < 3 or answer != ["use 0x0"]:
        proxy.cut()
        if proxy.cuts >= 3:
            proxy.default = Fault()
        host.go_on()
        answer = host.lines(1)
        assert answer in (["use 0x0"], [f"use 0x{CKR.DEVICE_ERROR:x}"])
        assert time.monotonic() < until
        time.sleep(0.3)  # a server that failed is left alone for a while
    assert host.finish() == END


def test_a_signal_handler_that_calls_amid_a_call_is_refused(host: Host, make_host_token: MakeHostToken) -> None:
    make_host_token("file")
    ended = host("reenter", "1500")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == ["initialize 0x0", "refused 1", "other 0", "failures 0", "finalize 0x0"]
