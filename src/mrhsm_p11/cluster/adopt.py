"""Which of the keys found under a cluster key's name is the one: pure choice, no store."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from mrhsm_p11.cluster.generations import Generations, every
from mrhsm_p11.cluster.keys import ClusterKey
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.store.base import Candidate, KeyState

USABLE = (KeyState.PRE_ACTIVE, KeyState.ACTIVE)


class Ambiguous(MrhsmError):
    """Several keys bear one name and nothing says which is the cluster's."""


class NotTheKey(MrhsmError):
    """The key found is not the one expected."""


def choose(key: ClusterKey, generations: Generations, chosen: Sequence[str] = ()) -> Candidate | None:
    """Return the candidate to adopt, None when there is none at all. Raises Ambiguous.

    The operator's choice goes first, then the only usable one of the latest generation that has any; one that is no
    longer active is taken only where no usable one exists.
    """
    by_choice = [candidate for candidate in every(generations) if candidate.uid in chosen]
    latest = [generations[number] for number in sorted(generations, reverse=True)]
    usable = [[candidate for candidate in group if candidate.state in USABLE] for group in latest]
    for group in (by_choice, *usable, *latest):
        if len(group) == 1:
            return group[0]
        if group:
            raise Ambiguous(
                f"several keys could be the {key.title}, choose one with -uuid: {'; '.join(map(describe, group))}"
            )
    return None


def earlier(generations: Generations, uid: str) -> tuple[str, ...]:
    """Return the usable keys of the generations before the one that `uid` is of, latest first: one of each."""
    numbers = [number for number, group in generations.items() if any(one.uid == uid for one in group)]
    before = sorted((number for number in generations if numbers and number < numbers[0]), reverse=True)
    usable = ([one for one in generations[number] if one.state in USABLE] for number in before)
    return tuple(winner(group).uid for group in usable if group)


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
