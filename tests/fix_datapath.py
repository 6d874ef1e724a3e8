"""A library with the data path on or off, and what C serves of its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fix_tokens import TokenOnDisk
from p11 import Cryptoki

from mrhsm_p11 import datapath
from mrhsm_p11.constants import CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow


class LoggedIn:
    """A library, a token and a session with the user logged in."""

    def __init__(self, path: Path, token: TokenOnDisk) -> None:
        self.p11 = Cryptoki(path)
        self.p11.initialize()
        self.slot = token.slot_id
        self.session = self.p11.open_session(self.slot)
        self.p11.login(self.session)

    def served(self, work: Callable[[], object]) -> int:
        """Return how many calls C serves of this."""
        before = datapath.path.served()
        work()
        return datapath.path.served() - before

    def is_served(self, call: Callable[..., tuple[int, object]], *arguments: Any) -> bool:
        """Tell whether C serves a call by now, made so often that Python has let it; each time it succeeds."""
        answers = [call(*arguments) for _ in range(2)]
        served = self.served(lambda: answers.append(call(*arguments)))
        assert [answer[0] for answer in answers] == [CKR.OK] * 3
        return served > 0


def wrapping_parameter(row: MechanismRow) -> bytes | None:
    """Return the parameter of a mechanism that wraps with AES."""
    return bytes(range(16)) if row.family == "block" and row.mode in ("cbc", "cbc-pad") else None


B = TypeVar("B", bound=LoggedIn)


def assert_same_answers(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], B], play: Callable[[B], Sequence[object]], least: int
) -> None:
    """Play with the data path off, then on: C serves more than `least` calls then, and no answer differs."""
    traces: list[Sequence[object]] = []
    for on in "01":
        monkeypatch.setenv("MRHSM_DATAPATH", on)
        bench = make()
        try:
            assert (bench.served(lambda bench=bench: traces.append(play(bench))) > least) == (on == "1")  # type: ignore[misc]
        finally:
            bench.p11.finalize()
    for place, (python, c) in enumerate(zip(*traces, strict=True)):
        assert python == c, f"call {place}: {traces[0][max(0, place - 12) : place]}"
