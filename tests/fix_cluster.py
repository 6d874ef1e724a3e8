"""A MAPR_HOME with a cluster in it, tokens made quickly, and a key store that fails or dies where a test says."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mrhsm_p11.config import Config
from mrhsm_p11.errors import DeviceError
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Candidate, ClusterKeyStore, KeyState, KeyUse, ObjectGone
from mrhsm_p11.tokendir import entries, sealing, tokens
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import Connection, Settings
from mrhsm_p11.tokendir.tokens import SoToken, UserPin

CLUSTER = "my.cluster.com"
SO_PIN = Secret(b"12345678")
CLDB_BYTES = bytes(range(32))
DARE_BYTES = bytes(range(64, 96))


@dataclass
class Home:
    """A MAPR_HOME of one cluster."""

    path: Path

    @property
    def conf(self) -> Path:
        return self.path / "conf"

    @property
    def config(self) -> Config:
        return Config(home=self.path, file=self.conf / "maprhsm.conf")

    @property
    def directory(self) -> TokenDirectory:
        return TokenDirectory(self.config.tokens_dir, create=True)

    def legacy(self, cldb: bytes | None = CLDB_BYTES.hex().encode(), dare: bytes | None = None) -> None:
        """Write the files of a cluster without an HSM."""
        for name, content in (("cldb.key", cldb), ("dare.master.key", dare)):
            if content is not None:
                (self.conf / name).write_bytes(content)

    def token(self, store: str = "file", label: str = "MapRHSM", connection: Connection | None = None) -> SoToken:
        return tokens.create_token(
            self.directory, label, SO_PIN, user_pin=UserPin.random(), store=store, connection=connection
        )

    def login(self) -> SoToken:
        directory = self.directory
        return tokens.login_so(directory, entries.load(directory)[0], SO_PIN)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(tmp_path / "mapr")
    made.conf.mkdir(parents=True)
    (made.path / "logs").mkdir()
    (made.conf / "mapr-clusters.conf").write_text(f"{CLUSTER} secure=true node1:7222 node2:7222\n")
    monkeypatch.setenv("MAPR_HOME", str(made.path))
    monkeypatch.delenv("MRHSM_CONF", raising=False)
    return made


@pytest.fixture
def quick_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make scrypt cheap where a test opens tokens many times."""
    monkeypatch.setattr(sealing, "SCRYPT_N", 2**4)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk where only processes die, not the host."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@dataclass
class FakeKeys(ClusterKeyStore):
    """Cluster keys in memory, shared by the nodes that are given the same `objects`; `before` sees every call."""

    objects: dict[str, tuple[Candidate, KeyUse, bytes]] = field(default_factory=dict)
    before: Callable[[str], None] = lambda call: None
    rekeys: bool = False  # it has an operation of its own that replaces a key
    claimed: list[tuple[str, str]] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)  # the replaced key of each replacement
    now: int = 1_600_000_000
    uids: Callable[[int], str] = lambda number: f"00000000-0000-4000-8000-{number:012d}"

    def add(self, name: str, material: bytes, state: KeyState = KeyState.ACTIVE, use: KeyUse = KeyUse.CORE_KEK) -> str:
        uid = next(
            uid for number in itertools.count(len(self.objects) + 1) if (uid := self.uids(number)) not in self.objects
        )
        self.objects[uid] = (Candidate(uid, name, state, self.now), use, material)
        return uid

    def locate(self, *names: str) -> list[Candidate]:
        self.before("locate")
        return [candidate for candidate, _, _ in self.objects.values() if candidate.name in names]

    def create(self, name: str, use: KeyUse) -> str:
        self.before("create")
        return self.add(name, os.urandom(32), KeyState.PRE_ACTIVE, use)

    def register(self, name: str, use: KeyUse, material: Secret) -> str:
        self.before("register")
        return self.add(name, material.reveal(), KeyState.PRE_ACTIVE, use)

    def rekey(self, uid: str, name: str) -> str | None:
        """As KMIP's Re-key does: the replacement takes the name, and the old key has none."""
        self.before("rekey")
        if not self.rekeys:
            return None
        old, use, material = self._object(uid)
        self.objects[uid] = (replace(old, name=""), use, material)
        return self.add(old.name, os.urandom(32), KeyState.PRE_ACTIVE, use)

    def claim(self, uid: str, name: str, use: KeyUse) -> None:
        self.before("claim")
        self.claimed.append((uid, name))

    def replaced(self, uid: str) -> str:
        self.before("replaced")
        self._object(uid)
        return self.links.get(uid, "")

    def activate(self, uid: str) -> None:
        self.before("activate")
        self.become(uid, KeyState.ACTIVE)

    def state(self, uid: str) -> KeyState:
        self.before("state")
        return self._object(uid)[0].state

    def read(self, uid: str, *, fresh: bool = False) -> Secret:
        self.before("read fresh" if fresh else "read")
        return Secret(self._object(uid)[2])

    def revoke(self, uid: str) -> None:
        self.before("revoke")
        self.become(uid, KeyState.DEACTIVATED)

    def states(self) -> dict[str, KeyState]:
        return {uid: candidate.state for uid, (candidate, _, _) in self.objects.items()}

    def become(self, uid: str, state: KeyState) -> None:
        candidate, use, material = self._object(uid)
        self.objects[uid] = (replace(candidate, state=state), use, material)

    def _object(self, uid: str) -> tuple[Candidate, KeyUse, bytes]:
        if uid not in self.objects:
            raise ObjectGone(uid)
        return self.objects[uid]


class Failing:
    """Let the calls pass whose number is below `at`, then fail each as a store that cannot be reached does."""

    def __init__(self, at: int, error: Callable[[], BaseException] = lambda: DeviceError("the store is away")) -> None:
        self.at = at
        self.error = error
        self.calls: list[str] = []

    def __call__(self, call: str) -> None:
        self.calls.append(call)
        if len(self.calls) > self.at:
            raise self.error()


class Keeper:
    """Signed settings in memory; `before` may fail a save."""

    def __init__(self, before: object = None) -> None:
        self.settings = Settings()
        self.before = before
        self.saved: list[Settings] = []

    def save_settings(self, settings: Settings) -> None:
        if callable(self.before):
            self.before("save")
        self.settings = settings
        self.saved.append(settings)


class Killed(BaseException):
    """The process is gone: nothing is caught, nothing is cleaned up."""


def dying_after(point: int, store: FakeKeys, methods: Sequence[str], keeper: Keeper) -> None:
    """Let the run die after the call of that number, to the store or to keep its settings."""
    count = [0]

    def deadly(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            result = function(*args, **options)
            count[0] += 1
            if count[0] > point:
                raise Killed
            return result

        return call

    for name in methods:
        setattr(store, name, deadly(getattr(store, name)))
    keeper.save_settings = deadly(keeper.save_settings)  # type: ignore[method-assign,assignment]


@pytest.fixture
def fake_keys() -> FakeKeys:
    return FakeKeys()
