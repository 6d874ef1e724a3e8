"""`mrhsm configure`: init, set and enable in one command that is run until it works, for configure.sh.

Its options are those of `init`, each under `-hsm<name>`.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

from mrhsm_p11.cli import layouts, pins
from mrhsm_p11.cli.commands import keys, settings
from mrhsm_p11.cli.commands.opening import now
from mrhsm_p11.cli.narration import Narration
from mrhsm_p11.cli.options import Command, Given, Option, UsageError
from mrhsm_p11.cli.progress import during
from mrhsm_p11.cluster import setup, site
from mrhsm_p11.cluster.connection import Change, changed, missing
from mrhsm_p11.cluster.enabling import Request, enable_cluster
from mrhsm_p11.cluster.keys import CLDB, DARE
from mrhsm_p11.config import Config
from mrhsm_p11.errors import CryptokiError, MrhsmError
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import Connection
from mrhsm_p11.tokendir.tokens import SoToken

DEFAULT_LABEL = "MapRHSM"
DEFAULT_SO_PIN = b"1234"
PREFIX = "-hsm"
STEPS = {"init": 3, "set": 4, "enable": 5}  # exit codes, by the step that failed
DEFAULT_PIN_WARNING = (
    "Warning: the SO PIN is the default one, which everybody knows: change it with mrhsm sopin, or give -hsmsopin"
)


class StepFailed(MrhsmError):
    """One of the steps failed; those before it are done, and the next run begins where this one ended."""

    def __init__(self, step: str, why: object) -> None:
        super().__init__(f"{step}: {why}")
        self.exit_code = STEPS[step]


def configure(given: Given, config: Config) -> None:
    inner = Given(
        {"-" + name.removeprefix(PREFIX): value for name, value in given.values.items()},
        frozenset("-" + name.removeprefix(PREFIX) if name.startswith(PREFIX) else name for name in given.flags),
    )
    try:
        pins.refuse_two_inputs(inner)
        pins.refuse_lost_pin(inner)
        with _step("set"):
            wanted = settings.change(inner)
    except UsageError as error:
        raise UsageError(re.sub(r"(?<!\w)-(?=[a-z])", PREFIX, str(error))) from None
    directory = TokenDirectory(config.tokens_dir)
    with _step("init"):
        entry = _existing(directory, inner)
        store = inner.get("-storetype") or (entry.store if entry else _default_store(inner))
        so_pin = _so_pin(inner, store, new=entry is None)
        if entry is None:
            entry = _make(config, inner, changed(Connection(), wanted, now()), store, so_pin)
    directory = TokenDirectory(config.tokens_dir)
    with contextlib.ExitStack() as held, Narration() as report:
        with _step("init"):
            with during("Waiting for another mrhsm command to end"):
                held.enter_context(directory.lock())
            so = setup.login_so(directory, entry, so_pin)
            setup.bind(so, config, begin=True)
        with _step("set"):
            _set(so, wanted, inner)
        with _step("enable"):
            if "-dare" not in inner.flags:
                keys.refuse_unchosen_dare(config)
            before = so.settings.cluster
            protected = enable_cluster(so, config, Request("-dare" in inner.flags, (), now()), report)
            if before is None or replace(before, enabled=True) != so.settings.cluster:
                legacy = [key for key in (CLDB, DARE) if site.has_legacy_key(config.conf_dir, key)]
                print(layouts.banner(config.home, protected, legacy))


def _existing(directory: TokenDirectory, inner: Given) -> TokenEntry | None:
    """Return the token to go on with: the one of the label, or without a label the only one."""
    present = entries.load(directory)
    label = inner.get("-label")
    if label is None and len(present) == 1:
        return present[0]
    wanted = DEFAULT_LABEL if label is None else label
    return next((entry for entry in present if entry.label == wanted), None)


def _default_store(inner: Given) -> str:
    """Return the file store unless something is said of key managers."""
    said = {option.name for option in settings.CONNECTION} & inner.values.keys()
    return "kmip" if said else "file"


def _so_pin(inner: Given, store: str, *, new: bool) -> Secret:
    """Return the SO PIN; a file store that is given none has the one of 7.x."""
    if store == "file" and not {"-sopin", "-sopinfile"} & inner.values.keys():
        print(DEFAULT_PIN_WARNING, file=sys.stderr)
        return Secret(DEFAULT_SO_PIN)
    return pins.new_so_pin(inner) if new else pins.so_pin(inner)


def _make(config: Config, inner: Given, connection: Connection, store: str, so_pin: Secret) -> TokenEntry:
    label = inner.get("-label") or DEFAULT_LABEL
    user_pin = pins.new_user_pin(inner)
    made = setup.make_token(TokenDirectory(config.tokens_dir, create=True), label, so_pin, user_pin, store, connection)
    return made.entry


def _set(so: SoToken, wanted: Change, inner: Given) -> None:
    setup.configure(so, wanted, store=inner.get("-storetype"), active=None, now=now())
    absent = missing(so.settings.connection) if so.settings.store == "kmip" else []
    if absent:
        names = ", ".join(PREFIX + option[1:] for option in absent)
        raise MrhsmError(f"not configured yet: {names}")


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    """Let a failure say which step it is of."""
    try:
        yield
    except UsageError:
        raise
    except (MrhsmError, CryptokiError, OSError) as error:
        raise StepFailed(name, error) from error


CONFIGURE = Command(
    "configure",
    "Init, set and enable in one: run it until it works. Exit code 3, 4, 5: that step failed.",
    (
        *(replace(option, name=PREFIX + option.name[1:], required=False) for option in settings.INIT.options),
        Option("-dare", "", "Import the DARE master key, or make one where there is none"),
    ),
    configure,
)
