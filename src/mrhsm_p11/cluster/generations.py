"""The generations of a cluster key in the store: `<name>` is the first, `<name>@<n>` those that were made beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mrhsm_p11.store.base import Candidate, ClusterKeyStore, ObjectGone

Generations = Mapping[int, Sequence[Candidate]]  # by number, those only of which the store has an object

# So many numbers in a row without an object end the search: generations that were destroyed leave gaps.
GAP = 8


def name_of(name: str, number: int) -> str:
    """Return the Name of a generation. A server's own Re-key moves the Name, and with it the number."""
    return name if number == 1 else f"{name}@{number}"


def locate(store: ClusterKeyStore, *names: str) -> dict[str, Generations]:
    """Return what the store has of every generation of each name, by number.

    All names are asked for at once, as far as the gap reaches. Raises DeviceError unless every server answers.
    """
    found: dict[str, dict[int, list[Candidate]]] = {name: {} for name in names}
    asked = dict.fromkeys(names, 0)
    while ahead := {
        name_of(name, number): (name, number)
        for name in names
        for number in range(asked[name] + 1, max(found[name], default=1) + GAP + 1)
    }:
        asked |= dict(ahead.values())
        for candidate in store.locate(*ahead):
            name, number = ahead[candidate.name]
            found[name].setdefault(number, []).append(candidate)
    return dict(found)


def replaced(store: ClusterKeyStore, uids: Iterable[str]) -> Iterator[str]:
    """Yield the keys that the store's own Re-key replaced by these, and by each other: they have lost their names."""
    begun = list(uids)
    seen = set(begun)
    for uid in begun:
        with contextlib.suppress(ObjectGone):  # one that was destroyed tells no further
            while (uid := store.replaced(uid)) and uid not in seen:
                seen.add(uid)
                yield uid


def every(generations: Generations) -> Iterator[Candidate]:
    """Yield the candidates, those of the latest generation first."""
    for number in sorted(generations, reverse=True):
        yield from generations[number]


def number_of(generations: Generations, uid: str) -> int | None:
    """Return the generation that an object is of, None where it bears none of the names."""
    return next((n for n, candidates in generations.items() if any(one.uid == uid for one in candidates)), None)
