"""The table of tools/sanitize_hosts.py: no host is forgotten, no row is of none."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (ROOT / "tools", HERE):
        monkeypatch.syspath_prepend(str(folder))


def test_every_host_runs_under_the_tools_or_says_why_not(tools: None) -> None:
    import sanitize_hosts

    table = sanitize_hosts.HOSTS
    assert set(table) == {path.stem for path in HERE.glob("*.c")}
    assert set(table) >= sanitize_hosts.LEAVE_THREADS
    for name, host in table.items():
        assert set(host.not_run) <= {"address", "valgrind", "thread"}, name
        assert host.says or name == "exits" or host.not_run, name
        assert all(host.not_run.values()), name


def test_what_a_host_can_do_is_in_its_row(tools: None) -> None:
    """The ways of exits and forks are those that their tests try."""
    import sanitize_hosts
    import test_hosts

    assert tuple(test_hosts.HOW) == sanitize_hosts.EXITS
    assert tuple(test_hosts.SCENARIOS) == sanitize_hosts.FORKS
