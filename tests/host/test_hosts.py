"""The library inside plain C programs: what each kind of host may do, and what must not change in it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import cryptography
import pytest
from fix_native import ISOLATED, Host, token_home

from mrhsm_p11.constants import CKR
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import tokens
from mrhsm_p11.tokendir.files import TokenDirectory

LONGER = int(os.environ.get("MRHSM_HOSTS_LONGER", "1"))  # how many times more of everything: `make hosts`
FORKS, EXITS = (4, 1) if LONGER == 1 else (40 * LONGER, 10 * LONGER)
NOT_INITIALIZED = f"0x{CKR.CRYPTOKI_NOT_INITIALIZED:x}"
GENERAL_ERROR = f"0x{CKR.GENERAL_ERROR:x}"
Doctored = Callable[[str, "str | None"], Path]

A_LIFE = f"""\
before {NOT_INITIALIZED}
initialize 0x0
again 0x{CKR.CRYPTOKI_ALREADY_INITIALIZED:x}
info 0x0
cryptoki 3.2
slots 0x0
count 1
finalize 0x0
after {NOT_INITIALIZED}
initialize 0x0
info 0x0
finalize 0x0
mapped 1
"""


def ended_well(run: subprocess.CompletedProcess[str]) -> str:
    assert (run.returncode, run.stderr) == (0, ""), f"rc {run.returncode}: {run.stdout}{run.stderr}"
    return run.stdout


@pytest.mark.parametrize("flags", ["lazy", "now", "lazy global", "now deepbind", "lazy reload"])
def test_lives_in_a_host_that_loads_it(host: Host, flags: str) -> None:
    times = 3 if "reload" in flags else 1
    assert ended_well(host("load", *flags.split())) == A_LIFE * times + "end\n"


def test_binds_at_once_where_the_host_asks_for_it(host: Host) -> None:
    assert ended_well(host("load", "lazy", environ={**os.environ, "LD_BIND_NOW": "1"})) == A_LIFE + "end\n"


@pytest.mark.parametrize(
    "hostile",
    [
        {},
        {"PYTHONHOME": "/nonexistent", "PYTHONPATH": "/nonexistent", "PYTHONSTARTUP": "/nonexistent"},
        {"PYTHONMALLOC": "nonsense", "PYTHONHASHSEED": "nonsense", "PYTHONUTF8": "7", "PYTHONTRACEMALLOC": "x"},
        {"LC_ALL": "nonsense", "TZ": "nonsense"},
    ],
    ids=["empty", "PYTHONHOME", "PYTHONMALLOC", "LC_ALL"],
)
def test_needs_no_environment_and_minds_none(host: Host, host_home: Path, hostile: dict[str, str]) -> None:
    assert ended_well(host("load", "lazy", environ={"MAPR_HOME": str(host_home), **hostile})) == A_LIFE + "end\n"


def test_needs_no_variable_at_all(host: Host) -> None:
    assert "initialize 0x0" in ended_well(host("load", "lazy", environ={}))


def test_is_found_through_a_link(host: Host, library_path: Path, tmp_path: Path) -> None:
    link = tmp_path / "pkcs11.so"
    link.symlink_to(library_path)
    assert ended_well(host("load", "lazy", library=link)) == A_LIFE + "end\n"


def test_lists_its_interfaces_without_starting(host: Host) -> None:
    bad, small = f"0x{CKR.ARGUMENTS_BAD:x}", f"0x{CKR.BUFFER_TOO_SMALL:x}"
    versions = ["3.2", "3.1", "3.0", "2.40"]
    assert ended_well(host("interfaces")).splitlines() == [
        f"no count {bad}",
        *("count 0x0", "4", f"too small {small}", "4", "list 0x0"),
        *(f"PKCS 11 {version} 0 0" for version in versions),
        "NULL 0.0 0: 0x0 PKCS 11 3.2",
        "PKCS 11 0.0 0: 0x0 PKCS 11 3.2",
        *(f"PKCS 11 3.{minor} 0: 0x0 PKCS 11 3.{minor}" for minor in range(3)),
        f"PKCS 11 3.3 0: {bad}",
        "NULL 2.40 0: 0x0 PKCS 11 2.40",
        f"NULL 2.20 0: {bad}",
        f"Vendor 0.0 0: {bad}",
        f"PKCS 11 3.0 1: {bad}",
        f"nowhere {bad}",
        "python 0",
        f"uninitialised {NOT_INITIALIZED}",
        "initialize 0x0",
        f"no session 0x{CKR.SESSION_HANDLE_INVALID:x}",
        "finalize 0x0",
    ]


@pytest.mark.parametrize("ways", ["", "thread", "early", "thread early", "joined", "joined early"])
def test_answers_while_the_host_exits(host: Host, ways: str) -> None:
    expected = [
        "initialize 0x0",
        f"exit handler: info {NOT_INITIALIZED}",
        f"exit handler: finalize {NOT_INITIALIZED}",
        "exit handler done",
        f"destructor: info {NOT_INITIALIZED}",
    ]
    assert ended_well(host("leave", *ways.split())).splitlines() == expected


def test_leaves_what_is_the_hosts_alone(host: Host) -> None:
    lines = ended_well(host("unmoved")).splitlines()
    assert lines.count("initialize 0x0") == 1
    assert lines.count("info 0x0") == 2
    changes = [line for line in lines if " changed " in line]
    assert len(changes) == 6
    assert all(line.endswith(" 0") for line in changes), changes
    assert {"SIGINT caught 1", "SIGTERM caught 1"} < set(lines)


SCENARIOS = ["idle", "busy", "passing", "nested", "exec", "vfork", "spawn", "stranger", "exit", "early"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_forks(host: Host, scenario: str) -> None:
    ended = host("forks", scenario, str(FORKS))
    assert ended.returncode == 0, ended
    assert ended.stdout.splitlines() == ["bad 0", "hung 0", "failures 0", "worked 1", "finalize 0x0"]


HOW = ["return", "exit", "thread", "quick", "direct", "handler", "final", "late"]


@pytest.mark.parametrize("what", ["busy", "waiting"])
@pytest.mark.parametrize("how", HOW)
def test_exits_with_calls_in_flight(host: Host, how: str, what: str) -> None:
    for _ in range(EXITS):
        assert ended_well(host("exits", how, what)) == ""


@pytest.mark.parametrize(("what", "times"), [("threads", 2000), ("restarts", 150), ("reloads", 50), ("cancelled", 300)])
def test_memory_is_flat(host: Host, what: str, times: int) -> None:
    ended = host("many", what, str(times * LONGER))
    assert ended.returncode == 0, ended
    finalized, failures, threads, grown = ended.stdout.splitlines()
    assert (finalized, failures, threads) == ("finalize 0x0", "failures 0", "threads 1")
    assert int(grown.removeprefix("grown ")) < 2048, ended


SLOW = """
import time
from mrhsm_p11 import hostcalls
_quick = get_info
def get_info():
    {how}
    return _quick()
"""


LATE_WAIT = """
import time
_quick = wait_for_slot_event
def wait_for_slot_event(*arguments):
    time.sleep(0.3)
    return _quick(*arguments)
"""


def test_a_fork_passes_a_call_that_waits_on_the_network(host: Host, doctored: Doctored) -> None:
    slow = SLOW.format(how="with hostcalls.around_wait(): time.sleep(1.5)")
    lines = ended_well(host("stuck", library=doctored("functions/general.py", slow))).splitlines()
    assert "fork quick 1" in lines
    children = [line for line in lines if line.startswith("child:")]
    assert children == [f"child: slots {NOT_INITIALIZED}", "child: initialize 0x0", "child: slots 0x0"]
    assert "child ended 0" in lines
    assert lines[-1] == "slots 0x0"


@pytest.mark.skipif(ISOLATED, reason="no call of this process waits in Python")
def test_an_exit_handler_may_join_a_call_that_begins_to_wait_amid_the_exit(host: Host, doctored: Doctored) -> None:
    library = doctored("functions/general.py", LATE_WAIT)
    assert ended_well(host("exits", "handler", "waiting", library=library)) == ""


def test_a_fork_passes_a_call_that_waits_for_a_token(host: Host) -> None:
    lines = ended_well(host("stuck", "wait")).splitlines()
    assert "fork quick 1" in lines
    assert "child: initialize 0x0" in lines
    assert "child ended 0" in lines
    assert sorted(lines[-3:]) == [f"event {NOT_INITIALIZED}", "finalize 0x0", f"slots {NOT_INITIALIZED}"]


@pytest.mark.skipif(ISOLATED, reason="no call of this process is inside anything that a fork must wait for")
def test_a_child_of_a_call_that_would_not_leave_is_refused_not_hung(host: Host, doctored: Doctored) -> None:
    slow = SLOW.format(how="time.sleep(3.5)")
    lines = ended_well(host("stuck", library=doctored("functions/general.py", slow))).splitlines()
    assert "fork quick 0" in lines
    children = [line for line in lines if line.startswith("child:")]
    assert children == [f"child: {call} {GENERAL_ERROR}" for call in ("slots", "initialize", "slots")]
    assert "child ended 0" in lines
    assert lines[-1] == "slots 0x0"


PIPE = """
import socket
from mrhsm_p11 import hostcalls
_quiet = get_info
def get_info():
    mine, other = socket.socketpair()
    other.close()
    with hostcalls.{guard}():
        try:
            mine.send(b"x")
        except BrokenPipeError:
            return _quiet()
"""


@pytest.mark.parametrize("guard", ["around_io", "around_wait"])
def test_a_closed_connection_does_not_end_the_host(host: Host, doctored: Doctored, guard: str) -> None:
    output = ended_well(host("load", "lazy", library=doctored("functions/general.py", PIPE.format(guard=guard))))
    assert output == A_LIFE + "end\n"


@pytest.mark.parametrize(
    "module",
    [
        "errors.py",
        "abi/entry.py",
        "functions/general.py",
        "abi/__init__.py",
        "__init__.py",
        "crypto/ciphers.py",
        "../_cffi_backend.py",
    ],
)
def test_a_broken_package_is_one_line_and_a_general_error(host: Host, doctored: Doctored, module: str) -> None:
    broken = doctored(module, "\nimport a_module_that_is_missing\n")
    run = host("load", "lazy", library=broken)
    assert run.returncode == 0
    assert run.stdout.splitlines()[:3] == [
        f"before {NOT_INITIALIZED}",
        f"initialize {GENERAL_ERROR}",
        f"again {GENERAL_ERROR}",
    ]
    assert re.fullmatch(r"mrhsm_p11: cannot start: .*a_module_that_is_missing.*\n", run.stderr), run.stderr


def test_a_missing_module_is_one_line_and_a_general_error(host: Host, doctored: Doctored) -> None:
    run = host("load", "lazy", library=doctored("deadline.py", None))
    assert f"initialize {GENERAL_ERROR}" in run.stdout
    assert re.fullmatch(r"mrhsm_p11: cannot start: .*deadline.*\n", run.stderr), run.stderr


@pytest.mark.parametrize("module", ["_cffi_backend.abi3.so", "cryptography/hazmat/bindings/_rust.abi3.so"])
def test_a_broken_native_dependency_is_one_line_and_a_general_error(
    host: Host, doctored: Doctored, tmp_path: Path, module: str
) -> None:
    library = doctored("__init__.py", "")
    site = tmp_path / "site"
    shutil.copytree(
        Path(cryptography.__file__).parent, site / "cryptography", ignore=shutil.ignore_patterns("_rust*.so")
    )
    (site / module).write_bytes(b"not a shared object")
    run = host("load", "lazy", library=library)
    assert f"initialize {GENERAL_ERROR}" in run.stdout
    assert re.fullmatch(rf"mrhsm_p11: cannot start: .*{re.escape(module)}.*\n", run.stderr), run.stderr


def test_exports_the_functions_of_the_standard_and_nothing_else(library_path: Path) -> None:
    import build_ffi

    nm = shutil.which("nm")
    assert nm, "no binutils"
    listed = subprocess.run([nm, "-D", "--defined-only", library_path], check=True, capture_output=True, text=True)
    exported = {line.split()[2] for line in listed.stdout.splitlines()}
    assert exported == {p.name for p in build_ffi.offered()} | {"mrhsm_p11_start_isolated"}
    assert len(exported) == 105


NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root")
def test_starts_in_a_process_that_has_given_up_root(host: Host, library_path: Path) -> None:
    """Such a process may not read its own auxiliary vector, and its MAPR_HOME counts all the same."""
    for needed in (library_path, Path(os.__file__).resolve(), Path(cryptography.__file__)):
        if not all(place.stat().st_mode & stat.S_IXOTH for place in needed.parents):
            pytest.skip(f"others may not read {needed}")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are root's alone
        home = Path(name)
        directory = TokenDirectory(token_home(home) / "conf" / "tokens")
        tokens.create_token(directory, "t", Secret(b"so pin 1"), user_pin=None, store="file")
        for place in (home, *home.rglob("*")):
            os.chown(place, NOBODY, NOBODY)
        said = ended_well(host("humble", str(NOBODY), environ={"MAPR_HOME": name})).splitlines()
    assert said == ["auxv -1", "initialize 0x0", "slots 0x0", "count 2", "finalize 0x0"]
