"""pkcs11-check, its fast profile, in a Python new enough for it; the library is built for that Python.

pkcs11-check loads the module into its own Python process: ours then shares the interpreter.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from outcome import Outcome
from part import main
from places import Pins, Place
from workshop import PROJECT, Workshop, newer_python

VERSION = "0.2.3"
_INTERFACE = os.environ.get("MRHSM_CONFORMANCE_INTERFACE", "auto")


def suite(place: Place, workshop: Workshop) -> Outcome:
    python = workshop.environment("pkcs11-check", f"pkcs11-check=={VERSION}", python=newer_python((3, 12)))
    if place.mrhsm:
        place = replace(place, module=_built_for(python, place))
    report = place.folder / "report.json"
    command = (python.with_name("pkcs11-check"), "test", "--skip-slow", "-i", _INTERFACE, "-m", place.module)
    done = place.run(
        *(*command, "-o", "json", "--output-file", report, "-t", 60, "--no-collection-cache"),
        limit_s=3000,
        P11TEST_PIN=place.pins.user,
        P11TEST_SO_PIN=place.pins.so,
    )
    return _read(report, done.stdout)


def _built_for(python: Path, place: Place) -> Path:
    """Build this project for that Python; return its library."""
    build = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--force-reinstall", "--no-deps")
    for command in ((python, "-m", "pip", "install", "-q", f"{PROJECT}"), (*build, f"{PROJECT}")):
        done = place.run(*command, limit_s=300)
        if done.returncode:
            raise RuntimeError(done.stdout)
    found = place.run(python, "-c", "import mrhsm_p11; print(mrhsm_p11.__path__[0])").stdout.strip()
    return Path(found) / "libmrhsm_p11.so"


def _read(report: Path, output: str) -> Outcome:
    if not report.exists():
        return Outcome("", "", crashed=1, failures=(f"no report was written: {output.strip()[-500:]}",))
    counts, failures, skips = Counter[str](), [], Counter[str]()
    for unit in json.loads(report.read_text())["units"]:
        for outcome, count in unit["counts"].items():
            counts[outcome] += count
        for test in unit.get("tests", ()):
            why = str(test.get("wasxfail") or test.get("longrepr") or "")
            name = test["nodeid"].partition("/testcases/")[2]
            if test["outcome"] == "skipped":
                skips[why.rpartition("Skipped: ")[2].strip(" ')")[:120]] += 1
            elif test["outcome"] not in ("passed", "xfailed"):
                failures.append(f"{test['outcome']} {name}: {why.strip().splitlines()[-1:]}")
    return Outcome(
        "",
        "",
        passed=counts.pop("passed", 0),
        skipped=counts.pop("skipped", 0),
        expected=counts.pop("xfailed", 0),
        crashed=sum(counts.pop(name, 0) for name in ("crashed", "timeout", "crash_limited")),
        failed=sum(counts.values()),
        failures=tuple(failures),
        skips=dict(skips),
    )


if __name__ == "__main__":
    sys.exit(main("pkcs11-check", suite, pins=Pins("12345", "12345678")))
