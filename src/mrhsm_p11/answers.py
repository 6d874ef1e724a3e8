"""Answers that the C front tells again without asking (cdef/answers.c), until it hears that they may be otherwise."""

from __future__ import annotations

from collections.abc import Callable


def _nobody() -> None:
    """In a process without the C front nothing is told again."""


_end: Callable[[], None] = _nobody


def changed() -> None:
    """End what has been told of slots, mechanisms and sessions: called after a change, before the call returns."""
    _end()


def install(end: Callable[[], None]) -> None:
    """Take the C front's way of ending them."""
    global _end  # noqa: PLW0603
    _end = end
