"""Session management functions."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKS
from mrhsm_p11.errors import ArgumentsBad, FunctionNotParallel, SessionAsyncNotSupported, SessionParallelNotSupported
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import login as roles
from mrhsm_p11.token import provider, usage
from mrhsm_p11.token.operations import FAMILIES, Buffer

__all__ = [
    "cancel_function",
    "close_all_sessions",
    "close_session",
    "get_function_status",
    "get_session_info",
    "get_session_validation_flags",
    "init_pin",
    "login",
    "login_user",
    "logout",
    "open_session",
    "session_cancel",
    "set_pin",
]


def open_session(slot_id: int, flags: int) -> int:
    current = provider.require()
    current.slot(slot_id)
    if not flags & CKF.SERIAL_SESSION:
        raise SessionParallelNotSupported
    if flags & CKF.ASYNC_SESSION:
        raise SessionAsyncNotSupported
    return current.open_session(slot_id, writable=bool(flags & CKF.RW_SESSION)).handle


def close_session(session: int) -> None:
    current = provider.require()
    current.close_session(current.session(session))


def close_all_sessions(slot_id: int) -> None:
    provider.require().close_all_sessions(slot_id)


def get_session_info(session: int) -> tuple[int, int, int, int]:
    found = provider.session(session)
    return provider.require().slots.slot_of(found.token), found.state, found.flags, found.device_error


def login(session: int, user_type: int, pin: Secret | None) -> None:
    current = provider.require()
    found = current.session(session)
    current.slots.refresh()
    roles.login(found, user_type, pin)


def login_user(session: int, user_type: int, pin: Secret | None, name: Buffer) -> None:
    """Log in as C_Login does: the token has one user and one SO, and neither has a name."""
    provider.session(session)
    if len(name):
        raise ArgumentsBad("the token's users have no names")
    login(session, user_type, pin)


def logout(session: int) -> None:
    provider.session(session).token.logout()


def init_pin(session: int, pin: Secret | None) -> None:
    current = provider.require()
    roles.init_pin(current.session(session), pin)
    current.slots.refresh()


def set_pin(session: int, old_pin: Secret | None, new_pin: Secret | None) -> None:
    current = provider.require()
    found = current.session(session)
    current.slots.refresh()
    roles.set_pin(found, old_pin, new_pin)
    current.slots.refresh()


def session_cancel(session: int, flags: int) -> None:
    """End the operations that the flags tell; what is not active is ignored."""
    found = provider.session(session)
    for name, family in FAMILIES.items():
        if flags & family.flag:
            found.end(name)
    for name in [name for name in found.messages if flags & usage.PURPOSES[name].flag]:
        found.messages.pop(name, None)
    if flags & CKF.FIND_OBJECTS:
        found.found = None


def get_session_validation_flags(session: int, type: int) -> int:
    """Return no flags: the token has no validation objects, so that no operation is a validated one."""
    provider.session(session)
    if type != CKS.LAST_VALIDATION_OK:
        raise ArgumentsBad(f"there are no validation flags of type {type}")
    return 0


def get_function_status(session: int) -> None:
    """Say what the standard keeps this legacy function for: nothing runs in parallel."""
    provider.session(session)
    raise FunctionNotParallel


def cancel_function(session: int) -> None:
    """Say what the standard keeps this legacy function for: nothing runs in parallel."""
    provider.session(session)
    raise FunctionNotParallel
