"""Public objects without a login: copies of what was last seen, in a file beside the token.

The file is plain, for nothing in it is secret, and carries a MAC under the token key: a session without login believes
it as it believes the rest of the token directory, the next login checks it. It holds objects that are public by nature;
data objects and secret keys stay sealed even where CKA_PRIVATE is false.
"""

from __future__ import annotations

import binascii
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType
from typing import NoReturn

from mrhsm_p11 import log
from mrhsm_p11.constants import CKA, CKO
from mrhsm_p11.crypto.base import Key
from mrhsm_p11.errors import CryptokiError, MrhsmError, UserNotLoggedIn
from mrhsm_p11.secret import Secret
from mrhsm_p11.store import values
from mrhsm_p11.store.base import Attributes, KeyState, ObjectGone, Record, Store
from mrhsm_p11.tokendir import codec, sealing
from mrhsm_p11.tokendir.files import FileMissing, TokenDirectory

FILE = "public.objects"
VERSION = 1
CLASSES = frozenset({CKO.CERTIFICATE, CKO.PUBLIC_KEY, CKO.DOMAIN_PARAMETERS, CKO.TRUST})
WRITE_EVERY_S = 5.0  # at most, while a session goes on; its end writes what is left
MOST_FETCHED = 64  # materials read by one search only to be kept: the next one goes on

Kept = dict[str, tuple[Record, bytes]]


class PublicFile:
    """The copies of one token."""

    def __init__(self, directory: TokenDirectory, serial: str) -> None:
        self._directory = directory
        self._serial = serial
        self._stamp: tuple[int, ...] = ()
        self._kept: Kept = {}
        self.sound = True  # what was last read

    def read(self, token_key: Secret | None = None) -> Kept:
        """Return the copies; with the token key only if their MAC is right. What cannot be read counts as none."""
        name = f"{self._serial}/{FILE}"
        try:
            stamp = self._directory.stamp(name)
            if token_key is None and stamp == self._stamp:
                return self._kept
            content = self._directory.read(name) if stamp else b""
            self._kept, self._stamp = (_parsed(content, token_key, self._serial) if content else {}), stamp
            self.sound = True
        except FileMissing:
            self._kept, self._stamp = {}, ()
        except UserNotLoggedIn:
            raise  # by a logout meanwhile: it says nothing of the file
        except (MrhsmError, CryptokiError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning(f"{name} in the token directory is not believed, and made anew: {error}")
            self._kept, self._stamp, self.sound = {}, (), False
        return self._kept

    def write(self, kept: Kept, token_key: Secret) -> None:
        """Replace the copies. A directory that cannot be written costs only sessions without login."""
        objects = codec.canonical([_to_json(*one) for one in kept.values()])
        content = codec.canonical(
            {"v": VERSION, "objects": objects.decode(), "mac": _mac(objects, token_key, self._serial)}
        )
        try:
            self._directory.make_folder(self._serial)
            self._directory.write(f"{self._serial}/{FILE}", content)
        except (MrhsmError, CryptokiError) as error:
            log.info(f"public objects are not kept for sessions without login: {error}")


class PublicObjects(Store):
    """The copies as a session without login sees them.

    The standard lets a read/write session change public objects: `owner` opens the store that can, None if this process
    may not log in by itself.
    """

    def __init__(self, file: PublicFile, owner: Callable[[], Store | None]) -> None:
        self._file = file
        self._owner = owner

    def insert(self, attributes: Attributes, material: Secret) -> NoReturn:
        raise UserNotLoggedIn("token objects are sealed: log in first")

    def generate(self, attributes: Attributes) -> NoReturn:
        raise UserNotLoggedIn("token objects are sealed: log in first")

    def search(self, wanted: Attributes) -> Iterable[Record]:
        return [record for record, _ in self._file.read().values()]

    def load(self, uid: str) -> Record:
        return self._get(uid)[0]

    def material(self, uid: str) -> Secret:
        return Secret(self._get(uid)[1])

    def update(self, uid: str, changes: Attributes) -> Record:
        with self._opened() as owner:
            return owner.update(uid, changes)

    def delete(self, uid: str) -> None:
        with self._opened() as owner:
            owner.delete(uid)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Store]:
        owner = self._owner()
        if owner is None:
            raise UserNotLoggedIn("token objects are sealed: log in first")
        try:
            yield owner
        finally:
            owner.forget()  # writes the copies
            owner.close()

    def _get(self, uid: str) -> tuple[Record, bytes]:
        try:
            return self._file.read()[uid]
        except KeyError:
            raise ObjectGone(f"object {uid} is not among the public ones") from None


class Published(Store):
    """Another store, whose public objects are copied to the file as they come by."""

    def __init__(self, inner: Store, file: PublicFile, token_key: Secret) -> None:
        self._inner = inner
        self._file = file
        self._token_key = token_key
        self._seen: Kept | None = None
        self._changed = False
        self._written_at = -WRITE_EVERY_S

    def insert(self, attributes: Attributes, material: Secret) -> Record:
        record = self._inner.insert(attributes, material)
        self._add(record, material)
        return record

    def insert_pair(
        self, public: tuple[Attributes, Secret], private: tuple[Attributes, Secret]
    ) -> tuple[Record, Record]:
        first, second = self._inner.insert_pair(public, private)
        self._add(first, public[1])
        return first, second

    def generate(self, attributes: Attributes) -> Record:
        return self._inner.generate(attributes)

    def search(self, wanted: Attributes) -> Iterable[Record]:
        found = list(self._inner.search(wanted))
        self._learn(wanted, found)
        return found

    def load(self, uid: str) -> Record:
        return self._inner.load(uid)

    def material(self, uid: str) -> Secret:
        return self._inner.material(uid)

    def key(self, uid: str) -> Key:
        return self._inner.key(uid)

    def lease(self, uid: str) -> float:
        return self._inner.lease(uid)

    def update(self, uid: str, changes: Attributes) -> Record:
        record = self._inner.update(uid, changes)
        if uid in self._copies():
            self._put(record, self._copies()[uid][1])
        return record

    def delete(self, uid: str) -> None:
        self._inner.delete(uid)
        self._changed |= self._copies().pop(uid, None) is not None

    def forget(self) -> None:
        self._flush()
        self._inner.forget()

    def close(self) -> None:
        self._inner.close()

    def _copies(self) -> Kept:
        if self._seen is None:
            self._seen = dict(self._file.read(self._token_key))
            self._changed |= not self._file.sound
        return self._seen

    def _learn(self, wanted: Attributes, found: list[Record]) -> None:
        """Take over what a search has found, and that it has not found what it would have."""
        public = {record.uid: record for record in found if _is_public(record)}
        copies = self._copies()
        for uid in [uid for uid, (record, _) in copies.items() if uid not in public and _equals(record, wanted)]:
            del copies[uid]
            self._changed = True
        fetched = 0
        for uid, record in public.items():
            if uid in copies:
                self._put(record, copies[uid][1])
            elif fetched < MOST_FETCHED:
                fetched += 1
                try:
                    self._add(record, self._inner.material(uid))
                except CryptokiError as error:
                    log.info(f"object {uid} is not kept for sessions without login: {error}")
        if time.monotonic() - self._written_at >= WRITE_EVERY_S:
            self._flush()

    def _add(self, record: Record, material: Secret) -> None:
        if _is_public(record):
            self._put(record, material.reveal())

    def _put(self, record: Record, material: bytes) -> None:
        known = self._copies().get(record.uid)
        if known is None or known[0] != record:
            self._copies()[record.uid] = record, material
            self._changed = True

    def _flush(self) -> None:
        if self._changed:
            self._changed = False
            self._written_at = time.monotonic()
            self._file.write(self._copies().copy(), self._token_key)


def _is_public(record: Record) -> bool:
    return record.attributes.get(CKA.CLASS) in CLASSES and record.attributes.get(CKA.PRIVATE) is False


def _equals(record: Record, wanted: Attributes) -> bool:
    return all(record.attributes.get(cka) == value for cka, value in wanted.items())


def _mac(objects: bytes, token_key: Secret, serial: str) -> str:
    import hmac

    return hmac.digest(sealing.subkey(token_key, "public objects", serial), objects, "sha256").hex()


def _to_json(record: Record, material: bytes) -> codec.Json:
    return {
        "uid": record.uid,
        "attributes": values.to_json(record.attributes),
        "state": record.state.name,
        "foreign": record.foreign,
        "material": binascii.b2a_base64(material, newline=False).decode(),
    }


def _parsed(content: bytes, token_key: Secret | None, serial: str) -> Kept:
    import hmac

    document = codec.parse(content)
    if not isinstance(document, dict) or document["v"] != VERSION:
        raise ValueError("it is of another version")
    objects = document["objects"].encode()
    if token_key is not None and not hmac.compare_digest(_mac(objects, token_key, serial), document["mac"]):
        raise ValueError("it is not what was last written here")
    found = codec.parse(objects)
    if not isinstance(found, list):
        raise ValueError("it is no list")  # noqa: TRY004 - every defect of the file is one kind of failure
    return {one["uid"]: (_record(one), binascii.a2b_base64(one["material"], strict_mode=True)) for one in found}


def _record(one: dict[str, object]) -> Record:
    uid, state = str(one["uid"]), str(one["state"])
    attributes = MappingProxyType(values.from_json(one["attributes"]))
    return Record(uid, attributes, KeyState[state], one["foreign"] is True)
