"""Tokens of each store in a C program that forks and starts the library anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from fix_appliance import Server
from fix_native import Host

from mrhsm_p11.constants import CKR
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import tokens
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.tokens import UserPin


@pytest.mark.parametrize("store", ["file", "kmip"])
def test_a_token_is_used_before_and_after_a_fork(host: Host, host_home: Path, appliance: Server, store: str) -> None:
    tokens.create_token(
        TokenDirectory(host_home / "conf" / "tokens"),
        "forking",
        Secret(b"so pin 1234"),
        user_pin=UserPin.random(),
        store=store,
        connection=appliance.connection() if store == "kmip" else None,
    )
    ended = host("forked")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "initialize 0x0",
        "use 0x0",
        "info 0x0",
        f"child: info 0x{CKR.CRYPTOKI_NOT_INITIALIZED:x}",
        f"child: slots 0x{CKR.CRYPTOKI_NOT_INITIALIZED:x}",
        "child: initialize 0x0",
        "child: use 0x0",
        "child: finalize 0x0",
        "child ended 0",
        "use 0x0",
        "finalize 0x0",
        "initialize 0x0",
        "use 0x0",
    ]
