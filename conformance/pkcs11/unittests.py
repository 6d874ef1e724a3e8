"""Suites that unittest or pytest runs, read from JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from outcome import Outcome


def read(report: Path, output: str) -> Outcome:
    """Return what a JUnit report says; a report that is not there is a crash."""
    if not report.exists():
        return Outcome("", "", crashed=1, failures=(f"no report was written: {output.strip()[-500:]}",))
    passed, failures, skips = 0, [], Counter[str]()
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        fault = next((child for child in case if child.tag in ("failure", "error")), None)
        skipped = case.find("skipped")
        if fault is not None:
            failures.append(f"{name}: {(fault.get('message') or fault.text or '').strip()[:200]}")
        elif skipped is not None:
            skips[(skipped.get("message") or "no reason given").strip()[:120]] += 1
        else:
            passed += 1
    return Outcome(
        "",
        "",
        passed=passed,
        failed=len(failures),
        skipped=sum(skips.values()),
        failures=tuple(failures),
        skips=dict(skips),
    )
