"""Signals of a host: they interrupt calls at every moment, change nothing, and reach the host's threads only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fix_appliance import Appliance
from fix_faults import FaultProxy
from fix_host_token import MakeHostToken
from fix_native import Host, Talking

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
    """SIGPIPE would end this host, and an interrupted call that is not resumed would fail."""
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


def test_a_signal_handler_that_calls_amid_a_call_is_refused(host: Host, make_host_token: MakeHostToken) -> None:
    make_host_token("file")
    ended = host("reenter", "1500")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == ["initialize 0x0", "refused 1", "other 0", "failures 0", "finalize 0x0"]
