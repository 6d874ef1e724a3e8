"""Suites of our own for real consumers: named steps, each of which passes, fails or is skipped."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from outcome import Outcome
from places import Absent


class Steps:
    """Steps that were tried; a failure does not stop the next."""

    def __init__(self) -> None:
        self._passed = 0
        self._failures: list[str] = []
        self._skips: dict[str, int] = {}

    def step(self, name: str, act: Callable[[], object]) -> None:
        """Take a step; AssertionError is a failure, Absent a skip."""
        try:
            act()
        except Absent as error:
            self._skips[f"{name}: {error}"] = 1
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            self._failures.append(f"{name}: {error}")
        else:
            self._passed += 1

    def tell(self, name: str, wrong: str) -> None:
        """Take over a step that a program took; `wrong` is empty where it passed."""
        if wrong:
            self._failures.append(f"{name}: {wrong}")
        else:
            self._passed += 1

    def outcome(self) -> Outcome:
        """Return what the steps said."""
        return Outcome(
            "",
            "",
            passed=self._passed,
            failed=len(self._failures),
            skipped=len(self._skips),
            failures=tuple(self._failures),
            skips=self._skips,
        )
