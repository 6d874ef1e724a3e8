"""GnuTLS and p11-kit: p11tool, TLS on both sides, the module registered with p11-kit and served to another process."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from outcome import Outcome
from part import main
from places import LABEL, Place, need, need_file
from services import free_port, serving
from steps import Steps
from workshop import Workshop

KEYS = {
    "rsa": ("RSA", "--bits", "2048"),
    "p256": ("ECDSA", "--curve", "secp256r1"),
    "p384": ("ECDSA", "--curve", "secp384r1"),
}
TOKEN = f"pkcs11:token={LABEL}"
TEMPLATE = (
    'cn = "{name}"\nserial = 7\nexpiration_days = 2\nip_address = "127.0.0.1"\nca\nsigning_key\ncert_signing_key\n'
)
REGISTERED = "module: {module}\ncritical: yes\n"
# For root, p11-kit reads the machine's configuration alone: ours takes its place in a mount namespace.
MOUNT = """set -e
for there in /usr/share/p11-kit/modules /etc/pkcs11/modules; do [ ! -d "$there" ] || mount --bind "$1" "$there"; done
exec "$2" list-modules
"""


@dataclass(frozen=True)
class GnuTLS:
    """GnuTLS' programs, logged in with the PIN."""

    place: Place

    def p11tool(self, *words: object) -> str:
        program = (need("p11tool"), "--provider", self.place.module, "--login", "--batch")
        return self.place.good(*program, "--set-pin", self.place.pins.user, *words)

    def certtool(self, *words: object) -> str:
        with_module = ("--provider", self.place.module)
        return self.place.good(need("certtool"), *with_module, *words, GNUTLS_PIN=self.place.pins.user)


def suite(place: Place, _: Workshop) -> Outcome:
    gnutls, steps = GnuTLS(place), Steps()
    steps.step("p11tool --list-tokens", lambda: _listed(gnutls))
    steps.step(
        "p11tool --list-mechanisms", lambda: _contains(gnutls.p11tool("--list-mechanisms", TOKEN), "CKM_RSA_PKCS")
    )
    steps.step("p11tool --generate-random", lambda: gnutls.p11tool("--generate-random", "32", TOKEN))
    for name, kind in KEYS.items():
        steps.step(f"p11tool --generate-privkey {name}", lambda name=name, kind=kind: _generated(gnutls, name, kind))
        steps.step(f"p11tool --test-sign {name}", lambda name=name: gnutls.p11tool("--test-sign", _private(name)))
        steps.step(f"certtool, p11tool --write {name}", lambda name=name: _certified(gnutls, name))
        steps.step(f"gnutls-serv, gnutls-cli {name}", lambda name=name: _tls(gnutls, name))
    steps.step("p11tool --write: a key from outside", lambda: _imported(gnutls))
    steps.step("p11tool --write: a secret key", lambda: _secret(gnutls))
    steps.step("p11-kit: a registered module", lambda: _registered(place))
    steps.step("p11-kit server, p11-kit-client.so", lambda: _remote(place))
    steps.step("p11tool --delete", lambda: _deleted(gnutls))
    return steps.outcome()


def _contains(text: str, wanted: str) -> None:
    assert wanted in text, f"no {wanted} in {text[-300:]}"


def _mechanisms(gnutls: GnuTLS) -> None:
    _contains(gnutls.p11tool("--list-mechanisms", TOKEN), "CKM_RSA_PKCS")


def _private(name: str) -> str:
    return f"{TOKEN};object={name};type=private"


def _listed(gnutls: GnuTLS) -> None:
    _contains(gnutls.p11tool("--list-tokens"), f"token={LABEL}")
    _contains(gnutls.p11tool("--list-token-urls"), f"token={LABEL}")


def _generated(gnutls: GnuTLS, name: str, kind: tuple[str, ...]) -> None:
    gnutls.p11tool("--generate-privkey", *kind, "--label", name, "--outfile", f"{name}.pub", TOKEN)
    _contains((gnutls.place.folder / f"{name}.pub").read_text(), "BEGIN PUBLIC KEY")
    _contains(gnutls.p11tool("--list-privkeys", TOKEN), f"Label: {name}")
    _contains(gnutls.p11tool("--export-pubkey", _private(name)), "BEGIN PUBLIC KEY")


def _certified(gnutls: GnuTLS, name: str) -> None:
    """Sign a certificate with the token's key, put it beside the key, read it back."""
    folder = gnutls.place.folder
    (folder / f"{name}.tmpl").write_text(TEMPLATE.format(name=name))
    keys = ("--load-privkey", _private(name), "--load-pubkey", f"{name}.pub")
    gnutls.certtool("--generate-self-signed", *keys, "--template", f"{name}.tmpl", "--outfile", f"{name}.crt")
    gnutls.p11tool("--write", "--load-certificate", f"{name}.crt", "--label", name, TOKEN)
    exported = gnutls.p11tool("--export", f"{TOKEN};object={name};type=cert")
    _contains(exported.replace("\n", ""), (folder / f"{name}.crt").read_text().split("-----")[2].replace("\n", ""))
    _contains(gnutls.p11tool("--list-all-certs", TOKEN), f"Label: {name}")


def _tls(gnutls: GnuTLS, name: str) -> None:
    place, port = gnutls.place, free_port()
    pin = {"GNUTLS_PIN": place.pins.user}
    identity = ("--provider", place.module, "--x509keyfile", _private(name), "--x509certfile", f"{name}.crt")
    server = (
        need("gnutls-serv"),
        "--port",
        port,
        *identity,
        "--x509cafile",
        f"{name}.crt",
        "--require-client-cert",
        "--http",
    )
    with serving(place, port, *server, **pin):
        for version in ("VERS-TLS1.2", "VERS-TLS1.3"):
            client = (need("gnutls-cli"), "--port", port, *identity, "--x509cafile", f"{name}.crt", "127.0.0.1")
            said = place.good(*client, "--priority", f"NORMAL:-VERS-ALL:+{version}", **pin)
            _contains(said, "Handshake was completed")


def _imported(gnutls: GnuTLS) -> None:
    certtool = (need("certtool"), "--no-text")
    gnutls.place.good(*certtool, "--generate-privkey", "--rsa", "--bits", "2048", "--outfile", "outside.key")
    gnutls.p11tool("--write", "--load-privkey", "outside.key", "--label", "outside", TOKEN)
    gnutls.place.good(*certtool, "--pubkey-info", "--load-privkey", "outside.key", "--outfile", "outside.pub")
    gnutls.p11tool("--write", "--load-pubkey", "outside.pub", "--label", "outside", TOKEN)
    gnutls.p11tool("--test-sign", _private("outside"))


def _secret(gnutls: GnuTLS) -> None:
    gnutls.p11tool("--write", "--secret-key", "00112233445566778899aabbccddeeff", "--label", "a secret", TOKEN)
    _contains(gnutls.p11tool("--list-all", TOKEN), "Label: a secret")


def _registered(place: Place) -> None:
    """Nothing of the machine's own configuration is seen, and nothing of it is changed."""
    modules = place.folder / "modules"
    modules.mkdir()
    (modules / "conformance.module").write_text(REGISTERED.format(module=place.module))
    apart = (need("unshare"), "--mount", "--map-root-user", "sh", "-c", MOUNT, "sh")
    listed = place.run(*apart, modules, need("p11-kit"))
    assert listed.returncode == 0, listed.stdout[-300:]
    _contains(listed.stdout, f"token: {LABEL}")
    _contains(listed.stdout, "conformance")


def _remote(place: Place) -> None:
    """The module lives in p11-kit's server; another process reaches it through a socket."""
    client = need_file("p11-kit-modules", "/usr/lib/*/pkcs11/p11-kit-client.so", "/usr/lib/pkcs11/p11-kit-client.so")
    need_file("p11-kit", "/usr/libexec/p11-kit/p11-kit-server", "/usr/lib/p11-kit/p11-kit-server")
    address = place.folder / "kit"
    server = (need("p11-kit"), "server", "--foreground", "--provider", place.module, "--name", address, TOKEN)
    with serving(place, address, *server):
        reached = {"P11_KIT_SERVER_ADDRESS": f"unix:path={address}"}
        tool = (need("pkcs11-tool"), "--module", client, "--login", "--pin", place.pins.user)
        _contains(place.good(*tool, "--list-objects", **reached), "Private Key Object")
        signing = (need("p11tool"), "--provider", client, "--login", "--batch", "--set-pin", place.pins.user)
        place.good(*signing, "--test-sign", _private("p256"), **reached)


def _deleted(gnutls: GnuTLS) -> None:
    for name in (*KEYS, "outside"):
        gnutls.p11tool("--delete", f"{TOKEN};object={name}")
    place = gnutls.place
    program = (need("p11tool"), "--provider", place.module, "--login", "--batch", "--set-pin", place.pins.user)
    left = place.run(*program, "--list-privkeys", TOKEN).stdout  # exits with 1 where there are none
    assert not any(f"Label: {name}" in left for name in KEYS), left[-300:]


if __name__ == "__main__":
    sys.exit(main("GnuTLS", suite))
