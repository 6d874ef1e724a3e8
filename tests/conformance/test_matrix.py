"""The page that conformance writes: complete, the same when written again, and the same as what README shows."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mrhsm_p11.constants import CKM
from mrhsm_p11.mapping.mechanisms import ROWS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "conformance" / "pkcs11"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """matrix and outcome, which are no part of the package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module("matrix"), importlib.import_module("outcome")
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == FOLDER:
            del sys.modules[name]


def table(text: str) -> list[str]:
    """Return the first table of a text."""
    found = re.search(r"^\| suite .*(?:\n\|.*)*", text, re.MULTILINE)
    assert found is not None
    return found[0].splitlines()


def test_readme_shows_the_pages_table(modules: tuple[ModuleType, ModuleType]) -> None:
    matrix, _ = modules
    text = (ROOT / "README.md").read_text()
    shown = text.partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    assert table(shown) == table((ROOT / "docs" / "conformance.md").read_text())


def test_every_mechanism_has_one_row(modules: tuple[ModuleType, ModuleType]) -> None:
    lines = modules[0].mechanisms_table()[2:]
    named = [name for line in lines for name in line.split("|")[1].strip().split(", ")]
    assert sorted(named) == sorted(CKM.name(row.type) for row in ROWS.values())


def test_results_are_told_and_told_the_same_again(
    modules: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix, outcome = modules
    monkeypatch.setattr(matrix, "RESULTS", tmp_path)
    monkeypatch.setattr(matrix, "RESULTS_OFF", tmp_path / "off")
    monkeypatch.setattr(matrix, "PROJECT", tmp_path)
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(matrix, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"before\n{matrix.BEGIN}\nold\n{matrix.END}\nafter\n")
    assert matrix.main() == 1  # nothing ran
    told = outcome.Outcome(
        "a suite", "file", 7, failed=2, failures=("one: a|b", "two: x"), skips={"absent": 3}, skipped=3, in_c=5
    )
    told.excuse({"^two": "the suite is wrong"}).save(tmp_path)
    outcome.Outcome("a suite", "kmip", not_run="no server").save(tmp_path)
    outcome.Outcome("a suite", "file", 6, expected=1, in_c=None).save(tmp_path / "off")
    assert matrix.main() == 0
    written = [(tmp_path / name).read_text() for name in ("page.md", "README.md")]
    row = "| a suite | 7 passed, **1 failed**, 3 skipped, 1 expected | not run | not run |"
    assert row in written[0]
    ways = "7 passed, **1 failed**, 3 skipped, 1 expected | 5 | 6 passed, 1 expected | not counted"
    assert f"| a suite | file | {ways} |" in written[0]
    assert r"| a suite | file | one: a\|b |" in written[0]
    assert "| a suite | 1 | the suite is wrong |" in written[0]
    assert "| a suite | absent (3); not run: no server |" in written[0]
    assert written[1].splitlines()[0] == "before"
    assert row in written[1].splitlines()
    assert written[1].splitlines()[-2:] == [matrix.END, "after"]
    assert matrix.main() == 0
    assert [(tmp_path / name).read_text() for name in ("page.md", "README.md")] == written
