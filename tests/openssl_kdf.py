"""OpenSSL's `kdf` command, which the derivations must agree with."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def kdf(name: str, length: int, *options: str) -> bytes:
    """Return what a KDF gives; options as `-kdfopt` takes them. Skips where this openssl has no such KDF."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl")
    command = [program, "kdf", "-keylen", str(length)]
    for option in options:
        command += ["-kdfopt", option]
    answer = subprocess.run([*command, name], capture_output=True, text=True, timeout=30, check=False)
    if answer.returncode:
        pytest.skip(f"this openssl has no {name}: {answer.stderr[:200]}")
    return bytes.fromhex(answer.stdout.strip().replace(":", ""))
