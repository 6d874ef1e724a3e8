"""Hosts whose keys C may not or cannot serve: Python does it all, and the log says why, once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_host_token import MakeHostToken
from fix_native import ISOLATED, Host

MEMORY = "no data path for keys: the limit of locked memory is reached (ulimit -l)"
OPENSSL = "no data path: this system has no libcrypto.so.3 of 3.0.3 or later"
ABSENT = "libcrypto.so.9"  # no longer than the name it stands for
Doctored = Callable[[str, "str | None"], Path]
WELL = [
    *(f"{step} 0x0" for step in ("initialize", "session", "login", "keys", "first", "again", "again", "again")),
    "same 1, opened 1",
    "finalize 0x0",
]

pytestmark = pytest.mark.skipif(ISOLATED, reason="the limits of this process are not those of its library's")


def served(host_home: Path) -> int:
    """Return what the log says of calls that C has served."""
    found = re.findall(r" (\d+) calls served in C so far$", (host_home / "logs" / "mrhsm.log").read_text(), re.M)
    return int(found[-1])


def told(host_home: Path) -> list[str]:
    """Return the warnings that the log has of the data path."""
    lines = (host_home / "logs" / "mrhsm.log").read_text().splitlines()
    return [line[line.index("no data path") :] for line in lines if "no data path" in line]


@pytest.fixture
def environ(host_home: Path, make_host_token: MakeHostToken) -> dict[str, str]:
    """The environment of a host that has the data path, and a log that counts its calls."""
    make_host_token("file")
    with (host_home / "conf" / "maprhsm.conf").open("a") as settings:
        settings.write('[log]\nlevel = "info"\n')
    return {**os.environ, "MRHSM_DATAPATH": "1"}


def test_c_serves_where_nothing_is_limited(host: Host, host_home: Path, environ: dict[str, str]) -> None:
    assert host("limited", environ=environ).stdout.splitlines() == ["locks 1", *WELL]
    assert told(host_home) == []
    assert served(host_home) >= 12  # four calls a time, twice at least


def test_memory_that_may_not_be_locked_holds_no_keys(host: Host, host_home: Path, environ: dict[str, str]) -> None:
    assert host("limited", "memory", environ=environ).stdout.splitlines() == ["locks 0", *WELL]
    assert told(host_home) == [MEMORY]
    assert served(host_home) >= 3  # digests have no key


@pytest.mark.parametrize("there", ["none", "another"])
def test_a_system_without_a_libcrypto_to_use(
    host: Host, host_home: Path, environ: dict[str, str], doctored: Doctored, tmp_path: Path, there: str
) -> None:
    """Without the file, or with one that lacks the functions. Python's own modules have theirs, whatever its name."""
    library = doctored("crypto/libcrypto.py", f'\n_NAME = "{ABSENT}"\n')
    library.write_bytes(library.read_bytes().replace(b"libcrypto.so.3\0", ABSENT.encode() + b"\0"))
    if there == "another":
        compile_empty(tmp_path / ABSENT)
    ended = host("limited", library=library, environ={**environ, "LD_LIBRARY_PATH": str(tmp_path)})
    assert ended.stdout.splitlines() == ["locks 1", *WELL]
    assert told(host_home) == [OPENSSL]
    assert served(host_home) == 0


def compile_empty(library: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler"
    subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", os.devnull, "-o", library], check=True, timeout=60)
