"""`mrhsm info`: sections about every token, or about one."""

from __future__ import annotations

import sys
from collections.abc import Callable

from mrhsm_p11.cli import info_verbose, layouts, pins
from mrhsm_p11.cli.options import Command, Given, Option
from mrhsm_p11.cluster import setup, stores
from mrhsm_p11.config import Config
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.tokendir import entries, tokens
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.tokens import OpenToken

OPTIONS = (
    Option("-config", "", "KMIP configuration, and whether the servers answer"),
    Option("-file", "", "File store status"),
    Option("-kmip", "", "KMIP status"),
    Option("-slots", "", "PKCS#11 slots"),
    Option("-token", "serial|label", "The token meant, where there are several"),
    Option("-verbose", "", "Also what the servers say of themselves, days left, generation and fingerprint"),
)


def run(given: Given, config: Config) -> None:
    """Print the sections asked for, or every one that exists, a blank line between them."""
    if not config.conf_dir.is_dir():
        print(f"{config.conf_dir} is not there: is MAPR_HOME set as it should be?", file=sys.stderr)
    directory = TokenDirectory(config.tokens_dir)
    present = entries.load(directory)
    wanted = [flag for flag in ("-slots", *SECTIONS) if flag in given.flags]
    shown = []
    if "-slots" in wanted or not wanted:
        shown.append(layouts.slots(present))
    if wanted and wanted != ["-slots"]:
        token = _open(directory, setup.choose_token(present, given.get("-token")), config)
        sections = _sections(given)
        shown += [_required(flag, sections[flag](token, config), token) for flag in wanted if flag != "-slots"]
    elif not wanted:
        for entry in (setup.choose_token(present, given.get("-token")),) if "-token" in given else present:
            token = _open(directory, entry, config)
            shown += [text for section in _sections(given).values() if (text := section(token, config))]
    print("\n".join(shown), end="")


def _open(directory: TokenDirectory, entry: TokenEntry, config: Config) -> OpenToken:
    """Open a token with the PIN file, else with the user PIN that is asked for."""
    kept = tokens.read_pin_file(directory, entry)
    pin = pins.user_pin() if kept is None else kept
    return setup.login_user(directory, entry, pin, config, from_file=kept is not None)


def _sections(given: Given) -> dict[str, Section]:
    return VERBOSE if "-verbose" in given else SECTIONS


def _required(flag: str, text: str, token: OpenToken) -> str:
    if not text:
        store = token.settings.store
        raise MrhsmError(f"{flag}: token {token.entry.serial} has a {store} store, see mrhsm info {STATUS[store]}")
    return text


def _configuration(token: OpenToken, config: Config) -> str:
    settings = token.settings
    if settings.store != "kmip":
        return ""
    servers = stores.server_statuses(settings.connection, config)
    return layouts.heading(token.entry.serial, "kmip") + layouts.connection(settings.connection, servers)


def _status(store: str, token: OpenToken) -> str:
    if token.settings.store != store:
        return ""
    return layouts.heading(token.entry.serial, store) + layouts.cluster(store, token.settings.cluster)


def _configuration_and_servers(token: OpenToken, config: Config) -> str:
    text = _configuration(token, config)
    return text and text + info_verbose.servers(token, config)


def _status_and_generation(store: str, token: OpenToken) -> str:
    text = _status(store, token)
    return text and text + info_verbose.generation(token.entry)


Section = Callable[[OpenToken, Config], str]

# In the order in which they are shown; an empty text: the token has no such section.
SECTIONS: dict[str, Section] = {
    "-config": _configuration,
    "-kmip": lambda token, _: _status("kmip", token),
    "-file": lambda token, _: _status("file", token),
}
VERBOSE: dict[str, Section] = {
    "-config": _configuration_and_servers,
    "-kmip": lambda token, _: _status_and_generation("kmip", token),
    "-file": lambda token, _: _status_and_generation("file", token),
}
STATUS = {"kmip": "-kmip", "file": "-file"}

INFO = Command("info", "Show slots, configuration and keys; everything there is without options.", OPTIONS, run)
