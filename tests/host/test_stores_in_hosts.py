"""Tokens of each store in a C program that forks and starts the library anew."""

from __future__ import annotations

import pytest
from fix_host_token import MakeHostToken
from fix_native import Host

from mrhsm_p11.constants import CKR


@pytest.mark.parametrize("store", ["file", "kmip"])
def test_a_token_is_used_before_and_after_a_fork(host: Host, make_host_token: MakeHostToken, store: str) -> None:
    make_host_token(store)
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
