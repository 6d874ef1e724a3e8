"""KMIP stores for tests: each of them in an Object Group of its own on a shared server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fix_appliance import Server
from fix_stores import SERIAL, KeysUnderTest, StoreUnderTest

from mrhsm_p11.config import Config
from mrhsm_p11.store.kmip.keys import KmipKeys
from mrhsm_p11.store.kmip.store import KmipStore
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import Connection

UNCACHED = Config(cache_seconds=0.0)


@dataclass(slots=True)
class KmipPlace:
    """One token's objects on one server, seen from hosts with the given token directories."""

    connection: Connection
    folder: Path
    config: Config = UNCACHED
    serial: str = SERIAL
    group: str = field(default_factory=lambda: f"test-{uuid.uuid4()}")
    opened: list[KmipStore | KmipKeys] = field(default_factory=list)

    def directory(self, host: str = "here") -> TokenDirectory:
        return TokenDirectory(self.folder / host, create=True)

    def open(self, host: str = "here", config: Config | None = None, connection: Connection | None = None) -> KmipStore:
        store = KmipStore(
            connection or self.connection,
            serial=self.serial,
            directory=self.directory(host),
            config=config or self.config,
            group=self.group,
        )
        self.opened.append(store)
        return store

    def open_keys(self, host: str = "here", connection: Connection | None = None) -> KmipKeys:
        keys = KmipKeys(
            connection or self.connection,
            serial=self.serial,
            directory=self.directory(host),
            config=self.config,
            group=self.group,
        )
        self.opened.append(keys)
        return keys

    def close(self) -> None:
        for one in self.opened:
            one.close()


@pytest.fixture
def make_kmip_place(tmp_path: Path) -> Iterator[Callable[..., KmipPlace]]:
    """Make a place on a server: make_kmip_place(appliance, kmip_version="1.0")."""
    places: list[KmipPlace] = []

    def make(
        server: Server, *, kmip_version: str = "1.4", config: Config = UNCACHED, port: int | None = None
    ) -> KmipPlace:
        connection = server.connection(kmip_version=kmip_version)
        if port is not None:
            connection = replace(connection, port=port)
        folder = tmp_path / f"hosts-{len(places)}"
        folder.mkdir()
        places.append(KmipPlace(connection, folder, config))
        return places[-1]

    yield make
    for place in places:
        place.close()


@pytest.fixture
def kmip_store(make_kmip_place: Callable[..., KmipPlace], appliance: Server) -> StoreUnderTest:
    return StoreUnderTest(make_kmip_place(appliance).open)


@pytest.fixture
def kmip_keys(make_kmip_place: Callable[..., KmipPlace], appliance: Server) -> KeysUnderTest:
    place = make_kmip_place(appliance)
    return KeysUnderTest(place.open_keys, place.open)
