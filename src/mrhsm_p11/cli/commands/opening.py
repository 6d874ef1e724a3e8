"""Open the token that a command is about, for its security officer."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator

from mrhsm_p11.cli import pins, progress
from mrhsm_p11.cli.options import Given, Option
from mrhsm_p11.cluster import setup
from mrhsm_p11.config import Config
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.tokens import SoToken

TOKEN = Option("-token", "serial|label", "The token meant, where there are several")


def chosen(given: Given, directory: TokenDirectory) -> TokenEntry:
    """Return the token that `-token` names, or the only one. Raises SetupRefused."""
    return setup.choose_token(entries.load(directory), given.get("-token"))


@contextlib.contextmanager
def as_officer(given: Given, config: Config, so_pin: Secret | None = None) -> Iterator[SoToken]:
    """Lend the token opened with the SO PIN, asked for unless it is known; no other command changes it meanwhile."""
    directory = TokenDirectory(config.tokens_dir)
    entry = chosen(given, directory)
    pin = pins.so_pin(given) if so_pin is None else so_pin
    with contextlib.ExitStack() as held:
        with progress.during("Waiting for another mrhsm command to end"):
            held.enter_context(directory.lock())
        with progress.during("Checking the SO PIN"):
            so = setup.login_so(directory, entry, pin)
        setup.bind(so, config)
        yield so


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
