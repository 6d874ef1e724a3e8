"""OpenSSL through libp11's engine and through pkcs11-provider: requests, certificates, signatures, TLS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from outcome import Outcome
from part import main
from places import LABEL, Place, need, need_file, need_provider
from services import free_port, serving
from steps import Steps
from workshop import Workshop

SETTINGS = """openssl_conf = all
[all]
engines = engines
providers = providers
[engines]
pkcs11 = engine
[engine]
engine_id = pkcs11
dynamic_path = {engine}
MODULE_PATH = {module}
init = 0
[providers]
default = on
{more}
[on]
activate = 1
[req]
distinguished_name = name
[name]
"""
PROVIDER = """pkcs11 = provider
[provider]
module = {provider}
pkcs11-module-path = {module}
pkcs11-module-token-pin = {pin}
activate = 1
"""
KEYS = {"rsa": "rsa:2048", "p256": "EC:prime256v1", "p384": "EC:secp384r1"}


@dataclass(frozen=True)
class OpenSSL:
    """The openssl command in one place, with its settings."""

    place: Place
    settings: str
    how: tuple[str, ...]  # options that name a key's form; the provider needs none

    def run(self, *words: object) -> str:
        return self.place.good(need("openssl"), *words, OPENSSL_CONF=str(self.place.folder / self.settings))

    def uri(self, name: str, kind: str) -> str:
        return f"pkcs11:token={LABEL};object={name};type={kind}?pin-value={self.place.pins.user}"


def suite(place: Place, _: Workshop) -> Outcome:
    steps = Steps()
    tool = (need("pkcs11-tool"), "--module", place.module, "--token-label", LABEL, "--login", "--pin", place.pins.user)
    for number, (name, key_type) in enumerate(KEYS.items(), 1):
        place.good(*tool, "--keypairgen", "--key-type", key_type, "--id", f"0{number}", "--label", name)
    for kind, prepare in (("engine", _engine), ("provider", _provider)):
        openssl: list[OpenSSL] = []
        steps.step(f"{kind}: load", lambda openssl=openssl, prepare=prepare: openssl.append(prepare(place)))
        for each in openssl:
            for name in KEYS:
                _all_of(steps, kind, each, name)
    return steps.outcome()


def _engine(place: Place) -> OpenSSL:
    library = need_file("libengine-pkcs11-openssl", "/usr/lib/*/engines-3/pkcs11.so", "/usr/lib/engines-3/pkcs11.so")
    (place.folder / "engine.cnf").write_text(SETTINGS.format(engine=library, module=place.module, more=""))
    found = OpenSSL(place, "engine.cnf", ("-engine", "pkcs11", "-keyform", "engine"))
    assert "pkcs11" in found.run("engine", "-t", "pkcs11"), "the engine is not there"
    return found


def _provider(place: Place) -> OpenSSL:
    library = need_provider()
    more = PROVIDER.format(provider=library, module=place.module, pin=place.pins.user)
    settings = "\n".join(line for line in SETTINGS.splitlines() if not line.startswith("engines =")) + "\n"
    settings = settings.replace("{more}", more).replace("{engine}", "none").replace("{module}", str(place.module))
    (place.folder / "provider.cnf").write_text(settings)
    found = OpenSSL(place, "provider.cnf", ())
    assert "pkcs11" in found.run("list", "-providers").lower(), "the provider is not there"
    return found


def _all_of(steps: Steps, kind: str, openssl: OpenSSL, name: str) -> None:
    tasks: tuple[tuple[str, Callable[[OpenSSL, str], None]], ...] = (
        ("pkey -pubout", _public),
        ("req -x509, verify", _certificate),
        ("req, x509 -req with the token's authority", _issued),
        ("dgst", _dgst),
        ("pkeyutl -sign", _pkeyutl),
        ("pkeyutl -decrypt, -derive", _secretly),
        ("s_server, s_client", _tls),
    )
    for task, act in tasks:
        steps.step(f"{kind}: {task} with {name}", lambda act=act: act(openssl, name))


def _public(openssl: OpenSSL, name: str) -> None:
    form = ("-engine", "pkcs11", "-inform", "engine") if openssl.how else ()
    openssl.run("pkey", *form, "-pubin", "-in", openssl.uri(name, "public"), "-pubout", "-out", f"{name}.pub")
    assert "BEGIN PUBLIC KEY" in (openssl.place.folder / f"{name}.pub").read_text(), "no public key was written"


def _certificate(openssl: OpenSSL, name: str) -> None:
    key = (*openssl.how, "-key", openssl.uri(name, "private"))
    about = ("-subj", f"/CN={name}", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1")
    about += ("-addext", "basicConstraints=critical,CA:TRUE")
    openssl.run("req", "-new", "-x509", *key, *about, "-out", f"{name}.crt")
    _plain(openssl, "verify", "-CAfile", f"{name}.crt", f"{name}.crt")


def _issued(openssl: OpenSSL, name: str) -> None:
    outside = ("-newkey", "rsa:2048", "-nodes", "-keyout", "outside.key", "-subj", "/CN=outside")
    _plain(openssl, "req", "-new", *outside, "-out", "outside.csr")
    engine = ("-engine", "pkcs11", "-CAkeyform", "engine") if openssl.how else ()
    authority = ("-CA", f"{name}.crt", "-CAkey", openssl.uri(name, "private"), "-CAcreateserial")
    openssl.run("x509", "-req", "-in", "outside.csr", *engine, *authority, "-out", "outside.crt")
    _plain(openssl, "verify", "-CAfile", f"{name}.crt", "outside.crt")
    openssl.run("req", "-new", *openssl.how, "-key", openssl.uri(name, "private"), "-subj", "/CN=r", "-out", "r.csr")
    _plain(openssl, "req", "-in", "r.csr", "-verify", "-noout")


def _dgst(openssl: OpenSSL, name: str) -> None:
    (openssl.place.folder / "text").write_bytes(b"what is signed\n" * 500)
    for digest in ("-sha256", "-sha512"):
        key = (*openssl.how, "-sign", openssl.uri(name, "private"))
        openssl.run("dgst", digest, *key, "-out", "text.sig", "text")
        _plain(openssl, "dgst", digest, "-verify", f"{name}.pub", "-signature", "text.sig", "text")


def _pkeyutl(openssl: OpenSSL, name: str) -> None:
    (openssl.place.folder / "hash").write_bytes(bytes(range(32)))
    padding: tuple[tuple[str, ...], ...] = ((),)
    if name == "rsa":
        padding = (("-pkeyopt", "digest:sha256"), ("-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss"))
    for options in padding:
        key = (*openssl.how, "-inkey", openssl.uri(name, "private"))
        openssl.run("pkeyutl", "-sign", *key, "-in", "hash", "-out", "hash.sig", *options)
        verify = ("-verify", "-pubin", "-inkey", f"{name}.pub", "-in", "hash", "-sigfile", "hash.sig")
        _plain(openssl, "pkeyutl", *verify, *options)


def _secretly(openssl: OpenSSL, name: str) -> None:
    """Decrypt what was encrypted for an RSA key; agree with another EC key."""
    folder = openssl.place.folder
    key = (*openssl.how, "-inkey", openssl.uri(name, "private"))
    if name == "rsa":
        (folder / "secret").write_bytes(b"for one reader")
        # pkcs11-provider 1.2 leaves the hash out unless it is named, and no token knows which is meant
        hashes = ("-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256")
        for options in ((), ("-pkeyopt", "rsa_padding_mode:oaep", *(() if openssl.how else hashes))):
            reader = ("-encrypt", "-pubin", "-inkey", "rsa.pub", "-in", "secret", "-out", "secret.enc")
            _plain(openssl, "pkeyutl", *reader, *options)
            openssl.run("pkeyutl", "-decrypt", *key, "-in", "secret.enc", "-out", "secret.back", *options)
            assert (folder / "secret.back").read_bytes() == b"for one reader", "another text came back"
        return
    curve = "P-256" if name == "p256" else "P-384"
    _plain(openssl, "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", "peer.key")
    _plain(openssl, "pkey", "-in", "peer.key", "-pubout", "-out", "peer.pub")
    openssl.run("pkeyutl", "-derive", *key, "-peerkey", "peer.pub", "-out", "agreed.ours")
    peer = ("-inkey", "peer.key", "-peerkey", f"{name}.pub")
    _plain(openssl, "pkeyutl", "-derive", *peer, "-out", "agreed.theirs")
    assert (folder / "agreed.ours").read_bytes() == (folder / "agreed.theirs").read_bytes(), "the secrets differ"


def _tls(openssl: OpenSSL, name: str) -> None:
    """Both sides have the token's key; the server demands the client's certificate."""
    key = (*openssl.how, "-cert", f"{name}.crt", "-key", openssl.uri(name, "private"))
    settings = {"OPENSSL_CONF": str(openssl.place.folder / openssl.settings)}
    for version in ("-tls1_2", "-tls1_3"):
        port = free_port()
        server = (
            "s_server",
            "-accept",
            f"127.0.0.1:{port}",
            *key,
            "-CAfile",
            f"{name}.crt",
            "-Verify",
            "2",
        )
        with serving(openssl.place, port, need("openssl"), *server, "-quiet", **settings):
            client = ("s_client", "-connect", f"127.0.0.1:{port}", *key, "-CAfile", f"{name}.crt", version)
            said = openssl.run(*client, "-verify_return_error", "-verify_ip", "127.0.0.1")
        assert "Verify return code: 0 (ok)" in said, said[-300:]


def _plain(openssl: OpenSSL, *words: object) -> str:
    """Run openssl without the token."""
    return openssl.place.good(need("openssl"), *words)


if __name__ == "__main__":
    sys.exit(main("OpenSSL", suite))
