"""The library inside Python programs: of another version, of its own, and with a doctored signal disposition."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_native import ISOLATED

import build_ffi
from mrhsm_p11.constants import CKR

HERE = Path(__file__).resolve().parent
PROJECT = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]
CALL = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).C_Initialize(None))"


def other_python(version: str) -> str:
    """Return an interpreter of another version, wherever this machine has one; skip where it has none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [*(str(path / "bin") for path in sorted(pyenv.glob(f"{version}*"))), os.environ.get("PATH", "")]
    found = shutil.which(f"python{version}", path=os.pathsep.join(places))
    if not found or subprocess.run([found, "-c", ""], check=False, capture_output=True, timeout=20).returncode:
        pytest.skip(f"no Python {version} here")
    return found


def run(*command: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.10"])
def test_a_foreign_python_is_served_by_a_process(version: str, library_path: Path, host_home: Path) -> None:
    if version == "{}.{}".format(*sys.version_info):
        pytest.skip("that is ours")
    ended = run(other_python(version), "-W", "ignore", HERE / "use_isolated.py", library_path, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "served False\n", "")


def test_a_foreign_python_is_refused_where_no_process_starts(
    doctored: Callable[[str, str | None], Path], host_home: Path
) -> None:
    version = next(v for v in ("3.12", "3.13", "3.10") if v != "{}.{}".format(*sys.version_info))
    ended = run(other_python(version), "-c", CALL, doctored("abi/isolated.py", None), timeout=20)
    assert (ended.returncode, ended.stdout) == (0, f"{CKR.GENERAL_ERROR}\n")
    line = (
        rf"mrhsm_p11: cannot start: built for Python 3\.\d+, but .* Python {re.escape(version)}\.\S* \(/.*\); "
        r"ModuleNotFoundError: .*isolated.*\n"
    )
    assert re.fullmatch(line, ended.stderr), ended.stderr


@pytest.mark.parametrize(
    ("package", "text"),
    [
        ("cryptography", "__version__ = '38.0.4'"),
        ("cryptography", "__version__ = '51.0'"),
        ("cryptography", "__version__ = None"),
        ("cryptography", "raise RuntimeError('broken')"),
        ("_cffi_backend", "__version__ = '1.15.1'"),
    ],
)
@pytest.mark.parametrize("imported", [False, True])
def test_a_python_of_our_version_with_other_packages_is_served_by_a_process(
    package: str, text: str, imported: bool, tmp_path: Path, library_path: Path, host_home: Path
) -> None:
    (tmp_path / f"{package}.py").write_text(text)
    before = f"import contextlib\nwith contextlib.suppress(RuntimeError): import {package}\n" if imported else ""
    (tmp_path / "sitecustomize.py").write_text(before)
    command = [sys.executable, "-c", f"{CALL}; print('mrhsm_p11' in sys.modules)", library_path]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100, env=environment)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0\nFalse\n", "")


def test_every_dependency_is_either_checked_in_a_python_host_or_not_used_there() -> None:
    named = {re.split(r"[=<>]", each, maxsplit=1)[0] for each in PROJECT["dependencies"]}
    assert set(build_ffi.MODULES) == named


def test_a_python_of_our_version_lends_its_interpreter(library_path: Path, host_home: Path) -> None:
    ended = run(sys.executable, "-c", CALL, library_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0\n", "")


@pytest.mark.skipif(ISOLATED, reason="nothing is imported here then")
def test_threads_that_keep_the_gil_may_start_the_library_together(library_path: Path, host_home: Path) -> None:
    ended = run(sys.executable, HERE / "start_together.py", library_path)
    assert (ended.returncode, ended.stdout) == (0, f"[0, {int(CKR.CRYPTOKI_ALREADY_INITIALIZED)}] 0\n"), ended.stderr


def test_a_python_host_is_given_no_imports_before_it_needs_them(library_path: Path, host_home: Path) -> None:
    asked = f"{CALL}; print([name for name in sys.modules if name.startswith('cryptography')])"
    ended = run(sys.executable, "-c", asked, library_path)
    assert (ended.stdout, ended.stderr) == ("0\n[]\n", "")


FORKING = """
import ctypes, os, subprocess, sys
library = ctypes.CDLL(sys.argv[1])
slots = lambda: library.C_GetSlotList(0, None, ctypes.byref(ctypes.c_ulong()))
print(library.C_Initialize(None), slots())
subprocess.run([sys.executable, "-c", ""], check=True, preexec_fn=lambda: None)
pid = os.fork()
if pid == 0:
    sys.stdout = None
    os._exit(0 if (slots(), library.C_Initialize(None), slots()) == (0x190, 0, 0) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), slots(), library.C_Finalize(None))
"""


def test_a_python_host_may_fork(library_path: Path, host_home: Path) -> None:
    ended = run(sys.executable, "-c", FORKING, library_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0 0\n0 0 0\n", "")


LATE = """
import atexit, ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.C_Initialize(None)
class Late:
    def __del__(self): print(library.C_Finalize(None))
kept = Late()
atexit.register(lambda: print(library.C_GetSlotList(0, None, ctypes.byref(ctypes.c_ulong()))))
"""


def test_a_python_host_may_call_while_it_ends(library_path: Path, host_home: Path) -> None:
    ended = run(sys.executable, "-c", LATE, library_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"0\n{CKR.CRYPTOKI_NOT_INITIALIZED}\n", "")


MASKS = """
import ctypes, os, signal, socket, sys
ctypes.CDLL(sys.argv[1]).C_Initialize(None)
from mrhsm_p11 import hostcalls
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
before = signal.pthread_sigmask(signal.SIG_BLOCK, sys.argv[2:] and [signal.SIGPIPE] or [])
before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
mine, other = socket.socketpair()
other.close()
with hostcalls.around_io(), hostcalls.around_wait(), hostcalls.around_io():
    try:
        mine.send(b"x")
    except BrokenPipeError:
        print("refused")
print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == before, signal.SIGPIPE in signal.sigpending())
"""


def test_sigpipe_is_held_back_and_the_mask_restored(library_path: Path, host_home: Path) -> None:
    ended = run(sys.executable, "-c", MASKS, library_path)
    assert (ended.returncode, ended.stdout) == (0, "refused\nTrue False\n"), ended.stderr


def test_a_sigpipe_that_the_host_blocks_stays_the_hosts(library_path: Path, host_home: Path) -> None:
    ended = run(sys.executable, "-c", MASKS, library_path, "blocked")
    assert (ended.returncode, ended.stdout) == (0, "refused\nTrue True\n"), ended.stderr


def test_null_in_every_pointer_position_is_answered(library_path: Path, host_home: Path) -> None:
    (host_home / "conf" / "maprhsm.conf").write_text('[log]\nlevel = "info"\n')
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    ended = subprocess.run(
        [sys.executable, HERE / "nulls.py", library_path],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    last = ended.stdout.splitlines()[-1:]
    assert ended.returncode == 0, f"{last}: {ended.stderr}"
    assert int(last[0].removeprefix("survived ").removesuffix(" calls")) > 1000
