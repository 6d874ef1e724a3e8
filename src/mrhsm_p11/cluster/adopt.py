"""Which of the keys found under a cluster key's name is the one: pure choice, no store."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from mrhsm_p11.cluster.keys import ClusterKey
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.store.base import Candidate, KeyState

USABLE = (KeyState.PRE_ACTIVE, KeyState.ACTIVE)


class Ambiguous(MrhsmError):
    """Several keys bear one name and nothing says which is the cluster's."""


class NotTheKey(MrhsmError):
    """The key found is not the one expected."""


def choose(key: ClusterKey, candidates: Sequence[Candidate], chosen: Sequence[str] = ()) -> Candidate | None:
    """Return the candidate to adopt, None when there is none at all. Raises Ambiguous.

    The operator's choice goes first, then the only usable one; one that is no longer active is taken only where no
    usable one exists.
    """
    by_choice = [candidate for candidate in candidates if candidate.uid in chosen]
    usable = [candidate for candidate in candidates if candidate.state in USABLE]
    for group in (by_choice, usable, candidates):
        if len(group) == 1:
            return group[0]
        if group:
            raise Ambiguous(
                f"several keys could be the {key.title}, choose one with -uuid: {'; '.join(map(describe, group))}"
            )
    return None


def winner(candidates: Sequence[Candidate]) -> Candidate:
    """Return the key that every node running `enable` at once agrees on: lowest Initial Date, then identifier.

    Identifiers compare shorter first, so that counting numbers keep their order.
    """
    return min(candidates, key=_precedence)


def describe(candidate: Candidate) -> str:
    """Return a candidate's UUID, state and date for the operator."""
    state = candidate.state.name.capitalize().replace("_", "-")
    if candidate.initial_date is None:
        return f"{candidate.uid} ({state})"
    made = datetime.datetime.fromtimestamp(candidate.initial_date, datetime.UTC)
    return f"{candidate.uid} ({state}, made {made:%Y-%m-%d %H:%M:%S} UTC)"


def _precedence(candidate: Candidate) -> tuple[bool, int, int, str]:
    date = candidate.initial_date
    return date is None, date or 0, len(candidate.uid), candidate.uid
