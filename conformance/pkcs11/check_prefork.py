"""Servers that fork after they loaded their keys: reloaded again and again while clients connect all the time.

The keys come through libp11's engine, and through pkcs11-provider where it is installed.

No handshake may fail that a reload with the keys in files would let pass, and no worker may be left or hang.
"""

from __future__ import annotations

import base64
import functools
import os
import sys
from collections import Counter
from pathlib import Path

from handshakes import Handshakes
from outcome import Outcome
from part import main
from places import LABEL, Absent, Place, need, need_file, need_provider
from places import SETTINGS as LOGGED
from prefork import KINDS, WORKERS, Kind, running
from steps import Steps
from workshop import Workshop

RELOADS = int(os.environ.get("MRHSM_RELOADS", "20"))
HANDSHAKES = 30  # before and after each
# label -> the type for pkcs11-tool, that for openssl
KEYS = {
    "rsa": ("rsa:2048", ("rsa:2048",)),
    "p256": ("EC:prime256v1", ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")),
}
KINDS_OF_HANDSHAKE = ("RSA", "EC", "TLS 1.3")
_NAMES = """[req]
distinguished_name = name
[name]
"""
ENGINE = f"""openssl_conf = all
[all]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = {{module}}
init = 0
{_NAMES}"""
PROVIDER = f"""openssl_conf = all
[all]
providers = providers
[providers]
default = on
pkcs11 = pkcs11
[on]
activate = 1
[pkcs11]
module = {{provider}}
pkcs11-module-path = {{module}}
pkcs11-module-token-pin = {{pin}}
activate = 1
{_NAMES}"""
ISOLATED = '[library]\nisolation = "process"\n'
Keys = list[tuple[Path, str]]


def suite(place: Place, _: Workshop) -> Outcome:
    steps = Steps()
    need_file("libengine-pkcs11-openssl", "/usr/lib/*/engines-3/pkcs11.so", "/usr/lib/engines-3/pkcs11.so")
    in_files, in_token = make_keys(place)
    for kind in KINDS.values():
        _stories(steps, Story(kind, place), in_files, in_token)
    try:
        settings = PROVIDER.format(provider=need_provider(), module=place.module, pin=place.pins.user)
    except Absent as error:
        steps.step("provider", lambda error=error: _raise(error))
        return steps.outcome()
    (place.folder / "provider.cnf").write_text(settings)
    named = [(certificate, str(_named(certificate, uri))) for certificate, uri in in_token]
    for kind in KINDS.values():
        _stories(steps, Story(kind, place, "provider"), in_files, named)
    return steps.outcome()


def _stories(steps: Steps, story: Story, in_files: Keys, in_token: Keys) -> None:
    name = f"{story.kind.name}, {story.way}"
    steps.step(f"{name}: keys in files", lambda: story.in_files(in_files))
    for isolated in (False, True) if story.place.mrhsm else (False,):
        step = f"{name}: keys in the token{', isolated' if isolated else ''}"
        steps.step(step, lambda isolated=isolated: story.in_token(in_token, isolated))


def _raise(error: Absent) -> None:
    raise error


def _named(certificate: Path, uri: str) -> Path:
    """Write a file that pkcs11-provider reads in a key's place: the text that it knows it by, then the key's URI."""
    text, address = b"PKCS#11 Provider URI v1.0", uri.encode()
    inner = bytes((0x1A, len(text))) + text + bytes((0x0C, len(address))) + address
    content = base64.encodebytes(bytes((0x30, len(inner))) + inner).decode()
    assert len(inner) < 128, "such lengths are written otherwise"
    file = certificate.with_suffix(".uri")
    file.write_text(f"-----BEGIN PKCS#11 PROVIDER URI-----\n{content}-----END PKCS#11 PROVIDER URI-----\n")
    return file


def make_keys(place: Place) -> tuple[Keys, Keys]:
    """Return certificates and their keys: in files, and in the token under a pkcs11: URI."""
    (place.folder / "engine.cnf").write_text(ENGINE.format(module=place.module))
    tool = (need("pkcs11-tool"), "--module", place.module, "--token-label", LABEL, "--login", "--pin", place.pins.user)
    about = ("-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    in_files, in_token = [], []
    for number, (name, (key_type, algorithm)) in enumerate(KEYS.items(), 1):
        place.good(*tool, "--keypairgen", "--key-type", key_type, "--id", f"0{number}", "--label", name)
        uri = f"pkcs11:token={LABEL};object={name};type=private?pin-value={place.pins.user}"
        ours, theirs, file = (place.folder / f"{name}.{end}" for end in ("token.crt", "file.crt", "file.key"))
        request = (need("openssl"), "req", "-new", "-x509", *about)
        settings = {"OPENSSL_CONF": str(place.folder / "engine.cnf")}
        place.good(*request, "-engine", "pkcs11", "-keyform", "engine", "-key", uri, "-out", ours, **settings)
        place.good(*request, "-newkey", *algorithm, "-nodes", "-keyout", file, "-out", theirs)
        in_token.append((ours, uri))
        in_files.append((theirs, str(file)))
    return in_files, in_token


class Story:
    """One server program in one place, reloaded with the one keys and the others; `way` is engine or provider."""

    def __init__(self, kind: Kind, place: Place, way: str = "engine") -> None:
        self.kind, self.place, self.way = kind, place, way
        self.bearable: int | None = None  # failures that a reload makes anyway

    def in_files(self, keys: Keys) -> None:
        """Find out what is bearable. Raises AssertionError."""
        self.bearable = self.reloaded(keys).total()

    def in_token(self, keys: Keys, isolated: bool) -> None:
        """Do the same with the token. Raises AssertionError."""
        failed = self.reloaded(keys, isolated).total()
        assert self.bearable is not None, "nothing to compare with"
        assert failed <= self.bearable, f"{failed} handshakes failed, {self.bearable} with the keys in files"

    def reloaded(self, keys: Keys, isolated: bool = False) -> Counter[str]:
        """Reload under load; return the handshakes that failed. Raises AssertionError."""
        if self.place.mrhsm:
            (self.place.folder / "conf" / "maprhsm.conf").write_text(LOGGED + (ISOLATED if isolated else ""))
        settings = {"OPENSSL_CONF": str(self.place.folder / f"{self.way}.cnf")}
        how = functools.partial(running, self.kind, self.place, keys, engine=self.way == "engine", **settings)
        certificates = [certificate for certificate, _ in keys]
        with how() as server, Handshakes(server.port, certificates) as load:
            for _ in range(RELOADS):
                load.more(HANDSHAKES)
                server.reload()
            load.more(HANDSHAKES)
            served = len(server.helpers())
        where = f"{self.way}, {'files' if keys[0][1].endswith('.key') else 'token'}{', isolated' if isolated else ''}"
        print(f"{self.place.name}: {self.kind.name}: {where}: {RELOADS} reloads, {load}", flush=True)
        for name in KINDS_OF_HANDSHAKE:
            assert load.done[name], f"no handshake of {name} succeeded: {load}; {server.said()[-600:]}"
        assert bool(served) == isolated, f"{served} processes of the library for {WORKERS} workers"
        return load.failed


if __name__ == "__main__":
    sys.exit(main("nginx, Apache", suite))
