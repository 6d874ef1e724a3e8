"""Hosts that are served by a process of the library's own: what they see of it, and what it takes from them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fix_native import Host

from mrhsm_p11.constants import CKR
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import tokens
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.tokens import UserPin

ROOT = Path(__file__).resolve().parents[2]
NOT_INITIALIZED = f"0x{CKR.CRYPTOKI_NOT_INITIALIZED:x}"
HOST = """
import ctypes, os, signal, subprocess, sys, threading, time
library = ctypes.CDLL(sys.argv[1])
count, slot = ctypes.c_ulong(), ctypes.c_ulong()
slots = lambda: library.C_GetSlotList(0, None, ctypes.byref(count))
def say(*words): print(*words, flush=True)
def wait(): sys.stdin.readline()
"""


@pytest.fixture
def isolated_home(host_home: Path) -> Path:
    """A home whose maprhsm.conf asks for a process."""
    (host_home / "conf" / "maprhsm.conf").write_text('# as said\n[library]\nisolation = "process"  # always\n')
    return host_home


class Running:
    """A Python host under way, which says lines and waits for lines."""

    def __init__(self, library: Path, home: Path, script: str) -> None:
        self.home = home
        command = [sys.executable, "-c", HOST + script, library]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def serving(self) -> list[int]:
        """Return the processes that serve hosts with this home."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                names_home = f"MAPR_HOME={self.home}".encode() in (folder / "environ").read_bytes().split(b"\0")
                if names_home and b"mrhsm_p11.abi.isolated" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue  # ended meanwhile
        return found

    def serves_until(self, wanted: int) -> bool:
        """Tell whether, within ten seconds, so many processes serve."""
        end = time.monotonic() + 10
        while len(self.serving()) != wanted:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True


Start = Callable[[str], Running]


@pytest.fixture
def start(library_path: Path, isolated_home: Path) -> Iterator[Start]:
    started: list[Running] = []

    def run(script: str) -> Running:
        started.append(Running(library_path, isolated_home, script))
        return started[-1]

    yield run
    for host in started:
        host.process.kill()
        host.process.communicate()
        assert host.serves_until(0)


@pytest.mark.parametrize("how", ["", "ignore", "adopt"])
def test_the_host_sees_no_child(host: Host, isolated_home: Path, how: str) -> None:
    ended = host("unseen", *how.split())
    own = "own child gone" if how == "ignore" else "own child 1 7"
    started = [] if how == "adopt" else ["started: no child, told 0"]
    expected = ["initialize 0x0", *started, "info 0x0", own, "finalize 0x0", "ended: no child, told 0"]
    assert (ended.returncode, ended.stderr, ended.stdout.splitlines()) == (0, "", expected * 3)


INHERITED = """
import socket
pipes = [os.pipe() for _ in range(40)]
for ends in pipes:
    for end in ends: os.set_inheritable(end, True)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for number in (signal.SIGUSR1, signal.SIGCHLD, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)
say(library.C_Initialize(None), slots(), os.getsid(0))
wait()
"""


def test_it_inherits_nothing(start: Start) -> None:
    host = start(INHERITED)
    initialized, listed, session = host.line().split()
    assert (initialized, listed) == ("0", "0")
    (pid,) = host.serving()
    opened = sorted(os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir())
    assert [name for name in opened if not name.startswith("socket:")] == [*["/dev/null"] * 3, "anon_inode:[pidfd]"]
    assert len(opened) == 6  # the control socket and one link
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    ignored = {number for number in range(1, 65) if int(status["SigIgn"], 16) >> (number - 1) & 1}
    ignored -= {32, 33}  # the C library's own, ignored in whatever posix_spawn started; sigaction cannot name them
    assert ignored <= {signal.SIGPIPE, signal.SIGXFSZ}, "Python's own"
    assert int(status["SigBlk"], 16) == 0
    assert os.getsid(pid) == pid != int(session)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_it_ends_with_a_host_that_is_killed(start: Start) -> None:
    host = start("say(library.C_Initialize(None)); wait()")
    assert host.line() == "0"
    assert len(host.serving()) == 1
    host.process.send_signal(signal.SIGKILL)
    assert host.serves_until(0)


ORPHANS = """
say(library.C_Initialize(None))
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(56, 17, 0, 0, 0, 0) == 0:  # clone(SIGCHLD): a fork that runs no handler
    os.close(1)
    time.sleep(30)
    os._exit(0)
wait()
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of clone() is x86-64's")
def test_it_ends_with_its_host_though_a_child_keeps_the_links_open(start: Start) -> None:
    host = start(ORPHANS)
    assert host.line() == "0"
    assert len(host.serving()) == 1
    host.process.kill()
    assert host.serves_until(0)


KILLED = """
say(library.C_Initialize(None), slots())
answers = []
waiting = threading.Thread(target=lambda: answers.append(library.C_WaitForSlotEvent(0, ctypes.byref(slot), None)))
waiting.start()
say("waiting")
wait()
waiting.join()
say(*map(hex, answers), hex(slots()), hex(library.C_Initialize(None)))
say(library.C_Finalize(None), hex(slots()), library.C_Initialize(None), slots(), library.C_Finalize(None))
"""


def test_its_death_is_a_device_error_until_finalized(start: Start) -> None:
    host = start(KILLED)
    assert host.line() == "0 0"
    assert host.line() == "waiting"
    (pid,) = host.serving()
    os.kill(pid, signal.SIGKILL)
    host.go_on()
    assert host.line() == f"0x{CKR.DEVICE_ERROR:x} 0x{CKR.DEVICE_ERROR:x} 0x{CKR.CRYPTOKI_ALREADY_INITIALIZED:x}"
    assert host.line() == f"0 {NOT_INITIALIZED} 0 0 0"


STOPPED = """
say(library.C_Initialize(None), slots())
answers = []
def ask(call): answers.append(call())
asking = [threading.Thread(target=ask, args=[call]) for call in (
    slots, slots, lambda: library.C_WaitForSlotEvent(0, ctypes.byref(slot), None))]
wait()
for thread in asking: thread.start()
pid = os.fork()
if pid == 0: os._exit(slots() != 0x190)
say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
for thread in asking: thread.join()
say(*map(hex, answers), hex(slots()))
say(library.C_Finalize(None), library.C_Initialize(None), slots(), library.C_Finalize(None))
"""


def test_one_that_no_longer_answers_is_given_up(start: Start) -> None:
    host = start(STOPPED)
    assert host.line() == "0 0"
    (pid,) = host.serving()
    os.kill(pid, signal.SIGSTOP)
    host.go_on()
    assert host.line() == "0"
    assert host.line() == " ".join([f"0x{CKR.DEVICE_ERROR:x}"] * 4)
    assert host.line() == "0 0 0 0"


PATIENT = """
say(library.C_Initialize(None))
answers = []
waiting = threading.Thread(target=lambda: answers.append(library.C_WaitForSlotEvent(0, ctypes.byref(slot), None)))
waiting.start()
time.sleep(7)
say(slots(), library.C_Finalize(None))
waiting.join(20)
say(*map(hex, answers))
"""


def test_a_call_may_take_its_time(start: Start) -> None:
    host = start(PATIENT)  # it is asked three times meanwhile whether it lives
    assert (host.line(), host.line(), host.line()) == ("0", "0 0", NOT_INITIALIZED)


HANDLES = """
def opened():
    library.C_Initialize(None)
    found, session = (ctypes.c_ulong * 8)(), ctypes.c_ulong()
    count.value = 8
    library.C_GetSlotList(1, found, ctypes.byref(count))
    library.C_OpenSession(ctypes.c_ulong(found[0]), 4, None, None, ctypes.byref(session))
    return session
one = opened()
library.C_Finalize(None)
other = opened()
say(one.value > 0, other.value > 0, hex(library.C_CloseSession(one)), library.C_CloseSession(other))
"""


def test_a_handle_of_an_earlier_process_is_invalid(start: Start, isolated_home: Path) -> None:
    directory = TokenDirectory(isolated_home / "conf" / "tokens")
    tokens.create_token(directory, "t", Secret(b"so pin 1"), user_pin=None, store="file")
    assert start(HANDLES).line() == f"True True 0x{CKR.SESSION_HANDLE_INVALID:x} 0"


def test_what_the_host_has_not_written_does_not_cross(
    compiled: Callable[[str], Path], library_path: Path, isolated_home: Path
) -> None:
    valgrind = shutil.which("valgrind")
    if not valgrind:
        pytest.skip("valgrind is not installed")
    directory = TokenDirectory(isolated_home / "conf" / "tokens")
    tokens.create_token(directory, "t", Secret(b"so pin 1"), user_pin=UserPin.random(), store="file")
    for program in ("load", "forked"):
        command = [valgrind, "-q", "--error-exitcode=9", compiled(program), library_path, "lazy"]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout


WAITING = """
say(library.C_Initialize(None))
answers = []
waiting = threading.Thread(target=lambda: answers.append(library.C_WaitForSlotEvent(0, ctypes.byref(slot), None)))
waiting.start()
wait()
say(library.C_Finalize(None))
waiting.join(20)
say(*map(hex, answers))
"""


def test_finalize_ends_a_wait_for_an_event(start: Start) -> None:
    host = start(WAITING)
    assert host.line() == "0"
    host.go_on()
    assert (host.line(), host.line()) == ("0", NOT_INITIALIZED)
    assert host.serves_until(0)


RELATIVE = """
os.chdir(os.environ["MAPR_HOME"]); os.environ["MAPR_HOME"] = "."
say(library.C_Initialize(None), slots())
"""


def test_a_relative_home_is_the_hosts(start: Start, isolated_home: Path) -> None:
    host = start(RELATIVE)
    assert host.line() == "0 0"
    assert list(isolated_home.glob("logs/*")) == []


FULL = """
import resource
free = os.dup(0)
os.close(free)
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, most))
say(hex(library.C_Initialize(None)))
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, most))
say(hex(library.C_Initialize(None)), hex(slots()))
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, most))
say(hex(library.C_Initialize(None)), hex(slots()), hex(library.C_Finalize(None)))
"""


def test_a_host_that_runs_out_of_descriptors_may_try_again(start: Start) -> None:
    host = start(FULL)
    assert host.line() == f"0x{CKR.GENERAL_ERROR:x}"
    assert host.line() == f"0x{CKR.HOST_MEMORY:x} {NOT_INITIALIZED}"
    assert host.line() == "0x0 0x0 0x0"


# The same tests again, with every host of theirs served from outside.
SAME = (
    ("abi/test_library.py", ""),
    ("abi/test_derive.py", ""),
    ("abi/test_pairs.py", ""),
    ("abi/test_secret_mechanisms.py", ""),
    ("clients/test_python_pkcs11.py", ""),
    ("functions/test_messages.py", "false_tag or own_iv or associated_data"),
    ("host/test_hosts.py", ""),
    ("host/test_threads_in_hosts.py", "file"),
    ("host/test_signals_in_hosts.py", "file or handler"),
    ("matrix/test_keys.py", ""),
    ("functions/test_slot_events.py", ""),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("tests", "chosen"), SAME, ids=[tests for tests, _ in SAME])
def test_the_same_tests_pass(tests: str, chosen: str) -> None:
    options = ["-q", "-x", "-k", chosen, "-p", "no:xdist", "-p", "no:cov"]
    environment = {**os.environ, "MRHSM_TEST_ISOLATION": "process"}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, ROOT / "tests" / tests],
        check=False,
        capture_output=True,
        text=True,
        timeout=500,
        cwd=ROOT,
        env=environment,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]
