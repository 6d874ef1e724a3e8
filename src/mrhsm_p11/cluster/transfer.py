"""Bring a token directory to another node: collect it, and put it in place of what is there, never of what is newer.

The PIN file's successor is written before mrhsm.conf and everything that hangs on mrhsm.conf after it, so that services
can log in whenever an import is killed; the next one finishes it.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mrhsm_p11.cluster import setup
from mrhsm_p11.cluster.archive import Archive, ArchiveRefused, PackedFile, belongs
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import attempts, entries, pinfile
from mrhsm_p11.tokendir.entries import CONFIGURATION, TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory

_PINS = (pinfile.NAME, pinfile.NEXT)


def collect(directory: TokenDirectory) -> Archive:
    """Return the directory as it is at one moment; the caller holds its lock."""
    status = Path(directory.path).stat()
    files = [_packed(directory, CONFIGURATION)]
    for entry in entries.load(directory):
        with directory.shared(entry.serial):
            names = [f"{entry.serial}/{name}" for name in directory.names(entry.serial)]
            files += [_packed(directory, name) for name in names if belongs(name)]
    return Archive(_name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid), tuple(files))


def check(
    archive: Archive, present: TokenDirectory, wanted: str | None, so_pin: Secret, *, older: bool
) -> tuple[TokenEntry, ...]:
    """Refuse an archive that the SO did not sign, or that is older than what is here; return its tokens.

    `wanted` chooses the token whose SO it is. Raises ArchiveRefused, SetupRefused, WrongPin.
    """
    with _unpacked(archive) as unpacked:
        arriving = entries.load(unpacked)
        setup.login_so(unpacked, setup.choose_token(arriving, wanted), so_pin)
    here = {entry.serial: entry for entry in _present(present)}
    for entry in arriving:
        known = here.get(entry.serial)
        if known is not None and known.public_key != entry.public_key:
            raise ArchiveRefused(f"token {entry.serial} here is another one than that of the archive")
        seen = attempts.read(present, entry.serial).seen_generation
        newest = max(seen, known.generation if known else 0)
        if not older and (newest > entry.generation or _pin(known) > _pin(entry)):
            raise ArchiveRefused(
                f"token {entry.serial} is newer here, generation {newest}, than in the archive, generation "
                f"{entry.generation}: import the latest archive, or this one with -older"
            )
    return arriving


def prepare(archive: Archive, directory: TokenDirectory) -> TokenDirectory:
    """Make the directory where it is not there, owned as it was elsewhere if this host knows the owner."""
    if directory.exists():
        return directory
    made = TokenDirectory(directory.path, create=True)
    _give_to_owner(archive, made)
    return made


def install(archive: Archive, directory: TokenDirectory) -> None:
    """Put the archive's tokens in place; tokens that it does not hold stay. The caller holds the directory's lock."""
    with _unpacked(archive) as unpacked:
        arriving = entries.load(unpacked)
    serials = {entry.serial for entry in arriving}
    staying = tuple(one for one in _present(directory, keep=True) if one.serial not in serials)
    for entry in arriving:
        directory.make_folder(entry.serial)
        kept = archive.content(f"{entry.serial}/{pinfile.NAME}")
        if kept is not None:
            directory.write(f"{entry.serial}/{pinfile.NEXT}", kept.reveal(), pinfile.MODE)
        for file in _files(archive, entry.serial):
            if file.name.endswith((".object", ".pair", ".objects")):
                directory.write(file.name, file.content.reveal(), file.mode & 0o700)
    entries.save(directory, (*arriving, *staying))
    for entry in arriving:
        _settle(archive, directory, entry)
        attempts.remember_generation(directory, entry.serial, entry.generation)


def _settle(archive: Archive, directory: TokenDirectory, entry: TokenEntry) -> None:
    """Make a token's folder agree with mrhsm.conf: the rest of its files written, those it has no more removed."""
    files = _files(archive, entry.serial)
    for file in files:
        directory.write(file.name, file.content.reveal(), file.mode & 0o700)
    wanted = {file.name for file in files}
    for name in directory.names(entry.serial):
        full = f"{entry.serial}/{name}"
        if belongs(full) and full not in wanted:
            directory.remove(full)


def _files(archive: Archive, serial: str) -> list[PackedFile]:
    return [file for file in archive.files if file.name.startswith(f"{serial}/")]


@contextlib.contextmanager
def _unpacked(archive: Archive) -> Iterator[TokenDirectory]:
    """Lend a private directory with the archive's mrhsm.conf alone, in which nothing is in the clear."""
    content = archive.content(CONFIGURATION)
    assert content is not None  # archive.unseal has checked
    with tempfile.TemporaryDirectory() as folder:
        unpacked = TokenDirectory(Path(folder) / "tokens", create=True)
        unpacked.write(CONFIGURATION, content.reveal())
        yield unpacked


def _present(directory: TokenDirectory, *, keep: bool = False) -> tuple[TokenEntry, ...]:
    """Return the tokens here; none where mrhsm.conf is damaged, of which a copy is kept before it is replaced."""
    try:
        return entries.load(directory)
    except entries.ConfigurationDamaged:
        if keep:
            directory.write(f"{CONFIGURATION}.damaged", directory.read(CONFIGURATION))
        return ()


def _packed(directory: TokenDirectory, name: str) -> PackedFile:
    mode = pinfile.MODE if name.rpartition("/")[2] in _PINS else 0o600
    return PackedFile(name, mode, Secret(directory.read(name)))


def _pin(entry: TokenEntry | None) -> int:
    return entry.user_pin.generation if entry is not None and entry.user_pin is not None else 0


def _give_to_owner(archive: Archive, directory: TokenDirectory) -> None:
    """Let the directory belong to whom it belongs elsewhere, where this host knows them; its files follow it."""
    if os.geteuid() != 0:
        return
    try:
        owner, group = pwd.getpwnam(archive.owner).pw_uid, grp.getgrnam(archive.group).gr_gid
    except KeyError:
        return
    fd = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, owner, group)
    finally:
        os.close(fd)


def _name(look_up: object, number: int) -> str:
    try:
        return str(look_up(number)[0])  # type: ignore[operator]
    except KeyError:
        return str(number)
