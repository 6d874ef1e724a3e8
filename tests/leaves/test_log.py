from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrhsm_p11 import log


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mrhsm.log"
    log.open_target(path, "info")
    yield path
    log.close()


def test_one_line_an_event(target: Path) -> None:
    log.warning("first\nstill first")
    log.error("second")
    lines = target.read_text().splitlines()
    assert len(lines) == 2
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT[\d:]{{8}}\.\d{{3}}Z warning {os.getpid()}\.\d+ first\\nstill first", lines[0]
    )


def test_lines_below_the_level_are_not_written(target: Path) -> None:
    log.debug("quiet")
    assert not target.exists()
    assert log.enabled("info")
    assert not log.enabled("debug")


def test_a_log_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    log.open_target(tmp_path / "missing" / "mrhsm.log", "debug")
    log.error("nobody hears this")
    log.close()


def test_a_link_in_the_log_s_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    (tmp_path / "mrhsm.log").symlink_to(victim)
    log.open_target(tmp_path / "mrhsm.log", "debug")
    log.error("not here")
    log.close()
    assert victim.read_text() == ""


def test_closed_means_silent(target: Path) -> None:
    log.close()
    log.error("late")
    assert not target.exists()
