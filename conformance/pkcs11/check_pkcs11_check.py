"""pkcs11-check, its fast profile, in a Python new enough for it; the library is built for that Python.

pkcs11-check loads the module into its own Python process: ours then shares the interpreter.
"""

from __future__ import annotations

import json
import os
import re
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
# Pattern of a reason to skip -> the group that it is counted in; the first that fits counts.
_GROUPS = {
    r"CKF_\w+ not advertised": "the mechanism is not for this use",
    r"not supported|not advertised|not available|not exposed": "the mechanism or function is not offered",
    r"params are not required|param_required": "the mechanism takes no parameter that could be wrong",
    r"No KAT vectors": "the suite has no known answers for the mechanism",
    r"domain parameters": "the suite has no domain parameters for the mechanism",
    r"needs secret-key keygen|generic-secret key type": "the suite's test is for secret keys of one mechanism only",
    r"tested elsewhere|covered in": "the suite tests the mechanism elsewhere",
    r"data not found|empty parameter set|vectors not": "test vectors that the suite would download",
    r"estructive": "destructive tests are not asked for",
    r"No CK[OH]_\w+ .*present": "the token has no such object",
}


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
        for reason, count in unit.get("skip_reasons", {}).items():
            skips[_group(reason)] += count
        for test in unit.get("tests", ()):
            why = str(test.get("wasxfail") or test.get("longrepr") or "")
            name = test["nodeid"].partition("/testcases/")[2]
            if test["outcome"] not in ("passed", "skipped", "xfailed"):
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
        skips=dict(skips.most_common()),
    )


def _group(reason: str) -> str:
    """Return what many reasons to skip have in common: each names its mechanism, curve or test case."""
    return next((group for pattern, group in _GROUPS.items() if re.search(pattern, reason)), reason[:120])


if __name__ == "__main__":
    sys.exit(main("pkcs11-check", suite, pins=Pins("12345", "12345678")))
