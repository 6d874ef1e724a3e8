"""SunPKCS11 of the JDK: each step is a JVM of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from fix_clients import ClientToken

PROGRAM = Path(__file__).with_name("UseToken.java")


@pytest.mark.parametrize("client_token", ["file", "kmip", "stock"], indirect=True)
def test_key_store_entries_outlive_the_jvm(client_token: ClientToken) -> None:
    settings = client_token.home / "pkcs11.cfg"
    settings.write_text(
        f"name = Token\nlibrary = {client_token.module}\nslotListIndex = 0\nattributes = compatibility\n"
    )
    for step in ("make", "use", "delete"):
        output = client_token.good("java", "-XX:TieredStopAtLevel=1", PROGRAM, step, settings)
        assert output.endswith("OK\n"), output
        assert ("refused: AEADBadTagException" in output) == (step != "delete")
    assert "java-" not in client_token.tool("-O")


@pytest.mark.parametrize("client_token", ["file", "kmip"], indirect=True)
def test_derived_keys_are_the_jdks_own(client_token: ClientToken) -> None:
    settings = client_token.home / "agree.cfg"
    settings.write_text(
        f"name = Token\nlibrary = {client_token.module}\nslotListIndex = 0\nattributes = compatibility\n"
    )
    exports = ("--add-exports", "java.base/sun.security.internal.spec=ALL-UNNAMED")
    program = PROGRAM.with_name("AgreeOnKeys.java")
    output = client_token.good("java", "-XX:TieredStopAtLevel=1", *exports, program, settings)
    assert output.endswith("OK\n"), output
