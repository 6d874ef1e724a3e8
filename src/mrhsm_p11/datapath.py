"""What the C front computes by itself once it is let: see docs/adr/0025.

Python decides whether a session may use a key; C then serves the calls of such operations without the interpreter. Here
is what the rest of the house asks of it; in a process of our own, and where maprhsm.conf says so, there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mrhsm_p11.secret import Secret

FAMILIES = ("encrypt", "decrypt", "digest", "sign", "verify")  # in the order of cdef/datapath.h
MARKS = 1024  # counters that end the grants of a key, as many as in cdef/datapath_grants.c
KEYLESS_MARK = MARKS  # of what has no key that could go


class Grant(NamedTuple):
    """What may be done with a key, and how C does it; see `struct terms` in cdef/datapath.h."""

    token: int
    key: int
    mechanism: int
    family: str
    method: str
    shape: str
    algorithm: str
    size: int
    mark: int
    lease_s: float
    spared: tuple[bytes, ...] = ()  # initialisation vectors that are Python's alone
    # of key pairs:
    mask: str = ""
    salt_bytes: int = 0
    asked: bytes = b""
    hashes: bool = False
    one_part: bool = False


class Wrapped(NamedTuple):
    """A key that a granted one may wrap."""

    key: int
    mark: int


class UnderWay(NamedTuple):
    """An operation that C has begun: its engine from here on, whether it has seen input, and may in several parts."""

    engine: Any
    streaming: bool
    multipart: bool


class DataPath:
    """No data path: nothing is granted, Python does it all."""

    def start(self) -> bool:
        """Begin for C_Initialize; False where this system gives no memory for it."""
        return False

    def stop(self) -> None:
        """End for C_Finalize, before anything else does."""

    def open(self, session: int, token: int) -> None:
        """Tell of a session."""

    def cancel(self, session: int) -> None:
        """End what C does in a session."""

    def close(self, session: int) -> None:
        """Forget a session."""

    def changes(self) -> int:
        """Return what a grant wants to know: how much had changed before it was looked whether it may be given."""
        return 0

    def grant(self, seen: int, grant: Grant, key: memoryview) -> bool:
        """Let C use a key. False where it cannot, or something has changed meanwhile."""
        return False

    def grant_wrap(self, seen: int, grant: Grant, wrapping: memoryview, wrapped: Wrapped, plain: memoryview) -> bool:
        """Let C wrap a key with the one that `grant` is for. False as of `grant`."""
        return False

    def unwrap(
        self, session: int, key: int, mechanism: int, parameter: tuple[bytes, bytes, int], wrapped: bytes | memoryview
    ) -> Secret | None:
        """Decrypt a wrapped key under a grant; None where that is Python's to do, or to refuse."""
        return None

    def begin(self, family: str, session: int, key: int, mechanism: int, parameter: tuple[bytes, bytes, int]) -> bool:
        """Begin an operation in C under a grant. `parameter`: vector, data beside, number."""
        return False

    def claim(self, family: str, session: int) -> bool:
        """Keep C from beginning operations of a family until `begin`; False where one of C's is active."""
        return True

    def take(self, family: str, session: int) -> UnderWay | None:
        """Take over the operation that C has begun."""
        return None

    def end_key(self, uid: str) -> None:
        """End the grants of an object that has changed or gone."""

    def end_all(self) -> None:
        """End all grants: the login has changed, or what is cached is forgotten."""

    def served(self) -> int:
        """Return how many calls C has served in this process."""
        return 0


OFF = DataPath()
path: DataPath = OFF  # in force
_offered: DataPath = OFF


def mark_of(uid: str) -> int:
    """Return the counter of an object. Others may share it: they are looked at again too."""
    return hash(uid) % MARKS


def offer(native: DataPath) -> None:
    """Take the C front's."""
    global _offered  # noqa: PLW0603
    _offered = native


def start(*, wanted: bool) -> bool:
    """Begin with C_Initialize; False where it is wanted and cannot be had."""
    global path  # noqa: PLW0603
    path = _offered if wanted and _offered.start() else OFF
    return path is not OFF or not wanted or _offered is OFF


def stop() -> None:
    """End with C_Finalize, or in a forked child, where C has none left."""
    global path  # noqa: PLW0603
    path.stop()
    path = OFF
