"""OpenSC's pkcs11-tool, one process a step, with no PIN unless a test gives one."""

from __future__ import annotations

import datetime
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fix_clients import CLUSTER, ClientToken, Made

IV = "00112233445566778899aabbccddeeff"
PLAIN = bytes(range(100))


def test_shows_library_slots_and_mechanisms(client_token: ClientToken) -> None:
    shown = client_token.good("pkcs11-tool", "--module", client_token.module, "-I", "-L", "-M", "-O")
    assert "HPE MapR-HSM" in shown
    assert f"Slot 0 ({client_token.slot:#x})" in shown
    assert re.search(rf"token label +: {client_token.label}\n", shown)
    assert "PIN pad present" in shown
    assert "token state:   uninitialized" in shown
    assert "AES-CBC-PAD, keySize={16,32}, encrypt, decrypt, wrap, unwrap" in shown
    assert "core-kek" not in shown, "a private object without a login"


def test_lists_the_cluster_keys(client_token: ClientToken) -> None:
    for pin in ([], ["--pin", client_token.pin]):
        shown = client_token.tool("-O", *pin)
        assert f"label:      mrhsm/{CLUSTER}/core-kek" in shown
        assert "label:          'cldb.key'" in shown


def test_secret_keys(client_token: ClientToken) -> None:
    tool, folder = client_token.tool, client_token.home
    (folder / "plain").write_bytes(PLAIN)
    tool("--keygen", "--key-type", "aes:32", "--label", "tool-kek", "--id", "a1", "--usage-wrap", "--sensitive")
    made = tool("--keygen", "--key-type", "aes:16", "--label", "tool-inner", "--id", "a2", "--extractable")
    value = re.search(r"VALUE: +([0-9a-f]{32})\n", made)
    assert value

    cbc = ("-m", "AES-CBC-PAD", "--iv", IV)
    tool("--encrypt", "--id", "a1", *cbc, "-i", "plain", "-o", "cipher")
    assert len((folder / "cipher").read_bytes()) == 112
    tool("--decrypt", "--id", "a1", *cbc, "-i", "cipher", "-o", "decrypted")
    assert (folder / "decrypted").read_bytes() == PLAIN

    tool("--wrap", "--id", "a1", *cbc, "--application-id", "a2", "-o", "wrapped")
    again = ("--application-id", "a3", "--application-label", "tool-again", "--key-type", "aes:", "--extractable")
    assert value[1] in tool("--unwrap", "--id", "a1", *cbc, *again, "-i", "wrapped")

    for key in ("a1", "a2", "a3"):
        tool("--delete-object", "--type", "secrkey", "--id", key)
    assert "tool-" not in tool("-O", "--type", "secrkey")


@pytest.mark.parametrize("client_token", ["file", "kmip", "stock"], indirect=True)
@pytest.mark.parametrize(
    ("key", "mechanisms"),
    [("rsa:2048", ("SHA256-RSA-PKCS", "SHA256-RSA-PKCS-PSS", "RSA-X-509")), ("EC:prime256v1", ("ECDSA-SHA256",))],
)
def test_key_pairs(client_token: ClientToken, key: str, mechanisms: tuple[str, ...]) -> None:
    tool, folder = client_token.tool, client_token.home
    (folder / "message").write_bytes(PLAIN)
    label = f"tool-{key[:2]}"
    name = ("--id", "b1" if key == "rsa:2048" else "b2")
    tool("--keypairgen", "--key-type", key, "--label", label, *name)
    for mechanism in mechanisms:
        tool("--sign", *name, "-m", mechanism, "-i", "message", "-o", "signature")
        verify = ("--verify", *name, "-m", mechanism, "--signature-file", "signature", "-i")
        assert "Signature is valid" in tool(*verify, "message")
        (folder / "other").write_bytes(PLAIN[::-1])
        spoilt = client_token.run("pkcs11-tool", *client_token.logged_in, *verify, "other")
        assert "Invalid signature" in spoilt.stdout
    for kind in ("privkey", "pubkey"):
        tool("--delete-object", "--type", kind, *name)
    assert label not in tool("-O")


def test_certificate(client_token: ClientToken) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tool.example")])
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 77, now, now + datetime.timedelta(1))
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    (client_token.home / "certificate.der").write_bytes(der)
    what = ("--type", "cert", "--id", "c1")
    client_token.tool("--write-object", "certificate.der", *what, "--label", "tool-cert")
    assert "CN=tool.example" in client_token.tool("-O", "--type", "cert")
    client_token.tool("--read-object", *what, "-o", "read.der")
    assert (client_token.home / "read.der").read_bytes() == der
    client_token.tool("--delete-object", *what)
    assert "tool-cert" not in client_token.tool("-O", "--type", "cert")


def test_random_bytes(client_token: ClientToken) -> None:
    client_token.good("pkcs11-tool", "--module", client_token.module, "--generate-random", 33, "-o", "random")
    drawn = (client_token.home / "random").read_bytes()
    assert len(drawn) == 33
    assert drawn != bytes(33)


def test_a_token_of_its_own(make_client: Made) -> None:
    token = make_client("file")
    (serial, module) = (token.serial, ("--module", token.module))
    token.good("pkcs11-tool", *module, "--slot", 0, "--init-token", "--label", "fresh", "--so-pin", "87654321")
    fresh = (*module, "--token-label", "fresh", "--login")
    token.good("pkcs11-tool", *fresh, "--login-type", "so", "--so-pin", "87654321", "--init-pin", "--pin", "4321")
    token.good("pkcs11-tool", *fresh, "--pin", "4321", "--change-pin", "--new-pin", "54321")
    token.good("pkcs11-tool", *fresh, "--pin", "54321", "-O")
    refused = token.run("pkcs11-tool", *fresh, "--pin", "4321", "-O")
    assert refused.returncode == 1
    assert "CKR_PIN_INCORRECT" in refused.stdout
    assert token.serial == serial, "the token that the command made has lost its PIN file"
    kept = ("--token-label", token.label, "--login", "--pin", token.pin, "--change-pin", "--new-pin", "54321")
    assert token.run("pkcs11-tool", *module, *kept).returncode == 1, "the PIN of a token with cluster keys was changed"
    assert "change it with mrhsm userpin" in token.log
