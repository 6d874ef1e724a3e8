"""The library as a JVM of its own sees it, and what is said where it is not taken."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from fix_clients import Made, need

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
    import sys

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
