"""Run every part of the conformance suite that is found: python conformance/run.py [part ...].

A part is a program check_*.py below this folder, named by its path without `check_`. It exits 0 when all passed and 77
when what it needs is absent; its last line of output says what was seen, or why it was skipped. Each has a process
group of its own, which is gone after the part's time limit, whatever it started.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT_S = 4000.0  # pkcs11-check in three places on a busy machine
PASSED, SKIPPED = 0, 77
WORDS = {PASSED: "passed", SKIPPED: "skipped"}


def parts() -> dict[str, Path]:
    """Return every part by its name, such as clients/cluster/cldb."""
    found = sorted(HERE.rglob("check_*.py"))
    return {str(path.relative_to(HERE).with_name(path.stem.removeprefix("check_"))): path for path in found}


def run(path: Path) -> tuple[int, str]:
    """Run one part, its output shown as it comes; return its exit code and its last line."""
    process = subprocess.Popen(
        [sys.executable, str(path)],
        cwd=HERE.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    last, until = "", time.monotonic() + LIMIT_S
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        for line in process.stdout:
            print(f"  {line}", end="", flush=True)
            last = line.strip() or last
        code = process.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # nothing that it started outlives it
    return code, last if time.monotonic() < until else f"no end after {LIMIT_S:.0f} seconds"


def main() -> int:
    known = parts()
    wanted = sys.argv[1:] or list(known)
    if unknown := [name for name in wanted if name not in known]:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    table = []
    for name in wanted:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        code, last = run(known[name])
        table.append((name, code, time.monotonic() - began, last))
    print("\n== summary")
    for name, code, seconds, last in table:
        print(f"{name:<32}{WORDS.get(code, 'FAILED'):<9}{seconds:6.1f} s  {re.sub(r' +', ' ', last)}")
    return 0 if all(code in WORDS for _, code, _, _ in table) else 1


if __name__ == "__main__":
    sys.exit(main())
