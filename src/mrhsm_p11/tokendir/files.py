"""The token directory on disk: nothing followed, nothing half written, one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from mrhsm_p11 import deadline
from mrhsm_p11.tokendir import posix
from mrhsm_p11.tokendir.faults import (
    DirectoryBusy,
    DirectoryError,
    DirectoryMissing,
    DirectoryUnsafe,
    FileMissing,
    FileUnreadable,
    SaveFailed,
)
from mrhsm_p11.tokendir.locking import LOCK, FolderLock

__all__ = [
    "DirectoryBusy",
    "DirectoryError",
    "DirectoryMissing",
    "DirectoryUnsafe",
    "FileMissing",
    "FileUnreadable",
    "SaveFailed",
    "TokenDirectory",
]

TEMPORARY_SUFFIX = ".new"


class TokenDirectory:
    """Files named `file` or `folder/file` below one directory, which is opened anew, not followed, for each call.

    No descriptor is kept (hosts close descriptors they do not know), except a lock's while it is held. Any thread may
    call; a lock is re-entrant for the thread that holds it.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.path = os.fspath(path)
        self._locks: dict[str, FolderLock] = {}
        self._swept: set[str] = set()
        if create:
            self._create()

    def exists(self) -> bool:
        """Tell whether the directory is there (a link in its place raises DirectoryUnsafe)."""
        try:
            os.close(self._open_root())
        except DirectoryMissing:
            return False
        return True

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises FileMissing, FileUnreadable, DirectoryUnsafe."""
        with self._folder(name) as (folder_fd, base):
            try:
                fd = os.open(base, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
            except OSError as error:
                raise self._read_error(error, name) from None
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise DirectoryUnsafe(f"{self._full(name)} is not a plain file: remove it")
                try:
                    return file.read()
                except OSError as error:
                    raise self._read_error(error, name) from None

    def stamp(self, name: str) -> tuple[int, ...]:
        """Return a tuple that changes when the file does; empty when there is none."""
        try:
            with self._folder(name) as (folder_fd, base):
                status = os.stat(base, dir_fd=folder_fd, follow_symlinks=False)
        except (FileMissing, FileNotFoundError):
            return ()
        return posix.stamp(status)

    def unchanged(self, name: str, stamp: tuple[int, ...]) -> bool:
        """Tell whether the file still has this stamp: whichever way leads there, no other file has it."""
        try:
            return posix.stamp(os.stat(f"{self.path}/{name}", follow_symlinks=False)) == stamp
        except OSError:
            return False

    def stamps(self, folder: str) -> dict[str, tuple[int, ...]]:
        """Return the stamp of every file in a folder by name; see `shared` for what one moment is."""
        try:
            with self._folder(folder + "/.") as (folder_fd, _), os.scandir(folder_fd) as found:
                return {one.name: posix.stamp(one.stat(follow_symlinks=False)) for one in found if one.name[0] != "."}
        except FileMissing:
            return {}

    def names(self, folder: str = "") -> list[str]:
        """List the files (and, at the top, folders) in a folder, sorted, without the lock and unfinished files."""
        try:
            with self._folder(folder + "/." if folder else ".") as (folder_fd, _):
                found = os.listdir(folder_fd)
        except FileMissing:
            return []
        return sorted(name for name in found if not name.startswith("."))

    def write(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Replace or make a file, durably, whole or not at all. Raises SaveFailed, DirectoryUnsafe, DirectoryBusy."""
        with self.lock(folder=name.rpartition("/")[0]), self._folder(name) as (folder_fd, base):
            self._sweep(folder_fd, name.rpartition("/")[0])
            temporary = f".{base}.{os.urandom(6).hex()}{TEMPORARY_SUFFIX}"
            try:
                self._refuse_link(folder_fd, base, name)
                posix.write_new(folder_fd, temporary, content, mode)
                os.rename(temporary, base, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
                os.fsync(folder_fd)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder_fd)
                raise self._save_error(error, name) from None

    def remove(self, name: str) -> bool:
        """Remove a file durably; False when there was none."""
        with self.lock(folder=name.rpartition("/")[0]), self._folder(name) as (folder_fd, base):
            try:
                os.unlink(base, dir_fd=folder_fd)
                os.fsync(folder_fd)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise self._save_error(error, name) from None
            return True

    def make_folder(self, name: str) -> None:
        """Make a folder (0700) at the top; one that is there already is left as it is."""
        root = self._open_root()
        try:
            posix.make_folder(root, name)
        except OSError as error:
            raise self._save_error(error, name) from None
        finally:
            os.close(root)

    @contextlib.contextmanager
    def lock(self, timeout_s: float | None = None, *, folder: str = "") -> Iterator[None]:
        """Be the only writer in a folder, of all threads and processes, until the block ends.

        The lock of the directory itself does not keep others from its folders, and is taken before theirs. Waits until
        the present call's deadline unless told otherwise. Raises DirectoryBusy.
        """
        held = self._acquire(folder, exclusive=True, timeout_s=timeout_s)
        try:
            yield
        finally:
            held.release()

    @contextlib.contextmanager
    def shared(self, folder: str, *, timeout_s: float | None = None) -> Iterator[None]:
        """Keep writers out of a folder until the block ends, so that several files are read as of one moment."""
        try:
            held = self._acquire(folder, exclusive=False, timeout_s=timeout_s)
        except FileMissing:
            held = None  # no folder: nobody has written
        try:
            yield
        finally:
            if held is not None:
                held.release()

    # ---- below: one open of the directory each

    def _create(self) -> None:
        parent, name = os.path.split(self.path.rstrip("/"))
        parent = parent or "."
        try:
            fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DirectoryMissing(f"{parent} is not there: set MAPR_HOME or create it ({error.strerror})") from None
        try:
            posix.make_folder(fd, name)
        except OSError as error:
            raise SaveFailed(f"{self.path} cannot be made: {error.strerror}") from None
        finally:
            os.close(fd)

    def _open_root(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DirectoryMissing(f"{self.path} is not there: run mrhsm init, or copy it from another node") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise DirectoryUnsafe(f"{self.path} is not a directory of its own: links are not followed") from None
            raise FileUnreadable(f"{self.path} cannot be opened: {error.strerror}") from None

    @contextlib.contextmanager
    def _folder(self, name: str) -> Iterator[tuple[int, str]]:
        """Lend the descriptor of the folder that holds `name`, and the last part of the name."""
        folder, _, base = name.rpartition("/")
        if not base or "/" in folder or folder in (".", "..") or base == ".." or "\0" in name:
            raise ValueError(f"not a name in the token directory: {name!r}")
        fd = self._open_folder(folder)
        try:
            yield fd, base
        finally:
            os.close(fd)

    def _open_folder(self, folder: str) -> int:
        root = self._open_root()
        if not folder:
            return root
        try:
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        except OSError as error:
            raise self._read_error(error, folder) from None
        finally:
            os.close(root)

    def _acquire(self, folder: str, *, exclusive: bool, timeout_s: float | None) -> FolderLock:
        found = self._locks.setdefault(folder, FolderLock())
        wait_s = deadline.current().remaining_s() if timeout_s is None else timeout_s
        try:
            found.acquire(lambda: self._open_folder(folder), exclusive=exclusive, timeout_s=wait_s)
        except TimeoutError:
            raise DirectoryBusy(
                f"another process is changing {self.path}: wait until it is done, then run this again"
            ) from None
        except OSError as error:
            name = f"{folder}/{LOCK}" if folder else LOCK
            raise (self._save_error if exclusive else self._read_error)(error, name) from None
        return found

    def _sweep(self, folder_fd: int, folder: str) -> None:
        """Remove what a killed writer left, once a folder; whoever holds the lock has no rival."""
        if folder in self._swept:
            return
        for name in os.listdir(folder_fd):
            if name.startswith(".") and name.endswith(TEMPORARY_SUFFIX):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=folder_fd)
        self._swept.add(folder)

    def _refuse_link(self, folder_fd: int, base: str, name: str) -> None:
        try:
            mode = os.stat(base, dir_fd=folder_fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            raise DirectoryUnsafe(f"{self._full(name)} is not a plain file: remove it")

    def _full(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _read_error(self, error: OSError, name: str) -> DirectoryError:
        if isinstance(error, FileNotFoundError):
            return FileMissing(f"{self._full(name)} is not there")
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            return DirectoryUnsafe(f"{self._full(name)} is a link or not what belongs there: remove it")
        return FileUnreadable(f"{self._full(name)} cannot be read: {error.strerror}")

    def _save_error(self, error: OSError, name: str) -> DirectoryError:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return DirectoryUnsafe(f"{self._full(name)} is a link or not what belongs there: remove it")
        return SaveFailed(f"{self._full(name)} cannot be saved, nothing was changed: {error.strerror}")
