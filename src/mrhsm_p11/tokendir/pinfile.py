"""The user PIN on disk: how a CLDB or ZooKeeper logs in with nobody there to type.

`user.pin` holds one line naming the generation of the PIN record it belongs to, then the PIN. While the PIN changes,
`user.pin.next` stands beside it, so that a reader finds the right one whenever the writer is killed.
"""

from __future__ import annotations

from dataclasses import dataclass

from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import sealing
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import DirectoryError, DirectoryMissing, FileMissing, TokenDirectory

NAME, NEXT = "user.pin", "user.pin.next"
MODE = 0o400
HEADER = b"mrhsm user PIN, generation %d\n"


@dataclass(frozen=True, slots=True)
class UserPin:
    """A user PIN to set: ours (random, never counted or slowed) or chosen; `keep`: also write it to user.pin."""

    pin: Secret
    ours: bool = False
    keep: bool = False

    @classmethod
    def random(cls, *, keep: bool = True) -> UserPin:
        return cls(sealing.random_pin(), ours=True, keep=keep)


def read_pin_file(directory: TokenDirectory, entry: TokenEntry) -> Secret | None:
    """Return the PIN that user.pin holds, if this process can read it and it is the present one."""
    if entry.user_pin is None:
        return None
    header = HEADER % entry.user_pin.generation
    for name in (NAME, NEXT):
        try:
            content = directory.read(f"{entry.serial}/{name}")
        except (DirectoryError, DirectoryMissing):
            continue
        if content.startswith(header):
            return Secret(memoryview(content)[len(header) :])
    return None


def pin_file_exists(directory: TokenDirectory, entry: TokenEntry) -> bool:
    """Tell whether there is a user.pin at all, readable and current or not."""
    try:
        return bool(directory.stamp(f"{entry.serial}/{NAME}"))
    except DirectoryMissing:
        return False
    except DirectoryError:
        return True  # a folder that we may not enter


def prepare(directory: TokenDirectory, serial: str, user: UserPin, generation: int) -> None:
    """Write user.pin.next, before the record of this generation is saved."""
    if user.keep:
        directory.write(f"{serial}/{NEXT}", HEADER % generation + user.pin.reveal(), MODE)


def settle(directory: TokenDirectory, serial: str, user: UserPin | None, generation: int) -> None:
    """Make user.pin agree with the record that has been saved: present if it is to be kept, else gone."""
    if user is not None and user.keep:
        directory.write(f"{serial}/{NAME}", HEADER % generation + user.pin.reveal(), MODE)
    for name in (NEXT,) if user is not None and user.keep else (NAME, NEXT):
        try:
            directory.remove(f"{serial}/{name}")
        except FileMissing:
            return  # no folder
