"""Write docs/conformance.md, and README's table of suites, from what the suites said and the tables of mechanisms.

python conformance/pkcs11/matrix.py
"""

from __future__ import annotations

import re
import sys
from collections import Counter

from outcome import Outcome, load_all
from part import RESULTS, RESULTS_OFF
from places import PLACES
from workshop import PROJECT

from mrhsm_p11.constants import CKF, CKM
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow

PAGE = PROJECT / "docs" / "conformance.md"
README = PROJECT / "README.md"
BEGIN, END = "<!-- suites: conformance/pkcs11/matrix.py writes this -->", "<!-- end of suites -->"
MOST_SKIPS = 6  # reasons that are told of a suite; the rest is counted
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
_PROVIDER = """\
pkcs11-provider is no package of Debian 12. Where `OPENSSL_MODULES` names the folder of a build of it, OpenSSL,
nginx and Apache are tried with it too; 1.2.0 was, with OpenSSL 3.0.19. For OAEP without a named hash it sends
CK_RSA_PKCS_OAEP_PARAMS with hashAlg and mgf 0; the standard has no default for either and 0 is no hash, so the
answer is CKR_MECHANISM_PARAM_INVALID, and `-pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256` decrypts."""
_BOTH_WAYS = """`MRHSM_DATAPATH=0 make conformance` has Python serve all calls (docs/adr/0025), with the same answers.
Counted are the calls that C has served, in processes that came to C_Finalize; with the data path off, one of them fails
its suite."""


def _cell(outcome: Outcome | None) -> str:
    if outcome is None or outcome.not_run:
        return "not run"
    bad = outcome.failed + outcome.crashed
    parts = [f"{outcome.passed} passed"]
    parts += [f"**{bad} failed**"] if bad else []
    parts += [f"{outcome.skipped} skipped"] if outcome.skipped else []
    parts += [f"{outcome.expected} expected"] if outcome.expected else []
    return ", ".join(parts)


def suites_table(outcomes: list[Outcome]) -> list[str]:
    """Return suite x place."""
    found = {(each.suite, each.place): each for each in outcomes}
    lines = ["| suite | " + " | ".join(PLACES) + " |", "|---" * (len(PLACES) + 1) + "|"]
    suites = sorted({each.suite for each in outcomes}, key=str.lower)
    cells = {suite: [_cell(found.get((suite, place))) for place in PLACES] for suite in suites}
    return lines + [f"| {suite} | {' | '.join(row)} |" for suite, row in cells.items()]


def both_ways_table(on: list[Outcome], off: list[Outcome]) -> list[str]:
    """Return suite and store x data path on and off, for what was run with it off in a place of ours."""
    found = {(each.suite, each.place): each for each in on}
    ran = [each for each in off if each.place != "softhsm" and not each.not_run]
    rows = []
    for each in sorted(ran, key=lambda each: (each.suite.lower(), each.place)):
        other = found.get((each.suite, each.place))
        ways = (f"{_cell(one)} | {_counted(one)}" for one in (other, each))
        rows.append(f"| {each.suite} | {each.place} | {' | '.join(ways)} |")
    return ["| suite | store | on | calls in C | off | calls in C |", "|---" * 6 + "|", *rows] if rows else ["Not run."]


def _counted(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    return "not counted" if outcome.in_c is None else str(outcome.in_c)


def failures_table(outcomes: list[Outcome]) -> list[str]:
    """Return what failed in places of ours."""
    ours = [each for each in outcomes if each.place != "softhsm" and not each.not_run]
    rows = [f"| {each.suite} | {each.place} | {_short(failure)} |" for each in ours for failure in each.failures]
    return ["| suite | store | what fails |", "|---|---|---|", *rows] if rows else ["Nothing."]


def excuses_table(outcomes: list[Outcome]) -> list[str]:
    """Return what fails and is right, by reason; a failure on both stores counts once."""
    reasons: dict[tuple[str, str], set[str]] = {}
    for outcome in outcomes:
        for failure, reason in outcome.excused.items():
            reasons.setdefault((outcome.suite, reason), set()).add(failure.partition(": ")[0])
    rows = [f"| {suite} | {len(names)} | {_short(reason, 400)} |" for (suite, reason), names in sorted(reasons.items())]
    return ["| suite | tests | why they are right as they are |", "|---|---|---|", *rows] if rows else ["Nothing."]


def skips_table(outcomes: list[Outcome]) -> list[str]:
    """Return why suites skipped tests in places of ours, the commonest reasons first, and why some did not run."""
    reasons: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        if outcome.place == "softhsm":
            continue
        said = {f"not run: {outcome.not_run}": 0} if outcome.not_run else outcome.skips
        found = reasons.setdefault(outcome.suite, Counter())
        for reason, count in said.items():
            found[_short(reason)] = max(found[_short(reason)], count)
    rows = []
    for suite, found in sorted(reasons.items(), key=lambda each: each[0].lower()):
        told = [f"{reason} ({count})" if count else reason for reason, count in found.most_common(MOST_SKIPS)]
        told += [f"and {len(found) - MOST_SKIPS} more reasons"] if len(found) > MOST_SKIPS else []
        rows += [f"| {suite} | {'; '.join(told)} |"] if told else []
    return ["| suite | why tests are skipped (how many) |", "|---|---|", *rows] if rows else ["Nothing."]


def _short(text: str, most: int = 160) -> str:
    return re.sub(r"\s+", " ", text)[:most].replace("|", "\\|")


def mechanisms_table() -> list[str]:
    """Return mechanism x use; mechanisms of the same keys and uses are one row."""
    rows: dict[tuple[str, str], list[str]] = {}
    for row in ROWS.values():
        uses = ", ".join(name for name, flag in USES.items() if row.flags & flag)
        rows.setdefault((_sizes(row), uses), []).append(CKM.name(row.type))
    lines = ["| mechanisms (CKM_) | keys | uses |", "|---|---|---|"]
    return lines + [f"| {', '.join(names)} | {sizes} | {uses} |" for (sizes, uses), names in rows.items()]


def _sizes(row: MechanismRow) -> str:
    if not row.max_key:
        return ""
    unit = "bytes" if row.key_unit_bits == 8 else "bits"
    size = f"{row.min_key}" if row.min_key == row.max_key else f"{row.min_key} to {row.max_key}"
    return f"{size} {unit}{', legacy' if row.legacy else ''}"


def page(outcomes: list[Outcome], off: list[Outcome]) -> str:
    """Return docs/conformance.md."""
    stores = "the same on the file store and on KMIP, where keys are cached; those of *legacy* go with `legacy = false`"
    custody = (
        "Appliance custody, in which keys never leave the key manager, has its own list: docs/appliance-custody.md."
    )
    functions = "Functions have [a page of their own](functions.md)."
    sections = [
        _HEAD.rstrip(),
        "## Suites",
        "\n".join(suites_table(outcomes)),
        f"## With the data path on and off\n\n{_BOTH_WAYS}",
        "\n".join(both_ways_table(outcomes, off)),
        "## What fails",
        "\n".join(failures_table(outcomes)),
        "## What is right as it is",
        "\n".join(excuses_table(outcomes)),
        "## What is skipped",
        "\n".join(skips_table(outcomes)),
        _PROVIDER,
        f"## Mechanisms\n\n{len(ROWS)} mechanisms, {stores}. {custody}\n{functions}",
        "\n".join(mechanisms_table()),
    ]
    return "\n\n".join(sections) + "\n"


def readme(text: str, outcomes: list[Outcome]) -> str:
    """Return README with its table of suites renewed."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README has no place for the table: {BEGIN} ... {END}")
    return "\n".join([before + begin, "", *suites_table(outcomes), "", end + after])


def main() -> int:
    outcomes = load_all(RESULTS)
    if not outcomes:
        print(f"no results in {RESULTS}: run make conformance first", file=sys.stderr)
        return 1
    PAGE.write_text(page(outcomes, load_all(RESULTS_OFF)))
    README.write_text(readme(README.read_text(), outcomes))
    print(f"{PAGE.relative_to(PROJECT)} and README.md written from {len(outcomes)} results")
    return 0


if __name__ == "__main__":
    sys.exit(main())
