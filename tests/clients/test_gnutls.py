"""GnuTLS' p11tool, which loads the library through p11-kit."""

from __future__ import annotations

import pytest
from fix_clients import CLUSTER, ClientToken


@pytest.mark.parametrize("client_token", ["file", "kmip", "stock"], indirect=True)
def test_lists_tokens_and_objects(client_token: ClientToken) -> None:
    provider = ("--provider", client_token.module)
    tokens = client_token.good("p11tool", *provider, "--list-tokens")
    assert f"serial={client_token.serial}" in tokens
    assert "External PIN" in tokens
    which = f"pkcs11:serial={client_token.serial}"
    kek = f"Label: mrhsm/{CLUSTER}/core-kek"
    assert kek in client_token.good("p11tool", *provider, "--list-all", "--login", which)
    (client_token.home / "pin").write_text(client_token.pin)
    with_pin = f"{which}?pin-source={client_token.home}/pin"
    assert kek in client_token.good("p11tool", *provider, "--list-all", "--login", with_pin)
    assert kek in client_token.good("p11tool", *provider, "--list-all", "--login", which, GNUTLS_PIN=client_token.pin)
    assert kek not in client_token.run("p11tool", *provider, "--list-all", which).stdout


@pytest.mark.parametrize("client_token", ["file"], indirect=True)
def test_signs_with_a_key_of_its_own(client_token: ClientToken) -> None:
    provider, which = ("--provider", client_token.module), f"pkcs11:serial={client_token.serial}"
    made = ("--generate-privkey", "ECDSA", "--curve", "secp256r1", "--label", "gnutls-key", "--login")
    client_token.good("p11tool", *provider, *made, "--outfile", "public.pem", which)
    key = f"{which};object=gnutls-key;type=private"
    tested = client_token.good("p11tool", *provider, "--login", "--test-sign", key)
    assert "ok" in tested.splitlines()[-1], tested
    client_token.good("p11tool", *provider, "--login", "--batch", "--delete", f"{which};object=gnutls-key")
    assert "gnutls-key" not in client_token.good("p11tool", *provider, "--list-all", "--login", which)
