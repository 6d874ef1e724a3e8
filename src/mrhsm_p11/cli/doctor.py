"""`mrhsm doctor`: what is wrong with this node, for people, for machines, and for those who are asked to help."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mrhsm_p11.cli import pins
from mrhsm_p11.cli.options import Command, Given, Option
from mrhsm_p11.cluster.setup import choose_token
from mrhsm_p11.config import Config
from mrhsm_p11.doctor import bundle
from mrhsm_p11.doctor.examination import examine
from mrhsm_p11.doctor.findings import Finding, Result, Severity, worst
from mrhsm_p11.doctor.subjects import Node
from mrhsm_p11.tokendir import entries

# What monitoring sees; 2 is a command line that cannot be meant, as for every command.
EXIT = {Severity.WARNING: 3, Severity.BROKEN: 1}

WORDS = {
    Severity.NOT_CHECKED: "-",
    Severity.NOTE: "note",
    Severity.WELL: "well",
    Severity.WARNING: "WARNING",
    Severity.BROKEN: "BROKEN",
}
_COLOURS = {Severity.WELL: "32", Severity.WARNING: "33", Severity.BROKEN: "31"}
ROW = "{title:<18}{word} {says}"
WORD_WIDTH = 8


def run(given: Given, config: Config) -> int:
    """Examine, print, and return the exit code: 0 well, 1 broken, 3 warnings only."""
    node = Node(config, datetime.datetime.now(datetime.UTC), user_pin=pins.given_user_pin(given))
    serial = _chosen(given, node)
    with _Progress() as progress:
        results, tokens = examine(node, progress.show, lambda token: serial in (None, token.entry.serial))
    labels = {token.entry.serial: token.entry.label for token in tokens}
    if "-bundle" in given:
        reports = {"doctor.txt": text(results, labels, colours=False), "doctor.json": machine(node, results)}
        bundle.write(Path(given.values["-bundle"]), node, tokens, results, reports)
    if "-json" in given:
        print(machine(node, results), end="")
    else:
        print(text(results, labels, colours=sys.stdout.isatty() and "NO_COLOR" not in os.environ), end="")
        if "-bundle" in given:
            print(f"\nThe bundle is {given.values['-bundle']}: read it before you send it")
    return EXIT.get(worst(results), 0)


def _chosen(given: Given, node: Node) -> str | None:
    """Return the serial that -token means; only then must mrhsm.conf be readable before the checks are made."""
    if "-token" not in given:
        return None
    return choose_token(entries.load(node.directory), given.values["-token"]).serial


def text(results: Sequence[Result], labels: dict[str, str], *, colours: bool) -> str:
    """Lay the results out as a table for each subject, and one line that sums them up."""
    lines: list[str] = []
    subject = None
    for result in results:
        if result.subject != subject:
            subject = result.subject
            lines += ["", f"Token {subject} ({labels[subject]})"] if subject else ["This node"]
        lines += _rows(result, colours)
    return "\n".join([*lines, "", _summary(results), ""])


def _rows(result: Result, colours: bool) -> Iterator[str]:
    title = result.title
    for finding in result.findings:
        word = f"{WORDS[finding.severity]:<{WORD_WIDTH}}"
        if colours and finding.severity in _COLOURS:
            word = f"\x1b[{_COLOURS[finding.severity]}m{word}\x1b[0m"
        yield "  " + ROW.format(title=title, word=word, says=finding.says)
        if finding.do:
            yield " " * 29 + f"-> {finding.do}"
        title = ""


def _summary(results: Sequence[Result]) -> str:
    counts = {severity: sum(result.worst is severity for result in results) for severity in Severity}
    return (
        f"{counts[Severity.BROKEN]} broken, {counts[Severity.WARNING]} with warnings, "
        f"{counts[Severity.WELL] + counts[Severity.NOTE]} well, {counts[Severity.NOT_CHECKED]} not checked"
    )


def machine(node: Node, results: Sequence[Result]) -> str:
    """Lay the results out as one JSON document."""
    document = {
        "format": "mrhsm-doctor/1",
        "host": os.uname().nodename,
        "at": f"{node.now:%Y-%m-%dT%H:%M:%SZ}",
        "home": str(node.config.home),
        "worst": _name(worst(results)),
        "checks": [
            {
                "check": result.check,
                "token": result.subject,
                "worst": _name(result.worst),
                "findings": [_finding(finding) for finding in result.findings],
            }
            for result in results
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def _finding(finding: Finding) -> dict[str, str]:
    return {"severity": _name(finding.severity), "says": finding.says, "do": finding.do}


def _name(severity: Severity) -> str:
    return severity.name.lower()


class _Progress:
    """On a terminal, a line that says what is being looked at; nothing in a pipe."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, title: str) -> None:
        if self._shown:
            print(f"\r\x1b[K{title} ...", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


DOCTOR = Command(
    "doctor",
    "Tell what is wrong with this node, its tokens and its key managers. Exit 0 well, 1 broken, 3 warnings.",
    (
        Option("-json", "", "Print the findings as JSON"),
        Option("-bundle", "file", "Write a support archive (tar.gz) that holds no secret"),
        Option("-userpinfile", "file", "Read the user PIN from the first line of a file, where no PIN file is kept"),
        Option("-token", "serial|label", "Only this token, where there are several"),
    ),
    run,
    needs_settings=False,
)
