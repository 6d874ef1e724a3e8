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
from p11 import build_ffi

BINDING = re.compile(r"binding file (\S+) \[0\] to (\S+) \[0\]: \w+ symbol `([^']+)'")
USERS = ("_ssl.", "_hashlib.", "_rust.", "libssl.so", "libcrypto.so")  # who use OpenSSL in the library


def exported(*files: Path | str) -> set[str]:
    """Return the names of what these export."""
    nm = shutil.which("nm")
    assert nm, "no binutils"
    listed = subprocess.run([nm, "-D", "--defined-only", *files], check=True, capture_output=True, text=True)
    return {line.split()[2].partition("@")[0] for line in listed.stdout.splitlines() if len(line.split()) == 3}


Ended = subprocess.CompletedProcess[str]
Binding = tuple[str, str, str]  # who uses, whose, which symbol


@pytest.fixture
def bindings(
    compiled: Callable[[str], Path], make_host_token: MakeHostToken, tmp_path: Path
) -> Callable[[Path], tuple[Ended, list[Binding]]]:
    """Use a token of a key manager in Node; return how Node ended, and all bindings of the process."""
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed (Debian: nodejs)")
    make_host_token("kmip")

    def use(library: Path) -> tuple[Ended, list[Binding]]:
        environment = {**os.environ, "ADDON_USES": str(library), "LD_BIND_NOW": "1"}
        environment |= {"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(tmp_path / "bindings")}
        program = "process.dlopen({exports: {}}, process.argv[1])"
        command = [node, "-e", program, compiled("addon.so")]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100, env=environment)
        bound = [line for file in tmp_path.glob("bindings.*") for line in BINDING.findall(file.read_text())]
        return ended, bound

    return use


def to_nodes_openssl(bound: list[Binding]) -> list[Binding]:
    """Return the bindings that lead from a library to an OpenSSL symbol of Node."""
    libraries = sorted({source for source, _, _ in bound if Path(source).name.startswith(("libssl.", "libcrypto."))})
    theirs = exported(shutil.which("node") or "node") & exported(*libraries)
    if len(theirs) < 100:
        pytest.skip("this Node exports no OpenSSL")
    return [line for line in bound if Path(line[1]).name == "node" != Path(line[0]).name and line[2] in theirs]


def test_nodes_openssl_is_bound_to_nothing_here(
    bindings: Callable[[Path], tuple[Ended, list[Binding]]], library_path: Path
) -> None:
    ended, bound = bindings(library_path)
    assert (ended.returncode, ended.stdout) == (0, "initialize 0x0\nuse 0x0\nfinalize 0x0\n"), ended.stderr
    for user in USERS:
        assert any(user in source for source, _, _ in bound), f"nothing was seen of {user}"
    wrong = to_nodes_openssl(bound)
    assert not wrong, f"{len(wrong)} bindings: {wrong[:5]}"


def test_without_rtld_deepbind_nodes_openssl_would_be_bound(
    bindings: Callable[[Path], tuple[Ended, list[Binding]]],
) -> None:
    """That the test above can tell; what becomes of such a process is anybody's guess."""
    _, bound = bindings(build_ffi.build_apart("host_symbols_first"))
    assert len(to_nodes_openssl(bound)) > 100
