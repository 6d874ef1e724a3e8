"""What an operator may get wrong: one sentence, the right exit code, and nothing half done."""

from __future__ import annotations

import ctypes  # noqa: F401  (imported late by what is tested)
import errno
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from fix_cluster import Home

from mrhsm_p11.cli import progress
from mrhsm_p11.cli.commands import COMMANDS
from mrhsm_p11.cli.main import main
from mrhsm_p11.tokendir import entries, posix, tokens

pytestmark = pytest.mark.usefixtures("home", "quick_pins")
Run = Callable[..., tuple[int, str, str]]
SOPIN = ("-sopin", "12345678")
ABSURD = ("", " ", "-", "\t", "x" * 5000, "ü" * 300, "\udcff", "../../..", "/dev/null", "0", "-1", "1e9", "%s%n")
# Not configure: what it is not told has a default, and it goes on with that.
WITHOUT_TERMINAL = {"init", "set", "enable", "rekey", "remove", "userpin", "export", "import", "sopin"}


@pytest.fixture
def mrhsm(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    null = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr("sys.stdin", os.fdopen(null))

    def run(*words: object) -> tuple[int, str, str]:
        status = main([*map(str, words)])
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


def snapshot(home: Home) -> dict[str, bytes]:
    found = home.config.tokens_dir.rglob("*")
    return {str(one): one.read_bytes() for one in found if one.is_file() and not one.name.startswith((".", "node-"))}


@pytest.mark.parametrize("name", sorted(WITHOUT_TERMINAL))
def test_absurd_values_of_every_option(name: str, mrhsm: Run, home: Home) -> None:
    """Whatever a value is, the command ends by itself with one sentence, and the token is as it was."""
    home.token()
    before = snapshot(home)
    (command,) = [one for one in COMMANDS if one.name == name]
    for option in command.options:
        if not option.value:
            continue
        for value in ABSURD:
            status, _, err = mrhsm(name, option.name, value)
            assert status in (1, 2), (option.name, value)
            lines = [line for line in err.splitlines() if not line.startswith("Warning")]
            assert len(lines) == 1, (option.name, value, err)
            assert "internal error" not in err.lower(), (option.name, value, err)
    assert snapshot(home) == before


@pytest.mark.parametrize("pin", ["пароль", "密码密码", "x" * 255, "ü" * 127, " \t  ", "\udcff\udcfe\udcfd\udcfc"])
def test_pins_of_every_kind(mrhsm: Run, home: Home, pin: str) -> None:
    assert mrhsm("init", "-label", "t", "-storetype", "file", "-sopin", pin, "-userpin", pin)[0] == 0
    assert mrhsm("set", "-port", "1", "-sopin", pin)[0] == 0
    assert mrhsm("sopin", "-oldsopin", pin, "-newsopin", pin[::-1])[0] == 0
    assert mrhsm("info", "-file")[0] == 0


@pytest.mark.parametrize("label", ["Ключ", "密钥", "é" * 16, "a b\tc", "😀" * 8])
def test_labels_of_every_kind(mrhsm: Run, home: Home, label: str) -> None:
    assert mrhsm("init", "-label", label, "-storetype", "file", *SOPIN)[0] == 0
    assert mrhsm("set", "-port", "2", "-token", label, *SOPIN)[0] == 0
    assert f"Label:                {label}" in mrhsm("info", "-slots")[1]


@pytest.mark.parametrize("what", ["tokens", "mrhsm.conf", "folder", "user.pin", ".lock"])
def test_links_are_not_followed(mrhsm: Run, home: Home, tmp_path: Path, what: str) -> None:
    so = home.token()
    root = home.config.tokens_dir
    place = {"tokens": root, "folder": root / so.entry.serial, "user.pin": root / so.entry.serial / "user.pin"}
    path = place.get(what, root / what)
    elsewhere = tmp_path / "elsewhere"
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.write_bytes(b"not ours")
    path.symlink_to(elsewhere)
    content = elsewhere.read_bytes() if elsewhere.is_file() else None
    status, _, err = mrhsm("userpin", *SOPIN)
    assert status == 1
    assert err.count("\n") == 1
    assert str(path) in err
    assert content is None or elsewhere.read_bytes() == content
    assert path.is_symlink()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("words", [("set", "-port", "9"), ("enable",), ("userpin",), ("remove", "-port")])
def test_a_disk_that_takes_nothing(
    mrhsm: Run, home: Home, monkeypatch: pytest.MonkeyPatch, fault: int, words: tuple[str, ...]
) -> None:
    home.token()
    before = snapshot(home)

    def refused(*_: object) -> None:
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patched:
        patched.setattr(posix, "write_new", refused)
        status, _, err = mrhsm(*words, *SOPIN)
    assert (status, err.count("\n")) == (1, 1)
    assert err.endswith(f"cannot be saved, nothing was changed: {os.strerror(fault)}\n")
    assert snapshot(home) == before
    assert mrhsm(*words, *SOPIN)[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_another_owner_is_named(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever may not read the directory is told which file, and no service logs in."""
    for folder in (home.conf, home.path, *home.path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    so = home.token()
    # What is imported late may be unreadable for others: a success and a failure import it before.
    assert main(["set", "-port", "1", *SOPIN]) == 0
    assert main(["set", "-port", "1", "-sopin", "another"]) == 1
    capfd.readouterr()
    child = os.fork()
    if child == 0:
        status = 9
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            if tokens.read_pin_file(home.directory, so.entry) is None:
                status = main(["set", "-port", "1", *SOPIN])
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert f"{home.config.tokens_dir} cannot be opened: Permission denied" in capfd.readouterr().err
    assert len(entries.load(home.directory)) == 1


@pytest.mark.parametrize("days", [-366, 366])
def test_a_clock_that_is_a_year_off(mrhsm: Run, home: Home, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    home.legacy()
    home.token()
    whole = time.time
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: whole() + days * 86_400)
        assert mrhsm("enable", *SOPIN)[0] == 0
        assert mrhsm("rekey", "core", *SOPIN)[0] == 0
    assert mrhsm("rekey", "core", *SOPIN)[0] == 0
    assert mrhsm("info", "-file")[1].endswith("Enabled             : Yes\n")


def test_two_operators_at_once(home: Home) -> None:
    """The second waits, says so on its terminal, and goes on when the first has ended."""
    home.token("kmip")
    with home.directory.lock():
        child = pexpect.spawn(
            sys.executable, ["-m", "mrhsm_p11.cli.main", "set", "-port", "7", *SOPIN], encoding="utf-8", timeout=60
        )
        child.expect_exact("Waiting for another mrhsm command to end ...")
    child.expect(pexpect.EOF)
    assert child.wait() == 0


def test_progress_is_silent_in_a_pipe_and_when_it_is_quick(capfd: pytest.CaptureFixture[str]) -> None:
    shown = progress.Progress(after_s=0.0)
    shown.step("working")
    shown.clear()
    assert capfd.readouterr() == ("", "")
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        quick = progress.Progress(terminal, after_s=60.0)
        quick.step("working")
        quick.clear()
        slow = progress.Progress(terminal, after_s=0.0)
        slow.step("working")
        text = b""
        while b"working ..." not in text:
            text += os.read(master, 100)
        slow.clear()
        assert os.read(master, 100) == b"\r\x1b[K"
    os.close(master)
    assert text == b"\r\x1b[Kworking ..."
