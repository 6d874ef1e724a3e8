"""Threads whose calls C serves, while another takes away the login, the keys, their permissions, sessions, or all."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from fix_host_token import MakeHostToken
from fix_native import Host

LONGER = int(os.environ.get("MRHSM_HOSTS_LONGER", "1"))
CHANGES = {"file": 2, "kmip": 1}
REFUSES = {"logout": 1, "destroy": 1, "attribute": 1, "close": 1, "finalize": 1, "fork": 0}  # scenario -> some calls
LINE = re.compile(r"(\w+): (\d+) changes, (\d+) calls, (\d+) refused, wrong (\d+), mixed up (\d+)")


def served_in_c(home: Path) -> int:
    return max(int(each) for each in re.findall(r"(\d+) calls served in C", (home / "logs" / "mrhsm.log").read_text()))


@pytest.mark.parametrize("store", CHANGES)
def test_nothing_that_was_taken_away_is_used_afterwards(
    host: Host, host_home: Path, make_host_token: MakeHostToken, store: str
) -> None:
    (host_home / "logs").mkdir(exist_ok=True)
    make_host_token(store, network='deadline_seconds = 60\n[log]\nlevel = "info"')
    changes = CHANGES[store] * LONGER
    ended = host("races", str(changes), *REFUSES)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    *lines, finalized = ended.stdout.splitlines()
    assert finalized == "finalize 0x0"
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), ended.stdout
    for (scenario, refuses), line in zip(REFUSES.items(), filter(None, found), strict=True):
        name, changed, calls, refused, wrong, mixed = line.groups()
        assert (name, int(changed), wrong, mixed) == (scenario, changes, "0", "0"), ended.stdout
        assert int(calls) > 1000
        assert (int(refused) > 0) == bool(refuses)
    if os.environ.get("MRHSM_DATAPATH") != "0":
        assert served_in_c(host_home) > 1000
