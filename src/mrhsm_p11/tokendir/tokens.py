"""Tokens: making one, and opening one with a PIN."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mrhsm_p11 import hostcalls
from mrhsm_p11.errors import PinIncorrect, PinLocked, UserPinNotInitialized
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import attempts, codec, entries, pinfile, sealing, signing
from mrhsm_p11.tokendir.entries import TokenEntry, slot_id
from mrhsm_p11.tokendir.files import DirectoryError, TokenDirectory
from mrhsm_p11.tokendir.officer import SoToken, next_generation, seal_so, signed
from mrhsm_p11.tokendir.pinfile import UserPin, pin_file_exists, read_pin_file

if TYPE_CHECKING:
    from mrhsm_p11.tokendir.settings import Connection, Settings

__all__ = [
    "OpenToken",
    "SettingsOlder",
    "SettingsUntrusted",
    "SoToken",
    "TokenReset",
    "UserPin",
    "change_user_pin",
    "create_token",
    "login_so",
    "login_user",
    "pin_file_exists",
    "read_pin_file",
    "reopen",
    "slot_id",
]

DEFAULT_PIN_ATTEMPTS = 10
SO_FREE_ATTEMPTS, SO_DELAY_S, SO_LONGEST_DELAY_S = 3, 0.5, 5.0


class SettingsUntrusted(DirectoryError):
    """The settings do not carry the signature that they must."""


class SettingsOlder(DirectoryError):
    """The settings are older than those that this node has seen."""


class TokenReset(DirectoryError):
    """The SO initialised the token again (C_InitToken): its objects are gone, and its key is another."""


@dataclass(frozen=True, slots=True)
class OpenToken:
    """A token opened by its user."""

    directory: TokenDirectory
    entry: TokenEntry
    token_key: Secret
    settings: Settings


def create_token(
    directory: TokenDirectory,
    label: str,
    so_pin: Secret,
    *,
    user_pin: UserPin | None,
    store: str = "kmip",
    connection: Connection | None = None,
    group: str | None = None,
) -> SoToken:
    """Add a token to mrhsm.conf, opened for its SO; `user_pin` None leaves the user PIN unset, as C_InitToken does.

    Raises LabelInvalid, PinLenRange, SaveFailed. Whether the label is free is the caller's to ask.
    """
    from mrhsm_p11.tokendir.settings import Connection, Settings

    entries.check_label(label)
    settings = Settings(connection or Connection(), None, store, group)
    with directory.lock():
        present = entries.load(directory)
        serial = _draw_serial({slot_id(token.serial) for token in present})
        token_key, seed = sealing.new_token_key(), signing.new_seed()
        so_record, private = seal_so(token_key, seed, so_pin, serial, None)
        directory.make_folder(serial)
        user_record = _first_user_pin(directory, serial, token_key, user_pin)
        bare = TokenEntry(serial, label, store, 1, so_record, user_record, signing.public_key(seed), private, b"")
        entry = signed(bare, token_key, seed, settings)
        entries.save(directory, (*present, entry))
        if user_record is not None:
            pinfile.settle(directory, serial, user_pin, user_record.generation)
        attempts.remember_generation(directory, serial, entry.generation)
    return SoToken(directory, entry, token_key, seed, settings)


def login_user(
    directory: TokenDirectory,
    entry: TokenEntry,
    pin: Secret,
    *,
    attempts_limit: int = DEFAULT_PIN_ATTEMPTS,
    settings_key: Collection[str] = (),
    from_file: bool = False,
) -> OpenToken:
    """Open a token with the user PIN, checked locally. A PIN `from_file` is never counted nor stopped by a count.

    `settings_key`, when not empty, holds the fingerprints of the only keys whose signature is accepted; every spelling
    of hexadecimal is one. Raises PinIncorrect,
    PinLocked, UserPinNotInitialized, SettingsUntrusted.
    """
    if entry.user_pin is None:
        raise UserPinNotInitialized(f"token {entry.serial} has no user PIN yet")
    opened = _verify_user(directory, entry, entry.user_pin, pin, 0 if from_file else attempts_limit, not from_file)
    if settings_key and entry.fingerprint() not in map(spelled, settings_key):
        raise SettingsUntrusted(f"token {entry.serial} is none of those that settings_key in maprhsm.conf names")
    if not signing.verifies(entry.public_key, entry.signature, entry.signed_bytes()):
        raise SettingsUntrusted(f"{directory.path}/{entries.CONFIGURATION} was changed: the signature is not the SO's")
    return OpenToken(directory, entry, opened.token_key, _open_settings(directory, entry, opened.token_key))


def reopen(opened: OpenToken) -> OpenToken:
    """Return the token with the settings that mrhsm.conf has now, as the SO who signed the former ones gave them.

    Raises SettingsUntrusted, SettingsOlder, TokenReset.
    """
    directory, entry = opened.directory, entries.find(opened.directory, opened.entry.serial)
    signing_key = opened.entry.public_key
    if entry.public_key != signing_key or not signing.verifies(signing_key, entry.signature, entry.signed_bytes()):
        raise SettingsUntrusted(f"{directory.path}/{entries.CONFIGURATION} was changed: the signature is not the SO's")
    if entry.generation < opened.entry.generation:
        raise SettingsOlder(
            f"token {entry.serial} has settings of generation {entry.generation}, {opened.entry.generation} was in use"
        )
    try:
        settings = _open_settings(directory, entry, opened.token_key)
    except entries.ConfigurationDamaged:  # the SO signed them: they are sealed under another token key
        raise TokenReset(f"token {entry.serial} was initialised again meanwhile") from None
    return replace(opened, entry=entry, settings=settings)


def spelled(fingerprint: str) -> str:
    """Return a fingerprint as TokenEntry.fingerprint spells it."""
    return fingerprint.lower().replace(":", "")


def login_so(directory: TokenDirectory, entry: TokenEntry, pin: Secret, *, accept_older: bool = False) -> SoToken:
    """Open a token with the SO PIN, and check that its settings are the SO's own and the latest seen here.

    After a few wrong PINs each try waits some seconds; it is never locked. Raises PinIncorrect, SettingsUntrusted,
    SettingsOlder.
    """
    record = entry.so_pin
    wrong = attempts.wrong(directory, entry.serial, "so", record)
    if wrong >= SO_FREE_ATTEMPTS:
        hostcalls.pause(min(SO_DELAY_S * 2 ** min(wrong - SO_FREE_ATTEMPTS, 8), SO_LONGEST_DELAY_S))
    try:
        opened = sealing.open_pin(record, pin, entry.serial, "so")
    except PinIncorrect:
        attempts.count_wrong(directory, entry.serial, "so", record)
        raise
    attempts.clear(directory, entry.serial, "so", record)
    try:
        seed = Secret(sealing.open_sealed(opened.pin_key, "signing key", entry.serial, entry.sealed_private_key))
    except sealing.SealBroken:
        raise entries.damaged(directory, f"the signing key of token {entry.serial} does not open") from None
    if not signing.verifies(signing.public_key(seed), entry.signature, entry.signed_bytes()):
        raise SettingsUntrusted(f"{directory.path}/{entries.CONFIGURATION} was changed: the signature is not the SO's")
    seen = attempts.read(directory, entry.serial).seen_generation
    if entry.generation < seen and not accept_older:
        raise SettingsOlder(
            f"token {entry.serial} has settings of generation {entry.generation}, this node has seen {seen}: copy the "
            f"latest {directory.path} here, or accept the older one with mrhsm import -older"
        )
    attempts.remember_generation(directory, entry.serial, entry.generation)
    return SoToken(directory, entry, opened.token_key, seed, _open_settings(directory, entry, opened.token_key))


def change_user_pin(
    token: OpenToken, old: Secret, new: Secret, *, attempts_limit: int = DEFAULT_PIN_ATTEMPTS
) -> OpenToken:
    """Change the user PIN as the user (C_SetPIN); user.pin goes, for a PIN is never written to disk by the library.

    Raises PinIncorrect, PinLocked, PinLenRange.
    """
    sealing.check_pin(new)
    directory, serial = token.directory, token.entry.serial
    with directory.lock():
        entry = entries.find(directory, serial)
        if entry.user_pin is None:
            raise UserPinNotInitialized(f"token {serial} has no user PIN yet")
        opened = _verify_user(directory, entry, entry.user_pin, old, attempts_limit, True)
        generation = next_generation(entry.user_pin)
        record, _ = sealing.seal_pin(opened.token_key, new, serial=serial, role="user", generation=generation)
        entry = replace(entry, user_pin=record)
        entries.put(directory, entry)
        pinfile.settle(directory, serial, None, generation)
    return replace(token, entry=entry)


def _first_user_pin(
    directory: TokenDirectory, serial: str, token_key: Secret, user: UserPin | None
) -> sealing.PinRecord | None:
    if user is None:
        return None
    generation = next_generation(None)
    record, _ = sealing.seal_pin(token_key, user.pin, serial=serial, role="user", generation=generation, ours=user.ours)
    pinfile.prepare(directory, serial, user, generation)
    return record


def _verify_user(
    directory: TokenDirectory, entry: TokenEntry, record: sealing.PinRecord, pin: Secret, limit: int, counted: bool
) -> sealing.Opened:
    counted = counted and not record.ours
    if counted and limit and attempts.wrong(directory, entry.serial, "user", record) >= limit:
        raise PinLocked(f"the user PIN of token {entry.serial} is locked on this node: the SO sets a new one")
    try:
        opened = sealing.open_pin(record, pin, entry.serial, "user")
    except PinIncorrect:
        if counted:
            attempts.count_wrong(directory, entry.serial, "user", record)
        raise
    if counted:
        attempts.clear(directory, entry.serial, "user", record)
    return opened


def _open_settings(directory: TokenDirectory, entry: TokenEntry, token_key: Secret) -> Settings:
    from mrhsm_p11.tokendir.settings import Settings

    bound = str(entry.generation).encode()
    try:
        plain = sealing.open_sealed(token_key, "settings", entry.serial, entry.sealed_settings, bound)
        return codec.from_json(Settings, codec.parse(plain))
    except (sealing.SealBroken, codec.Malformed):
        raise entries.damaged(directory, f"the settings of token {entry.serial} do not open") from None


def _draw_serial(taken: set[int]) -> str:
    while True:
        serial = os.urandom(8).hex()
        if slot_id(serial) not in taken | {0}:
            return serial
