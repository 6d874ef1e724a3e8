"""How a daemon gets in: the PIN file, the log-in, and what of the settings is missing."""

from __future__ import annotations

from collections.abc import Iterator

from mrhsm_p11.cluster.connection import missing
from mrhsm_p11.doctor.findings import Finding, broken, not_checked, note, warning, well
from mrhsm_p11.doctor.subjects import Token
from mrhsm_p11.errors import PinIncorrect
from mrhsm_p11.tokendir import pinfile, tokens
from mrhsm_p11.tokendir.files import DirectoryError, FileMissing

_SIDECAR = ".kmip"


def pin_file(token: Token) -> Iterator[Finding]:
    entry, directory = token.entry, token.node.directory
    name = f"{directory.path}/{entry.serial}/{pinfile.NAME}"
    if entry.user_pin is None:
        yield broken("the token has no user PIN yet: nobody can log in", "set one with mrhsm userpin, or C_InitPIN")
        return
    token.pin = pinfile.read_pin_file(directory, entry)
    if token.pin is not None:
        token.secrets.append(token.pin)
        yield well(f"{name} is the present PIN: daemons log in without one")
        return
    try:
        directory.read(f"{entry.serial}/{pinfile.NAME}")
    except FileMissing:
        yield warning(
            f"{name} is not there: daemons cannot log in by themselves",
            "copy conf/tokens again, or set a PIN that is kept with mrhsm userpin; where -nopinfile was meant, "
            "give doctor the PIN with -userpinfile",
        )
    except DirectoryError as error:
        yield broken(str(error), "chown it to the user of the daemons, mode 0400")
    else:
        yield broken(
            f"{name} is stale: it is of another user PIN than the present one",
            "copy conf/tokens from the node where the PIN was changed, or set a new one with mrhsm userpin",
        )


def log_in(token: Token) -> Iterator[Finding]:
    pin = token.node.user_pin or token.pin
    if pin is None:
        yield not_checked("not checked: there is no PIN to log in with")
        return
    try:
        token.opened = tokens.login_user(
            token.node.directory, token.entry, pin, settings_key=token.node.config.settings_key, from_file=True
        )
    except PinIncorrect:
        yield broken("the user PIN at hand does not open the token", "set a new one with mrhsm userpin")
        return
    except tokens.SettingsUntrusted as error:
        yield broken(str(error), "find out who changed it, and copy conf/tokens from a node that is sound")
        return
    token.secrets.append(token.opened.token_key)
    connection = token.opened.settings.connection
    token.secrets += [secret for secret in (connection.client_key, connection.password) if secret is not None]
    yield well("the PIN opens the token, and the settings carry the SO's signature")


def connection(token: Token) -> Iterator[Finding]:
    configured = token.settings.connection
    absent = missing(configured)
    if absent:
        yield broken(f"the connection lacks {', '.join(absent)}", f"mrhsm set {' ... '.join(absent)} ...")
        return
    names = f", certificate names {', '.join(configured.server_names)}" if configured.server_names else ""
    user = f", user {configured.username}" if configured.username else ""
    where = f"{', '.join(configured.addresses)}, port {configured.port}"
    yield well(f"{where}, KMIP {configured.kmip_version}{names}{user}")


def notes(token: Token) -> Iterator[Finding]:
    kept = [name for name in token.node.directory.names(token.entry.serial) if name.endswith(_SIDECAR)]
    if kept:
        yield note(
            f"the attributes of {len(kept)} objects are kept in files of this node: its servers would not take them",
            "copy conf/tokens to the other nodes after making objects",
        )
    else:
        yield well("no attribute of an object is kept on this node alone")
