"""Steps on descriptors from which safe file operations are made; nothing is followed. Raises OSError."""

from __future__ import annotations

import os


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def write_new(folder_fd: int, name: str, content: bytes, mode: int) -> None:
    """Make a file that is not there yet, durably."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=folder_fd)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fchmod(fd, mode)
        own(fd, folder_fd)
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(parent_fd: int, name: str) -> None:
    """Make a folder (0700), durably; one that is there already is left as it is."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    except FileExistsError:
        return
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        own(fd, parent_fd)
        os.fsync(parent_fd)
    finally:
        os.close(fd)


def own(fd: int, folder_fd: int) -> None:
    """Give a file that root made to the owner of its folder."""
    if os.geteuid() == 0:
        folder = os.fstat(folder_fd)
        os.fchown(fd, folder.st_uid, folder.st_gid)
