"""The subcommands: one row each, and what it does."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import mrhsm_p11
from mrhsm_p11.cli import info, layouts, pins
from mrhsm_p11.cli.options import Command, Given, Option, UsageError
from mrhsm_p11.cluster import setup, site
from mrhsm_p11.cluster.connection import KMIP_VERSIONS, Change, changed
from mrhsm_p11.cluster.enabling import Request, enable_cluster
from mrhsm_p11.cluster.events import Event
from mrhsm_p11.cluster.keys import CLDB, DARE
from mrhsm_p11.config import Config
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.tokendir import entries
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import STORES, Connection

LIBRARY = "libmrhsm_p11.so"

TOKEN = Option("-token", "serial|label", "The token meant, where there are several")
CONNECTION = (
    Option("-cacert", "ca-cert", "Path to KMIP server CA certificate (or chain) in PEM format"),
    Option("-clientcert", "cert", "Path to client certificate in PEM format"),
    Option("-clientkey", "key", "Path to client private key in PEM format"),
    Option(
        "-ip", "ip1,ip2,...", "Comma-separated list of KMIP server names or IP addresses, each with an optional :port"
    ),
    Option("-kmipversion", "version", f"KMIP version: {', '.join(KMIP_VERSIONS)}. Default: 1.1"),
    Option("-port", "kmip-port", "KMIP port number. Default is 5696"),
    Option("-servername", "name1,...", "Names to expect in the servers' certificates instead of -ip"),
    Option("-storetype", "file|kmip", "Store type. Default: kmip", choices=STORES),
)
ACTIVE = Option("-active", "true|false", "Use the KMIP keys, or stop using them", choices=("true", "false"))
REMOVABLE = {
    "-cacert": ("ca_certificate", "Remove configured CA certificate"),
    "-clientcert": ("client_certificate", "Remove configured client certificate"),
    "-clientkey": ("client_key", "Remove configured client private key"),
    "-ip": ("addresses", "Remove IP addresses"),
    "-kmipversion": ("kmip_version", "Remove KMIP version. Reverts to 1.1"),
    "-port": ("port", "Remove KMIP port number. Reverts to 5696"),
    "-servername": ("server_names", "Remove the expected server names"),
}


def init(given: Given, config: Config) -> None:
    label = given.values["-label"]
    setup.check_label(entries.load(TokenDirectory(config.tokens_dir)), label)
    connection = changed(Connection(), _change(given), _now())
    user_pin = pins.new_user_pin(given)
    so_pin, store = pins.new_so_pin(given), given.get("-storetype") or "kmip"
    directory = TokenDirectory(config.tokens_dir, create=True)
    setup.make_token(directory, label, so_pin, user_pin, store, connection)


def set_(given: Given, config: Config) -> None:
    if not {option.name for option in (*CONNECTION, ACTIVE)} & given.values.keys():
        raise UsageError("nothing to set: mrhsm set -help lists what can be set")
    directory = TokenDirectory(config.tokens_dir)
    entry = setup.choose_token(entries.load(directory), given.get("-token"))
    so_pin = pins.so_pin(given)
    with directory.lock():
        so = setup.login_so(directory, entry, so_pin)
        setup.configure(so, _change(given), store=given.get("-storetype"), active=_active(given), now=_now())


def remove(given: Given, config: Config) -> None:
    names = [REMOVABLE[flag][0] for flag in REMOVABLE if flag in given.flags]
    if not names:
        raise UsageError("nothing to remove: mrhsm remove -help lists what can be removed")
    directory = TokenDirectory(config.tokens_dir)
    entry = setup.choose_token(entries.load(directory), given.get("-token"))
    so_pin = pins.so_pin(given)
    with directory.lock():
        setup.remove(setup.login_so(directory, entry, so_pin), names)


def enable(given: Given, config: Config) -> None:
    directory = TokenDirectory(config.tokens_dir)
    entry = setup.choose_token(entries.load(directory), given.get("-token"))
    active, dare = _active(given), "-dare" in given
    if active is not False and not dare and site.has_legacy_key(config.conf_dir, DARE):
        raise MrhsmError(layouts.DARE_NOT_CHOSEN.format(path=site.legacy_path(config.conf_dir, DARE)))
    so_pin = pins.so_pin(given)
    with directory.lock():
        so = setup.login_so(directory, entry, so_pin)
        if active is False:
            setup.deactivate(so)
            return
        chosen = tuple(given.values["-uuid"].split(",")) if "-uuid" in given else ()
        protected = enable_cluster(so, config, Request(dare, chosen, _now()), _print_event)
    legacy = [key for key in (CLDB, DARE) if site.has_legacy_key(config.conf_dir, key)]
    print(layouts.banner(config.home, protected, legacy))


def sopin(given: Given, config: Config) -> None:
    directory = TokenDirectory(config.tokens_dir)
    entry = setup.choose_token(entries.load(directory), given.get("-token"))
    old, new = pins.changed_so_pin(given)
    with directory.lock():
        setup.change_so_pin(setup.login_so(directory, entry, old), new)
    print(layouts.NEW_SO_PIN)


def path(_: Given, __: Config) -> None:
    library = Path(mrhsm_p11.__file__).resolve().parent / LIBRARY
    if not library.is_file():
        raise MrhsmError(f"{library} is not there: install the package, which builds it")
    print(library)


def _change(given: Given) -> Change:
    files = (given.get("-cacert"), given.get("-clientcert"), given.get("-clientkey"))
    ca_certificate, client_certificate, client_key = (None if file is None else Path(file) for file in files)
    return Change(
        addresses=given.get("-ip"),
        port=given.get("-port"),
        kmip_version=given.get("-kmipversion"),
        ca_certificate=ca_certificate,
        client_certificate=client_certificate,
        client_key=client_key,
        server_names=given.get("-servername"),
    )


def _active(given: Given) -> bool | None:
    return {None: None, "true": True, "false": False}[given.get("-active")]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _print_event(event: Event) -> None:
    print(layouts.event(event))
    sys.stdout.flush()


COMMANDS = (
    Command(
        "init",
        "Make the token and its random user PIN.",
        (
            *CONNECTION[:5],
            Option("-label", "text", "Label of the token, at most 32 bytes", required=True),
            *CONNECTION[5:],
            *pins.SO_PIN,
            *pins.USER_PIN,
        ),
        init,
    ),
    Command("set", "Change any of the settings of the token.", (*CONNECTION, ACTIVE, *pins.SO_PIN, TOKEN), set_),
    Command("info", "Show slots, configuration and keys; everything there is without options.", info.OPTIONS, info.run),
    Command(
        "enable",
        "Put the cluster's keys under the protection of the key store.",
        (
            Option("-dare", "", "Import the DARE master key, or make one where there is none"),
            ACTIVE,
            Option("-uuid", "uuid1,...", "Adopt these keys where several could be meant"),
            *pins.SO_PIN,
            TOKEN,
        ),
        enable,
    ),
    Command(
        "remove",
        "Remove settings; set them again and enable again before the keys are used.",
        (*(Option(flag, "", text) for flag, (_, text) in REMOVABLE.items()), *pins.SO_PIN, TOKEN),
        remove,
    ),
    Command(
        "sopin",
        "Change the SO PIN.",
        (
            Option("-oldsopin", "PIN", "The present SO PIN"),
            Option("-newsopin", "PIN", "The new SO PIN, 4-255 characters"),
            TOKEN,
        ),
        sopin,
    ),
    Command("path", "Print the absolute path of the PKCS #11 library.", (), path),
)
