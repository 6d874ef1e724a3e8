"""Stores as the contract suite takes them: it lists fixtures that give a StoreUnderTest or a KeysUnderTest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, ClusterKeyStore, Record, Store, Value
from mrhsm_p11.store.file import FileStore
from mrhsm_p11.store.file_keys import FileKeys
from mrhsm_p11.store.memory import MemoryStore
from mrhsm_p11.tokendir.files import TokenDirectory

SERIAL = "07137a824d621939"


@dataclass(frozen=True, slots=True)
class StoreUnderTest:
    """`open` gives another store of the same token each time, as another process would have it.

    Of a store whose objects end with it, `open` gives the one there is.
    """

    open: Callable[[], Store]


@dataclass(frozen=True, slots=True)
class KeysUnderTest:
    """`open` gives another key store of the same token; `objects` its view as PKCS #11 objects."""

    open: Callable[[], ClusterKeyStore]
    objects: Callable[[], Store]


@pytest.fixture
def memory_store() -> Iterator[StoreUnderTest]:
    store = MemoryStore()
    yield StoreUnderTest(lambda: store)
    store.close()


@dataclass(frozen=True, slots=True)
class FileStorePlace:
    """Where file stores of one token are opened; the token itself is not needed for that."""

    directory: TokenDirectory
    token_key: Secret
    serial: str = SERIAL

    @property
    def folder(self) -> Path:
        return Path(self.directory.path) / self.serial

    def open(self) -> FileStore:
        return FileStore(TokenDirectory(self.directory.path), self.serial, self.token_key)

    def open_keys(self) -> FileKeys:
        return FileKeys(TokenDirectory(self.directory.path), self.serial, self.token_key)


@pytest.fixture
def file_place(tmp_path: Path) -> FileStorePlace:
    return FileStorePlace(TokenDirectory(tmp_path / "tokens", create=True), Secret(os.urandom(32)))


@pytest.fixture
def file_store(file_place: FileStorePlace) -> StoreUnderTest:
    return StoreUnderTest(file_place.open)


@pytest.fixture
def file_keys(file_place: FileStorePlace) -> KeysUnderTest:
    return KeysUnderTest(file_place.open_keys, file_place.open)


# ---- objects to put into a store


def aes_key(**more: Value) -> dict[int, Value]:
    """Attributes of an AES key as the token layer gives them; `more` by CKA name."""
    return _object(
        CKO.SECRET_KEY,
        {
            CKA.KEY_TYPE: CKK.AES,
            CKA.SENSITIVE: False,
            CKA.EXTRACTABLE: True,
            CKA.ENCRYPT: True,
            CKA.DECRYPT: True,
            CKA.WRAP: False,
            CKA.UNWRAP: False,
            CKA.LOCAL: False,
        },
        more,
    )


def data_object(**more: Value) -> dict[int, Value]:
    return _object(CKO.DATA, {CKA.APPLICATION: "tests", CKA.OBJECT_ID: b"", CKA.PRIVATE: False}, more)


def ec_pair(**more: Value) -> tuple[tuple[dict[int, Value], Secret], tuple[dict[int, Value], Secret]]:
    """An EC P-256 pair with its material."""
    public = _object(CKO.PUBLIC_KEY, {CKA.KEY_TYPE: CKK.EC, CKA.VERIFY: True, CKA.PRIVATE: False}, more)
    private = _object(CKO.PRIVATE_KEY, {CKA.KEY_TYPE: CKK.EC, CKA.SIGN: True, CKA.SENSITIVE: True}, more)
    spki, pkcs8 = _ec_material()
    return (public, Secret(spki)), (private, Secret(pkcs8))


def _object(cls: int, own: dict[int, Value], more: dict[str, Value]) -> dict[int, Value]:
    common: dict[int, Value] = {CKA.CLASS: cls, CKA.TOKEN: True, CKA.PRIVATE: True, CKA.LABEL: "a label"}
    return common | own | {getattr(CKA, name): value for name, value in more.items()}


@cache
def _ec_material() -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return (
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def kept(record: Record, given: Attributes) -> dict[int, Value | None]:
    """Return of a record the attributes that were given: a store may know more."""
    return {cka: record.attributes.get(cka) for cka in given}
