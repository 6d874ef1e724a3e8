"""The sealed objects of one token in its folder: `<uid>.object` each, a fresh pair as `<uid>+<uid>.pair`.

A pair file is how two objects come to be at one moment: it is complete from its rename on, and whoever writes next
replaces it by the two object files it holds.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mrhsm_p11.secret import Secret, SecretWiped
from mrhsm_p11.store import sealed
from mrhsm_p11.store.base import ObjectGone
from mrhsm_p11.store.sealed import SealKey, StoredObject
from mrhsm_p11.tokendir import entries
from mrhsm_p11.tokendir.files import DirectoryError, FileMissing, TokenDirectory

OBJECT_SUFFIX, PAIR_SUFFIX, PAIR_JOINT = ".object", ".pair", "+"
MOST_MATERIALS = 64
RACY_NS = 100_000_000  # a file changed just now may change again and show the same stamp
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}\Z")
T = TypeVar("T")


class ObjectDamaged(DirectoryError):
    """An object's file does not open; the text names it."""


class ObjectFolder:
    """Reads see each object as one writer left it; writes are durable when they return. Any thread, any process."""

    def __init__(self, directory: TokenDirectory, serial: str, token_key: Secret) -> None:
        self._directory = directory
        self._folder = serial
        self._key = SealKey(Secret(token_key.view()), serial)
        self._known: dict[str, tuple[tuple[int, ...], StoredObject]] = {}  # uid -> stamp of the file, what it says
        self._materials: dict[str, tuple[tuple[int, ...], Secret]] = {}  # the latest last
        self._changing = threading.Lock()
        self._key_checked: tuple[int, ...] = ()  # stamp of the mrhsm.conf whose token has this key

    def all(self) -> Iterator[tuple[str, StoredObject]]:
        """Return every object there is at one moment."""
        found: dict[str, StoredObject] = {}
        with self._directory.shared(self._folder):
            stamps = self._directory.stamps(self._folder)
            for name, stamp in stamps.items():
                if name.endswith(OBJECT_SUFFIX):
                    uid = name.removesuffix(OBJECT_SUFFIX)
                    found[uid] = self._cached(uid, stamp)
            for name in stamps:
                if name.endswith(PAIR_SUFFIX):
                    for uid, content in self._pair(name):
                        found.setdefault(uid, self._opened(sealed.open_object, uid, content))
        with self._changing:
            self._known = {uid: known for uid, known in self._known.items() if uid in found}
        return iter(found.items())

    def load(self, uid: str) -> StoredObject:
        """Return one object. Raises ObjectGone."""
        known = self._known.get(uid)
        if known is not None and self._directory.unchanged(self._path(uid), known[0]):
            return known[1]
        stamp = self._directory.stamp(self._path(uid))
        if stamp:
            try:
                return self._cached(uid, stamp)
            except FileMissing:
                raise ObjectGone(f"object {uid} is gone") from None
        return self._opened(sealed.open_object, uid, self._content(uid))

    def material(self, uid: str) -> Secret:
        """Return one object's material. Raises ObjectGone."""
        known = self._materials.get(uid)
        if known is not None:
            if self._directory.unchanged(self._path(uid), known[0]):
                with contextlib.suppress(SecretWiped):
                    return known[1].copy()
            with self._changing:  # another process has changed or removed the object
                self._wipe(uid)
        stamp = self._directory.stamp(self._path(uid))
        material = self._opened(sealed.open_material, uid, self._content(uid))
        if _is_settled(stamp):
            self._keep_material(uid, stamp, material)
        return material

    def add(self, uid: str, stored: StoredObject, material: Secret) -> None:
        """Keep a new object."""
        with self._writing():
            self._directory.write(self._path(uid), sealed.seal(self._key, uid, stored, material))

    def add_pair(self, first: tuple[str, StoredObject, Secret], second: tuple[str, StoredObject, Secret]) -> None:
        """Keep two new objects or neither."""
        content = sealed.join(sealed.seal(self._key, *first), sealed.seal(self._key, *second))
        with self._writing():
            self._directory.write(f"{self._folder}/{first[0]}{PAIR_JOINT}{second[0]}{PAIR_SUFFIX}", content)
            self._settle()

    def change(self, uid: str, change: Callable[[StoredObject], StoredObject]) -> StoredObject:
        """Replace what is kept of an object, all or nothing; its material stays. Raises ObjectGone."""
        with self._writing():
            content = self._content(uid)
            changed = change(self._opened(sealed.open_object, uid, content))
            material = self._opened(sealed.open_material, uid, content)
            self._directory.write(self._path(uid), sealed.seal(self._key, uid, changed, material))
            material.wipe()
        return changed

    def remove(self, uid: str) -> None:
        """Remove an object. Raises ObjectGone."""
        with self._writing():
            if not self._directory.remove(self._path(uid)):
                raise ObjectGone(f"object {uid} is gone")
        with self._changing:
            self._wipe(uid)

    def close(self) -> None:
        """Wipe the key; the folder is not used again."""
        self._key.token_key.wipe()
        self._known.clear()
        with self._changing:
            for uid in list(self._materials):
                self._wipe(uid)

    def _path(self, uid: str) -> str:
        if not _UID.match(uid):
            raise ObjectGone(f"object {uid!r} is not one of the file store")
        return f"{self._folder}/{uid}{OBJECT_SUFFIX}"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only writer, after what a killed one left has been put in order."""
        self._directory.make_folder(self._folder)
        with self._directory.lock(folder=self._folder):
            self._require_present_key()
            self._settle()
            yield

    def _require_present_key(self) -> None:
        """Refuse to write what nobody could read: the lock is held, so the token keeps its key until we are done."""
        stamp = self._directory.stamp(entries.CONFIGURATION)
        if stamp and stamp != self._key_checked:
            entries.require_key(self._directory, self._folder, self._key.token_key)
            self._key_checked = stamp

    def _settle(self) -> None:
        """Replace pair files by the objects in them; the lock is held."""
        for name in self._directory.names(self._folder):
            if name.endswith(PAIR_SUFFIX):
                for uid, content in self._pair(name):
                    self._directory.write(self._path(uid), content)
                self._directory.remove(f"{self._folder}/{name}")

    def _cached(self, uid: str, stamp: tuple[int, ...]) -> StoredObject:
        known = self._known.get(uid)
        if known is not None and known[0] == stamp:
            return known[1]
        stored = self._opened(sealed.open_object, uid, self._directory.read(self._path(uid)))
        if _is_settled(stamp):
            with self._changing:
                self._known[uid] = stamp, stored
        return stored

    def _keep_material(self, uid: str, stamp: tuple[int, ...], material: Secret) -> None:
        with self._changing:
            self._wipe(uid)
            if not self._key.token_key.is_wiped:
                self._materials[uid] = stamp, Secret(material.view())
            while len(self._materials) > MOST_MATERIALS:
                self._wipe(next(iter(self._materials)))

    def _wipe(self, uid: str) -> None:
        if known := self._materials.pop(uid, None):
            known[1].wipe()

    def _content(self, uid: str) -> bytes:
        try:
            return self._directory.read(self._path(uid))
        except FileMissing:
            pass
        with self._directory.shared(self._folder):  # it may be in a pair file, or have left it just now
            for name in self._directory.names(self._folder):
                if name == f"{uid}{OBJECT_SUFFIX}":
                    return self._directory.read(self._path(uid))
                if name.endswith(PAIR_SUFFIX) and uid in name.removesuffix(PAIR_SUFFIX).split(PAIR_JOINT):
                    return dict(self._pair(name))[uid]
        raise ObjectGone(f"object {uid} is gone")

    def _pair(self, name: str) -> list[tuple[str, bytes]]:
        uids = name.removesuffix(PAIR_SUFFIX).split(PAIR_JOINT)
        return list(zip(uids, sealed.split(self._directory.read(f"{self._folder}/{name}")), strict=True))

    def _opened(self, opener: Callable[[SealKey, str, bytes], T], uid: str, content: bytes) -> T:
        try:
            return opener(self._key, uid, content)
        except sealed.Damaged:
            path = f"{self._directory.path}/{self._folder}/{uid}{OBJECT_SUFFIX}"
            raise ObjectDamaged(f"{path} is damaged or of another token: restore it, or remove it") from None


def _is_settled(stamp: tuple[int, ...]) -> bool:
    """Tell whether a file that has this stamp will show another one when it changes."""
    return bool(stamp) and time.time_ns() - stamp[2] > RACY_NS
