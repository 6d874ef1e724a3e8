"""The OASIS profiles that the token claims: every step of their test cases, on each store."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from fix_tokens import USER_PIN, TokenOnDisk
from p11 import Cryptoki

ROOT = Path(__file__).resolve().parent.parent.parent
VECTORS = ROOT.parent / "shared" / "vectors" / "pkcs11-profiles"


@pytest.fixture(scope="module")
def profiles() -> ModuleType:
    """The player, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("profiles", ROOT / "conformance" / "pkcs11" / "profiles.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["profiles"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vectors() -> Path:
    if not VECTORS.is_dir():
        pytest.skip(f"the OASIS profile cases are not in {VECTORS}")
    return VECTORS


@pytest.mark.parametrize("store", ["file", "kmip"])
def test_every_step_of_every_case(
    request: pytest.FixtureRequest,
    profiles: ModuleType,
    vectors: Path,
    make_token: Callable[..., TokenOnDisk],
    library_path: Path,
    store: str,
) -> None:
    if store == "kmip":
        make_token(store="kmip", connection=request.getfixturevalue("make_appliance")().connection())
    else:
        make_token()
    steps = list(profiles.play_all(Cryptoki(library_path), vectors, USER_PIN.decode()))
    assert {step.script.partition("-")[0] for step in steps} == {"AUTH", "BL", "CERT", "EXT"}
    assert [f"{step.script} {step.number} {step.function}: {step.wrong}" for step in steps if step.wrong] == []


def test_a_wrong_answer_fails_its_step(
    profiles: ModuleType,
    vectors: Path,
    tmp_path: Path,
    make_token: Callable[..., TokenOnDisk],
    library_path: Path,
) -> None:
    make_token()
    for script in vectors.glob("CERT*.xml"):
        shutil.copy(script, tmp_path)
        text = script.read_text()
        assert 'length="889"' in text
        assert "Mozilla Builtin Roots" in text
        changed = text.replace('<Attribute type="VALUE" length="889"/>', '<Attribute type="VALUE" length="888"/>', 2)
        (tmp_path / script.name).write_text(changed.replace("Mozilla Builtin Roots", "Mozilla Builtin Root"))
    wrong = [step for step in profiles.play_all(Cryptoki(library_path), tmp_path, USER_PIN.decode()) if step.wrong]
    assert {step.function for step in wrong} == {"C_GetAttributeValue"}
    assert len(wrong) == 3
