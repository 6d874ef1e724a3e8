"""What each C host of tests/host does under the tools of sanitize.py, and what it must say at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

EXITS = ("return", "exit", "thread", "quick", "direct", "handler", "final", "late")
RACES = ("logout", "destroy", "attribute", "close", "finalize", "fork")
FORKS = ("idle", "busy", "passing", "nested", "exec", "vfork", "spawn", "stranger", "exit", "early")


class Host(NamedTuple):
    """One program: it runs with each of `runs` as arguments, for each store, by itself and with an isolated process."""

    says: tuple[str, ...] = ()  # lines of its output
    runs: tuple[str, ...] = ("",)
    stores: tuple[str, ...] = ("file",)  # as sanitize.place_for() makes them
    isolated: bool = True
    lines: int = 0  # that it is given on its standard input
    loaded_by: str = ""  # the program whose OpenSSL loads it, for it is no program
    alone: bool = False  # it has the C of the library in itself, and no Python
    not_run: Mapping[str, str] = {}  # tool -> why
    left_out: Mapping[str, str] = {}  # tool -> the word among the arguments of runs that it cannot follow


HOSTS: dict[str, Host] = {
    "addon": Host(
        not_run=dict.fromkeys(
            ("address", "valgrind"), "only Node can load it, which no tool sees through; forked makes the same calls"
        )
    ),
    "begotten": Host(
        not_run=dict.fromkeys(("address", "valgrind"), "its library forks by itself, which only its test makes it do")
    ),
    "datapath_race": Host(
        *(("fine",), ("2", "1 forks")),
        alone=True,
        isolated=False,
        left_out={"thread": "forks"},  # it takes the locks that a forked child makes anew for those that are still held
    ),
    "engine": Host(
        ("use 0x0", "child: use 0x0", "child ended 0"), stores=("kmip",), isolated=False, loaded_by="forked"
    ),
    "exits": Host(runs=tuple(f"{how} {what}" for how in EXITS for what in ("busy", "waiting"))),
    "forked": Host(("use 0x0", "child: use 0x0", "child ended 0"), stores=("file", "kmip")),
    "forks": Host(
        *(("bad 0", "hung 0", "failures 0", "worked 1"), tuple(f"{way} 2" for way in FORKS)),
        not_run={"address": "gcc 12's guards its allocator at no fork: a child of busy threads can hang in it"},
    ),
    "humble": Host(
        ("initialize 0x0", "slots 0x0"),
        ("65534",),
        not_run={
            "address": "LeakSanitizer looks at a process that may look at itself",
            "valgrind": "another user cannot write memcheck's report",
        },
    ),
    "interfaces": Host(("initialize 0x0", "finalize 0x0")),
    "leave": Host(("initialize 0x0",), ("", "thread", "early", "thread early", "joined", "joined early")),
    "limited": Host(("same 1, opened 1", "finalize 0x0"), ("", "memory")),
    "load": Host(("initialize 0x0", "end"), ("lazy", "now", "lazy global", "lazy reload")),
    "many": Host(("failures 0", "threads 1"), ("threads 100", "restarts 10", "reloads 5", "cancelled 30")),
    "quiet": Host(("use 0x0", "tasks 1, asked for 0"), stores=("file", "kmip"), lines=1),
    "races": Host(
        (r"\w+: \d+ changes, \d+ calls, \d+ refused, wrong 0, mixed up 0", "finalize 0x0"),
        tuple(f"1 {scenario}" for scenario in RACES),
        stores=("file", "kmip"),
        left_out={"address": "fork"},  # as of forks
    ),
    "reenter": Host(("initialize 0x0", "other 0", "failures 0"), ("100",)),
    "stalled": Host(("child ended 0", "finalize 0x0"), stores=("silent",), lines=2),
    "storm": Host(("use 0x0", "finalize 0x0"), ("", "restart"), stores=("file", "kmip"), lines=1),
    "stuck": Host(("child: initialize 0x0", "child ended 0"), ("", "wait")),
    "together": Host(("wrong 0", "mixed up 0", "finalize 0x0"), ("shared 40", "finalize 3", "close 10")),
    "unmoved": Host(("initialize 0x0", "handlers changed 0", "mask changed 0")),
    "unseen": Host(("initialize 0x0", "finalize 0x0"), ("", "ignore", "adopt")),
}
# Threads run on while these end, or are left out by a fork with all that their stacks held: LeakSanitizer cannot stop
# or find them all, and then sees leaks that are none, or fails. Memcheck looks for leaks in them.
LEAVE_THREADS = frozenset({"exits", "forks", "leave", "stuck", "stalled"})
