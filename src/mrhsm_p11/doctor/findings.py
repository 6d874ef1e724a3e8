"""What a check found, in a sentence, and what an operator should do about it in another."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Severity(enum.IntEnum):
    """How bad a finding is; a note and a check that could not be made weigh nothing by themselves."""

    NOT_CHECKED = 0
    NOTE = 1
    WELL = 2
    WARNING = 3
    BROKEN = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `do` is empty where there is nothing to do."""

    severity: Severity
    says: str
    do: str = ""


def well(says: str) -> Finding:
    return Finding(Severity.WELL, says)


def note(says: str, do: str = "") -> Finding:
    return Finding(Severity.NOTE, says, do)


def warning(says: str, do: str) -> Finding:
    return Finding(Severity.WARNING, says, do)


def broken(says: str, do: str) -> Finding:
    return Finding(Severity.BROKEN, says, do)


def not_checked(says: str) -> Finding:
    return Finding(Severity.NOT_CHECKED, says)


@dataclass(frozen=True, slots=True)
class Check(Generic[T]):
    """One row: what is looked at, which checks must not have found it broken before, and how.

    `store` names the only kind of store that the check is about. `run` may raise: that is a finding too.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    run: Callable[[T], Iterable[Finding]]
    store: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found; `subject` is the token's serial, empty for the node itself."""

    check: str
    title: str
    subject: str
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Severity:
        return max((finding.severity for finding in self.findings), default=Severity.NOT_CHECKED)


def worst(results: Iterable[Result]) -> Severity:
    """Return the worst of all; without a warning it is WELL."""
    return max((result.worst for result in results), default=Severity.WELL)
