"""Forks while calls wait for a key manager: of C hosts, of Python hosts, and by our own Python."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Server
from fix_faults import Fault, FaultProxy
from fix_host_token import MakeHostToken
from fix_native import ISOLATED, Host, Talking

from mrhsm_p11.constants import CKR

HERE = Path(__file__).resolve().parent
NOT_INITIALIZED = f"0x{CKR.CRYPTOKI_NOT_INITIALIZED:x}"
DEVICE_ERROR = f"0x{CKR.DEVICE_ERROR:x}"


def wait_for_connections(proxy: FaultProxy, count: int) -> None:
    until = time.monotonic() + 60
    while proxy.accepted < count:
        assert time.monotonic() < until, "nobody connects"
        time.sleep(0.01)


@pytest.mark.parametrize("mended", [True, False])
def test_a_fork_passes_a_call_to_a_silent_server(
    talking: Callable[..., Talking],
    make_host_token: MakeHostToken,
    appliance: Server,
    fault_proxy: Callable[..., FaultProxy],
    mended: bool,
) -> None:
    """The child is usable: where the server answers again it is served, where not it is told so in time."""
    proxy = fault_proxy(appliance)
    proxy.default = Fault(black_hole=True)
    make_host_token("kmip", port=proxy.port, network=f"deadline_seconds = {60 if mended else 3}")
    host = talking("stalled")
    assert host.lines(1) == ["initialize 0x0"]
    wait_for_connections(proxy, 1)
    host.go_on()
    begun = host.lines(3)
    assert sorted(begun) == sorted(["fork quick 1", f"child: slots {NOT_INITIALIZED}", "child: initialize 0x0"])
    if mended:
        proxy.default = Fault()
    host.go_on()
    said = host.finish()
    assert said[:3] == [f"child: use {'0x0' if mended else DEVICE_ERROR}", "child: finalize 0x0", "child ended 0"]
    assert said[3] in {f"stalled {DEVICE_ERROR}", *(["stalled 0x0"] if mended else [])}
    assert said[4:] == ["finalize 0x0"]


@pytest.mark.parametrize(
    ("store", "method"), [("file", "fork"), ("kmip", "fork"), ("kmip", "spawn"), ("file", "forkserver")]
)
def test_a_python_host_may_use_multiprocessing(
    library_path: Path, host_home: Path, make_host_token: MakeHostToken, store: str, method: str
) -> None:
    make_host_token(store)
    command = [sys.executable, HERE / "use_multiprocessing.py", library_path, method]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100, env=environment)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "used by 3 processes, and here\n")


OWN_FORK = """
import os, subprocess, sys
_quick = get_info
def get_info():
    subprocess.run(["/bin/true"], check=True, stdin=subprocess.DEVNULL, {how})
    {fork}
    return _quick()
"""
FORK = "os.waitpid(pid, 0) if (pid := os.fork()) else os._exit(0)"


@pytest.mark.parametrize(
    ("how", "fork"),
    [("", ""), ("preexec_fn=int", ""), ("start_new_session=True, close_fds=True", ""), ("", FORK)],
    ids=["vfork", "fork and function", "new session", "os.fork"],
)
def test_our_own_python_may_start_processes(
    host: Host, doctored: Callable[[str, str | None], Path], how: str, fork: str
) -> None:
    library = doctored("functions/general.py", OWN_FORK.format(how=how, fork=fork))
    ended = host("load", "lazy", library=library)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines().count("info 0x0") == 2
    assert ended.stdout.endswith("end\n")


FORK_IN_BOTH = """
import os, threading, time
_quick_info, _quick_slots, _inside = get_info, get_slot_list, threading.Event()
def get_slot_list(*arguments):
    if threading.current_thread() is not threading.main_thread():
        _inside.set()
        time.sleep(0.1)
    return _quick_slots(*arguments)
def get_info():
    assert _inside.wait(60)
    if os.fork() == 0:
        _inside.clear()
    return _quick_info()
"""


@pytest.mark.skipif(ISOLATED, reason="the process that forks so is not the host")
def test_a_child_that_our_own_python_forks_amid_a_call_may_fork_again(
    host: Host, doctored: Callable[[str, str | None], Path]
) -> None:
    """Calls of other threads, which were inside at that moment, are not waited for in the child."""
    ended = host("begotten", library=doctored("functions/general.py", FORK_IN_BOTH))
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert ended.stdout.splitlines() == [
        f"grandchild: slots {NOT_INITIALIZED}",
        "grandchild: initialize 0x0",
        "grandchild: slots 0x0",
        "grandchild ended 0",
        "child ended 0",
        "info 0x0",
    ]
