"""The C of the data path and the gate raced by ends of grants and sessions and by forks, under sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CDEF = HERE.parent.parent / "cdef"
UNSEEN = HERE.parents[1] / "tools" / "sanitize" / "thread.supp"
SECONDS = "2" if "MRHSM_HOSTS_LONGER" not in os.environ else "60"


@pytest.mark.parametrize(("sanitizer", "forks"), [("thread", []), ("address,undefined", ["forks"])])
def test_grants_that_end_amid_calls(tmp_path: Path, sanitizer: str, forks: list[str]) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler"
    program = tmp_path / "race"
    options = ["-g", "-O1", "-Wall", "-Wno-unused-function", "-Wno-unused-variable", f"-fsanitize={sanitizer}"]
    command = [compiler, *options, "-fno-sanitize-recover=all", f"-I{CDEF}", "-pthread", HERE / "datapath_race.c"]
    built = subprocess.run([*command, "-o", program, "-ldl"], check=False, capture_output=True, text=True, timeout=120)
    if built.returncode and "sanitize" in built.stderr + built.stdout:
        pytest.skip(f"this compiler has no -fsanitize={sanitizer}")
    assert built.returncode == 0, built.stderr
    environ = {**os.environ, "TSAN_OPTIONS": f"suppressions={UNSEEN}"}
    command = [program, SECONDS, *forks]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180, env=environ)
    if "no libcrypto" in run.stdout:
        pytest.skip("no libcrypto.so.3")
    if "unexpected memory mapping" in run.stderr:
        pytest.skip("this kernel randomises addresses further than the sanitizer can follow")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("fine "), run.stdout + run.stderr
