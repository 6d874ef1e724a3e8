"""Measure our library, SoftHSM2 and bare libcrypto in one run; write bench/results/ and README's part.

    python bench/run.py [--rounds N] [--milliseconds M] [--to FOLDER] [--quick]

Each library is loaded into a process of its own. A round gives each cell of bench/plan.py to each library in turn, so
that whatever drifts on the machine hits all alike; figures are medians over the rounds. With --to, the results go
there, and README stays as it is.
"""

from __future__ import annotations

import argparse
import compileall
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import report
import results
from driving import Driver, Measured, compiled, median, started
from plan import CELLS, FIND_CELLS, MOST_AT_SERVER, OBJECTS, Cell
from results import BARE, Results
from subjects import (
    PIN,
    SOFTHSM_NAME,
    Appliances,
    Subject,
    appliances,
    find_makings,
    makings,
    ours,
)

import mrhsm_p11
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.pinfile import UserPin

ROUNDS, MILLISECONDS, STARTS = 5, 50.0, 15
FIND_ROUNDS = 3
IN_MEMORY = "/dev/shm"  # tokens are kept here: it is no disk that is measured, and 10,000 objects are soon made

Answers = dict[tuple[str, Cell], list[Measured | str]]


class Run:
    """One run: where it happens and what it has found."""

    def __init__(self, folder: Path, servers: Appliances, *, rounds: int, milliseconds: float) -> None:
        self.folder = folder
        self.servers = servers
        self.rounds = rounds
        self.milliseconds = milliseconds
        self.program = compiled(folder)
        self.results = Results(rounds=rounds, milliseconds=milliseconds)

    def subjects(self, names: Sequence[str] | None = None) -> list[Subject]:
        """Make the subjects, those of these names only."""
        wanted = {name: making for name, making in makings().items() if names is None or name in names}
        made = [making(self.folder, self.servers, name) for name, making in wanted.items()]
        return [subject for subject in made if subject]

    def measure_starts(self, subjects: list[Subject], runs: int) -> None:
        """Start each library in new processes, in turns."""
        with_pin = ours(self.folder, "file store, chosen PIN", user_pin=UserPin(Secret(PIN.encode())))
        taken: dict[str, list[dict[str, tuple[float, str]]]] = {}
        for _ in range(runs):
            for subject in [*subjects, with_pin]:
                taken.setdefault(subject.name, []).append(started(self.program, subject))
        self.results.take_starts(taken)

    def measure_operations(self, subjects: list[Subject], cells: Sequence[Cell]) -> None:
        """Measure every cell with every library, and with libcrypto in the process of the first."""
        answers: Answers = {}
        with ExitStack() as stack:
            drivers = [Driver(self.program, subject) for subject in subjects]
            for driver in drivers:
                stack.callback(driver.close)
            for round_number in range(self.rounds):
                for cell in cells:
                    turn = round_number % len(drivers)
                    for driver in [*drivers[turn:], *drivers[:turn]]:
                        answer = driver.measure(cell, self.milliseconds)
                        answers.setdefault((driver.subject.name, cell), []).append(answer)
                    bare = drivers[0].measure(cell, self.milliseconds, bare=True)
                    answers.setdefault((BARE, cell), []).append(bare)
                say(f"round {round_number + 1} of {self.rounds}")
            for driver in drivers:
                self.results.memory_mb[driver.subject.name] = driver.memory_mb()
        self.results.take_cells(_medians(answers))

    def measure_searches(self, counts: Sequence[int], names: Sequence[str] | None = None) -> None:
        """Measure searches among so many objects."""
        for count in counts:
            answers: Answers = {}
            folder = self.folder / f"find-{count}"
            folder.mkdir()
            with ExitStack() as stack:
                for name, making in find_makings().items():
                    if (names and name not in names) or (name.startswith("KMIP") and count > MOST_AT_SERVER):
                        continue
                    subject = making(folder, self.servers, f"{name} {count}")
                    if subject is None:
                        continue
                    filling = Driver(self.program, subject)
                    filling.fill(count)
                    filling.close()
                    driver = Driver(self.program, subject)  # which has seen none of them
                    stack.callback(driver.close)
                    for cell in FIND_CELLS * FIND_ROUNDS:
                        answers.setdefault((name, cell), []).append(driver.measure(cell, self.milliseconds))
            self.results.take_searches(count, _medians(answers), first=_firsts(answers))
            say(f"searches among {count}")


def _medians(answers: Answers) -> dict[tuple[str, Cell], Measured | str]:
    """Return the median of each, or the refusal: one refusal is enough."""
    found: dict[tuple[str, Cell], Measured | str] = {}
    for key, rounds in answers.items():
        refusals = [answer for answer in rounds if isinstance(answer, str)]
        good = [answer for answer in rounds if isinstance(answer, Measured)]
        found[key] = refusals[0] if refusals else median(good)
    return found


def _firsts(answers: Answers) -> dict[tuple[str, Cell], float]:
    """Return what the very first operation of a process took, in ns."""
    return {key: rounds[0].first_ns for key, rounds in answers.items() if isinstance(rounds[0], Measured)}


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--milliseconds", type=float, default=MILLISECONDS)
    options.add_argument("--quick", action="store_true", help="file store and SoftHSM2, each operation once")
    options.add_argument("--to", type=Path)
    given = options.parse_args()
    # As pip does for an installed package; hosts never write bytecode.
    compileall.compile_dir(str(Path(mrhsm_p11.__file__).parent), quiet=1)
    folder = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=folder) as name, appliances(Path(name)) as servers:
        if given.quick:
            run = quick(Path(name), servers)
        else:
            run = Run(Path(name), servers, rounds=given.rounds, milliseconds=given.milliseconds)
            subjects = run.subjects()
            run.measure_starts([one for one in subjects if "data path off" not in one.name], STARTS)
            say("starts")
            run.measure_operations(subjects, CELLS)
            run.measure_searches(OBJECTS)
        keep(run.results, given.to)


def quick(folder: Path, servers: Appliances) -> Run:
    """Try each operation with one thread, in the file store and SoftHSM2; the figures say nothing."""
    run = Run(folder, servers, rounds=1, milliseconds=1.0)
    names = ("file store", SOFTHSM_NAME)
    subjects = run.subjects(names)
    run.measure_starts(subjects, 1)
    seen: dict[str, Cell] = {}
    for cell in CELLS:
        seen.setdefault(cell.operation, cell)
    run.measure_operations(subjects, [*seen.values(), CELLS[0]._replace(threads=4)])
    run.measure_searches(OBJECTS[:1], names)
    return run


def keep(found: Results, to: Path | None) -> None:
    """Write what was found; into the repository unless told otherwise."""
    folder = to or results.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    found.machine = results.machine()
    results.save(found, folder)
    kept = results.load(folder)
    report.draw(kept, folder)
    if to is None:
        report.renew_readme(kept)


if __name__ == "__main__":
    main()
