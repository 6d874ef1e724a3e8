"""The library: built, loadable, and taken by this host's JVM through SunPKCS11."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import mrhsm_p11
from mrhsm_p11.cluster.keys import CORE
from mrhsm_p11.doctor.findings import Finding, broken, note, well
from mrhsm_p11.doctor.subjects import Node, Token
from mrhsm_p11.tokendir.entries import slot_id

LIBRARY = Path(mrhsm_p11.__file__).resolve().parent / "libmrhsm_p11.so"
LIMIT_S = 60.0
_LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).C_GetFunctionList"
_PROVIDER = "name = mrhsm-doctor\nlibrary = {library}\nslot = {slot}\n"


def loads(_: Node) -> Iterator[Finding]:
    if not LIBRARY.is_file():
        yield broken(f"{LIBRARY} is not there", "install the package again: it builds the library")
        return
    done = _run([sys.executable, "-c", _LOAD, str(LIBRARY)])
    if done.returncode:
        yield broken(
            f"{LIBRARY} cannot be loaded: {_last(done.stdout)}", "install what it misses, or the package again"
        )
    else:
        yield well(f"{LIBRARY} loads")


def java(token: Token) -> Iterator[Finding]:
    """Let keytool, in a JVM of its own, log in through the protected path and list the token's keys."""
    keytool = _keytool()
    if keytool is None:
        yield note("no JVM on this host: neither JAVA_HOME nor PATH has keytool")
        return
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as settings:
        settings.write(_PROVIDER.format(library=LIBRARY, slot=slot_id(token.entry.serial)))
        settings.flush()
        done = _run([
            keytool, "-list", "-storetype", "PKCS11", "-keystore", "NONE", "-protected",
            "-addprovider", "SunPKCS11", "-providerarg", settings.name,
        ])  # fmt: skip
    seconds = time.monotonic() - began
    if done.returncode:
        yield broken(
            f"the JVM of {keytool} cannot use the token: {_last(done.stdout)}",
            "see the other checks and the log; try keytool as the daemons' user",
        )
        return
    entries = re.findall(r"^(.+), (?:\w+Entry)", done.stdout, re.MULTILINE)
    record = token.settings.cluster
    if record is not None and record.core_kek is not None and CORE.name(record.cluster) not in entries:
        yield broken(f"the JVM sees {len(entries)} keys, and the Core KEK is not one", "see the check of the keys")
        return
    yield well(f"{keytool}: SunPKCS11 logs in and lists {len(entries)} keys, {seconds:.1f} s with the JVM's start")


def _keytool() -> str | None:
    of_home = Path(os.environ["JAVA_HOME"], "bin", "keytool") if os.environ.get("JAVA_HOME") else None
    if of_home is not None and os.access(of_home, os.X_OK):
        return str(of_home)
    return shutil.which("keytool")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, at most LIMIT_S; its output is one text."""
    try:
        return subprocess.run(  # noqa: S603  (ours, and the host's own keytool)
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, f"no end after {LIMIT_S:.0f} seconds", "")


def _last(output: str) -> str:
    """Return the line of a failure that says most: the library's own, keytool's, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for beginning in ("mrhsm_p11: ", "keytool error"):
        for line in lines:
            if line.startswith(beginning):
                return line
    return lines[-1] if lines else "it said nothing"
