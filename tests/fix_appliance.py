"""KMIP servers for tests: our appliance and unmodified PyKMIP, each a process of its own that ends with this one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from mrhsm_p11.appliance import certificates as issue
from mrhsm_p11.appliance.main import flag
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.settings import Connection

START_S = 60.0
STOP_S = 2.0


class Certificates:
    """A folder with ca.pem and <name>.pem, <name>.key for every name of certificates.GOOD, OTHERS and REFUSED."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        issue.make(folder, issue.GOOD | issue.OTHERS | issue.REFUSED)
        self.ca = folder / "ca.pem"

    def certificate(self, name: str = "client") -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str = "client") -> Path:
        return self.folder / f"{name}.key"


class Server(ABC):
    """A server process on a loopback port that it keeps over restarts, as it keeps its store."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.folder = folder
        self.certificates = certificates
        self.ca_file = certificates.ca
        self.client_cert_file = certificates.certificate()
        self.client_key_file = certificates.key()
        self.store = folder / "store.sqlite"
        self.log = folder / "log.txt"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def connection(self, *, client: str = "client", kmip_version: str = "1.4", host: str = "127.0.0.1") -> Connection:
        """Return the settings of a token that uses this server."""
        return Connection(
            addresses=(host,),
            port=self.port,
            kmip_version=kmip_version,
            ca_certificate=self.ca_file.read_bytes(),
            client_certificate=self.certificates.certificate(client).read_bytes(),
            client_key=Secret(self.certificates.key(client).read_bytes()),
        )

    @abstractmethod
    def start(self) -> None:
        """Return when it takes connections."""

    def stop(self) -> None:
        """End it in the orderly way, within STOP_S, else kill it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _spawn(self, command: list[str], out: int | IO[bytes]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        return self.process

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the group is ours: it began as a session of its own
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class Appliance(Server):
    """mrhsm-appliance with the given fields of appliance.options.Options."""

    def __init__(self, folder: Path, certificates: Certificates, **options: object) -> None:
        super().__init__(folder, certificates)
        self.options = options
        self.host = str(options.get("host", self.host))

    def start(self) -> None:
        fixed = {"port": self.port, "store": self.store, "certs": self.certificates.folder, "nosync": True}
        command = [sys.executable, "-m", "mrhsm_p11.appliance.main", flag("with_parent")]
        for name, value in (fixed | self.options).items():
            if isinstance(value, bool):
                command += [flag(name)] if value else []
            else:
                command += [flag(name), ",".join(value) if isinstance(value, tuple) else str(value)]
        process = self._spawn(command, subprocess.PIPE)
        assert process.stdout is not None
        for line in _lines(process.stdout, START_S):
            if line.startswith("READY "):
                self.port = int(line.split()[2])
                return
        raise AssertionError(f"the appliance did not start:\n{self.log.read_text()}")

    def requests(self, skip: int = 0) -> list[str]:
        """Return the operations of each message so far, as in "CREATE,ACTIVATE", without the first `skip` messages."""
        lines = [line.split() for line in self.log.read_text().splitlines() if " mrhsm-appliance " in line]
        return [words[4] for words in lines if len(words) == 5 and words[3][0].isdigit()][skip:]


STOCK_SETTINGS = """[server]
hostname={host}
port={port}
certificate_path={certs}/server.pem
key_path={certs}/server.key
ca_path={certs}/ca.pem
auth_suite=TLS1.2
policy_path={folder}/policy
enable_tls_client_auth=True
logging_level=WARNING
database_path={store}
"""
# Its own command, in a process that takes its group along when the end of standard input tells that we are gone.
STOCK_PROGRAM = """
import os, signal, threading
def watch():
    while os.read(0, 64):
        pass
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
from kmip.services.server.server import main
main()
"""


class StockAppliance(Server):
    """The command pykmip-server as it is, over TLS 1.2."""

    def start(self) -> None:
        self.port = self.port or _free_port(self.host)
        (self.folder / "policy").mkdir(exist_ok=True)
        settings = self.folder / "server.conf"
        settings.write_text(
            STOCK_SETTINGS.format(
                host=self.host, port=self.port, certs=self.certificates.folder, folder=self.folder, store=self.store
            )
        )
        own_log = self.folder / "pykmip.log"
        command = [sys.executable, "-W", "ignore", "-c", STOCK_PROGRAM, "-f", str(settings), "-l", str(own_log)]
        process = self._spawn(command, subprocess.DEVNULL)
        until = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
                return
            select.select([], [], [], 0.02)
        raise AssertionError(f"pykmip-server did not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        self._end(signal.SIGINT)


def _lines(pipe: IO[bytes], seconds: float) -> Iterator[str]:
    """Yield the lines that come within the time."""
    until = time.monotonic() + seconds
    text = b""
    while select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
        read = os.read(pipe.fileno(), 4096)
        if not read:
            return
        *whole, text = (text + read).split(b"\n")
        yield from (line.decode() for line in whole)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def appliance(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Appliance]:
    """One appliance for all tests: they must neither stop it nor rely on an empty store."""
    server = Appliance(tmp_path_factory.mktemp("appliance"), certificates)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_appliance(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Callable[..., Appliance]]:
    """Start one more appliance with fields of Options as keywords, as in make_appliance(nine=True, store=path)."""
    servers: list[Appliance] = []

    def make(**options: object) -> Appliance:
        server = Appliance(tmp_path_factory.mktemp("appliance"), certificates, **options)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def stock_appliance(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[StockAppliance]:
    """Unmodified PyKMIP, for all tests alike."""
    server = StockAppliance(tmp_path_factory.mktemp("stock"), certificates)
    server.start()
    yield server
    server.stop()
