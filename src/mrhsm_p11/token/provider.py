"""The provider: everything between C_Initialize and C_Finalize. The one global of the library is `current`."""

from __future__ import annotations

import itertools
import os
import threading
from typing import ClassVar

from mrhsm_p11 import answers, config, datapath, hostcalls, log
from mrhsm_p11.errors import (
    CryptokiAlreadyInitialized,
    CryptokiNotInitialized,
    FunctionFailed,
    MrhsmError,
    SessionHandleInvalid,
    SlotIdInvalid,
)
from mrhsm_p11.token.session import Session
from mrhsm_p11.token.slots import Slot, Slots
from mrhsm_p11.tokendir.files import TokenDirectory


class Provider:
    """Slots, sessions and handles of one initialised library. Safe from any thread."""

    handles: ClassVar = itertools.count(1)  # of objects and sessions: never reused, so a stale one is always noticed

    def __init__(self, settings: config.Config) -> None:
        self.config = settings
        self.directory = TokenDirectory(settings.tokens_dir)
        self.sessions: dict[int, Session] = {}
        self.stopped = threading.Event()
        self.slots = Slots(self.directory, settings, self.handles)

    def slot(self, slot_id: int) -> Slot:
        """Return the slot of this id. Raises SlotIdInvalid."""
        slot = self.slots.by_id.get(slot_id)
        if slot is None:
            raise SlotIdInvalid(f"there is no slot {slot_id}")
        return slot

    def session(self, handle: int) -> Session:
        """Return an open session. Raises SessionHandleInvalid."""
        try:
            return self.sessions[handle]
        except KeyError:
            raise SessionHandleInvalid from None

    def open_session(self, slot_id: int, *, writable: bool) -> Session:
        """Open a session with the token in a slot."""
        token = self.slot(slot_id).require_token()
        session = token.open_session(next(self.handles), writable=writable)
        self.sessions[session.handle] = session
        if session.handle not in token.sessions:  # all were closed meanwhile
            self.sessions.pop(session.handle, None)
            token.end_session(session)
        return session

    def close_session(self, session: Session) -> None:
        """Close a session: its objects and operations end; with the token's last one the login ends too."""
        if self.sessions.pop(session.handle, None) is None:
            raise SessionHandleInvalid
        session.token.close_session(session)

    def close_all_sessions(self, slot_id: int) -> None:
        """Close every session with the token in a slot."""
        token = self.slot(slot_id).token
        for session in token.take_sessions() if token is not None else ():
            self.sessions.pop(session.handle, None)
            session.token.end_session(session)

    def close(self) -> None:
        """Let go of everything: C_Finalize."""
        self.stopped.set()
        self.sessions.clear()
        for slot in list(self.slots.by_id.values()):
            if slot.token is not None:
                slot.token.close()


current: Provider | None = None
_changing = threading.Lock()


def require() -> Provider:
    """Return the provider. Raises CryptokiNotInitialized."""
    if current is None:
        raise CryptokiNotInitialized
    return current


def session(handle: int) -> Session:
    """Return an open session of the provider: what nearly every function begins with."""
    return require().session(handle)


def start(*, threads: bool = True) -> None:
    """Make the provider, which has no `threads` of its own where the host forbids them.

    A configuration that cannot be read is refused: it could mean other tokens.
    """
    global current  # noqa: PLW0603
    with _changing:
        if current is not None:
            raise CryptokiAlreadyInitialized
        try:
            settings = config.load()
            log.open_target(settings.log_path, settings.log_level)
            current = Provider(settings)
            hostcalls.allow_threads(threads)
            if not datapath.start(wanted=settings.datapath):
                log.warning("no data path: this kernel gives no memory that a fork does not copy")
        except MrhsmError as error:
            log.error(str(error))
            raise FunctionFailed(str(error)) from error


def stop() -> None:
    """Forget everything."""
    global current
    with _changing:
        require()
        if log.enabled("info"):
            log.info(f"{datapath.path.served()} calls served in C so far")
        datapath.stop()
        provider, current = require(), None
        answers.changed()
        provider.close()
        log.close()


def _forget_after_fork() -> None:
    """A forked child starts uninitialised; what the parent shares with it must not be closed here."""
    global current, _changing
    current, _changing = None, threading.Lock()
    answers.changed()
    datapath.stop()


os.register_at_fork(after_in_child=_forget_after_fork)
