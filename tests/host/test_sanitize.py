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
        assert all(any(word in run.split() for run in host.runs) for word in host.left_out.values()), name


def test_what_a_host_can_do_is_in_its_row(tools: None) -> None:
    """The ways of exits, forks and races are those that their tests try."""
    import sanitize_hosts
    import test_hosts
    import test_races

    assert tuple(test_hosts.HOW) == sanitize_hosts.EXITS
    assert tuple(test_hosts.SCENARIOS) == sanitize_hosts.FORKS
    assert tuple(test_races.REFUSES) == sanitize_hosts.RACES


LOST = """==7== 40 bytes in 1 blocks are definitely lost in loss record 3 of 9
==7==    at 0x1: malloc (vg_replace_malloc.c:381)
"""
SEEN = {
    "asked for by the library": LOST + "==7==    by 0x2: datapath_open (datapath.c:3)\n",
    "asked for by the library, of OpenSSL": f"""{LOST}==7==    by 0x2: CRYPTO_zalloc (in /usr/lib/libcrypto.so.3)
==7==    by 0x3: context_new (datapath_context.c:9)\n""",
    "an error": "==7== Invalid read of size 4\n==7==    at 0x1: PyObject_Free (in /usr/lib/libpython3.11.so)\n",
    "an address": "\n=====\n==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x1\n    #0 0x1 in enter\n",
    "no behaviour": "cdef/boot.c:3:4: runtime error: signed integer overflow\n",
}
NOT_SEEN = {
    "asked for by Python": f"""{LOST}==7==    by 0x2: PyMem_Malloc (in /usr/lib/libpython3.11.so)
==7==    by 0x3: call_python (boot.c:3)\n""",
    "nothing": "",
}


def test_a_report_is_told_in_a_line(tools: None, tmp_path: Path) -> None:
    import sanitize

    for said, text in {**SEEN, **NOT_SEEN}.items():
        (tmp_path / "it").write_text(text)
        assert bool(sanitize.finding(tmp_path / "it", leaks=True)) == (said in SEEN), said


def test_what_a_forked_child_lost_is_not_told(tools: None, tmp_path: Path) -> None:
    import sanitize

    (tmp_path / "it").write_text(SEEN["asked for by the library"] + "==7== \n" + SEEN["an error"])
    assert sanitize.finding(tmp_path / "it", leaks=False) == "Invalid read of size 4"
