"""The main job at each product that has a profile, as the trial appliance imitates it from documents."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import beginning
from mrhsm_p11.config import PROFILES

PART = Path(__file__).parents[2] / "conformance" / "kmip" / "vendors.py"
pytestmark = pytest.mark.usefixtures("quick_pins", "quick_disk")


@pytest.fixture(scope="module")
def vendors() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("vendors", PART)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["vendors"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["vendors"]


@pytest.fixture
def mrhsm(
    vendors: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    monkeypatch.delenv("MRHSM_CONF", raising=False)

    def run(home: Path, *words: str) -> str:
        monkeypatch.setenv("MAPR_HOME", str(home))
        capfd.readouterr()
        status = main([*words])
        told = capfd.readouterr()
        if status:
            raise vendors.Failed(f"{' '.join(words)} ended with {status}: {told.err}")
        return told.out

    return run


@pytest.mark.timeout(600)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_job_passes(vendors: ModuleType, mrhsm: Callable[..., str], tmp_path: Path, profile: str) -> None:
    cells = list(vendors.run(profile, tmp_path, mrhsm))
    assert [(cell.job, cell.failure) for cell in cells] == [(job, "") for job in vendors.JOBS]
