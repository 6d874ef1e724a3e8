"""A token: its login, its sessions, its objects and where they live."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mrhsm_p11 import answers, datapath
from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKU
from mrhsm_p11.errors import (
    ObjectHandleInvalid,
    SessionReadOnly,
    SessionReadWriteSoExists,
    UserNotLoggedIn,
)
from mrhsm_p11.store.base import Attributes, Record, Store
from mrhsm_p11.store.memory import MemoryStore
from mrhsm_p11.token import stores
from mrhsm_p11.token.objects import Object, ObjectTable, is_private
from mrhsm_p11.token.plans import Plans
from mrhsm_p11.token.session import Session
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.tokens import OpenToken, SoToken

if TYPE_CHECKING:
    from mrhsm_p11.crypto.base import Digest
    from mrhsm_p11.token.operations import Operation

Opened = OpenToken | SoToken


class Token:
    """An initialised token in a slot. Safe from any thread; no lock is held while a store works."""

    def __init__(self, entry: TokenEntry, directory: TokenDirectory, config: Config, handles: Iterator[int]) -> None:
        self.entry = entry  # replaced when mrhsm.conf changes
        self.directory = directory
        self.config = config
        self.sessions: dict[int, Session] = {}
        self.role: int | None = None  # a CKU; login state is the process's, not a session's
        self.opened: Opened | None = None  # what the PIN opened
        self.objects = ObjectTable(handles)
        self.session_store: Store = MemoryStore()
        self.plans = Plans()
        self._stores: tuple[Store, ...] = ()  # of token objects, as the present role sees them
        self.states: dict[bytes, tuple[int, Operation[Digest]]] = {}  # see token.states
        self.changing = threading.Lock()

    @property
    def serial(self) -> str:
        return self.entry.serial

    @property
    def stores(self) -> tuple[Store, ...]:
        """Where token objects are, the store that takes new ones first; without a login found at first need."""
        found = self._stores
        if found:
            return found
        opened = stores.open_public(self.directory, self.entry, self.config)
        with self.changing:
            self._stores = self._stores or opened
            return self._stores

    # ---- sessions

    def open_session(self, handle: int, *, writable: bool) -> Session:
        """Make a session. Raises SessionReadWriteSoExists for a read-only one while the SO is logged in."""
        with self.changing:
            if not writable and self.role == CKU.SO:
                raise SessionReadWriteSoExists
            session = self.sessions[handle] = Session(handle, self, writable=writable)
        datapath.path.open(handle, id(self))
        return session

    def close_session(self, session: Session) -> None:
        """End a session, its operations and its objects; the token's last one takes the login with it."""
        answers.changed()
        with self.changing:  # in one step: a session opened after the last one was closed must find no login
            self.sessions.pop(session.handle, None)
            given_up = None if self.sessions else self._give_up()
        self.end_session(session)
        if given_up is not None:
            _forget(*given_up)

    def take_sessions(self) -> list[Session]:
        """Take all sessions at once, and the login with them; return them, for the caller to end."""
        answers.changed()
        with self.changing:  # one that is opened meanwhile is among them, or finds no login
            taken = list(self.sessions.values())
            self.sessions.clear()
            given_up = self._give_up()
        _forget(*given_up)
        return taken

    def end_session(self, session: Session) -> None:
        """End the operations and the objects of a session that the token has no more."""
        session.cancel()
        datapath.path.close(session.handle)
        self._discard(one for one in self.objects.all() if one.session == session.handle)

    # ---- login

    def enter(self, role: int, opened: Opened) -> tuple[Store, ...]:
        """Take the role that a PIN has opened; return the stores that are left, for the caller to close.

        The caller has checked that no role is taken and that there is a session, and holds `changing`.
        """
        left, self._stores = self._stores, stores.open_all(opened, self.config)
        self.role, self.opened = role, opened
        answers.changed()
        datapath.path.end_all()
        return left

    def leave(self) -> None:
        """Give up the role: what was opened is forgotten, key bytes are wiped. Handles of token objects stay."""
        with self.changing:
            given_up = self._give_up()
        _forget(*given_up)

    def _give_up(self) -> tuple[tuple[Store, ...], Opened | None]:
        """Take no role; return what the last one had opened. The caller holds `changing`."""
        left, self._stores = self._stores, ()
        self.states.clear()
        self.role, opened, self.opened = None, self.opened, None
        answers.changed()
        datapath.path.end_all()
        return left, opened

    def logout(self) -> None:
        """C_Logout: beside leaving, private handles end for good and private session objects are destroyed."""
        if self.role is None:
            raise UserNotLoggedIn
        private = [one for one in self.objects.all() if one.private]
        self.leave()
        for session in list(self.sessions.values()):  # after that: whoever was let to begin an operation has begun it
            session.cancel()
        self._discard(private)

    def close(self) -> None:
        """C_Finalize."""
        for session in list(self.sessions.values()):
            session.cancel()
        self.sessions.clear()
        self.leave()
        self.session_store.close()

    # ---- objects

    def store_for(self, session: Session, *, on_token: bool) -> Store:
        """Return where this session's new objects go. Raises SessionReadOnly, UserNotLoggedIn."""
        if not on_token:
            return self.session_store
        session.require_writable()
        if self.role is None:
            raise UserNotLoggedIn("token objects are sealed: log in first")
        return self.stores[0]

    def enter_object(self, session: Session, store: Store, record: Record) -> Object:
        """Give an object its handle."""
        return self.objects.enter(store, record, session.handle if store is self.session_store else None)

    def object(self, handle: int) -> Object:
        """Return the object that a handle stands for, as the store has it now.

        Raises ObjectHandleInvalid also for what the present role may not see, and for what the store no longer has,
        UserNotLoggedIn for a public object that cannot be opened without a PIN.
        """
        found = self.objects.get(handle)
        if (found.private and self.role != CKU.USER) or (found.session is None and found.store not in self.stores):
            found = self._again(found)
        try:
            found.refresh()
        except ObjectHandleInvalid:
            self.objects.forget(found)
            raise
        return found

    def visible(self, record: Record) -> bool:
        """Tell whether the present role may see an object: private ones are the user's alone."""
        return self.role == CKU.USER or not is_private(record)

    def require_visible(self, values: Attributes) -> None:
        """Raise UserNotLoggedIn for private objects that the present role may not make or keep."""
        if values.get(CKA.PRIVATE) is True and self.role != CKU.USER:
            raise UserNotLoggedIn("private objects need the user's login")

    def require_changeable(self, session: Session, found: Object) -> None:
        """Raise SessionReadOnly for a token object in a read-only session."""
        if found.session is None and not session.writable:
            raise SessionReadOnly

    def _again(self, found: Object) -> Object:
        """Find an object whose store was closed by a logout in the store that the next login has opened."""
        if found.private and self.role != CKU.USER:
            raise ObjectHandleInvalid("private objects need the user's login")
        for store in self.stores:
            try:
                return self.objects.enter(store, store.load(found.uid))
            except ObjectHandleInvalid:
                continue
        if self.role is None:
            raise UserNotLoggedIn("the object is public but sealed: log in first")
        raise ObjectHandleInvalid("the object's token is not open")

    def _discard(self, gone: Iterator[Object] | list[Object]) -> None:
        for one in list(gone):
            self.objects.forget(one)
            if one.session is not None:
                one.store.delete(one.uid)


def _forget(left: tuple[Store, ...], opened: Opened | None) -> None:
    for store in left:
        store.forget()
        store.close()
    if opened is not None:
        opened.token_key.wipe()
