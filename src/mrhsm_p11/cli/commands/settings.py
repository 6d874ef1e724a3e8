"""`mrhsm init`, `set` and `remove`: a token, and how it reaches its key managers."""

from __future__ import annotations

from pathlib import Path

from mrhsm_p11.cli import pins, progress
from mrhsm_p11.cli.commands.opening import TOKEN, as_officer, now
from mrhsm_p11.cli.options import Command, Given, Option, UsageError
from mrhsm_p11.cluster import custody, setup
from mrhsm_p11.cluster.connection import KMIP_VERSIONS, Change, changed
from mrhsm_p11.config import PROFILES, Config
from mrhsm_p11.errors import CryptokiError, MrhsmError
from mrhsm_p11.tokendir import entries
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import STORES, Connection
from mrhsm_p11.tokendir.tokens import SoToken

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
    *pins.PASSWORD,
    Option("-profile", "name", "Product that the servers are, instead of what they say they are", choices=PROFILES),
    Option("-storetype", "file|kmip", "Store type. Default: kmip", choices=STORES),
)
LABEL = Option("-label", "text", "Label of the token, at most 32 bytes", required=True)
ACTIVE = Option("-active", "true|false", "Use the KMIP keys, or stop using them", choices=("true", "false"))
REMOVABLE = {
    "-cacert": (("ca_certificate",), "Remove configured CA certificate"),
    "-clientcert": (("client_certificate",), "Remove configured client certificate"),
    "-clientkey": (("client_key",), "Remove configured client private key"),
    "-ip": (("addresses",), "Remove IP addresses"),
    "-kmipversion": (("kmip_version",), "Remove KMIP version. Reverts to 1.1"),
    "-port": (("port",), "Remove KMIP port number. Reverts to 5696"),
    "-servername": (("server_names",), "Remove the expected server names"),
    "-profile": (("profile",), "Remove the profile: the servers say who they are"),
    "-username": (("username", "password"), "Remove the user name and its password"),
}


def init(given: Given, config: Config) -> None:
    pins.refuse_two_inputs(given)
    label = given.values["-label"]
    setup.check_label(entries.load(TokenDirectory(config.tokens_dir)), label)
    connection = changed(Connection(), change(given), now())
    _tell_version(Connection(), connection, given)
    user_pin = pins.new_user_pin(given)
    so_pin, store = pins.new_so_pin(given), given.get("-storetype") or "kmip"
    directory = TokenDirectory(config.tokens_dir, create=True)
    setup.bind(setup.make_token(directory, label, so_pin, user_pin, store, connection), config, begin=True)


def set_(given: Given, config: Config) -> None:
    if not {option.name for option in (*CONNECTION, ACTIVE)} & given.values.keys():
        raise UsageError("nothing to set: mrhsm set -help lists what can be set")
    pins.refuse_two_inputs(given)
    wanted = change(given)
    with as_officer(given, config) as so:
        before = so.settings.connection
        setup.configure(so, wanted, store=given.get("-storetype"), active=active(given), now=now())
        _tell_version(before, so.settings.connection, given)
        _follow_custody(so, config)


def _tell_version(before: Connection, after: Connection, given: Given) -> None:
    """Say that the version has changed with the profile, where it was not given."""
    if after.kmip_version != before.kmip_version and "-kmipversion" not in given:
        print(f"The KMIP version is now {after.kmip_version}: the profile {after.profile} has no {before.kmip_version}")


def _follow_custody(so: SoToken, config: Config) -> None:
    """Where key bytes are to stay at the key managers: note what those do, and say which keys are left behind."""
    if not custody.applies(so, config):
        return
    try:
        with progress.during("Trying what the key manager does with the keys it keeps"):
            left = custody.left_behind(so, config, custody.probe(so, config))
    except (MrhsmError, CryptokiError) as error:
        left = []
        print(f"The settings are saved. What the key manager does with the keys it keeps is not known: {error}")
    for name in left:
        print(f"This key cannot be used while its bytes stay at the key manager: {name}")


def remove(given: Given, config: Config) -> None:
    names = [name for flag, (fields, _) in REMOVABLE.items() if flag in given.flags for name in fields]
    if not names:
        raise UsageError("nothing to remove: mrhsm remove -help lists what can be removed")
    with as_officer(given, config) as so:
        setup.remove(so, names)


def change(given: Given) -> Change:
    """Return the change of the connection that the options ask for."""
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
        username=given.get("-username"),
        password=pins.password(given),
        profile=given.get("-profile"),
    )


def active(given: Given) -> bool | None:
    """Return what `-active` says, None where it is not given."""
    return {None: None, "true": True, "false": False}[given.get("-active")]


INIT = Command(
    "init",
    "Make the token and its random user PIN.",
    (*CONNECTION[:5], LABEL, *CONNECTION[5:], *pins.SO_PIN, *pins.USER_PIN),
    init,
)
SET = Command("set", "Change any of the settings of the token.", (*CONNECTION, ACTIVE, *pins.SO_PIN, TOKEN), set_)
REMOVE = Command(
    "remove",
    "Remove settings; set them again and enable again before the keys are used.",
    (*(Option(flag, "", text) for flag, (_, text) in REMOVABLE.items()), *pins.SO_PIN, TOKEN),
    remove,
)
