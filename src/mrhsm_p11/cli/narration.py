"""Events as they happen: what was done is printed at once, what goes on is shown where somebody watches."""

from __future__ import annotations

import sys
from types import TracebackType

from mrhsm_p11.cli import layouts
from mrhsm_p11.cli.progress import Progress
from mrhsm_p11.cluster.events import PASSING, Event


class Narration:
    """A Report; nothing goes on any more when its block ends."""

    def __init__(self) -> None:
        self.progress = Progress()

    def __call__(self, event: Event) -> None:
        if event.what in PASSING:
            self.progress.step(layouts.event(event))
            return
        self.progress.clear()
        print(layouts.event(event))
        sys.stdout.flush()

    def __enter__(self) -> Narration:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.clear()
