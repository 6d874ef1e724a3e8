"""Suites of Node that mocha runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from outcome import Outcome
from places import Place, need

MOCHA = "mocha@10.8.2"


def run(place: Place, packages: Path, tests: Path, *options: str, **more: str) -> Outcome:
    """Run mocha over a folder of tests that finds its packages in `packages`/node_modules."""
    modules = packages / "node_modules"
    (tests / "node_modules").symlink_to(modules)
    report = place.folder / "mocha.json"
    command = (need("node"), modules / "mocha" / "bin" / "mocha.js", *options, "--timeout", "60000")
    done = place.run(
        *(*command, "--reporter", "json", "--reporter-option", f"output={report}", "."), limit_s=600, cwd=tests, **more
    )
    if not report.exists():
        return Outcome("", "", crashed=1, failures=(f"exit code {done.returncode}: {done.stdout.strip()[-500:]}",))
    said = json.loads(report.read_text())
    return Outcome(
        "",
        "",
        passed=said["stats"]["passes"],
        failed=said["stats"]["failures"],
        skipped=said["stats"]["pending"],
        failures=tuple(f"{each['fullTitle']}: {each['err'].get('message', '')[:200]}" for each in said["failures"]),
        skips=dict(Counter(each["fullTitle"] for each in said["pending"])),
    )
