"""Operation states: copies that the token keeps, see docs/adr."""

from __future__ import annotations

from mrhsm_p11.errors import KeyNotNeeded
from mrhsm_p11.token import provider, states
from mrhsm_p11.token.operations import Buffer, Outcome

__all__ = ["get_operation_state", "set_operation_state"]


def get_operation_state(session: int, room: int | None) -> Outcome:
    found = provider.session(session)
    if room is None or room < states.STATE_BYTES:
        states.require_saveable(found)
        return states.STATE_BYTES
    return states.save(found)


def set_operation_state(session: int, state: Buffer, encryption_key: int, authentication_key: int) -> None:
    """Go on from the state; whatever is active in the session ends."""
    found = provider.session(session)
    operation = states.saved(found, bytes(state))
    if encryption_key or authentication_key:
        raise KeyNotNeeded("a digest has no key")
    found.cancel()
    found.adopt("digest", operation)
