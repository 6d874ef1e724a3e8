"""What the security officer may do with a token, once the SO PIN has opened it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from mrhsm_p11.errors import MrhsmError, TokenWriteProtected
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import attempts, codec, entries, pinfile, sealing, signing
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import DirectoryError, FileMissing, TokenDirectory
from mrhsm_p11.tokendir.pinfile import UserPin

if TYPE_CHECKING:
    from mrhsm_p11.tokendir.settings import ClusterRecord, Settings

BLOB_FILES = {"cldb": "cldb.key.enc", "dare": "dare.master.key.enc"}  # ClusterRecord field -> file beside user.pin

OBJECT_FILES = (".object", ".pair", ".objects", ".kmip", "learned.json")  # endings of what is of objects


class SettingsChanged(DirectoryError):
    """Another command saved the token since it was opened."""


class SettingsLocked(MrhsmError, TokenWriteProtected):
    """Cluster keys are recorded in the token: what would lose them is refused."""


class SoToken:
    """A token opened by its SO. Each method saves at once and leaves `entry` and `settings` as saved."""

    __slots__ = ("_seed", "directory", "entry", "settings", "token_key")

    def __init__(
        self, directory: TokenDirectory, entry: TokenEntry, token_key: Secret, seed: Secret, settings: Settings
    ) -> None:
        self.directory = directory
        self.entry = entry
        self.token_key = token_key
        self.settings = settings
        self._seed = seed

    def save_settings(self, settings: Settings) -> None:
        """Seal, sign and save settings; then write or repair the files of the two encrypted keys.

        Raises SettingsChanged when somebody else saved in between, SaveFailed.
        """
        with self.directory.lock():
            self._save(self._present(), settings, self.token_key)
            self.write_blobs()

    def set_user_pin(self, user: UserPin) -> None:
        """Set the user PIN, and make user.pin agree with `user.keep`. Raises PinLenRange."""
        with self.directory.lock():
            entry = self._present()
            generation = next_generation(entry.user_pin)
            record, _ = sealing.seal_pin(
                self.token_key, user.pin, serial=entry.serial, role="user", generation=generation, ours=user.ours
            )
            self.directory.make_folder(entry.serial)
            pinfile.prepare(self.directory, entry.serial, user, generation)
            new = replace(entry, user_pin=record)
            entries.put(self.directory, new)
            self.entry = new
            pinfile.settle(self.directory, entry.serial, user, generation)

    def change_so_pin(self, new: Secret) -> None:
        """Set the SO PIN; user PIN and keys stay as they are. Raises PinLenRange."""
        with self.directory.lock():
            entry = self._present()
            record, private = seal_so(self.token_key, self._seed, new, entry.serial, entry.so_pin)
            self._save(replace(entry, so_pin=record, sealed_private_key=private), self.settings, self.token_key)

    def reset(self, label: str, so_pin: Secret) -> None:
        """Make the token new (C_InitToken): other token key, no user PIN, no local objects; serial and connection stay.

        `so_pin` is the one that opened the token. Raises SettingsLocked while cluster keys are recorded, LabelInvalid.
        """
        entries.check_label(label)
        if self.settings.cluster is not None:
            raise SettingsLocked(f"token {self.entry.serial} holds cluster keys and cannot be initialised again")
        # The folder's lock too: who writes objects meanwhile waits, and then finds that the token key is another.
        self.directory.make_folder(self.entry.serial)
        with self.directory.lock(), self.directory.lock(folder=self.entry.serial):
            entry = self._present()
            self.clear_objects()
            token_key = sealing.new_token_key()
            record, private = seal_so(token_key, self._seed, so_pin, entry.serial, entry.so_pin)
            fresh = replace(entry, label=label, so_pin=record, sealed_private_key=private, user_pin=None)
            self._save(fresh, self.settings, token_key)
            pinfile.settle(self.directory, entry.serial, None, 0)

    def clear_objects(self) -> None:
        """Remove the sealed objects that are kept beside the token, and what was noted of those on servers."""
        for name in self.directory.names(self.entry.serial):
            if name.endswith(OBJECT_FILES):
                self.directory.remove(f"{self.entry.serial}/{name}")

    def write_blobs(self) -> None:
        """Make the .enc files agree with the settings; what agrees is not written."""
        cluster, serial = self.settings.cluster, self.entry.serial
        for name, file in BLOB_FILES.items():
            wanted = _encrypted(cluster, name)
            if wanted:
                self.directory.make_folder(serial)
                if _content(self.directory, f"{serial}/{file}") != wanted:
                    self.directory.write(f"{serial}/{file}", wanted)
            elif self.directory.stamp(f"{serial}/{file}"):
                self.directory.remove(f"{serial}/{file}")

    def _present(self) -> TokenEntry:
        """Return the entry as it is now; the user may have changed the user PIN, nothing else may differ."""
        entry = entries.find(self.directory, self.entry.serial)
        if replace(entry, user_pin=None) != replace(self.entry, user_pin=None):
            raise SettingsChanged(f"token {entry.serial} was changed by another command meanwhile: run this again")
        return entry

    def _save(self, entry: TokenEntry, settings: Settings, token_key: Secret) -> None:
        new = signed(replace(entry, generation=entry.generation + 1), token_key, self._seed, settings)
        entries.put(self.directory, new)
        self.entry, self.settings, self.token_key = new, settings, token_key
        attempts.remember_generation(self.directory, entry.serial, self.entry.generation)


def seal_so(
    token_key: Secret, seed: Secret, pin: Secret, serial: str, before: sealing.PinRecord | None
) -> tuple[sealing.PinRecord, bytes]:
    """Put the token key and the signing key under a new SO PIN: the record, the sealed key. Raises PinLenRange."""
    record, pin_key = sealing.seal_pin(token_key, pin, serial=serial, role="so", generation=next_generation(before))
    return record, sealing.seal(pin_key, "signing key", serial, seed.view())


def signed(entry: TokenEntry, token_key: Secret, seed: Secret, settings: Settings) -> TokenEntry:
    """Return the entry with these settings, sealed for its generation, and the SO's signature over it."""
    plain = codec.canonical(codec.to_json(settings))
    sealed = sealing.seal(token_key, "settings", entry.serial, plain, str(entry.generation).encode())
    bare = replace(entry, store=settings.store, sealed_settings=sealed, signature=b"")
    return replace(bare, signature=signing.sign(seed, bare.signed_bytes()))


def next_generation(record: sealing.PinRecord | None) -> int:
    """Return the generation of a PIN that follows `record`; a first one is drawn, so that no stale file fits it."""
    if record is not None:
        return record.generation + 1
    return int.from_bytes(os.urandom(4)) + 1


def _encrypted(cluster: ClusterRecord | None, name: str) -> bytes:
    record = getattr(cluster, name, None) if cluster is not None else None
    return record.encrypted if record is not None else b""


def _content(directory: TokenDirectory, name: str) -> bytes | None:
    try:
        return directory.read(name)
    except FileMissing:
        return None
