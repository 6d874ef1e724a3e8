"""What `enable` tells whoever runs it, as it happens; the words are the command line's."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Happened(enum.Enum):
    """What an event reports."""

    CLUSTER_NAMED = "the cluster's name was read"
    ENABLING = "work begins"
    GENERATED = "a new key was made in the store"
    FOUND = "a key that was there already is taken over"
    CHECKSUM = "the checksum of a key's bytes"
    ENCRYPTED = "a key is kept encrypted under the Core KEK"
    INACTIVE = "a key that is taken over is not active any more"
    NO_COPY = "the store has lost its copy of a key"
    REVOKED = "a key this node had just made gave way to another node's"
    REKEYING = "a key is about to be replaced"
    RESUMED = "a replacement that was interrupted goes on"
    KEPT = "the former generation of a key stays active"
    RETIRED = "a former generation of a key is revoked"
    GONE = "a former generation of a key is no longer in the store"
    ASKING = "the servers are asked whether they answer"
    LOOKING = "the store is searched for the cluster's keys"
    SETTLING = "other nodes are given the time to make the same key"


# What is going on, not what was done: shown only where somebody watches.
PASSING = (Happened.ASKING, Happened.LOOKING, Happened.SETTLING)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `title` names the key it happened to."""

    what: Happened
    title: str = ""
    text: str = ""


Report = Callable[[Event], None]
