"""Which product the servers are taken for, why, and what was seen of them: in words, for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrhsm_p11.kmip import profiles
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.learned import Facts, Learned, expected

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.tokendir.settings import Connection
    from mrhsm_p11.tokendir.tokens import OpenToken, SoToken

# How the facts are called, in the order in which they are shown; who the server is shows in the profile.
CALLED = {
    "batches": "Several operations a message",
    "get_attributes": "Get Attributes",
    "information": "Application Specific Information",
    "entries": "Search entries in it",
    "custom": "Custom attributes (x-)",
    "activation_date": "Activation Date at creation",
    "links": "Links added",
    "plain_names": "Names beyond ASCII",
    "rekey": "Re-key",
    "not_created": "Algorithms that Create refuses",
    "unmarked": "Marks refused",
    "formats": "Key formats refused",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A profile; `why` says what made it the one in force."""

    name: str
    title: str
    versions: tuple[str, ...]  # empty: no document tells
    why: str = ""


def named(name: str) -> Named:
    """Return the profile of this name, the default one where there is none."""
    name = name if name in profiles.ROWS else profiles.DEFAULT
    row = profiles.ROWS[name]
    return Named(name, row.title, tuple(f"{major}.{minor}" for major, minor in row.versions))


def in_force(connection: Connection, config: Config, vendors: Iterable[str]) -> Named:
    """Return the profile that is set, else the first that one of the servers says it is."""
    for name, where in (
        (connection.profile, "mrhsm set -profile"),
        (config.profile, "network.profile in maprhsm.conf"),
    ):
        if name:
            return dataclasses.replace(named(name), why=f"set by {where}")
    told = [vendor for vendor in vendors if vendor]
    for vendor in told:
        if (name := profiles.recognised(vendor)) != profiles.DEFAULT:
            return dataclasses.replace(named(name), why=f"the server says it is {vendor!r}")
    why = f"none is known for {told[0]!r}" if told else "the servers do not say who they are"
    return dataclasses.replace(named(profiles.DEFAULT), why=why)


def seen(opened: OpenToken | SoToken, config: Config, profile: str) -> list[tuple[str, str]]:
    """Return each fact about a token's servers with what is known of it; nothing connects."""
    facts = Learned(opened.directory, opened.entry.serial, Servers(opened.settings.connection, config)).facts
    guesses = expected(facts, profile)
    return [(text, said) for name, text in CALLED.items() if (said := _said(name, facts, guesses))]


def _said(name: str, facts: Facts, guesses: Facts) -> str:
    """Return what is known of one fact, "" where that is nothing."""
    value, guess = getattr(facts, name), getattr(guesses, name)
    if isinstance(guess, tuple):
        return ", ".join(value)
    if value is not None:
        return "works" if value else "refused"
    return "" if guess is None else "expected" if guess else "not expected"
