"""What a suite said of a module."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """Counts of one suite in one place; `failures` and `skips` tell each by name, or by reason with its count."""

    suite: str
    place: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    expected: int = 0  # failures that the suite itself expects
    crashed: int = 0
    seconds: float = 0.0
    failures: tuple[str, ...] = ()
    skips: dict[str, int] = field(default_factory=dict)
    excused: dict[str, str] = field(default_factory=dict)  # failures that are right: name -> reason
    not_run: str = ""  # why, where nothing ran
    in_c: int | None = 0  # calls that the data path has served; None: not counted

    @property
    def good(self) -> bool:
        return not (self.failed or self.crashed)

    def excuse(self, reasons: dict[str, str]) -> Outcome:
        """Take out the failures that match a pattern of `reasons`; what is excused is counted as expected."""
        excused = {
            failure: reason
            for failure in self.failures
            for pattern, reason in reasons.items()
            if re.search(pattern, failure)
        }
        return replace(
            self,
            failed=self.failed - len(excused),
            expected=self.expected + len(excused),
            failures=tuple(failure for failure in self.failures if failure not in excused),
            excused=excused,
        )

    def save(self, folder: Path) -> None:
        """Write it where load_all finds it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.suite}@{self.place}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    def line(self) -> str:
        """Return it for a terminal."""
        if self.not_run:
            return f"{self.suite:<18} {self.place:<8} not run: {self.not_run}"
        counts = (
            f"{self.passed:>5} passed {self.failed:>3} failed {self.skipped:>5} skipped {self.expected:>4} expected"
        )
        return f"{self.suite:<18} {self.place:<8} {counts} {self.crashed:>2} crashed {self.seconds:7.1f} s"


def load_all(folder: Path) -> list[Outcome]:
    """Return every outcome that was saved, by suite and place."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*@*.json"))]
    return [Outcome(**{**each, "failures": tuple(each["failures"])}) for each in found]
