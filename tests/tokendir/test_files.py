from __future__ import annotations

import errno
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest
from fix_tokens import run_killed_at

from mrhsm_p11 import deadline
from mrhsm_p11.errors import CryptokiError, DeviceError, DeviceRemoved, MrhsmError
from mrhsm_p11.tokendir import faults, posix
from mrhsm_p11.tokendir.files import (
    DirectoryBusy,
    DirectoryMissing,
    DirectoryUnsafe,
    FileMissing,
    FileUnreadable,
    SaveFailed,
    TokenDirectory,
)


@pytest.fixture
def directory(tmp_path: Path) -> TokenDirectory:
    return TokenDirectory(tmp_path / "tokens", create=True)


def test_what_is_written_is_read(directory: TokenDirectory) -> None:
    directory.make_folder("aa")
    directory.write("aa/one", b"\0" * 70_000)
    directory.write("two", b"")
    assert directory.read("aa/one") == b"\0" * 70_000
    assert directory.read("two") == b""
    assert directory.names() == ["aa", "two"]
    assert directory.names("aa") == ["one"]
    assert directory.names("none") == []


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_files_and_folders_are_closed_to_others_whatever_the_umask(directory: TokenDirectory, mode: int) -> None:
    before = os.umask(0)
    try:
        directory.make_folder("aa")
        directory.write("aa/one", b"x", mode)
    finally:
        os.umask(before)
    folder = Path(directory.path) / "aa"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "one").stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_files_to_the_owner_of_the_directory(directory: TokenDirectory) -> None:
    os.chown(directory.path, 12345, 23456)
    directory.make_folder("aa")
    directory.write("aa/one", b"x")
    directory.write("two", b"x")
    for path in ("aa", "aa/one", "aa/.lock", "two", ".lock"):
        found = (Path(directory.path) / path).stat()
        assert (found.st_uid, found.st_gid) == (12345, 23456), path


def test_a_stamp_changes_with_the_file(directory: TokenDirectory) -> None:
    assert directory.stamp("one") == ()
    directory.write("one", b"a")
    first = directory.stamp("one")
    directory.write("one", b"b")
    assert first
    assert directory.stamp("one") not in (first, ())
    assert directory.stamps("none") == {}


def test_each_failure_names_the_file_and_is_a_ckr(directory: TokenDirectory) -> None:
    with pytest.raises(FileMissing, match=r"tokens/none is not there") as failure:
        directory.read("none")
    assert isinstance(failure.value, DeviceError)
    missing = TokenDirectory(directory.path + "x")
    with pytest.raises(DirectoryMissing, match="tokensx is not there") as gone:
        missing.read("one")
    assert isinstance(gone.value, DeviceRemoved)
    assert not missing.exists()
    with pytest.raises(DirectoryMissing, match="set MAPR_HOME"):
        TokenDirectory(directory.path + "/no/tokens", create=True)


def test_every_fault_has_both_faces() -> None:
    for fault in vars(faults).values():
        if isinstance(fault, type) and fault.__module__ == faults.__name__:
            assert issubclass(fault, MrhsmError), fault
            assert issubclass(fault, CryptokiError), fault


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a/b/c", "..", "x/", "./x", "a\0b"])
def test_names_that_leave_the_directory_are_refused(directory: TokenDirectory, name: str) -> None:
    for act in (directory.read, lambda n: directory.write(n, b"")):
        with pytest.raises((ValueError, FileMissing)):
            act(name)


def test_links_are_never_followed(directory: TokenDirectory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "one").write_bytes(b"theirs")
    root = Path(directory.path)
    (root / "one").symlink_to(outside / "one")
    (root / "aa").symlink_to(outside)
    for act in (
        lambda: directory.read("one"),
        lambda: directory.write("one", b"x"),
        lambda: directory.read("aa/one"),
        lambda: directory.write("aa/one", b"x"),
        lambda: directory.names("aa"),
        lambda: directory.make_folder("aa") or directory.write("aa/two", b"x"),
    ):
        with pytest.raises(DirectoryUnsafe, match="tokens/"):
            act()
    assert (outside / "one").read_bytes() == b"theirs"
    assert list(outside.iterdir()) == [outside / "one"]


def test_a_linked_directory_is_refused(directory: TokenDirectory, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory.path)
    linked = TokenDirectory(tmp_path / "link")
    for act in (linked.exists, lambda: linked.read("x"), lambda: linked.write("x", b"")):
        with pytest.raises(DirectoryUnsafe, match="link is not a directory of its own"):
            act()
    assert directory.names() == []


def test_a_link_in_place_of_the_lock_is_refused(directory: TokenDirectory, tmp_path: Path) -> None:
    (Path(directory.path) / ".lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(DirectoryUnsafe):
        directory.write("one", b"x")
    assert not (tmp_path / "theirs").exists()


def test_special_files_neither_block_nor_pass(directory: TokenDirectory) -> None:
    os.mkfifo(Path(directory.path) / "pipe")
    for act in (lambda: directory.read("pipe"), lambda: directory.write("pipe", b"x")):
        with pytest.raises(DirectoryUnsafe, match="pipe is not a plain file"):
            act()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_read_or_written_says_so(directory: TokenDirectory, tmp_path: Path) -> None:
    directory.write("one", b"x")
    os.chmod(directory.path, 0o755)
    for folder in takewhile(lambda folder: folder != Path(tempfile.gettempdir()), [tmp_path, *tmp_path.parents]):
        os.chmod(folder, 0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(FileUnreadable, match="one cannot be read: Permission denied"):
            directory.read("one")
        with pytest.raises(SaveFailed, match="Permission denied"):
            directory.write("two", b"x")
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_failing_disk_leaves_the_old_file(
    directory: TokenDirectory, monkeypatch: pytest.MonkeyPatch, fault: int, step: str
) -> None:
    directory.write("one", b"old")

    def fail(*arguments: object, **options: object) -> int:
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patched:
        patched.setattr(posix.os, step, fail)
        with pytest.raises(SaveFailed, match=f"tokens/one cannot be saved, nothing was changed: {os.strerror(fault)}"):
            directory.write("one", b"new")
    assert directory.read("one") == b"old"
    assert sorted(os.listdir(directory.path)) == [".lock", "one"]


def test_a_disk_that_takes_a_part_at_a_time_is_no_failure(
    directory: TokenDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(posix.os, "write", lambda fd, content: write(fd, bytes(content[:3])))
    directory.write("one", b"0123456789")
    assert directory.read("one") == b"0123456789"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=False).returncode:
        pytest.skip("no permission to mount")
    try:
        directory = TokenDirectory(small / "tokens", create=True)
        directory.write("one", b"old" * 1000)
        with pytest.raises(SaveFailed, match="No space left on device"):
            directory.write("one", b"x" * 100_000)
        assert directory.read("one") == b"old" * 1000
        assert sorted(os.listdir(directory.path)) == [".lock", "one"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_killed_writer_leaves_old_or_new_and_the_next_sweeps(directory: TokenDirectory) -> None:
    directory.write("one", b"old")
    seen = set()
    step = 1
    while run_killed_at(step, lambda: TokenDirectory(directory.path).write("one", b"new!")):
        seen.add(directory.read("one"))
        assert directory.names() == ["one"]
        step += 1
        TokenDirectory(directory.path).write("one", b"old")
        assert sorted(os.listdir(directory.path)) == [".lock", "one"]
    assert seen == {b"old", b"new!"}
    assert step > 8


def test_one_writer_at_a_time(directory: TokenDirectory) -> None:
    other = TokenDirectory(directory.path)
    order: list[str] = []

    def second() -> None:
        with other.lock():
            order.append("second")

    with directory.lock():
        thread = threading.Thread(target=second)
        thread.start()
        with (
            pytest.raises(DirectoryBusy, match="another process is changing"),
            other.lock(timeout_s=0.05),
        ):
            pass
        with directory.lock():  # the holder may take it again
            directory.write("one", b"x")
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_threads_of_one_process_wait_for_each_other(directory: TokenDirectory) -> None:
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with directory.lock():
            held.set()
            go.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)
    for taken in (directory.lock(0.05), directory.shared("", timeout_s=0.05)):
        with pytest.raises(DirectoryBusy), taken:
            pass
    go.set()
    thread.join(5)
    with directory.lock(timeout_s=0.05):
        pass


def test_readers_share_and_keep_writers_out(directory: TokenDirectory) -> None:
    directory.write("one", b"x")
    one, two, writer = (TokenDirectory(directory.path) for _ in range(3))
    with one.shared(""), two.shared("", timeout_s=0.05), pytest.raises(DirectoryBusy), writer.lock(timeout_s=0.05):
        pass
    with writer.lock():
        with pytest.raises(DirectoryBusy), one.shared("", timeout_s=0.05):
            pass
        with writer.shared("", timeout_s=0.05):
            pass


def test_a_long_command_does_not_keep_others_from_the_folders(directory: TokenDirectory) -> None:
    directory.make_folder("aa")
    other = TokenDirectory(directory.path)
    with directory.lock():
        with other.lock(0.05, folder="aa"):
            other.write("aa/one", b"x")
        with other.shared("aa", timeout_s=0.05):
            assert other.read("aa/one") == b"x"
        directory.write("aa/one", b"y")
    with directory.lock(folder="aa"), pytest.raises(DirectoryBusy), other.lock(0.05, folder="aa"):
        pass


def test_waiting_ends_with_the_calls_deadline(directory: TokenDirectory) -> None:
    with directory.lock(), deadline.limit(0.1):
        started = time.monotonic()
        with pytest.raises(DirectoryBusy):
            TokenDirectory(directory.path).write("one", b"x")
        assert 0.05 < time.monotonic() - started < 2


def test_reading_needs_no_lock_file(directory: TokenDirectory) -> None:
    with directory.shared(""):
        assert directory.names() == []
    assert os.listdir(directory.path) == []


def test_the_lock_ends_with_its_holder(directory: TokenDirectory) -> None:
    def hold_and_die() -> None:
        with TokenDirectory(directory.path).lock():
            os.kill(os.getpid(), 9)

    assert run_killed_at(10**6, hold_and_die)
    started = time.monotonic()
    directory.write("one", b"x")
    assert time.monotonic() - started < 1


def test_removing(directory: TokenDirectory) -> None:
    directory.make_folder("aa")
    directory.write("aa/one", b"x")
    assert directory.remove("aa/one")
    assert not directory.remove("aa/one")
    assert directory.names("aa") == []


def test_no_descriptor_stays_open(directory: TokenDirectory) -> None:
    directory.make_folder("aa")
    directory.write("aa/one", b"x")
    acts: list[Callable[[], object]] = [
        lambda: directory.read("aa/one"),
        lambda: directory.read("no/one"),
        lambda: directory.read("aa/no"),
        lambda: directory.write("aa/one", b"y"),
        lambda: directory.write("no/one", b"y"),
        lambda: directory.stamps("aa"),
        lambda: directory.remove("aa/no"),
        lambda: directory.make_folder("aa"),
        directory.exists,
    ]
    before = os.listdir("/proc/self/fd")
    for act in acts:
        try:
            act()
        except FileMissing:
            continue
    assert len(os.listdir("/proc/self/fd")) == len(before)
