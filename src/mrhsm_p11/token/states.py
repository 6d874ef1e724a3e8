"""Operation states that a caller may take up again: the token keeps them, named by what the caller gets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from mrhsm_p11.errors import OperationNotInitialized, SavedStateInvalid, StateUnsaveable
from mrhsm_p11.token.operations import Operation

if TYPE_CHECKING:
    from mrhsm_p11.crypto.base import Digest
    from mrhsm_p11.token.session import Session

STATE_BYTES = 32
MOST_STATES = 1024  # of a token: about half a megabyte
SAVEABLE = frozenset({"encrypt", "decrypt", "digest", "sign", "verify"})  # by the standard


def require_saveable(session: Session) -> None:
    """Raise OperationNotInitialized where nothing is active, StateUnsaveable for other than a digest."""
    session.gather()
    active = session.operations.keys()
    if not active & SAVEABLE:
        raise OperationNotInitialized("no operation is active whose state could be saved")
    if active != {"digest"}:
        raise StateUnsaveable("only a digest can be copied")


def save(session: Session) -> bytes:
    """Keep a copy of the session's digest; return its name, which nobody can guess. Raises as require_saveable."""
    require_saveable(session)
    among = session.operations
    operation = cast("Operation[Digest]", session.take("digest"))
    try:
        copied = _copy(operation)
    finally:
        session.put("digest", operation, among)
    name = os.urandom(STATE_BYTES)
    token = session.token
    with token.changing:
        token.states[name] = session.state, copied
        if len(token.states) > MOST_STATES:
            del token.states[next(iter(token.states))]
    return name


def saved(session: Session, name: bytes) -> Operation[Digest]:
    """Return a copy of a state of this token, saved in a session like this one. Raises SavedStateInvalid."""
    state, operation = session.token.states.get(name, (None, None))
    if operation is None or state != session.state:
        raise SavedStateInvalid("no such state of a session of this kind is kept")
    return _copy(operation)


def _copy(operation: Operation[Digest]) -> Operation[Digest]:
    twin = Operation(operation.engine.copy)
    twin.start, twin.streaming = operation.start, operation.streaming
    return twin
