"""Objects: what a handle stands for, which attributes it has and which of them it shows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mrhsm_p11 import datapath
from mrhsm_p11.constants import CK, CKA, CKO
from mrhsm_p11.crypto import material
from mrhsm_p11.crypto.base import KeptKey
from mrhsm_p11.errors import AttributeSensitive, AttributeTypeInvalid, ObjectHandleInvalid
from mrhsm_p11.mapping import attributes
from mrhsm_p11.store.base import ObjectGone, Record, Store, Value

if TYPE_CHECKING:
    from mrhsm_p11.crypto.base import Key
    from mrhsm_p11.secret import Secret

KEY_CLASSES = frozenset({CKO.PUBLIC_KEY, CKO.PRIVATE_KEY, CKO.SECRET_KEY})
ID_BYTES = 16
_taking = threading.Lock()  # held while an object takes a record that differs from its own, which is seldom


def kind_of(values: dict[int, Value] | Record) -> tuple[int, int | None]:
    """Return the class and the key type (of certificates: the certificate type; None where neither applies)."""
    found = values.attributes if isinstance(values, Record) else values
    cls = found.get(CKA.CLASS)
    kind = found.get(CKA.CERTIFICATE_TYPE if cls == CKO.CERTIFICATE else CKA.KEY_TYPE)
    return (cls if isinstance(cls, int) else -1), (kind if isinstance(kind, int) else None)


def is_private(record: Record) -> bool:
    """Tell whether only the user may see the object."""
    private = record.attributes.get(CKA.PRIVATE)
    return kind_of(record)[0] in (CKO.PRIVATE_KEY, CKO.SECRET_KEY) if private is None else bool(private)


class Object:
    """One object of a token or of a session, read from its store.

    `record` is what was last read; `refresh` reads it again. Values that come from the material are asked of the store
    when needed; the public ones are kept, and `private`, which every use of a handle asks for.
    """

    __slots__ = ("_public", "_turn", "cls", "handle", "key_type", "private", "record", "session", "store", "uid")

    def __init__(self, handle: int, store: Store, record: Record, session: int | None = None) -> None:
        self.handle = handle
        self.store = store
        self.record = record
        self.session = session  # handle of the session whose object it is; None: a token object
        self.uid = record.uid
        self.cls, self.key_type = kind_of(record)
        self.private = is_private(record)
        self._public: dict[int, Value] | None = None
        self._turn = 0  # how many records it has taken since

    @property
    def is_key(self) -> bool:
        return self.cls in KEY_CLASSES

    def refresh(self) -> None:
        """Read the record again. Raises ObjectGone."""
        turn = self._turn
        while not self._take(self.store.load(self.uid), turn):
            turn = self._turn  # what another thread has taken meanwhile may be newer: an old right must not come back

    def changed(self, record: Record) -> None:
        """Take what this thread has just made the object's record."""
        self._take(record, None)

    def _take(self, record: Record, turn: int | None) -> bool:
        """Take a record, unless another was taken since `turn`."""
        if record is self.record:
            return True
        with _taking:
            if turn is not None and turn != self._turn:
                return False
            self._turn += 1
            same = record == self.record
            self.record, self.private, self._public = record, is_private(record), None
        if not same:
            datapath.path.end_key(self.uid)
        return True

    def material(self) -> Secret:
        """Return the object's material. Raises ObjectGone."""
        return self.store.material(self.uid)

    def key(self) -> Key:
        """Return what computes with this key. Raises ObjectGone."""
        return self.store.key(self.uid)

    def value(self, cka: int) -> Value:
        """Return an attribute, whether or not a caller may see it. Raises AttributeTypeInvalid."""
        found = self.known(cka)
        if found is None:
            raise AttributeTypeInvalid(f"the object has no CKA_{CKA.name(cka)}")
        return found

    def known(self, cka: int) -> Value | None:
        """Return an attribute as `value` does, None if this object lacks it though its kind may have it."""
        known = self.record.attributes.get(cka)
        if known is not None:
            return known
        use = attributes.for_class(self.cls, self.key_type).get(cka)
        if use is None:
            raise AttributeTypeInvalid(f"a {CKO.name(self.cls)} has no CKA_{CKA.name(cka)}")
        found = self._from_material(cka, secret=use.sensitive) if use.material else self._computed(cka)
        return use.default if found is None else found

    def is_true(self, cka: int) -> bool:
        """Tell whether the object has this attribute, and it is true."""
        try:
            return self.value(cka) is True
        except AttributeTypeInvalid:
            return False

    def reveal(self, cka: int) -> Value:
        """Return an attribute that the caller may see. Raises AttributeSensitive, AttributeTypeInvalid."""
        use = attributes.for_class(self.cls, self.key_type).get(cka)
        if use is not None and use.sensitive and (self.is_true(CKA.SENSITIVE) or not self.is_true(CKA.EXTRACTABLE)):
            raise AttributeSensitive(f"CKA_{CKA.name(cka)} is not revealed")
        return self.value(cka)

    def matches(self, wanted: dict[int, Value]) -> bool:
        """Tell whether every wanted attribute is there, visible and equal."""
        try:
            return all(self.reveal(cka) == value for cka, value in wanted.items())
        except (AttributeTypeInvalid, AttributeSensitive, ObjectGone):
            return False

    def _from_material(self, cka: int, *, secret: bool) -> Value | None:
        if not secret and self._public is not None and cka in self._public:
            return self._public[cka]
        held = self.store.key(self.uid) if self.cls in KEY_CLASSES else self.material()
        if isinstance(held, KeptKey):
            return None  # what is known of a key that stays in its store is in the record
        if secret:
            return material.derived(self.cls, self.key_type, held).get(cka)
        if self._public is None:
            self._public = dict(material.public_derived(self.cls, self.key_type, held))
        found = self._public.get(cka)
        return found if found is not None else material.derived(self.cls, self.key_type, held).get(cka)

    def _computed(self, cka: int) -> Value | None:
        if cka == CKA.UNIQUE_ID:
            return self.uid
        if cka == CKA.TOKEN:
            return self.session is None
        if cka == CKA.PRIVATE:
            return self.private
        if cka == CKA.ID:
            return self._default_id()
        if cka == CKA.KEY_GEN_MECHANISM:
            return CK.UNAVAILABLE_INFORMATION
        if cka in (CKA.ALWAYS_SENSITIVE, CKA.NEVER_EXTRACTABLE):
            return False
        return None

    def _default_id(self) -> bytes:
        """Both halves of a pair and its certificate get the same one, on every host; see "Objects" in the decisions."""
        if self.cls == CKO.SECRET_KEY:
            return hashlib.sha256(self.uid.encode()).digest()[:ID_BYTES]
        said = self.record.attributes.get(CKA.PUBLIC_KEY_INFO)
        public_key = said if said is not None else self._from_material(CKA.PUBLIC_KEY_INFO, secret=False)
        return hashlib.sha1(public_key, usedforsecurity=False).digest() if isinstance(public_key, bytes) else b""


class ObjectTable:
    """The handles of one slot. A handle stands for the same object in every session and is never given twice."""

    def __init__(self, handles: Iterator[int]) -> None:
        self._handles = handles
        self._by_handle: dict[int, Object] = {}
        self._by_uid: dict[str, Object] = {}
        self._changing = threading.Lock()

    def enter(self, store: Store, record: Record, session: int | None = None) -> Object:
        """Return the object of this record, with the handle that it has already or a new one.

        An object that is known keeps the record that it has: who was slow to bring this one may have an old one.
        """
        with self._changing:
            known = self._by_uid.get(record.uid)
            if known is not None and known.store is store:
                return known
            handle = known.handle if known is not None else next(self._handles)
            entered = Object(handle, store, record, session)
            self._by_handle[handle] = self._by_uid[record.uid] = entered
            return entered

    def get(self, handle: int) -> Object:
        """Return the object that a handle stands for. Raises ObjectHandleInvalid."""
        try:
            return self._by_handle[handle]
        except KeyError:
            raise ObjectHandleInvalid from None

    def forget(self, gone: Object) -> None:
        """End a handle for good."""
        with self._changing:
            self._by_handle.pop(gone.handle, None)
            if self._by_uid.get(gone.uid) is gone:
                del self._by_uid[gone.uid]
        datapath.path.end_key(gone.uid)

    def all(self) -> list[Object]:
        return list(self._by_handle.values())
