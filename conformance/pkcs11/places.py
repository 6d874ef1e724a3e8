"""Where suites run: a fresh token of ours on each store, and SoftHSM2 beside it for calibration."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from mrhsm_p11.config import DATAPATH_VARIABLE

LABEL = "conformance"
SETTINGS = '[log]\nlevel = "info"\n'  # says how many calls C has served
SOFTHSM = tuple(
    Path(folder) / "softhsm" / "libsofthsm2.so" for folder in ("/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64")
)
# What a host gives a module; nothing of the user's own PKCS #11 settings.
_PASSED_ON = ("PATH", "LANG", "JAVA_HOME", "PYENV_ROOT")
_SERVED = re.compile(r" info (\d+)\.\d+ (\d+) calls served in C so far$", re.MULTILINE)


class Absent(Exception):
    """Something that a place or suite needs is not on this machine; the text says what."""


@dataclass(frozen=True)
class Pins:
    """What a suite logs in with; some insist on their own."""

    user: str = "12345"
    so: str = "12345"


@dataclass(frozen=True)
class Place:
    """A module with one initialised token; `mrhsm` tells whether it is ours."""

    name: str
    folder: Path
    module: Path
    extra: dict[str, str]
    mrhsm: bool = True
    pins: Pins = field(default_factory=Pins)

    @property
    def environment(self) -> dict[str, str]:
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return {**passed_on, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", **self.extra}

    def served_in_c(self) -> int:
        """Return how many calls the data path has served, of hosts that have called C_Finalize: our log says it."""
        log = self.folder / "logs" / "mrhsm.log"
        said = _SERVED.findall(log.read_text(errors="replace")) if log.exists() else []
        return sum({process: int(count) for process, count in said}.values())

    def run(
        self, *command: object, limit_s: float = 120.0, cwd: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in this place; output and errors are one text."""
        return subprocess.run(
            [str(word) for word in command],
            env=self.environment | more,
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )

    def good(self, *command: object, limit_s: float = 120.0, **more: str) -> str:
        """Run a program that must succeed; return its output. Raises AssertionError."""
        done = self.run(*command, limit_s=limit_s, **more)
        if done.returncode:
            words = " ".join(str(word) for word in command[:4])
            raise AssertionError(f"exit code {done.returncode} of {words} ...: {done.stdout.strip()[-400:]}")
        return done.stdout


# program -> the Debian package that has it, where it is not called so
_PACKAGES = {
    **dict.fromkeys(("java", "javac", "jar", "keytool", "jarsigner"), "openjdk-17-jdk-headless"),
    **dict.fromkeys(("p11tool", "gnutls-serv", "gnutls-cli", "certtool"), "gnutls-bin"),
    **dict.fromkeys(("certutil", "modutil", "pk12util", "cmsutil", "signtool"), "libnss3-tools"),
    **dict.fromkeys(("ssh", "ssh-keygen", "ssh-agent", "ssh-add"), "openssh-client"),
    "sshd": "openssh-server",
    "nginx": "nginx-light",
    "apache2": "apache2-bin",
    "pkcs11-tool": "opensc",
    "softhsm2-util": "softhsm2",
    "go": "golang-go",
}


def need(program: str) -> str:
    """Return a program's path. Raises Absent."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Absent(f"{program} is not installed (Debian: {_PACKAGES.get(program, program)})")
    return found


def need_file(package: str, *patterns: str) -> Path:
    """Return the first file of a Debian package that is there. Raises Absent."""
    for pattern in patterns:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            return path
    raise Absent(f"Debian's {package} is not installed")


def need_provider() -> Path:
    """Return pkcs11-provider's library, from OpenSSL's own variable where it is set. Raises Absent."""
    folders = (os.environ.get("OPENSSL_MODULES", ""), "/usr/lib/*/ossl-modules", "/usr/lib/ossl-modules")
    return need_file("pkcs11-provider", *(f"{folder}/pkcs11.so" for folder in folders if folder))


def _checked(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise RuntimeError(f"{' '.join(done.args)} failed:\n{done.stdout}")
    return done.stdout


def _mrhsm(place: Place, *words: object) -> str:
    return _checked(place.run(sys.executable, "-m", "mrhsm_p11.cli.main", *words))


def _home(folder: Path) -> dict[str, str]:
    """Make a MAPR_HOME; return what hosts are to know of it, and the data path's switch where there is one."""
    (folder / "conf").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "conf" / "maprhsm.conf").write_text(SETTINGS)
    switch = {name: os.environ[name] for name in (DATAPATH_VARIABLE,) if name in os.environ}
    return {"MAPR_HOME": str(folder), **switch}


def _our_module() -> Path:
    import mrhsm_p11

    return Path(mrhsm_p11.__file__).with_name("libmrhsm_p11.so")


@contextlib.contextmanager
def file_store(folder: Path, pins: Pins) -> Iterator[Place]:
    """A token on the file store."""
    place = Place("file", folder, _our_module(), _home(folder), pins=pins)
    _mrhsm(place, "init", "-label", LABEL, "-storetype", "file", "-sopin", pins.so, "-userpin", pins.user, "-nopinfile")
    yield place


@contextlib.contextmanager
def kmip_store(folder: Path, pins: Pins) -> Iterator[Place]:
    """A token on a KMIP appliance over mutual TLS."""
    place = Place("kmip", folder, _our_module(), _home(folder), pins=pins)
    command = [sys.executable, "-m", "mrhsm_p11.appliance.main", "-with-parent", "-nosync"]
    command += ["-certs", str(folder / "certs"), "-store", str(folder / "store.sqlite")]
    with (folder / "appliance.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        ready = next((line for line in server.stdout if line.startswith("READY ")), None)
        if ready is None:
            raise RuntimeError(f"the appliance did not start: {(folder / 'appliance.log').read_text()}")
        _, host, port = ready.split()
        certs = folder / "certs"
        _mrhsm(
            place,
            *(
                "init",
                "-label",
                LABEL,
                "-sopin",
                pins.so,
                "-userpin",
                pins.user,
                "-nopinfile",
                "-ip",
                host,
                "-port",
                port,
            ),
            *("-kmipversion", "1.4", "-cacert", certs / "ca.pem"),
            *("-clientcert", certs / "client.pem", "-clientkey", certs / "client.key"),
        )
        yield place
    finally:
        server.terminate()
        server.communicate(timeout=10)


@contextlib.contextmanager
def softhsm(folder: Path, pins: Pins) -> Iterator[Place]:
    """SoftHSM2 with one token."""
    module = next((path for path in SOFTHSM if path.exists()), None)
    if module is None:
        raise Absent("SoftHSM2 is not installed")
    (folder / "tokens").mkdir(parents=True)
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    place = Place("softhsm", folder, module, {"SOFTHSM2_CONF": str(settings)}, mrhsm=False, pins=pins)
    tool = need("softhsm2-util")
    _checked(place.run(tool, "--init-token", "--free", "--label", LABEL, "--so-pin", pins.so, "--pin", pins.user))
    yield place


PLACES: dict[str, Callable[[Path, Pins], AbstractContextManager[Place]]] = {
    "file": file_store,
    "kmip": kmip_store,
    "softhsm": softhsm,
}


@contextlib.contextmanager
def fresh(name: str, pins: Pins | None = None) -> Iterator[Place]:
    """Make a place of this name in a temporary folder. Raises Absent."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"conformance-{name}-"))
        yield stack.enter_context(PLACES[name](Path(folder) / "p", pins or Pins()))


def slot_of(place: Place) -> int:
    """Return the token's slot ID."""
    listed = _checked(place.run(need("pkcs11-tool"), "--module", place.module, "--list-slots"))
    for block in re.split(r"(?m)^Slot \d+ ", listed):
        if re.search(rf"token label\s*:\s*{LABEL}\b", block):
            found = re.match(r"\((0x[0-9a-f]+)\)", block)
            assert found, block
            return int(found[1], 16)
    raise RuntimeError(f"no token {LABEL} in\n{listed}")
