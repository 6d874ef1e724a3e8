"""What needs a process of its own: the library in a JVM, and the doctor on a terminal."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pexpect
import pytest
from fix_clients import Made, need
from fix_cluster import Home

from mrhsm_p11.doctor import library


def test_a_jvm_lists_the_keys(make_client: Made) -> None:
    need("keytool")
    token = make_client("file")
    out = token.mrhsm("doctor")
    assert re.search(r"JVM +well +.*keytool: SunPKCS11 logs in and lists 3 keys", out), out


def test_a_jvm_that_cannot_log_in(make_client: Made) -> None:
    need("keytool")
    token = make_client("file")
    pin = token.home / "conf" / "tokens" / token.serial / "user.pin"
    kept = token.home / "pin"
    kept.write_text(token.pin)
    pin.unlink()
    done = token.run("env", *command("doctor", "-userpinfile", kept))
    assert done.returncode == 1
    assert re.search(r"JVM +BROKEN +the JVM of .*keytool cannot use the token: keytool error", done.stdout), done.stdout


def command(*words: object) -> list[object]:
    return [sys.executable, "-m", "mrhsm_p11.cli.main", *words]


@pytest.mark.parametrize("content", [None, b"not a library"])
def test_a_library_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    path = tmp_path / "lib.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(library, "LIBRARY", path)
    (finding,) = library.loads(None)  # type: ignore[arg-type]
    assert finding.severity.name == "BROKEN"
    assert ("cannot be loaded" if content else "is not there") in finding.says
    assert os.fspath(path) in finding.says


def test_on_a_terminal(home: Home) -> None:
    child = pexpect.spawn(sys.executable, ["-m", "mrhsm_p11.cli.main", "doctor"], timeout=30, encoding="utf-8")
    child.expect(pexpect.EOF)
    shown = child.before
    assert "\r\x1b[KToken directory ..." in shown  # what it is doing, on a line that is wiped
    assert "  Token directory   \x1b[31mBROKEN  \x1b[0m " in shown
    assert "\x1b[32mwell" in shown
    assert shown.index("\r\x1b[KThis node") > shown.index("Library ...")
    child.close()
    assert child.exitstatus == 1


def test_without_colours(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    child = pexpect.spawn(sys.executable, ["-m", "mrhsm_p11.cli.main", "doctor"], timeout=30, encoding="utf-8")
    child.expect(pexpect.EOF)
    assert "BROKEN" in child.before
    assert "\x1b[3" not in child.before
