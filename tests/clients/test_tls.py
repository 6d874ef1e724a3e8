"""OpenSSL's s_server with its key in the token, through the PKCS #11 engine of libp11."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import select
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fix_clients import ClientToken, need

START_S = 15.0
SETTINGS = """openssl_conf = all
[all]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = {module}
init = 0
"""


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def issue(folder: Path, public_pem: bytes) -> None:
    """Write ca.pem and server.pem: a certificate for 127.0.0.1 on this public key, by an authority made here."""
    authority = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    dates = (now - datetime.timedelta(1), now + datetime.timedelta(1))
    root = (
        x509.CertificateBuilder(name("clients ca"), name("clients ca"), authority.public_key(), 1, *dates)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority, hashes.SHA256())
    )
    public = serialization.load_pem_public_key(public_pem)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = (
        x509.CertificateBuilder(root.subject, name("server"), public, 2, *dates)  # type: ignore[arg-type]
        .add_extension(names, critical=False)
        .sign(authority, hashes.SHA256())
    )
    for file, certificate in (("ca.pem", root), ("server.pem", server)):
        (folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@contextlib.contextmanager
def s_server(token: ClientToken, key: str) -> Iterator[int]:
    """Serve on a port that the system chooses."""
    command = [need("openssl"), "s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-www"]
    command += ["-engine", "pkcs11", "-keyform", "engine", "-key", key]
    process = subprocess.Popen(
        command,
        env=token.environment | {"OPENSSL_CONF": str(token.home / "openssl.cnf")},
        cwd=token.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield port_of(process)
    finally:
        process.terminate()
        process.communicate(timeout=10)


def port_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for the line "ACCEPT 127.0.0.1:PORT"."""
    assert process.stdout is not None
    text, until = b"", time.monotonic() + START_S
    while select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
        read = os.read(process.stdout.fileno(), 4096)
        text += read
        whole = text.rpartition(b"\n")[0].splitlines()
        for line in whole:
            if line.startswith(b"ACCEPT "):
                return int(line.rpartition(b":")[2])
        if not read:
            break
    raise AssertionError(f"s_server did not start:\n{text.decode()}")


@pytest.mark.parametrize("client_token", ["file", "kmip"], indirect=True)
@pytest.mark.parametrize(("key_type", "key_id"), [("rsa:2048", "d1"), ("EC:prime256v1", "d2")])
def test_tls_server(client_token: ClientToken, key_type: str, key_id: str) -> None:
    if not list(Path("/usr/lib").glob("*/engines-3/pkcs11.so")):
        pytest.skip("OpenSSL's PKCS #11 engine is not installed")
    folder, label = client_token.home, f"tls-{key_id}"
    (folder / "openssl.cnf").write_text(SETTINGS.format(module=client_token.module))
    client_token.tool("--keypairgen", "--key-type", key_type, "--id", key_id, "--label", label)
    # Not with pkcs11-tool --read-object: OpenSC 0.23 beside OpenSSL 3.0.13 fails for some EC keys, whatever the token.
    key = f"pkcs11:serial={client_token.serial};object={label};type="
    engine = ("pkey", "-engine", "pkcs11", "-inform", "engine", "-in", f"{key}public", "-pubin", "-pubout")
    client_token.good("openssl", *engine, "-out", "public.pem", OPENSSL_CONF=str(folder / "openssl.cnf"))
    issue(folder, (folder / "public.pem").read_bytes())
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with s_server(client_token, f"{key}private") as port:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
            ):
                tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert tls.recv(4096).startswith(b"HTTP/1.0 200 ok")
    for kind in ("privkey", "pubkey"):
        client_token.tool("--delete-object", "--type", kind, "--id", key_id)
