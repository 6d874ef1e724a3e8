"""python-pkcs11 in a process of its own, with the interpreter that the library is built for."""

from __future__ import annotations

import sys
from pathlib import Path

from fix_clients import ClientToken

PROGRAM = Path(__file__).with_name("use_python_pkcs11.py")


def test_makes_uses_finds_and_destroys_keys(client_token: ClientToken) -> None:
    assert client_token.good(sys.executable, PROGRAM, client_token.module, client_token.label).endswith("OK\n")
    assert "py-" not in client_token.tool("-O")
