"""The fuzz targets, for a moment: `make fuzz` runs them for longer."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mrhsm_p11.abi._prototypes import PROTOTYPES
from mrhsm_p11.constants import CKR

ROOT = Path(__file__).resolve().parents[2]
CC = shutil.which("cc")


def has_asan() -> bool:
    """Tell whether the compiler brings AddressSanitizer's library; it answers the bare name without."""
    asked = [CC or "cc", "-print-file-name=libasan.so"]
    return bool(CC) and "/" in subprocess.run(asked, check=True, capture_output=True, text=True).stdout


needs_compiler = pytest.mark.skipif(not CC, reason="no C compiler")


def fuzz(*words: str) -> str:
    command = [sys.executable, ROOT / "tools" / "fuzz.py", *words]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@needs_compiler
@pytest.mark.xdist_group("fuzz")
@pytest.mark.skipif(not has_asan(), reason="no AddressSanitizer")
def test_what_crosses_by_chance_is_read_as_it_was_written() -> None:
    said = fuzz("walks", "--build", "address", "--calls", "5000")
    assert " calls in " in said


@needs_compiler
@pytest.mark.xdist_group("fuzz")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("words", [(), ("functions", "--isolation", "process")], ids=["here", "isolated"])
def test_every_function_with_every_fault_of_every_argument(words: tuple[str, ...]) -> None:
    said = fuzz("faults", *words)
    assert said.endswith(" 0 failures\n")


@needs_compiler
@pytest.mark.xdist_group("fuzz")  # all compile into one folder
@pytest.mark.parametrize("isolation", ["", "process"], ids=["here", "isolated"])
def test_calls_by_chance_do_no_harm(isolation: str) -> None:
    said = fuzz("calls", "--calls", "1500", "--isolation", isolation)
    assert " calls in " in said


def test_every_function_has_a_list_of_answers() -> None:
    """Those of PKCS #11 3.2; `tools/fuzz.py --strict` holds the library to them."""
    with (ROOT / "tests" / "fuzz" / "answers.csv").open() as file:
        rows = {row["function"]: row["answers"].split() for row in csv.DictReader(file)}
    assert rows.keys() == PROTOTYPES.keys()
    assert all(hasattr(CKR, name) for names in rows.values() for name in names)
