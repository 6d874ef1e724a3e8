"""A cluster's keys in the file store: named, with a life cycle, and seen by PKCS #11 as what they are."""

from __future__ import annotations

import time
from dataclasses import replace

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.errors import DeviceError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store import local
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, KeyState, KeyUse, Value
from mrhsm_p11.store.folder import ObjectFolder
from mrhsm_p11.store.sealed import StoredObject
from mrhsm_p11.tokendir.files import TokenDirectory

KEY_BYTES = 32

_USAGE = (CKA.ENCRYPT, CKA.DECRYPT, CKA.WRAP, CKA.UNWRAP, CKA.DERIVE, CKA.SIGN, CKA.VERIFY)
_USES: dict[KeyUse, frozenset[int]] = {
    KeyUse.CORE_KEK: frozenset({CKA.ENCRYPT, CKA.DECRYPT, CKA.WRAP, CKA.UNWRAP}),
    KeyUse.COMMON_KEK: frozenset({CKA.ENCRYPT, CKA.DECRYPT, CKA.WRAP, CKA.UNWRAP, CKA.DERIVE}),
    KeyUse.CLDB_KEY: frozenset({CKA.ENCRYPT, CKA.DECRYPT}),
    KeyUse.DARE_KEY: frozenset({CKA.ENCRYPT, CKA.DECRYPT}),
}


class FileKeys(ClusterKeyStore):
    """AES-256 keys beside the token's other objects; uids are random UUIDs, as a key manager would give them."""

    def __init__(self, directory: TokenDirectory, serial: str, token_key: Secret) -> None:
        self._objects = ObjectFolder(directory, serial, token_key)

    def locate(self, *names: str) -> list[Candidate]:
        return [
            Candidate(uid, stored.name, stored.state, stored.initial_date)
            for uid, stored in self._objects.all()
            if stored.name and stored.name in names
        ]

    def create(self, name: str, use: KeyUse) -> str:
        _, material = local.random_key({CKA.VALUE_LEN: KEY_BYTES})
        return self._add(name, use, material, made_here=True)

    def register(self, name: str, use: KeyUse, material: Secret) -> str:
        return self._add(name, use, material, made_here=False)

    def activate(self, uid: str) -> None:
        def active(stored: StoredObject) -> StoredObject:
            if stored.state is not KeyState.PRE_ACTIVE:
                raise DeviceError(f"key {uid} is {stored.state.name.lower()}: it cannot be made active again")
            return replace(stored, state=KeyState.ACTIVE, generation=stored.generation + 1)

        if self.state(uid) is not KeyState.ACTIVE:
            self._objects.change(uid, active)

    def state(self, uid: str) -> KeyState:
        return self._objects.load(uid).state

    def read(self, uid: str, *, fresh: bool = False) -> Secret:
        return self._objects.material(uid)  # the file is looked at each time

    def revoke(self, uid: str) -> None:
        def revoked(stored: StoredObject) -> StoredObject:
            return replace(stored, state=KeyState.DEACTIVATED, generation=stored.generation + 1)

        if self.state(uid) in (KeyState.PRE_ACTIVE, KeyState.ACTIVE):
            self._objects.change(uid, revoked)

    def close(self) -> None:
        self._objects.close()

    def _add(self, name: str, use: KeyUse, material: Secret, *, made_here: bool) -> str:
        from uuid import uuid4

        uid = str(uuid4())
        attributes = _attributes(name, use, made_here=made_here)
        stored = StoredObject(attributes, KeyState.PRE_ACTIVE, name=name, initial_date=int(time.time()))
        self._objects.add(uid, stored, material)
        return uid


def _attributes(name: str, use: KeyUse, *, made_here: bool) -> dict[int, Value]:
    usage: dict[int, Value] = {usage: usage in _USES[use] for usage in _USAGE}
    return usage | {
        CKA.CLASS: CKO.SECRET_KEY,
        CKA.KEY_TYPE: CKK.AES,
        CKA.LABEL: name,
        CKA.TOKEN: True,
        CKA.PRIVATE: True,
        CKA.SENSITIVE: True,
        CKA.EXTRACTABLE: False,
        CKA.ALWAYS_SENSITIVE: made_here,
        CKA.NEVER_EXTRACTABLE: made_here,
        CKA.LOCAL: made_here,
        CKA.MODIFIABLE: False,
        CKA.COPYABLE: False,
        CKA.DESTROYABLE: False,
    }
