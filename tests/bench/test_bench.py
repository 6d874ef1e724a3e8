"""The benchmark measures everything that it promises, and draws it; no figure is judged."""

from __future__ import annotations

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
sys.path.append(str(BENCH))

import plan  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
import tables  # noqa: E402
from driving import Measured  # noqa: E402
from subjects import SOFTHSM_NAME  # noqa: E402

OURS = "file store"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick run leaves."""
    if shutil.which("cc") is None or not Path("/usr/include/openssl/evp.h").exists():
        pytest.skip("no C compiler, or no headers of OpenSSL (libssl-dev)")
    made = tmp_path_factory.mktemp("bench")
    subprocess.run([sys.executable, BENCH / "run.py", "--quick", "--to", made], check=True, timeout=100)
    return made


def test_every_operation_is_done(folder: Path) -> None:
    found = results.load(folder)
    names = {OURS, SOFTHSM_NAME} if shutil.which("softhsm2-util") else {OURS}
    assert names <= found.cells.keys()
    for name in names:
        measured = {cell.operation for cell, answer in found.cells[name].items() if isinstance(answer, Measured)}
        assert measured == {row.operation for row in plan.ROWS}, name
        assert {cell.operation for cell in found.searches[name]} == {row.operation for row in plan.FIND_ROWS}
        assert all(answer.count > 0 for answer in found.cells[name].values() if isinstance(answer, Measured))
    assert set(found.starts[OURS]) >= {"dlopen", "C_Initialize", "C_Login", "first encryption", "C_Finalize"}


def test_a_refusal_is_kept_as_what_it_is(folder: Path) -> None:
    found = results.load(folder)
    refused = {cell.operation for cell, answer in found.cells[results.BARE].items() if isinstance(answer, str)}
    assert refused == {"session info", "library info", "3 attributes"}  # libcrypto has no such thing
    assert found.ratio(results.BARE, OURS, plan.Cell("session info", 0, 1)) is None


def test_page_and_plots(folder: Path) -> None:
    page = (folder / "README.md").read_text()
    for row in plan.ROWS:
        assert row.operation in page
    assert str(Path.home()) not in page
    for name in report.PLOTS:
        if (folder / name).exists():
            assert ET.parse(folder / name).getroot().tag.endswith("svg")
            assert name in page
    assert len((folder / "all.csv").read_text().splitlines()) > len(plan.ROWS)


def test_figures_survive_their_file(folder: Path, tmp_path: Path) -> None:
    found = results.load(folder)
    results.save(found, tmp_path)
    assert results.load(tmp_path) == found
    assert report.page(results.load(tmp_path)) == (folder / "README.md").read_text()


def test_ratio_is_of_medians_and_of_operations_a_second() -> None:
    cell = plan.Cell("wrap", 0, 1)
    fast, slow = (Measured(rate, 1e9 / rate, 0, 0, 0, 0, 1) for rate in (5e6, 1e6))
    found = results.Results(cells={OURS: {cell: fast}, SOFTHSM_NAME: {cell: slow}, results.BARE: {cell: fast}})
    assert found.ratio(OURS, SOFTHSM_NAME, cell) == 5
    assert "**5x** 200 ns" in tables.ratios(found, SOFTHSM_NAME)
    several = cell._replace(threads=4)
    for name, rate in ((OURS, 9e6), (SOFTHSM_NAME, 3e6)):
        found.cells[name][several] = Measured(rate, 1.0, 0, 0, 0, 0, 1)
    assert found.ratio(OURS, SOFTHSM_NAME, several) == 3


def test_readme_is_the_last_run_of_the_repository() -> None:
    kept = results.load(results.FOLDER)
    assert report.page(kept) == (results.FOLDER / "README.md").read_text()
    assert kept.machine["processor"] in (ROOT / "README.md").read_text()
