"""Where objects live: the one interface that memory, file and KMIP stores implement."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mrhsm_p11 import log
from mrhsm_p11.constants import CKA
from mrhsm_p11.crypto.base import Key
from mrhsm_p11.errors import AttributeReadOnly, CryptokiError, ObjectHandleInvalid
from mrhsm_p11.secret import Secret

# An attribute's natural value; mapping.attributes says which Python type a CKA has.
Value = bool | int | str | bytes | tuple[int, ...] | dict[int, "Value"]
Attributes = Mapping[int, Value]


class ObjectGone(ObjectHandleInvalid):
    """The store no longer has the object."""


class KeyState(enum.Enum):
    """A managed object's life-cycle state, as KMIP names it (objects that are destroyed are not listed)."""

    PRE_ACTIVE = 1
    ACTIVE = 2
    DEACTIVATED = 3
    COMPROMISED = 4


@dataclass(frozen=True, slots=True)
class Record:
    """What a store knows of one object without its material.

    `attributes` holds every attribute except those that come from the material (CKA_VALUE, CKA_MODULUS, ...); see
    crypto.material for what the material of each class is and gives.
    """

    uid: str  # CKA_UNIQUE_ID
    attributes: Attributes = field(default_factory=dict)
    state: KeyState = KeyState.ACTIVE
    foreign: bool = False  # made by another tool: attributes are derived, see decisions "Objects"


class Store(ABC):
    """Objects by unique identifier. Network and disk faults raise DeviceError; time is bounded by deadline.current().

    Calls are safe from any thread. No method returns before what it did is durable (memory aside), and none leaves
    half an object behind.
    """

    @abstractmethod
    def insert(self, attributes: Attributes, material: Secret) -> Record:
        """Store an object whose material we have (C_CreateObject, C_CopyObject, C_UnwrapKey, local generation)."""

    def insert_pair(
        self, public: tuple[Attributes, Secret], private: tuple[Attributes, Secret]
    ) -> tuple[Record, Record]:
        """Store both halves or neither; return (public, private)."""
        first = self.insert(*public)
        try:
            return first, self.insert(*private)
        except BaseException:
            self._undo(first.uid)
            raise

    def _undo(self, uid: str) -> None:
        """Delete what a failed call made; where that fails too, the log tells, and the first failure is answered."""
        try:
            self.delete(uid)
        except CryptokiError as error:
            log.error(f"object {uid} is left of a pair that could not be stored: {error}")

    @abstractmethod
    def generate(self, attributes: Attributes) -> Record:
        """Make a random secret key of CKA_KEY_TYPE and CKA_VALUE_LEN (bytes), in the store where it can."""

    @abstractmethod
    def search(self, wanted: Attributes) -> Iterable[Record]:
        """Return at least the objects whose attributes equal `wanted`; the caller filters again.

        `wanted` may name attributes that the store cannot search by: it then returns more. An incomplete answer is an
        error, never a shorter list.
        """

    @abstractmethod
    def load(self, uid: str) -> Record:
        """Return the object's present record. Raises ObjectGone."""

    @abstractmethod
    def material(self, uid: str) -> Secret:
        """Return the object's material; the caller wipes its copy or lets it go. Raises ObjectGone.

        Raises KeyFunctionNotPermitted where the material does not leave the store.
        """

    def key(self, uid: str) -> Key:
        """Return what computes with a key: its material or, where that does not leave the store, what asks for it."""
        return self.material(uid)

    def lease(self, uid: str) -> float:
        """Return for how many seconds a key that `load` and `key` just gave may be used without asking again."""
        return 0.0

    def update(self, uid: str, changes: Attributes) -> Record:
        """Change attributes, all or none. Raises AttributeReadOnly where the store cannot write them, ObjectGone."""
        raise AttributeReadOnly(f"object {uid} cannot be changed here ({', '.join(CKA.name(c) for c in changes)})")

    @abstractmethod
    def delete(self, uid: str) -> None:
        """Destroy the object. Raises ObjectGone."""

    def forget(self) -> None:
        """Drop and wipe what is cached (logout)."""
        return

    def close(self) -> None:
        """Let go of connections and files; the store is not used again."""
        return


@dataclass(frozen=True, slots=True)
class Candidate:
    """One managed object that bears a cluster key's name."""

    uid: str
    name: str
    state: KeyState
    initial_date: int | None = None  # seconds since the epoch, None where the server does not tell


class KeyUse(enum.Enum):
    """What a cluster key is for; each store maps it to its usage mask and attributes."""

    CORE_KEK = "core-kek"
    COMMON_KEK = "common-kek"
    CLDB_KEY = "cldb-key"
    DARE_KEY = "dare-key"


class ClusterKeyStore(ABC):
    """The few operations on named AES-256 keys from which enable, adopt and rekey are built."""

    @abstractmethod
    def locate(self, *names: str) -> list[Candidate]:
        """Return every object of exactly one of these names, once for each it bears, in every state but Destroyed.

        Asks all servers there are; one that fails or answers in part raises DeviceError: it is never "none found".
        """

    @abstractmethod
    def create(self, name: str, use: KeyUse) -> str:
        """Make an AES-256 key in the store, not yet active; return its uid. An unanswered request is resolved."""

    @abstractmethod
    def register(self, name: str, use: KeyUse, material: Secret) -> str:
        """Store a key whose bytes we have, not yet active; return its uid. An unanswered request is resolved."""

    def rekey(self, uid: str, name: str) -> str | None:
        """Have the store replace the key of this name by a new one, not yet active; return the new uid.

        The new key takes over the name and all else that the old one says of itself: `claim` sets that right. None
        where the store has no such operation. An unanswered request is resolved. Raises ObjectGone.
        """
        return None

    def claim(self, uid: str, name: str, use: KeyUse) -> None:
        """Make a key that `rekey` made say of itself what one made by `create` says; twice is once."""
        return

    def replaced(self, uid: str) -> str:
        """Return the uid of the key that the store's own `rekey` replaced by this one, "" where it does not say."""
        return ""

    @abstractmethod
    def activate(self, uid: str) -> None:
        """Make the key active; already active is success."""

    @abstractmethod
    def state(self, uid: str) -> KeyState:
        """Return the key's state. Raises ObjectGone."""

    @abstractmethod
    def read(self, uid: str, *, fresh: bool = False) -> Secret:
        """Return the key's bytes; `fresh` reads past every cache on a new connection. Raises ObjectGone."""

    def key(self, uid: str) -> Key:
        """Return what computes with the key: its bytes, read past every cache, or what asks the store.

        Raises ObjectGone.
        """
        return self.read(uid, fresh=True)

    @abstractmethod
    def revoke(self, uid: str) -> None:
        """Revoke with reason Cessation of Operation; never destroys. Already revoked is success."""

    def close(self) -> None:
        """Let go of connections and keys; the store is not used again."""
        return
