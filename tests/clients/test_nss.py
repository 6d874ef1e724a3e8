"""NSS' certutil: a certificate made, listed, trusted and deleted; NSS keeps the trust in its own database."""

from __future__ import annotations

import pytest
from fix_clients import ClientToken, need


@pytest.mark.parametrize("client_token", ["file", "kmip"], indirect=True)
def test_a_certificate_lives_its_life(client_token: ClientToken) -> None:
    need("certutil")
    home, token = client_token.home, client_token.label
    database = ("-d", "sql:nss")
    (home / "nss").mkdir()
    (home / "nss-pin").write_text(client_token.pin)
    (home / "noise").write_bytes(bytes(range(100)))
    client_token.good("certutil", "-N", *database, "--empty-password")
    client_token.good("modutil", "-dbdir", "sql:nss", "-force", "-add", "mrhsm", "-libfile", client_token.module)

    def certutil(*arguments: str) -> str:
        return client_token.good("certutil", *arguments, *database, "-f", "nss-pin")

    key = ("-k", "rsa", "-g", "2048", "-z", "noise")
    certutil("-S", "-h", token, "-n", "nss", "-s", "CN=nss.example", "-x", "-t", "CT,,", *key)
    assert _trust(certutil("-L", "-h", token), f"{token}:nss") == "CTu,u,u"
    certutil("-M", "-h", token, "-n", f"{token}:nss", "-t", "P,,")
    assert _trust(certutil("-L", "-h", token), f"{token}:nss") == "Pu,u,u"
    assert f"{token}:nss" in certutil("-K", "-h", token)
    certutil("-D", "-h", token, "-n", f"{token}:nss")
    assert f"{token}:nss" not in client_token.run("certutil", "-L", *database, "-h", token, "-f", "nss-pin").stdout


def _trust(listed: str, name: str) -> str:
    return next(line.split()[-1] for line in listed.splitlines() if line.startswith(name))
