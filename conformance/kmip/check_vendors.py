"""Every profile x the main job, at the trial appliance that imitates the product: check_vendors.py [--write].

`--write` puts the table into docs/vendors/README.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vendors import JOBS, LIMIT_S, PROJECT, Cell, Failed, run

from mrhsm_p11.config import PROFILES
from mrhsm_p11.kmip.profiles import ROWS

PAGE = PROJECT / "docs" / "vendors" / "README.md"
BEGIN, END = "<!-- jobs: conformance/kmip/check_vendors.py --write writes this -->", "<!-- end of jobs -->"


def mrhsm(home: Path, *words: str) -> str:
    """Run the command as an operator does. Raises Failed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "MAPR_HOME": str(home)}
    command = [sys.executable, "-m", "mrhsm_p11.cli.main", *words]
    done = subprocess.run(
        command, env=environment, check=False, text=True, capture_output=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise Failed(f"mrhsm {words[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def table(cells: list[Cell]) -> str:
    """Return profile x job, as Markdown."""
    lines = ["| imitation of | " + " | ".join(JOBS) + " |", "|---" * (len(JOBS) + 1) + "|"]
    for profile in dict.fromkeys(cell.profile for cell in cells):
        words = ["**failed**" if cell.failure else "passed" for cell in cells if cell.profile == profile]
        lines.append(f"| {ROWS[profile].title} | {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> int:
    cells: list[Cell] = []
    for profile in PROFILES:
        with tempfile.TemporaryDirectory(prefix=f"mrhsm-{profile}-") as name:
            done = list(run(profile, Path(name), mrhsm))
        cells += done
        for cell in done:
            print(
                f"{profile:<14}{cell.job:<8}{'failed' if cell.failure else 'passed':<8}{cell.seconds:6.2f} s",
                flush=True,
            )
            if cell.failure:
                print(f"  {cell.failure}")
    if "--write" in sys.argv[1:]:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table(cells)}\n\n{END}{rest.split(END)[1]}")
    failed = sum(bool(cell.failure) for cell in cells)
    print(f"{len(PROFILES)} profiles x {len(JOBS)} jobs: {len(cells) - failed} passed {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
