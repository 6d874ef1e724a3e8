"""The demonstration notices what goes wrong; that all goes well is for `make demo` to show."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DEMO = Path(__file__).resolve().parents[2] / "demo"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DEMO)
    return importlib.import_module("stage")


@pytest.fixture
def demo(stage: ModuleType) -> Iterator[ModuleType]:
    yield importlib.import_module("demo")
    del sys.modules["demo"], sys.modules["stage"]


def test_types_pins_at_prompts(stage: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script = "import getpass; print('Name: value'); print(getpass.getpass('PIN: ')[::-1], getpass.getpass('New PIN: '))"
    output = stage.Stage({}).run("python", "-c", script, typed=["abc", "xyz"])
    assert output.endswith("cba xyz\n")
    assert capsys.readouterr().out.endswith(output)


def test_a_command_that_fails_ends_the_demonstration(stage: ModuleType) -> None:
    with pytest.raises(stage.Failed, match="python ended with 3"):
        stage.Stage({}).run("python", "-c", "exit(3)")


def test_a_command_that_hangs_is_ended(stage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LIMIT_S", 0.5)
    with pytest.raises(stage.Failed, match="no answer within"):
        stage.Stage({}).run("python", "-c", "input()")


def test_a_program_that_is_missing(stage: ModuleType) -> None:
    with pytest.raises(stage.Failed, match="no-such-program is not installed"):
        stage.Stage({}).run("no-such-program")


def test_environment_and_folder(stage: ModuleType) -> None:
    script = "import os; print(os.environ['MAPR_HOME'], os.path.isdir('demo'))"
    assert stage.Stage({"MAPR_HOME": "/here"}).run("python", "-c", script) == "/here True\n"


def test_one_difference_is_a_failure(demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = demo.Node("Title", "label", tmp_path)
    right = hashlib.sha256(node.cldb_key).hexdigest().upper()
    node.checksums |= {"one": right, "two": right}
    assert demo.summary([node], 1)
    node.checksums["two"] = "0" * 64
    assert not demo.summary([node], 1)
    assert "DIFFERENT" in capsys.readouterr().out


def test_output_without_what_is_wanted_is_a_failure(demo: ModuleType) -> None:
    assert demo.found("^b(.)", "a\nbc\n") == "c"
    with pytest.raises(demo.Failed):
        demo.found("^c", "a\nbc\n")
