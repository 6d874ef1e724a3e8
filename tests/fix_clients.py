"""Tokens that the real command line made, for programs that load the library in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates, Server, StockAppliance

from mrhsm_p11.config import DATAPATH_VARIABLE

CLUSTER = "clients.example"
SO_PIN = "so-secret"
LIMIT_S = 60.0
Made = Callable[..., "ClientToken"]
SERVERS: dict[str, Callable[[Path, Certificates], Server] | None] = {
    "file": None,
    "kmip": Appliance,
    "nine": lambda folder, certificates: Appliance(folder, certificates, nine=True),
    "stock": StockAppliance,
}


@dataclass(frozen=True)
class ClientToken:
    """A token with cluster keys in a MAPR_HOME of its own, and the environment of those who use it."""

    home: Path
    label: str
    module: Path
    server: Server | None

    @property
    def environment(self) -> dict[str, str]:
        # Only what a daemon has: the user's own PKCS #11 settings must not answer in our place.
        home, switch = str(self.home), {name: os.environ[name] for name in (DATAPATH_VARIABLE,) if name in os.environ}
        return switch | {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "MAPR_HOME": home}

    @property
    def serial(self) -> str:
        return next(path.parent.name for path in (self.home / "conf" / "tokens").glob("*/user.pin"))

    @property
    def slot(self) -> int:
        return int(self.serial[-8:], 16) & 0x7FFFFFFF

    @property
    def pin(self) -> str:
        return (self.home / "conf" / "tokens" / self.serial / "user.pin").read_text().split()[-1]

    @property
    def log(self) -> str:
        return (self.home / "logs" / "mrhsm.log").read_text()

    def run(self, program: str | Path, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program; its output is one text."""
        return subprocess.run(
            [need(str(program)), *map(str, arguments)],
            env=self.environment | more,
            cwd=self.home,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )

    def good(self, program: str | Path, *arguments: object, **more: str) -> str:
        """Run a program that must succeed; return its output."""
        done = self.run(program, *arguments, **more)
        assert done.returncode == 0, f"{program} {arguments}\n{done.stdout}"
        return done.stdout

    def mrhsm(self, *arguments: object) -> str:
        return self.good(sys.executable, "-m", "mrhsm_p11.cli.main", *arguments)

    def tool(self, *arguments: object) -> str:
        """Run pkcs11-tool, logged in through the protected path."""
        return self.good("pkcs11-tool", *self.logged_in, *arguments)

    @property
    def logged_in(self) -> tuple[object, ...]:
        return ("--module", self.module, "--token-label", self.label, "--login")


def need(program: str) -> str:
    """Return the program's path; skip the test where there is none."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def identity(certificates: Certificates, client: str = "client") -> list[object]:
    files = (certificates.ca, certificates.certificate(client), certificates.key(client))
    return [word for pair in zip(("-cacert", "-clientcert", "-clientkey"), files, strict=True) for word in pair]


@pytest.fixture(scope="session")
def make_client(
    tmp_path_factory: pytest.TempPathFactory, library_path: Path, certificates: Certificates
) -> Iterator[Made]:
    """Set up a token over a server of its own: make_client("nine")."""
    servers: list[Server] = []

    def make(kind: str, *, enable: bool = True) -> ClientToken:
        home = tmp_path_factory.mktemp(f"clients-{kind}")
        for folder in ("conf", "logs"):
            (home / folder).mkdir()
        (home / "conf" / "mapr-clusters.conf").write_text(f"{CLUSTER} secure=true cldb1:7222\n")
        server_type = SERVERS[kind]
        server = server_type(tmp_path_factory.mktemp(f"server-{kind}"), certificates) if server_type else None
        token = ClientToken(home, f"Clients {kind}", library_path, server)
        store = "file" if server is None else "kmip"
        token.mrhsm("init", "-label", token.label, "-storetype", store, "-sopin", SO_PIN)
        if server is not None:
            servers.append(server)
            server.start()
            where = ("-ip", server.host, "-port", server.port)
            token.mrhsm("set", "-sopin", SO_PIN, *where, *identity(certificates))
        if enable:
            token.mrhsm("enable", "-sopin", SO_PIN)
        return token

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session", params=tuple(SERVERS))
def client_token(request: pytest.FixtureRequest, make_client: Made) -> ClientToken:
    """One token a kind of store, for all tests: each names its objects as no other does."""
    return make_client(request.param)
