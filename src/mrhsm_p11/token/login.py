"""Logging in, and what each role may do with PINs. The PINs themselves are the token directory's business."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mrhsm_p11 import log
from mrhsm_p11.constants import CKF, CKU
from mrhsm_p11.errors import (
    ArgumentsBad,
    FunctionRejected,
    OperationNotInitialized,
    PinIncorrect,
    SessionClosed,
    SessionReadOnlyExists,
    TokenWriteProtected,
    UserAlreadyLoggedIn,
    UserAnotherAlreadyLoggedIn,
    UserNotLoggedIn,
    UserPinNotInitialized,
    UserTypeInvalid,
)
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import stores
from mrhsm_p11.token.session import Session
from mrhsm_p11.token.slots import Slot, Slots
from mrhsm_p11.token.token import Opened, Token
from mrhsm_p11.tokendir import attempts, entries, sealing, tokens
from mrhsm_p11.tokendir.tokens import OpenToken, SoToken, UserPin

if TYPE_CHECKING:
    from mrhsm_p11.tokendir.settings import Connection


def login(session: Session, role: int, pin: Secret | None) -> None:
    """Take a role for the whole process; nothing connects. See "PINs and secrets at rest" in the decisions."""
    token = session.token
    if role == CKU.CONTEXT_SPECIFIC:
        _unlock(session, pin)
        return
    if role not in (CKU.SO, CKU.USER):
        raise UserTypeInvalid(f"there is no user type {role}")
    with token.changing:
        _require_free(token, role)
    opened = _open_so(token, pin) if role == CKU.SO else _open_user(token, pin)
    with token.changing:
        _require_free(token, role)  # another thread may have been faster,
        if token.sessions.get(session.handle) is not session:  # or have closed it: perhaps nobody would end this login
            raise SessionClosed
        left = token.enter(role, opened)
    for store in left:
        store.close()


def init_pin(session: Session, pin: Secret | None) -> None:
    """Set the user PIN as the SO, chosen: it is never written to disk."""
    if session.token.role != CKU.SO or not isinstance(session.token.opened, SoToken):
        raise UserNotLoggedIn("only the SO sets the user PIN")
    if pin is None:
        raise ArgumentsBad("the SO has no protected authentication path")
    sealing.check_pin(pin)
    _require_no_cluster(session.token, session.token.opened)
    session.token.opened.set_user_pin(UserPin(pin))


def set_pin(session: Session, old: Secret | None, new: Secret | None) -> None:
    """Change the SO's own PIN if the SO is logged in, else the user's."""
    session.require_writable()
    if old is None or new is None:
        raise ArgumentsBad("PINs are changed by giving both")
    token = session.token
    sealing.check_pin(new)
    if token.role == CKU.SO and isinstance(token.opened, SoToken):
        tokens.login_so(token.directory, token.entry, old)
        token.opened.change_so_pin(new)
        return
    if token.entry.user_pin is None:
        raise UserPinNotInitialized
    opened = token.opened
    if not isinstance(opened, OpenToken):
        opened = _verified(token, old)
    _require_no_cluster(token, opened)
    changed = tokens.change_user_pin(opened, old, new, attempts_limit=token.config.pin_attempts)
    if token.opened is opened:
        token.opened = changed


def _require_free(token: Token, role: int) -> None:
    if role == CKU.SO and any(not session.writable for session in token.sessions.values()):
        raise SessionReadOnlyExists
    if token.role == role:
        raise UserAlreadyLoggedIn
    if token.role is not None:
        raise UserAnotherAlreadyLoggedIn


def _open_so(token: Token, pin: Secret | None) -> Opened:
    if pin is None:
        raise ArgumentsBad("the SO has no protected authentication path")
    return tokens.login_so(token.directory, token.entry, pin)


def _open_user(token: Token, pin: Secret | None) -> Opened:
    """Open with the given PIN, or with the one that the PIN file holds."""
    if token.entry.user_pin is None:
        raise UserPinNotInitialized
    if pin:
        return _verified(token, pin)
    kept = tokens.read_pin_file(token.directory, token.entry)
    if kept is None and tokens.pin_file_exists(token.directory, token.entry):
        raise PinIncorrect(f"user.pin of token {token.serial} is unreadable here or belongs to an earlier PIN")
    if kept is None:
        raise ArgumentsBad("no PIN was given, and there is no user.pin")
    try:
        return _verified(token, kept, from_file=True)
    finally:
        kept.wipe()


def _verified(token: Token, pin: Secret, *, from_file: bool = False) -> OpenToken:
    return tokens.login_user(
        token.directory,
        token.entry,
        pin,
        attempts_limit=token.config.pin_attempts,
        settings_key=token.config.settings_key,
        from_file=from_file,
    )


def _unlock(session: Session, pin: Secret | None) -> None:
    """Let an operation with a CKA_ALWAYS_AUTHENTICATE key go on."""
    waiting = [operation for operation in session.operations.values() if operation.locked]
    if not waiting:
        raise OperationNotInitialized("no operation waits for a login of its own")
    if session.token.role != CKU.USER:
        raise UserNotLoggedIn
    _open_user(session.token, pin)
    for operation in waiting:
        operation.locked = False


def _require_no_cluster(token: Token, opened: Opened) -> None:
    if opened.settings.cluster is not None:
        log.warning(f"the user PIN of token {token.serial} opens cluster keys: change it with mrhsm userpin")
        raise FunctionRejected("the token records cluster keys: change its user PIN with mrhsm userpin")


def init_token(slots: Slots, slot: Slot, so_pin: Secret, label: str) -> None:
    """Make a slot's token new, without a user PIN. The caller has checked that no session is open with it."""
    try:
        entries.check_label(label)
    except entries.LabelInvalid as error:
        raise ArgumentsBad(str(error)) from None
    if slot.token is not None:
        try:
            _init_again(slot.token, so_pin, label)
        finally:
            slots.refresh()
        return
    sealing.check_pin(so_pin)
    if slots.config.settings_key:
        from mrhsm_p11.tokendir import binding

        if not binding.may_bind(slots.config):
            log.warning("settings_key in maprhsm.conf names the tokens that may be used: only root makes others")
            raise TokenWriteProtected("settings_key in maprhsm.conf names the tokens that may be used")
    store = slots.config.new_token_store
    connection, group = _settings_like(slots) if store == "kmip" else (None, None)
    made = tokens.create_token(
        slots.directory, label, so_pin, user_pin=None, store=store, connection=connection, group=group
    )
    if slots.config.settings_key:
        slots.config = binding.bind(made.directory, slots.config, made.entry, begin=False)
    slots.seat(slot, made.entry)


def token_flags(token: Token) -> int:
    """Return the flags of CK_TOKEN_INFO that tell of PINs."""
    flags = CKF.TOKEN_INITIALIZED
    record = token.entry.user_pin
    if record is None:
        return flags
    flags |= CKF.USER_PIN_INITIALIZED
    kept = tokens.read_pin_file(token.directory, token.entry)
    if kept is not None:
        kept.wipe()
        flags |= CKF.PROTECTED_AUTHENTICATION_PATH
    limit = token.config.pin_attempts
    wrong = 0 if record.ours else attempts.wrong(token.directory, token.serial, "user", record)
    if limit and wrong:
        left = limit - wrong
        flags |= CKF.USER_PIN_COUNT_LOW
        flags |= CKF.USER_PIN_LOCKED if left <= 0 else CKF.USER_PIN_FINAL_TRY if left == 1 else 0
    return flags


def _init_again(token: Token, so_pin: Secret, label: str) -> None:
    opened = tokens.login_so(token.directory, token.entry, so_pin)
    if opened.settings.cluster is not None:
        raise TokenWriteProtected("the token records cluster keys: it cannot be initialised again")
    stores.destroy_own(opened, token.config)
    opened.reset(label, so_pin)
    # Other processes may have made objects between the two; after the second look they take them back themselves.
    stores.destroy_own(opened, token.config)
    for one in token.objects.all():
        token.objects.forget(one)


def _settings_like(slots: Slots) -> tuple[Connection | None, str | None]:
    """Return connection and Object Group of a token made through C_InitToken: see "[new_token]" in maprhsm.conf."""
    wanted = slots.config.new_token_like
    like = next((entry for entry in entries.load(slots.directory) if wanted in (entry.serial, entry.label)), None)
    kept = tokens.read_pin_file(slots.directory, like) if like is not None else None
    if like is None or kept is None:
        raise FunctionRejected(f"new_token.like names {wanted!r}: there is no such token with a readable user.pin")
    opened = tokens.login_user(slots.directory, like, kept, settings_key=slots.config.settings_key, from_file=True)
    return opened.settings.connection, f"mrhsm-p11 {os.urandom(8).hex()}"
