"""Replay the OASIS KMIP profile cases at the trial appliance, through our client: check_oasis.py [--write].

`--write` puts the tables into docs/conformance-kmip.md.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import oasis
from replay import Outcome, Result, replay_all

from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.pool import Pool
from mrhsm_p11.kmip.transport import Endpoint, Identity
from mrhsm_p11.secret import Secret

SKIPPED = 77
PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance-kmip.md"
BEGIN, END = "<!-- cases: conformance/kmip/check_oasis.py --write writes this -->", "<!-- end of cases -->"


@contextlib.contextmanager
def appliance(folder: Path) -> Iterator[Client]:
    """Run a trial appliance; yield a client of it, over mutual TLS."""
    certs = folder / "certs"
    command = [sys.executable, "-m", "mrhsm_p11.appliance.main", "-certs", certs, "-store", folder / "store", "-nosync"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*map(str, command), "-with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        port = next(int(line.split()[2]) for line in process.stdout if line.startswith("READY "))
        identity = Identity(
            (certs / "ca.pem").read_bytes(),
            (certs / "client.pem").read_bytes(),
            Secret((certs / "client.key").read_bytes()),
        )
        pool = Pool([Endpoint("127.0.0.1", port)], identity, None)
        yield Client(pool)
        pool.close()
        process.terminate()


def reason(result: Result) -> str:
    """Return why a case did not pass, without what differs from case to case."""
    return f"{result.operation}: " + re.sub(r"'[^']*'|[0-9a-f-]{20,}|127\.0\.0\.1:\d+", "…", result.why)


def tables(results: list[Result]) -> str:
    """Return version x outcome, and the reasons, as Markdown."""
    lines = ["| version | cases | passed | failed | refused |", "|---|---|---|---|---|"]
    for version in sorted({one.version for one in results}):
        counts = Counter(one.outcome for one in results if one.version == version)
        cells = " | ".join(str(counts[outcome]) for outcome in Outcome)
        lines.append(f"| {version} | {counts.total()} | {cells} |")
    for outcome in (Outcome.FAILED, Outcome.REFUSED):
        reasons: dict[str, list[str]] = {}
        for one in results:
            if one.outcome is outcome:
                reasons.setdefault(reason(one), []).append(one.case)
        lines += ["", f"| {outcome.value} at | cases |", "|---|---|"]
        lines += [f"| {why.replace('|', '/')} | {', '.join(cases)} |" for why, cases in sorted(reasons.items())]
    return "\n".join(lines)


def main() -> int:
    if not oasis.FILES:
        print(f"skipped: the OASIS profile cases are not at {oasis.FOLDER}")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="mrhsm-oasis-") as name, appliance(Path(name)) as client:
        results = list(replay_all(oasis.FILES, client))
    text = tables(results)
    print(text)
    if "--write" in sys.argv[1:]:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")
    counts = Counter(one.outcome for one in results)
    print(", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
