"""The main program of each suite here: run it in every place, keep what it said, end as run.py wants.

MRHSM_CONFORMANCE_PLACES (file,kmip,softhsm) chooses places; MRHSM_CONFORMANCE_SOURCES names a folder with checkouts of
suites whose packages leave the tests out. With MRHSM_DATAPATH=0 no call may be served in C, and what was said is kept
apart. Everything that is made stays in build/conformance.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from excuses import EXCUSES
from outcome import Outcome
from places import PLACES, Absent, Pins, Place, fresh
from workshop import PROJECT, Workshop

from mrhsm_p11.config import DATAPATH_VARIABLE

Suite = Callable[[Place, Workshop], Outcome]

FOLDER = PROJECT / "build" / "conformance"
RESULTS = FOLDER / "results"
RESULTS_OFF = FOLDER / "results-datapath-off"
DATAPATH_OFF = os.environ.get(DATAPATH_VARIABLE) == "0"
SKIPPED = 77


def main(name: str, suite: Suite, places: tuple[str, ...] = tuple(PLACES), pins: Pins | None = None) -> int:
    """Run a suite in its places; return run.py's exit code: only failures in places of ours count."""
    chosen = os.environ.get("MRHSM_CONFORMANCE_PLACES", ",".join(PLACES)).split(",")
    sources = os.environ.get("MRHSM_CONFORMANCE_SOURCES")
    workshop = Workshop(FOLDER, Path(sources).resolve() if sources else None)
    outcomes = [_run(name, suite, place, pins, workshop) for place in places if place in chosen]
    for outcome in outcomes:
        outcome.save(RESULTS_OFF if DATAPATH_OFF else RESULTS)
        for failure in outcome.failures:
            print(f"failed at {outcome.place}: {failure}")
    for outcome in outcomes:
        print(outcome.line())
    if not any(outcome.passed for outcome in outcomes):
        print("; ".join(sorted({outcome.not_run for outcome in outcomes})) or "no place was chosen")
        return SKIPPED
    ours = [outcome for outcome in outcomes if outcome.place != "softhsm" and not outcome.not_run]
    print("; ".join(f"{each.place} {each.passed} passed {each.failed + each.crashed} failed" for each in ours))
    return 0 if all(outcome.good for outcome in ours) else 1


def _run(name: str, suite: Suite, place_name: str, pins: Pins | None, workshop: Workshop) -> Outcome:
    began = time.monotonic()
    try:
        with fresh(place_name, pins) as place:
            outcome = replace(suite(place, workshop), in_c=place.served_in_c())
    except Absent as error:
        return Outcome(name, place_name, not_run=str(error))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        traceback.print_exc(file=sys.stdout)
        outcome = Outcome(name, place_name, crashed=1, failures=(f"{type(error).__name__}: {str(error)[:300]}",))
    if DATAPATH_OFF and outcome.in_c:
        told = f"{outcome.in_c} calls were served in C with the data path off"
        outcome = replace(outcome, failed=outcome.failed + 1, failures=(*outcome.failures, told))
    if place_name != "softhsm":
        outcome = outcome.excuse(EXCUSES.get(name, {}))
    return replace(outcome, suite=name, place=place_name, seconds=time.monotonic() - began)
