"""os.fork() by Python hosts whose threads use the library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fix_host_token import MakeHostToken
from fix_native import ISOLATED

HERE = Path(__file__).resolve().parent
LONGER = int(os.environ.get("MRHSM_HOSTS_LONGER", "1"))  # as test_hosts.py
FORKS = 4 if LONGER == 1 else 40 * LONGER
ANEW = "(400, 0, 0, 0)"  # not initialised, as every child; then initialised, used, finalised


def run(program: str, *arguments: str | Path, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, HERE / program, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s, env=environment)


@pytest.mark.skipif(ISOLATED, reason="the handlers are in another process")
@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("waited_for", "0"),
        ("too_late", f"(1, 5, 5)\n0 {ANEW}"),
        ("starting", ANEW),
        ("failing", "0\n0"),
        ("hooked", f"{ANEW} {[0] * 5}\n{ANEW} {[0] * 9}"),
        ("keeping", repr({ANEW})),
        ("amid_our_own", f"0 ['1', '0'] {ANEW}"),
    ],
)
def test_a_fork_by_a_python_host_amid_a_call(library_path: Path, host_home: Path, scenario: str, said: str) -> None:
    ended = run("fork_amid.py", library_path, scenario)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", f"{said}\n")


@pytest.mark.parametrize("store", ["file", "kmip"])
def test_a_python_host_may_fork_beside_busy_threads(
    library_path: Path, host_home: Path, make_host_token: MakeHostToken, store: str
) -> None:
    make_host_token(store)
    ended = run("use_forks.py", library_path, str(FORKS), timeout_s=100 * LONGER)
    assert (ended.returncode, ended.stdout) == (0, "bad [] failures []\n"), ended
