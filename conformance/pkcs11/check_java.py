"""The JDK: every service of SunPKCS11, keytool, jarsigner, and TLS with the token as the JVM's first provider."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from outcome import Outcome
from part import main
from places import Pins, Place, need
from steps import Steps
from workshop import Workshop

PROGRAMS = Path(__file__).with_name("java")
INTERNAL = ("--add-exports", "java.base/sun.security.internal.spec=ALL-UNNAMED")
QUICK = "-XX:TieredStopAtLevel=1"
KEYS = {"java-rsa": ("RSA", "-keysize", "2048"), "java-ec": ("EC", "-groupname", "secp256r1")}
SAID = re.compile(r"^(passed|failed) ([^:\n]+)(?:: (.*))?$", re.MULTILINE)


class Jdk:
    """The JDK's programs in one place, with the token's settings in `token.cfg`."""

    def __init__(self, place: Place) -> None:
        need("java")
        self.place, self.classes = place, place.folder / "classes"
        settings = f"name = Token\nlibrary = {place.module}\nslotListIndex = 0\nattributes = compatibility\n"
        (place.folder / "token.cfg").write_text(settings)
        place.good(need("javac"), *INTERNAL, "-d", self.classes, *sorted(PROGRAMS.glob("*.java")))
        self.outside = ("-storetype", "PKCS12", "-keystore", "outside.p12", "-storepass", place.pins.user)
        self.token = (
            *("-storetype", "PKCS11", "-keystore", "NONE", "-storepass", place.pins.user),
            *("-providerClass", "sun.security.pkcs11.SunPKCS11", "-providerArg", place.folder / "token.cfg"),
        )

    def keytool(self, *words: object) -> str:
        return self.place.good(need("keytool"), *words)

    def jarsigner(self, *words: object) -> str:
        return self.place.good(need("jarsigner"), *words)

    def java(self, steps: Steps, *words: object, limit_s: float = 600.0) -> None:
        """Run a program that tells its own steps."""
        done = self.place.run(need("java"), QUICK, *INTERNAL, "-cp", self.classes, *words, limit_s=limit_s)
        for result, name, why in SAID.findall(done.stdout):
            steps.tell(name, why if result == "failed" else "")
        if done.returncode:
            steps.tell(str(words[-1 - (len(words) > 1)]), f"exit code {done.returncode}: {done.stdout.strip()[-300:]}")


def suite(place: Place, _: Workshop) -> Outcome:
    jdk, steps = Jdk(place), Steps()
    jdk.keytool(
        "-genkeypair", *jdk.outside, "-keyalg", "RSA", "-alias", "outside", "-dname", "CN=outside", "-ext", "bc"
    )
    for alias, kind in KEYS.items():
        steps.step(f"keytool -genkeypair {alias}", lambda alias=alias, kind=kind: _generate(jdk, alias, kind))
        steps.step(f"keytool -certreq, -importcert {alias}", lambda alias=alias: _certified(jdk, alias))
        steps.step(f"jarsigner {alias}", lambda alias=alias: _signed(jdk, alias))
    _first_provider(jdk, steps)
    jdk.java(steps, "Walk", "token.cfg", place.pins.user, "outside.p12")
    for alias in KEYS:
        steps.step(f"keytool -delete {alias}", lambda alias=alias: _deleted(jdk, alias))
    return steps.outcome()


def _generate(jdk: Jdk, alias: str, kind: tuple[str, ...]) -> None:
    named = ("-alias", alias, "-dname", f"CN={alias}", "-ext", "san=ip:127.0.0.1")
    jdk.keytool("-genkeypair", *jdk.token, "-keyalg", *kind, *named)
    assert "PrivateKeyEntry" in jdk.keytool("-list", *jdk.token, "-alias", alias), "the entry is not listed"


def _certified(jdk: Jdk, alias: str) -> None:
    """Ask for a certificate, let the outside authority make one, take its chain over; the key stays."""
    jdk.keytool("-certreq", *jdk.token, "-alias", alias, "-file", "request.pem")
    signing = ("-gencert", *jdk.outside, "-alias", "outside", "-infile", "request.pem", "-rfc")
    jdk.keytool(*signing, "-ext", "san=ip:127.0.0.1", "-outfile", "issued.pem")
    authority = jdk.keytool("-exportcert", *jdk.outside, "-alias", "outside", "-rfc")
    folder = jdk.place.folder
    (folder / "chain.pem").write_text((folder / "issued.pem").read_text() + authority)
    jdk.keytool("-importcert", *jdk.token, "-noprompt", "-alias", alias, "-file", "chain.pem")
    listed = jdk.keytool("-list", "-v", *jdk.token, "-alias", alias)
    assert "Issuer: CN=outside" in listed, "the certificate is not the new one"
    assert "PrivateKeyEntry" in listed, "the key is gone"


def _signed(jdk: Jdk, alias: str) -> None:
    folder = jdk.place.folder
    (folder / "inside.txt").write_text("what is signed\n")
    jdk.place.good(need("jar"), "--create", "--file", f"{alias}.jar", "inside.txt")
    jdk.jarsigner(*jdk.token, f"{alias}.jar", alias)
    verified = jdk.jarsigner("-verify", "-verbose", f"{alias}.jar")
    assert "jar verified" in verified, verified[-300:]


def _first_provider(jdk: Jdk, steps: Steps) -> None:
    folder = jdk.place.folder
    inner = ("SUN", "SunRsaSign", "SunEC", "SunJSSE", "SunJCE")
    lines = [f"security.provider.{number}={name}" for number, name in enumerate(inner, 2)]
    (folder / "first.security").write_text(
        "\n".join([f"security.provider.1=SunPKCS11 {folder / 'token.cfg'}", *lines, ""])
    )
    jdk.java(steps, f"-Djava.security.properties={folder / 'first.security'}", "First", jdk.place.pins.user, *KEYS)


def _deleted(jdk: Jdk, alias: str) -> None:
    jdk.keytool("-delete", *jdk.token, "-alias", alias)
    assert alias not in jdk.keytool("-list", *jdk.token), "the entry is still there"


if __name__ == "__main__":
    sys.exit(main("Java", suite, pins=Pins("123456", "12345678")))
