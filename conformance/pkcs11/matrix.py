"""Write docs/conformance.md from what the suites said and from the tables of mechanisms.

python conformance/pkcs11/matrix.py
"""

from __future__ import annotations

import re
import sys

from outcome import Outcome, load_all
from part import RESULTS
from places import PLACES
from workshop import PROJECT

from mrhsm_p11.constants import CKF, CKM
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow

PAGE = PROJECT / "docs" / "conformance.md"
USES = {
    "generate": CKF.GENERATE | CKF.GENERATE_KEY_PAIR,
    "encrypt": CKF.ENCRYPT,
    "sign": CKF.SIGN,
    "recover": CKF.SIGN_RECOVER,
    "digest": CKF.DIGEST,
    "wrap": CKF.WRAP,
    "derive": CKF.DERIVE,
    "encapsulate": CKF.ENCAPSULATE,
    "message": CKF.MESSAGE_ENCRYPT | CKF.MESSAGE_SIGN,
}
_HEAD = """# Conformance

What suites that we did not write, and real consumers, say of the module on each store, with SoftHSM2 2.6.1 beside it in
the same run. `make conformance` repeats it; this page is written by `conformance/pkcs11/matrix.py` from its results.
*Expected* are failures that the suite itself expects, or that are right: those are listed below, each with its reason.
"""


def _cell(outcome: Outcome | None) -> str:
    if outcome is None or outcome.not_run:
        return "not run"
    bad = outcome.failed + outcome.crashed
    parts = [f"{outcome.passed}", f"{bad} failed" if bad else "0 failed"]
    parts += [f"{outcome.skipped} n/a"] if outcome.skipped else []
    parts += [f"{outcome.expected} expected"] if outcome.expected else []
    return ", ".join(parts)


def suites_table(outcomes: list[Outcome]) -> list[str]:
    """Return suite x place."""
    found = {(each.suite, each.place): each for each in outcomes}
    lines = ["| suite | " + " | ".join(PLACES) + " |", "|---" * (len(PLACES) + 1) + "|"]
    suites = sorted({each.suite for each in outcomes}, key=str.lower)
    cells = {suite: [_cell(found.get((suite, place))) for place in PLACES] for suite in suites}
    return lines + [f"| {suite} | {' | '.join(row)} |" for suite, row in cells.items()]


def reasons(outcomes: list[Outcome]) -> list[str]:
    """Return what failed in places of ours, what was excused and why, and why what was skipped was skipped."""
    lines: list[str] = []
    for outcome in outcomes:
        if outcome.place == "softhsm" or outcome.not_run:
            continue
        lines += [f"- {outcome.suite}, {outcome.place}, fails: {_short(failure)}" for failure in outcome.failures]
    excused = {reason for outcome in outcomes for reason in outcome.excused.values()}
    for reason in sorted(excused):
        names = {
            f"{each.suite}: {_short(name)}" for each in outcomes for name, why in each.excused.items() if why == reason
        }
        lines.append(f"- {len(names)} of {sorted(names)[0].partition(':')[0]} are right as they are: {reason}")
    return lines


def _short(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:160]


def mechanisms_table() -> list[str]:
    """Return mechanism x use."""
    lines = ["| mechanism | keys | " + " | ".join(USES) + " |", "|---" * (len(USES) + 2) + "|"]
    for row in ROWS.values():
        uses = " | ".join("yes" if row.flags & flag else "" for flag in USES.values())
        lines.append(f"| CKM_{CKM.name(row.type)} | {_sizes(row)} | {uses} |")
    return lines


def _sizes(row: MechanismRow) -> str:
    if not row.max_key:
        return ""
    unit = "bytes" if row.key_unit_bits == 8 else "bits"
    size = f"{row.min_key}" if row.min_key == row.max_key else f"{row.min_key} to {row.max_key}"
    return f"{size} {unit}{', legacy' if row.legacy else ''}"


def main() -> int:
    outcomes = load_all(RESULTS)
    if not outcomes:
        print(f"no results in {RESULTS}: run make conformance first", file=sys.stderr)
        return 1
    sections = [
        _HEAD.rstrip(),
        "## Suites",
        "\n".join(suites_table(outcomes)),
        "## What fails, what is right, and why",
        "\n".join(reasons(outcomes)) or "Nothing fails.",
        f"## Mechanisms\n\n{len(ROWS)} mechanisms, the same on every store (cached custody).",
        "\n".join(mechanisms_table()),
    ]
    PAGE.write_text("\n\n".join(sections) + "\n")
    print(f"{PAGE.relative_to(PROJECT)} written from {len(outcomes)} results")
    return 0


if __name__ == "__main__":
    sys.exit(main())
