"""The generations of a cluster key in the store: `<name>` is the first, `<name>@<n>` those that were made beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mrhsm_p11.store.base import Candidate, ClusterKeyStore

Generations = Mapping[int, Sequence[Candidate]]  # by number, those only of which the store has an object

# So many numbers in a row without an object end the search: generations that were destroyed leave gaps.
GAP = 8


def name_of(name: str, number: int) -> str:
    """Return the Name of a generation. A server's own Re-key moves the Name, and with it the number."""
    return name if number == 1 else f"{name}@{number}"


def locate(store: ClusterKeyStore, name: str) -> dict[int, Sequence[Candidate]]:
    """Return what the store has of every generation, by number. Raises DeviceError unless every server answers."""
    found: dict[int, Sequence[Candidate]] = {}
    number = 1
    while number <= max(found, default=1) + GAP:
        if candidates := store.locate(name_of(name, number)):
            found[number] = candidates
        number += 1
    return found


def every(generations: Generations) -> Iterator[Candidate]:
    """Yield the candidates, those of the latest generation first."""
    for number in sorted(generations, reverse=True):
        yield from generations[number]


def number_of(generations: Generations, uid: str) -> int | None:
    """Return the generation that an object is of, None where it bears none of the names."""
    return next((n for n, candidates in generations.items() if any(one.uid == uid for one in candidates)), None)
