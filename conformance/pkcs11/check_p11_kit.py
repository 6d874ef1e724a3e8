"""p11-kit's server: the module lives in its process, and others reach it through p11-kit-client.so and a socket.

p11-kit 0.24 refuses mechanisms that it does not know, as AES with an initial vector and ECDSA with a hash, before any
module sees them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from outcome import Outcome
from part import main
from places import LABEL, Place, need, need_file
from services import serving
from steps import Steps
from workshop import Workshop

TOKEN = f"pkcs11:token={LABEL}"
MESSAGE = b"what crosses a socket\n" * 7
# label -> ID, key type, mechanism and its input for pkcs11-tool, format of the signature that openssl reads
PAIRS = {
    "rsa": ("01", "rsa:2048", "SHA256-RSA-PKCS", "message", "rs"),
    "p256": ("02", "EC:prime256v1", "ECDSA", "digest", "openssl"),
}
CLIENTS = 8  # at once


@dataclass(frozen=True)
class Client:
    """Programs that have p11-kit-client.so as their module."""

    place: Place
    module: Path
    address: Path

    def _good(self, *command: object) -> str:
        return self.place.good(*command, P11_KIT_SERVER_ADDRESS=f"unix:path={self.address}")

    def tool(self, *words: object) -> str:
        """Run pkcs11-tool, logged in."""
        with_token = ("--module", self.module, "--token-label", LABEL, "--login", "--pin", self.place.pins.user)
        said = self._good(need("pkcs11-tool"), *with_token, *words)
        assert "error:" not in said, said[-300:]
        return said

    def p11tool(self, *words: object) -> str:
        """Run p11tool, logged in."""
        with_token = ("--provider", self.module, "--login", "--batch", "--set-pin", self.place.pins.user)
        return self._good(need("p11tool"), *with_token, *words)


def suite(place: Place, _: Workshop) -> Outcome:
    module = need_file("p11-kit-modules", "/usr/lib/*/pkcs11/p11-kit-client.so", "/usr/lib/pkcs11/p11-kit-client.so")
    need_file("p11-kit", "/usr/libexec/p11-kit/p11-kit-server", "/usr/lib/p11-kit/p11-kit-server")
    (place.folder / "message").write_bytes(MESSAGE)
    (place.folder / "digest").write_bytes(hashlib.sha256(MESSAGE).digest())
    client, steps = Client(place, module, place.folder / "kit"), Steps()
    server = ("server", "--foreground", "--provider", place.module, "--name", client.address, TOKEN)
    with serving(place, client.address, need("p11-kit"), *server):
        for name, act in _tasks(client).items():
            steps.step(name, act)
    return steps.outcome()


def _tasks(client: Client) -> dict[str, Callable[[], object]]:
    tasks: dict[str, Callable[[], object]] = {
        "pkcs11-tool --list-mechanisms": lambda: _contains(client.tool("--list-mechanisms"), "SHA256-RSA-PKCS"),
        "pkcs11-tool --generate-random": lambda: client.tool("--generate-random", "32", "--output-file", "random"),
        "pkcs11-tool, an object of data": lambda: _data(client),
        "pkcs11-tool, an AES key": lambda: _secret(client),
    }
    for name in PAIRS:
        tasks[f"pkcs11-tool, sign with {name}"] = lambda name=name: _signed(client, name)
        tasks[f"p11tool --test-sign {name}"] = lambda name=name: client.p11tool("--test-sign", _private(name))
    return {
        **tasks,
        "p11tool --list-all": lambda: _contains(client.p11tool("--list-all", TOKEN), "Label: rsa"),
        "p11tool --generate-privkey": lambda: _generated(client),
        f"{CLIENTS} clients at once": lambda: _at_once(client),
        "p11tool --delete": lambda: _deleted(client),
    }


def _contains(text: str, wanted: str) -> None:
    assert wanted in text, f"no {wanted} in {text[-300:]}"


def _private(name: str) -> str:
    return f"{TOKEN};object={name};type=private"


def _data(client: Client) -> None:
    client.tool("--write-object", "message", "--type", "data", "--label", "note")
    client.tool("--read-object", "--type", "data", "--label", "note", "--output-file", "note")
    assert (client.place.folder / "note").read_bytes() == MESSAGE, "other data came back"


def _secret(client: Client) -> None:
    client.tool("--keygen", "--key-type", "AES:32", "--id", "09", "--label", "a secret")
    _contains(client.tool("--list-objects", "--type", "secrkey"), "a secret")
    client.tool("--delete-object", "--type", "secrkey", "--id", "09")


def _signed(client: Client, name: str) -> None:
    """Make a pair, sign, and have OpenSSL verify with the public key that was read back."""
    number, kind, mechanism, signed, form = PAIRS[name]
    client.tool("--keypairgen", "--key-type", kind, "--id", number, "--label", name)
    signing = ("--mechanism", mechanism, "--id", number, "--input-file", signed, "--signature-format", form)
    client.tool("--sign", *signing, "--output-file", f"{name}.sig")
    client.p11tool("--export-pubkey", "--outfile", f"{name}.pub", _private(name))
    verify = ("-sha256", "-verify", f"{name}.pub", "-signature", f"{name}.sig", "message")
    client.place.good(need("openssl"), "dgst", *verify)


def _generated(client: Client) -> None:
    client.p11tool("--generate-privkey", "ECDSA", "--curve", "secp384r1", "--label", "p384", "--outfile", "pub", TOKEN)
    client.p11tool("--test-sign", _private("p384"))


def _at_once(client: Client) -> None:
    """Each has a process of the server's to itself."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        said = list(pool.map(lambda _: client.p11tool("--test-sign", _private("p256")), range(CLIENTS)))
    for each in said:
        _contains(each, "ok")


def _deleted(client: Client) -> None:
    for name in (*PAIRS, "p384"):
        client.p11tool("--delete", f"{TOKEN};object={name}")
    assert "Label: rsa" not in client.p11tool("--list-all", TOKEN), "a deleted key is listed"


if __name__ == "__main__":
    sys.exit(main("p11-kit server", suite))
