"""What a program sees of a server that is away or refuses us."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fix_appliance import Appliance
from fix_clients import ClientToken, Made
from fix_cluster import Home


def test_a_server_that_goes_away_and_comes_back(make_client: Made) -> None:
    token = make_client("kmip")
    assert token.server is not None
    module = ("--module", token.module)
    find = (*module, "--login", "-O", "--type", "secrkey")
    assert "core-kek" in token.good("pkcs11-tool", *find)

    token.server.stop()
    began = time.monotonic()
    failed = token.run("pkcs11-tool", *find)
    assert time.monotonic() - began < 11
    assert failed.returncode == 1
    assert "CKR_DEVICE_ERROR" in failed.stdout
    assert f"127.0.0.1:{token.server.port}" in token.log
    assert token.label in token.good("pkcs11-tool", *module, "-I", "-L", "-M")
    token.good("pkcs11-tool", *module, "--generate-random", 8, "-o", "random")

    token.server.start()
    assert "core-kek" in token.good("pkcs11-tool", *find)


def test_an_expired_client_certificate_is_named(
    home: Home, make_appliance: Callable[..., Appliance], library_path: Path
) -> None:
    server = make_appliance()
    home.token("kmip", connection=server.connection(client="client-expired"))
    token = ClientToken(home.path, "MapRHSM", library_path, server)
    failed = token.run("pkcs11-tool", "--module", token.module, "--login", "-O", "--type", "secrkey")
    assert failed.returncode == 1
    assert "CKR_DEVICE_ERROR" in failed.stdout
    assert "our certificate has expired" in token.log
