"""What the cluster's programs stand on: a node with a token made by `mrhsm`, appliances, a JVM; all on loopback.

What is started here is ended here, by its process id; nothing outlives the `with` block that asked for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mrhsm_p11.config import DATAPATH_VARIABLE

LIMIT_S = 60.0
SKIPPED = 77
CLUSTER = "conformance.example"
SO_PIN = "so-secret"


class Failed(Exception):
    """Something is not as it must be; the text says what."""


def need(*programs: str) -> None:
    """End the part as skipped where a program or a file is absent."""
    for program in programs:
        if not (os.path.exists(program) if "/" in program else shutil.which(program)):
            print(f"skipped: {program} is not installed")
            sys.exit(SKIPPED)


@dataclass
class Appliance:
    """One mrhsm-appliance; several may share a store, as a group of appliances does."""

    folder: Path
    store: Path
    certs: Path
    port: int = 0
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("mrhsm-appliance")), "-with-parent", "-port", str(self.port)]
        with (self.folder / "appliance.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "-certs", str(self.certs), "-store", str(self.store)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("READY "):
                self.port = int(line.split()[2])
                return
        raise Failed(f"the appliance did not start: {(self.folder / 'appliance.log').read_text()[-500:]}")

    def answers(self) -> int:
        """Return how many messages it has answered."""
        return (self.folder / "appliance.log").read_text().count(" mrhsm-appliance ")

    def kill(self) -> None:
        """End it without a farewell, as a power cut does."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=LIMIT_S)


@contextlib.contextmanager
def appliances(folder: Path, count: int = 1) -> Iterator[list[Appliance]]:
    """Lend appliances over one store, that know each other's objects."""
    made = []
    try:
        for number in range(count):
            place = folder / f"appliance{number}"
            place.mkdir(parents=True)
            made.append(Appliance(place, folder / "store.sqlite", folder / "certs"))
            made[-1].start()
        yield made
    finally:
        for each in made:
            each.kill()


@dataclass
class Node:
    """A MAPR_HOME with a token in it."""

    home: Path
    label: str = "MapRHSM"
    settings: str = ""
    more: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("conf", "logs"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        (self.home / "conf" / "mapr-clusters.conf").write_text(f"{CLUSTER} secure=true cldb1:7222\n")
        if self.settings:
            (self.home / "conf" / "maprhsm.conf").write_text(self.settings)

    @property
    def environment(self) -> Mapping[str, str]:
        home, switch = str(self.home), {name: os.environ[name] for name in (DATAPATH_VARIABLE,) if name in os.environ}
        return switch | {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "MAPR_HOME": home}

    def run(self, *command: object, **options: object) -> str:
        """Run a program that must succeed; return its output."""
        done = subprocess.run(
            [str(word) for word in command],
            env=self.environment, cwd=self.home, check=False, text=True, timeout=LIMIT_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            raise Failed(f"{' '.join(map(str, command))[:300]} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return done.stdout

    def mrhsm(self, *words: object) -> str:
        return self.run(sys.executable, "-m", "mrhsm_p11.cli.main", *words)

    def init(self, group: list[Appliance]) -> None:
        """Make the token, in the file store where there is no appliance, and enable the cluster."""
        store = "kmip" if group else "file"
        self.mrhsm("init", "-label", self.label, "-storetype", store, "-sopin", SO_PIN)
        if group:
            certs = group[0].certs
            self.mrhsm(
                "set", "-sopin", SO_PIN, "-ip", ",".join(f"127.0.0.1:{each.port}" for each in group),
                "-cacert", certs / "ca.pem", "-clientcert", certs / "client.pem", "-clientkey", certs / "client.key",
            )  # fmt: skip
        self.mrhsm("enable", "-sopin", SO_PIN)

    @property
    def tokens(self) -> Path:
        return self.home / "conf" / "tokens"

    @property
    def serial(self) -> str:
        return next(path.parent.name for path in self.tokens.glob("*/user.pin"))

    @property
    def module(self) -> str:
        return self.mrhsm("path").strip()

    def provider(self) -> Path:
        """Write SunPKCS11's settings, which hold no PIN; return the file."""
        file = self.home / "conf" / "mrhsm-java.cfg"
        file.write_text(f"name = MapRHSM\nlibrary = {self.module}\nslotListIndex = 0\n")
        return file


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
