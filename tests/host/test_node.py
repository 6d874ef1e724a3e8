"""Node, whose program exports an OpenSSL of its own: nothing of ours or of Python's may be bound to it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_host_token import MakeHostToken

BINDING = re.compile(r"binding file (\S+) \[0\] to (\S+) \[0\]: \w+ symbol `([^']+)'")
USERS = ("_ssl.", "_hashlib.", "_rust.", "libssl.so", "libcrypto.so")  # who use OpenSSL in the library


def exported(*files: Path | str) -> set[str]:
    """Return the names of what these export."""
    nm = shutil.which("nm")
    assert nm, "no binutils"
    listed = subprocess.run([nm, "-D", "--defined-only", *files], check=True, capture_output=True, text=True)
    return {line.split()[2].partition("@")[0] for line in listed.stdout.splitlines() if len(line.split()) == 3}


def test_nodes_openssl_is_bound_to_nothing_here(
    compiled: Callable[[str], Path],
    library_path: Path,
    host_home: Path,
    make_host_token: MakeHostToken,
    tmp_path: Path,
) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed (Debian: nodejs)")
    make_host_token("kmip")
    environment = {**os.environ, "ADDON_USES": str(library_path), "LD_BIND_NOW": "1"}
    environment |= {"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(tmp_path / "bindings")}
    program = "process.dlopen({exports: {}}, process.argv[1])"
    ended = subprocess.run(
        [node, "-e", program, compiled("addon.so")],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    assert (ended.returncode, ended.stdout) == (0, "initialize 0x0\nuse 0x0\nfinalize 0x0\n"), ended
    bound = [line for file in tmp_path.glob("bindings.*") for line in BINDING.findall(file.read_text())]
    libraries = sorted({source for source, _, _ in bound if Path(source).name.startswith(("libssl.", "libcrypto."))})
    for user in USERS:
        assert any(user in source for source, _, _ in bound), f"nothing was seen of {user}"
    theirs = exported(node) & exported(*libraries)
    if len(theirs) < 100:
        pytest.skip("this Node exports no OpenSSL")
    wrong = [
        line for line in bound if Path(line[1]).name == "node" and Path(line[0]).name != "node" and line[2] in theirs
    ]
    assert not wrong, f"{len(wrong)} bindings: {wrong[:5]}"
