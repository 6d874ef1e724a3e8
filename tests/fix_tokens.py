"""A Data Fabric home with its token directory, and tokens of the file store in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries, tokens
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import Connection
from mrhsm_p11.tokendir.tokens import OpenToken, SoToken, UserPin

SO_PIN, USER_PIN = b"so pin 1234", b"user pin 5678"


@dataclass(slots=True)
class TokenOnDisk:
    """A token whose PINs are known; `entry` is read from disk each time."""

    home: Path
    serial: str
    so_pin: Secret = field(default_factory=lambda: Secret(SO_PIN))
    user_pin: Secret = field(default_factory=lambda: Secret(USER_PIN))

    @property
    def directory(self) -> TokenDirectory:
        return TokenDirectory(self.home / "conf" / "tokens")

    @property
    def folder(self) -> Path:
        return self.home / "conf" / "tokens" / self.serial

    @property
    def configuration(self) -> Path:
        return self.home / "conf" / "tokens" / entries.CONFIGURATION

    @property
    def entry(self) -> TokenEntry:
        return entries.find(self.directory, self.serial)

    @property
    def slot_id(self) -> int:
        return tokens.slot_id(self.serial)

    def open(self) -> OpenToken:
        """Log in with the user PIN."""
        return tokens.login_user(self.directory, self.entry, self.user_pin)

    def open_unattended(self) -> OpenToken:
        """Log in with user.pin."""
        pin = tokens.read_pin_file(self.directory, self.entry)
        assert pin is not None
        return tokens.login_user(self.directory, self.entry, pin, from_file=True)

    def open_so(self) -> SoToken:
        """Log in with the SO PIN."""
        return tokens.login_so(self.directory, self.entry, self.so_pin)


@pytest.fixture
def mapr_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MAPR_HOME with conf/ and logs/, which the environment names."""
    home = tmp_path / "mapr"
    for folder in ("conf", "logs"):
        (home / folder).mkdir(parents=True)
    monkeypatch.setenv("MAPR_HOME", str(home))
    monkeypatch.delenv("MRHSM_CONF", raising=False)
    return home


@pytest.fixture
def make_token(mapr_home: Path) -> Callable[..., TokenOnDisk]:
    """Make tokens: make_token(label, user_pin=UserPin(...) | None, store="file")."""

    def make(
        label: str = "MapRHSM",
        *,
        user_pin: UserPin | None = UserPin(Secret(USER_PIN), keep=True),  # noqa: B008
        store: str = "file",
        connection: Connection | None = None,
    ) -> TokenOnDisk:
        directory = TokenDirectory(mapr_home / "conf" / "tokens", create=True)
        so = tokens.create_token(
            directory, label, Secret(SO_PIN), user_pin=user_pin, store=store, connection=connection
        )
        return TokenOnDisk(mapr_home, so.entry.serial)

    return make


@pytest.fixture
def file_token(make_token: Callable[..., TokenOnDisk]) -> TokenOnDisk:
    """A token of the file store with known PINs; the user's is in user.pin too."""
    return make_token()


FILE_STEPS = ("open", "write", "fsync", "rename", "unlink", "mkdir", "fchmod", "fchown", "rmdir")


def run_killed_at(step: int, act: Callable[[], object], kinds: Sequence[str] = FILE_STEPS) -> bool:
    """Run `act` in a forked child that is killed just before its step-th change to a file system; True if it was.

    Raises AssertionError where the child failed by itself.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _kill_before(step, kinds)
            act()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the child failed by itself"
    return os.WIFSIGNALED(status)


def _kill_before(step: int, kinds: Sequence[str]) -> None:
    """Replace, in this process for good, the os functions that change files by ones that count."""
    done = 0

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal done
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for name in kinds:
        setattr(os, name, counted(getattr(os, name)))


def run_all_killed(act: Callable[[], object], check: Callable[[int], None], kinds: Sequence[str] = FILE_STEPS) -> int:
    """Kill `act` before each of its steps in turn, and `check(step)` what is left, until it runs through.

    The caller restores the state in `check`. Return the number of steps.
    """
    step = 1
    while run_killed_at(step, act, kinds):
        check(step)
        step += 1
    return step - 1
