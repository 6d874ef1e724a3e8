"""Slots: initialised tokens in order of creation, then one empty place for the next token."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mrhsm_p11 import answers
from mrhsm_p11.config import Config
from mrhsm_p11.errors import TokenNotRecognized
from mrhsm_p11.token.token import Token
from mrhsm_p11.tokendir import entries, tokens
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory

EMPTY_SLOT_ID = 0


class Slot:
    """A slot; without a token its token is present but not initialised."""

    __slots__ = ("id", "token")

    def __init__(self, id: int, token: Token | None = None) -> None:
        self.id = id
        self.token = token

    def require_token(self) -> Token:
        """Return the initialised token. Raises TokenNotRecognized."""
        if self.token is None:
            raise TokenNotRecognized(f"the token in slot {self.id} is not initialised")
        return self.token


class Slots:
    """The slot list, kept in step with mrhsm.conf. A token keeps the slot it was first seen in, until C_Finalize."""

    def __init__(self, directory: TokenDirectory, config: Config, handles: Iterator[int]) -> None:
        self.directory = directory
        self.config = config
        self._handles = handles
        self._changing = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self.by_id: dict[int, Slot] = {}  # in the order of the list; replaced, never changed
        self._events: list[int] = []  # slots whose token came or went since a caller was told
        self.refresh()
        self._events.clear()  # what was there before is no event

    def refresh(self) -> None:
        """Read mrhsm.conf again if it has changed: tokens come, change and go while we run."""
        with self._changing:
            stamp = self.directory.stamp(entries.CONFIGURATION) if self.directory.exists() else ()
            if stamp == self._stamp:
                return
            self._arrange(entries.load(self.directory) if stamp else ())
            self._stamp = stamp

    def take_event(self) -> int | None:
        """Return a slot whose token came or went by another's hand, once; None: there is none."""
        self.refresh()
        with self._changing:
            return self._events.pop(0) if self._events else None

    def seat(self, slot: Slot, entry: TokenEntry) -> None:
        """Put a token just made into the empty slot it was made through, and nowhere else."""
        with self._changing:
            slot.token = self._token(entry)
            others = [one for one in self.by_id.values() if one.token is None or one.token.serial != entry.serial]
            self.by_id = {one.id: one for one in [*others, slot]}
            answers.changed()
            self._stamp = None  # another thread may have seen the token in mrhsm.conf before it was seated

    def slot_of(self, token: Token) -> int:
        """Return the id of the slot that a token is in."""
        return next((slot.id for slot in self.by_id.values() if slot.token is token), tokens.slot_id(token.serial))

    def _arrange(self, found: tuple[TokenEntry, ...]) -> None:
        seated = {slot.token.serial: slot for slot in self.by_id.values() if slot.token is not None}
        slots: list[Slot] = []
        for entry in found:
            slot = seated.pop(entry.serial, None) or Slot(tokens.slot_id(entry.serial), self._token(entry))
            if slot.token is not None:
                slot.token.entry = entry
            slots.append(slot)
        slots += [slot for slot in seated.values() if slot.token is not None and slot.token.sessions]
        changed = {slot.id for slot in slots} ^ {slot.id for slot in self.by_id.values() if slot.token is not None}
        self._events += sorted(changed.difference(self._events))
        taken = {slot.id for slot in slots}
        empty = next((slot for slot in self.by_id.values() if slot.token is None), None) or Slot(
            next(number for number in range(EMPTY_SLOT_ID, len(taken) + 1) if number not in taken)
        )
        self.by_id = {slot.id: slot for slot in [*slots, empty]}
        answers.changed()

    def _token(self, entry: TokenEntry) -> Token:
        return Token(entry, self.directory, self.config, self._handles)
