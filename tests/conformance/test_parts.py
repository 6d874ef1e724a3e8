"""What parts of conformance make of what suites say: nothing that went wrong is told as passed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fix_conformance import FOLDER, Load


def test_a_step_that_fails_or_lacks_something_is_told(load: Load) -> None:
    steps, places = load("steps").Steps(), load("places")

    def wrong() -> None:
        raise AssertionError("another answer")

    def lacking() -> None:
        places.need("no-such-program-at-all")

    for name, act in (("good", lambda: None), ("wrong", wrong), ("lacking", lacking)):
        steps.step(name, act)
    steps.tell("said good", "")
    steps.tell("said wrong", "its reason")
    outcome = steps.outcome()
    assert (outcome.passed, outcome.failed, outcome.skipped) == (2, 2, 1)
    assert outcome.failures == ("wrong: another answer", "said wrong: its reason")
    assert list(outcome.skips) == ["lacking: no-such-program-at-all is not installed (Debian: no-such-program-at-all)"]


def test_a_test_of_go_that_does_not_end_has_crashed(load: Load) -> None:
    read = load("check_miekg")._read
    said = [
        ("run", "TestA"),
        ("pass", "TestA"),
        ("run", "TestB"),
        ("fail", "TestB"),
        ("run", "TestC"),
        ("skip", "TestC"),
    ]
    lines = [json.dumps({"Action": action, "Test": test}) for action, test in said]
    outcome = read("\n".join([*lines, json.dumps({"Action": "run", "Test": "TestD"}), "SIGSEGV"]))
    assert (outcome.passed, outcome.failed, outcome.skipped, outcome.crashed) == (1, 1, 1, 1)
    assert [failure.partition(":")[0] for failure in outcome.failures] == ["TestB", "TestD"]
    assert read("go: no such package").crashed == 1


def test_a_server_that_does_not_start_fails_its_step(load: Load, tmp_path: Path) -> None:
    services, places = load("services"), load("places")
    place = places.Place("nowhere", tmp_path, tmp_path / "none.so", {})
    told = "import sys; print('no such key'); sys.exit(3)"
    with (
        pytest.raises(AssertionError, match="no such key"),
        services.serving(place, services.free_port(), sys.executable, "-c", told),
    ):
        raise RuntimeError("the block must not run")


def test_every_excuse_is_of_a_part_and_has_a_reason(load: Load) -> None:
    names = re.compile(r'main\(\s*"([^"]+)"')
    parts = {name for path in FOLDER.glob("check_*.py") for name in names.findall(path.read_text())}
    for suite, reasons in load("excuses").EXCUSES.items():
        assert suite in parts
        for pattern, reason in reasons.items():
            re.compile(pattern)
            assert len(reason) > 20


@pytest.mark.parametrize("served", [0, 7])
def test_a_call_served_in_c_fails_a_suite_that_ran_with_the_data_path_off(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: int
) -> None:
    part, outcome = load("part"), load("outcome")

    def suite(place: Any, _: object) -> Any:
        assert place.environment["MRHSM_DATAPATH"] == "0"
        lines = (f"2026-01-01T00:00:00.000Z info {pid}.8 {count} calls served in C so far" for pid, count in said)
        (place.folder / "logs" / "mrhsm.log").write_text("\n".join(lines) + "\n")
        return outcome.Outcome("", "", passed=1)

    said = ((5, 0), (6, served), (6, served))  # the same process twice
    monkeypatch.setenv("MRHSM_DATAPATH", "0")
    monkeypatch.setattr(part, "DATAPATH_OFF", True)
    monkeypatch.setattr(part, "RESULTS_OFF", tmp_path)
    monkeypatch.setenv("MRHSM_CONFORMANCE_PLACES", "file")
    assert part.main("a suite", suite) == (1 if served else 0)
    (told,) = outcome.load_all(tmp_path)
    assert (told.in_c, told.failed) == (served, bool(served))
