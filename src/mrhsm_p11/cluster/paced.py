"""Cluster keys where each operation has a time limit of its own."""

from __future__ import annotations

from mrhsm_p11 import deadline
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, KeyState, KeyUse


class PacedKeys(ClusterKeyStore):
    """Another store's keys; an operation that takes longer than `step_s` seconds fails as that store says."""

    def __init__(self, keys: ClusterKeyStore, step_s: float) -> None:
        self._keys = keys
        self._step_s = step_s

    def locate(self, *names: str) -> list[Candidate]:
        with deadline.limit(self._step_s):
            return self._keys.locate(*names)

    def create(self, name: str, use: KeyUse) -> str:
        with deadline.limit(self._step_s):
            return self._keys.create(name, use)

    def register(self, name: str, use: KeyUse, material: Secret) -> str:
        with deadline.limit(self._step_s):
            return self._keys.register(name, use, material)

    def rekey(self, uid: str, name: str) -> str | None:
        with deadline.limit(self._step_s):
            return self._keys.rekey(uid, name)

    def claim(self, uid: str, name: str, use: KeyUse) -> None:
        with deadline.limit(self._step_s):
            self._keys.claim(uid, name, use)

    def replaced(self, uid: str) -> str:
        with deadline.limit(self._step_s):
            return self._keys.replaced(uid)

    def activate(self, uid: str) -> None:
        with deadline.limit(self._step_s):
            self._keys.activate(uid)

    def state(self, uid: str) -> KeyState:
        with deadline.limit(self._step_s):
            return self._keys.state(uid)

    def read(self, uid: str, *, fresh: bool = False) -> Secret:
        with deadline.limit(self._step_s):
            return self._keys.read(uid, fresh=fresh)

    def revoke(self, uid: str) -> None:
        with deadline.limit(self._step_s):
            self._keys.revoke(uid)

    def close(self) -> None:
        self._keys.close()
