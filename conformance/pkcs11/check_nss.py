"""NSS: modutil, certutil, pk12util and cmsutil with keys in the token."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from outcome import Outcome
from part import main
from places import LABEL, Place, need
from steps import Steps
from workshop import Workshop

KINDS = {"rsa": ("-k", "rsa", "-g", "2048", "-Z", "SHA256"), "p256": ("-k", "ec", "-q", "nistp256", "-Z", "SHA256")}
DATABASE = ("-d", "sql:nss")
HERE = ("-h", LABEL, "-f", "pin")


@dataclass(frozen=True)
class NSS:
    """NSS' programs with a database in the place; the token's PIN is in a file."""

    place: Place

    def run(self, program: str, *words: object) -> str:
        return self.place.good(need(program), *DATABASE, *words)

    def modutil(self, *words: object) -> str:
        return self.place.good(need("modutil"), "-dbdir", "sql:nss", "-force", *words)


def suite(place: Place, _: Workshop) -> Outcome:
    nss, steps = NSS(place), Steps()
    (place.folder / "nss").mkdir()
    (place.folder / "pin").write_text(place.pins.user)
    (place.folder / "noise").write_bytes(bytes(range(200)))
    nss.run("certutil", "-N", "--empty-password")
    steps.step("modutil -add, -list", lambda: _added(nss))
    for name, kind in KINDS.items():
        steps.step(f"certutil -S {name}", lambda name=name, kind=kind: _made(nss, name, kind))
        steps.step(f"certutil -L, -K, -V {name}", lambda name=name: _seen(nss, name))
        steps.step(f"certutil -R, -C, -A {name}", lambda name=name, kind=kind: _issued(nss, name, kind))
        steps.step(f"cmsutil -S, -D {name}", lambda name=name: _signed(nss, name, "-G"))
    steps.step("cmsutil -E, -D", lambda: _enveloped(nss))
    steps.step("pk12util -i", lambda: _imported(nss))
    steps.step("certutil -F, -D", lambda: _deleted(nss))
    steps.step("modutil -delete", lambda: nss.modutil("-delete", "conformance"))
    return steps.outcome()


def _contains(text: str, wanted: str) -> None:
    assert wanted in text, f"no {wanted!r} in {text[-300:]}"


def _nickname(name: str) -> str:
    return f"{LABEL}:{name}"


def _added(nss: NSS) -> None:
    nss.modutil("-add", "conformance", "-libfile", nss.place.module)
    listed = nss.modutil("-list", "conformance")
    _contains(listed, f"Token Name: {LABEL}")


def _made(nss: NSS, name: str, kind: tuple[str, ...]) -> None:
    about = ("-n", name, "-s", f"CN={name},E={name}@example.org", "-x", "-t", "CT,C,C", "-m", len(name))
    nss.run("certutil", "-S", *HERE, *about, *kind, "-z", "noise", "-v", "12")


def _seen(nss: NSS, name: str) -> None:
    _contains(nss.run("certutil", "-L", *HERE), _nickname(name))
    _contains(nss.run("certutil", "-K", *HERE), _nickname(name))
    nss.run("certutil", "-M", "-n", _nickname(name), "-t", "CT,C,C", *HERE)
    _contains(nss.run("certutil", "-V", "-n", _nickname(name), "-u", "L", "-f", "pin"), "certificate is valid")


def _issued(nss: NSS, name: str, kind: tuple[str, ...]) -> None:
    """A request with a new key of the token, a certificate of the token's authority for it, put beside the key."""
    leaf = f"{name}-leaf"
    request = ("-s", f"CN={leaf}", "-o", f"{leaf}.req", "-a", "-z", "noise")
    nss.run("certutil", "-R", *HERE, *request, *kind)
    files = ("-i", f"{leaf}.req", "-o", f"{leaf}.crt", "-a")
    nss.run("certutil", "-C", "-c", _nickname(name), *files, "-m", 100 + len(name), "-f", "pin")
    nss.run("certutil", "-A", "-h", LABEL, "-f", "pin", "-n", leaf, "-t", ",,", "-a", "-i", f"{leaf}.crt")
    _contains(nss.run("certutil", "-L", *HERE), _nickname(leaf))
    _contains(nss.run("certutil", "-K", *HERE), _nickname(leaf))


def _signed(nss: NSS, name: str, *more: str) -> None:
    (nss.place.folder / "text").write_text("what is signed\n")
    nss.run("cmsutil", "-S", "-N", _nickname(name), "-f", "pin", "-i", "text", "-o", f"{name}.cms", *more)
    nss.run("cmsutil", "-D", "-i", f"{name}.cms", "-o", f"{name}.back", "-f", "pin")
    assert (nss.place.folder / f"{name}.back").read_text() == "what is signed\n", "another text came back"


def _enveloped(nss: NSS) -> None:
    (nss.place.folder / "text").write_text("for one reader\n")
    nss.run("cmsutil", "-E", "-r", _nickname("rsa"), "-i", "text", "-o", "envelope.cms", "-f", "pin")
    nss.run("cmsutil", "-D", "-i", "envelope.cms", "-o", "envelope.back", "-f", "pin")
    assert (nss.place.folder / "envelope.back").read_text() == "for one reader\n", "another text came back"


def _imported(nss: NSS) -> None:
    openssl = need("openssl")
    made = ("-newkey", "rsa:2048", "-nodes", "-keyout", "outside.key", "-subj", "/CN=outside", "-out", "outside.crt")
    nss.place.good(openssl, "req", "-new", "-x509", *made)
    parts = ("-inkey", "outside.key", "-in", "outside.crt", "-name", "outside", "-passout", "pass:outside")
    nss.place.good(openssl, "pkcs12", "-export", *parts, "-out", "outside.p12")
    nss.run("pk12util", "-i", "outside.p12", "-W", "outside", "-h", LABEL, "-k", "pin")
    assert re.search(r"rsa +\w+ +\S*outside", nss.run("certutil", "-K", *HERE)), "the key is not listed"
    _contains(nss.run("certutil", "-L", *HERE), _nickname("outside"))
    nss.run("certutil", "-M", "-n", _nickname("outside"), "-t", "CT,C,C", *HERE)
    _signed(nss, "outside")


def _deleted(nss: NSS) -> None:
    for name in ("outside", *KINDS):
        nss.run("certutil", "-F", "-n", _nickname(name), *HERE)
        left = nss.place.run(need("certutil"), *DATABASE, "-K", *HERE).stdout
        assert f"{_nickname(name)}\n" not in left, left[-300:]


if __name__ == "__main__":
    sys.exit(main("NSS", suite))
