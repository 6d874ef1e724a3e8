"""Records and key bytes that were read lately: in memory only, bounded in time, wiped when they go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mrhsm_p11 import datapath
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip.records import Entry


@dataclass(slots=True)
class _Material:
    secret: Secret
    read_at: float


class Cache:
    """Entries by unique identifier. `fresh_s` bounds what is answered without a server, `stale_s` what outlives it."""

    def __init__(self, fresh_s: float, stale_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[Entry, float]] = {}
        self._materials: dict[str, _Material] = {}
        self._used: set[str] = set()  # whose bytes were read

    def entry(self, uid: str) -> Entry | None:
        with self._lock:
            self._sweep()
            found = self._entries.get(uid)
            if found is None or self._clock() - found[1] >= self._fresh_s:
                return None
            return found[0]

    def stale_entry(self, uid: str) -> Entry | None:
        """Return what was last known of an object whose key bytes may still be used without a server."""
        with self._lock:
            found = self._entries.get(uid)
            if found is None or self._clock() - found[1] >= self._fresh_s + self._stale_s:
                return None
            return found[0]

    def keep(self, entry: Entry) -> None:
        uid = entry.record.uid
        with self._lock:
            known = self._entries.get(uid)
            self._entries[uid] = (entry, self._clock())
        if known is not None and known[0].record != entry.record:
            datapath.path.end_key(uid)

    def material(self, uid: str, *, stale: bool = False) -> Secret | None:
        """Return a copy of the bytes, if they are young enough; `stale`: the servers do not answer."""
        with self._lock:
            self._sweep()
            found = self._materials.get(uid)
            if found is None:
                return None
            limit_s = self._fresh_s + (self._stale_s if stale else 0.0)
            return Secret(found.secret.view()) if self._clock() - found.read_at < limit_s else None

    def fresh_for(self, uid: str) -> float:
        """Return the seconds for which record and bytes are still answered without a server."""
        with self._lock:
            entry, material = self._entries.get(uid), self._materials.get(uid)
            if entry is None or material is None:
                return 0.0
            return self._fresh_s - (self._clock() - min(entry[1], material.read_at))

    def wants_material(self, uid: str) -> bool:
        """Tell whether the object's bytes are in use, so that reading them along saves a message."""
        with self._lock:
            return uid in self._used

    def keep_material(self, uid: str, secret: Secret) -> None:
        """Keep a copy of the bytes."""
        with self._lock:
            self._sweep()
            self._wipe(uid)
            if self._fresh_s > 0:
                self._used.add(uid)
                self._materials[uid] = _Material(Secret(secret.view()), self._clock())

    def drop(self, uid: str) -> None:
        """Forget one object and wipe its bytes."""
        with self._lock:
            self._entries.pop(uid, None)
            self._used.discard(uid)
            self._wipe(uid)
        datapath.path.end_key(uid)

    def drop_material(self, uid: str) -> None:
        with self._lock:
            self._wipe(uid)
        datapath.path.end_key(uid)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._used.clear()
            for uid in list(self._materials):
                self._wipe(uid)
        datapath.path.end_all()

    def _sweep(self) -> None:
        """Wipe what nothing may use any more. The oldest were put in first: those behind a young one are younger."""
        limit_s = self._fresh_s + self._stale_s
        now = self._clock()
        while self._materials:
            uid, found = next(iter(self._materials.items()))
            if now - found.read_at < limit_s:
                return
            self._wipe(uid)

    def _wipe(self, uid: str) -> None:
        if found := self._materials.pop(uid, None):
            found.secret.wipe()
