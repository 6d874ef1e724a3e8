"""Make a token and change its settings: what `init`, `set`, `remove` and `sopin` do."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import replace

from mrhsm_p11.cluster.connection import Change, changed, missing, removed
from mrhsm_p11.cluster.journal import ENABLE
from mrhsm_p11.cluster.keys import CLDB, COMMON, CORE, KEYS
from mrhsm_p11.config import Config
from mrhsm_p11.errors import MrhsmError, PinIncorrect, PinLenRange
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import binding, entries, tokens
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.sealing import check_pin
from mrhsm_p11.tokendir.settings import ClusterRecord, Connection
from mrhsm_p11.tokendir.tokens import OpenToken, SoToken, UserPin


class SetupRefused(MrhsmError):
    """A token cannot be made, found or changed as asked."""


class WrongPin(MrhsmError):
    """A PIN that does not open the token, or cannot be one."""


def choose_token(present: Collection[TokenEntry], wanted: str | None) -> TokenEntry:
    """Return the token that the operator means: by serial or label, or the only one. Raises SetupRefused."""
    if not present:
        raise SetupRefused("there is no token yet: run mrhsm init first")
    listed = ", ".join(f"{entry.serial} ({entry.label})" for entry in present)
    if wanted is None:
        if len(present) > 1:
            raise SetupRefused(f"there are several tokens, choose one with -token: {listed}")
        return next(iter(present))
    found = [entry for entry in present if entry.serial == wanted] or [e for e in present if e.label == wanted]
    if len(found) != 1:
        raise SetupRefused(f"-token: {'several tokens have' if found else 'no token has'} {wanted!r}, choose: {listed}")
    return found[0]


def check_label(present: Collection[TokenEntry], label: str) -> None:
    """Refuse a label that a new token cannot have. Raises SetupRefused, LabelInvalid."""
    entries.check_label(label)
    for entry in present:
        if entry.label == label:
            raise SetupRefused(
                f"the token {label!r} exists already, serial {entry.serial}: change it with mrhsm set, "
                "or give the new token another label"
            )


def check_new_pin(pin: Secret, role: str) -> None:
    """Refuse a PIN that is too short or too long, saying how long it is. Raises WrongPin."""
    try:
        check_pin(pin)
    except PinLenRange as error:
        raise WrongPin(f"the {role} PIN must have 4 to 255 characters, this one has {len(pin)}") from error


def make_token(
    directory: TokenDirectory, label: str, so_pin: Secret, user_pin: UserPin, store: str, connection: Connection
) -> SoToken:
    """Add a token. Raises SetupRefused, WrongPin, SaveFailed."""
    check_new_pin(so_pin, "SO")
    check_new_pin(user_pin.pin, "user")
    with directory.lock():
        check_label(entries.load(directory), label)
        return tokens.create_token(directory, label, so_pin, user_pin=user_pin, store=store, connection=connection)


def bind(so: SoToken, config: Config, *, begin: bool = False) -> None:
    """Let readers take this token, where maprhsm.conf names those they may: see tokendir.binding."""
    binding.bind(so.directory, config, so.entry, begin=begin)


def login_so(directory: TokenDirectory, entry: TokenEntry, so_pin: Secret) -> SoToken:
    """Open a token for its SO; the caller holds the directory's lock until it has saved. Raises WrongPin."""
    try:
        return tokens.login_so(directory, entries.find(directory, entry.serial), so_pin)
    except PinIncorrect as error:
        raise WrongPin("the SO PIN is incorrect") from error


def login_user(
    directory: TokenDirectory, entry: TokenEntry, pin: Secret, config: Config, *, from_file: bool
) -> OpenToken:
    """Open a token for reading. Raises WrongPin."""
    try:
        return tokens.login_user(
            directory,
            entry,
            pin,
            attempts_limit=config.pin_attempts,
            settings_key=config.settings_key,
            from_file=from_file,
        )
    except PinIncorrect as error:
        raise WrongPin("the user PIN is incorrect") from error


def configure(so: SoToken, change: Change, *, store: str | None, active: bool | None, now: datetime.datetime) -> None:
    """Change any subset of the settings in one save. Raises SetupRefused, ConnectionRefused, PemRefused."""
    settings = replace(so.settings, connection=changed(so.settings.connection, change, now))
    if store is not None and store != settings.store:
        if settings.cluster is not None:
            raise SetupRefused(
                f"the cluster keys of token {so.entry.serial} are in its {settings.store} store: "
                f"make another token with mrhsm init -storetype {store}"
            )
        settings = replace(settings, store=store)
    if active is not None:
        cluster = _activated(settings.cluster) if active else _deactivated(settings.store, settings.cluster)
        settings = replace(settings, cluster=cluster)
    if settings != so.settings:
        so.save_settings(settings)


def deactivate(so: SoToken) -> None:
    """Disable KMIP for the cluster; keys and settings stay. Raises SetupRefused."""
    so.save_settings(replace(so.settings, cluster=_deactivated(so.settings.store, so.settings.cluster)))


def remove(so: SoToken, names: Collection[str]) -> None:
    """Put the named connection settings back to their defaults; without one that is needed the cluster is disabled."""
    settings = replace(so.settings, connection=removed(so.settings.connection, names))
    if settings.cluster is not None and settings.store == "kmip" and missing(settings.connection):
        settings = replace(settings, cluster=replace(settings.cluster, enabled=False))
    so.save_settings(settings)


def change_so_pin(so: SoToken, new: Secret) -> None:
    """Set another SO PIN. Raises WrongPin."""
    check_new_pin(new, "new SO")
    so.change_so_pin(new)


def change_user_pin(so: SoToken, user: UserPin) -> None:
    """Set another user PIN; whoever logs in with the PIN file goes on where it is kept. Raises WrongPin."""
    check_new_pin(user.pin, "new user")
    so.set_user_pin(user)


def _activated(cluster: ClusterRecord | None) -> ClusterRecord:
    absent = [key.title for key in KEYS if key in (CORE, COMMON, CLDB) and not getattr(cluster, key.field, None)]
    if cluster is None or absent or any(step.command == ENABLE for step in cluster.journal):
        raise SetupRefused("the cluster's keys are not all in place: run mrhsm enable")
    return replace(cluster, enabled=True)


def _deactivated(store: str, cluster: ClusterRecord | None) -> ClusterRecord:
    if store == "file":
        raise SetupRefused("-active false: the file store cannot be disabled")
    if cluster is None:
        raise SetupRefused("-active false: nothing is enabled yet")
    return replace(cluster, enabled=False)
