"""The main job at each product that has a profile, as the trial appliance imitates it: what passes, what does not.

An imitation from documents refuses what no document says is offered; no result here is one of a real unit.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mrhsm_p11.kmip.profiles import ROWS
from mrhsm_p11.kmip.vocabulary import Operation

LIMIT_S = 120.0
CLUSTER = "vendors.example"
SO_PIN = "so-secret"
USER, PASSWORD = "kmipclient", "a password of it"  # the user is the client certificate's
CLDB = bytes(range(32))
PROJECT = Path(__file__).resolve().parents[2]

Mrhsm = Callable[..., str]  # home and words of a command that must succeed, to its output


class Failed(Exception):
    """Something is not as it must be; the text says what."""


def expect(text: str, *parts: str) -> None:
    """Raise Failed unless all the parts are in the text."""
    if absent := [part for part in parts if part not in text]:
        raise Failed(f"{absent[0]!r} is not in:\n{text[-2000:]}")


@dataclass
class Scene:
    """A product, and two nodes of a cluster that uses it."""

    profile: str
    folder: Path
    port: int
    mrhsm: Mrhsm
    homes: list[Path] = field(default_factory=list)

    def init(self) -> None:
        home = self._home(CLDB.hex())
        self.mrhsm(home, "init", "-label", self.profile, "-sopin", SO_PIN)

    def set(self) -> None:
        """Tell the node of the product, and see that it is what it is taken for."""
        self._set(self.homes[0])
        shown = self.mrhsm(self.homes[0], "info", "-config", "-verbose")
        expect(shown, "127.0.0.1 Active\n", f"\nProfile : {self.profile} ({ROWS[self.profile].title}): ")

    def enable(self) -> None:
        """Import the CLDB key and have the others made."""
        told = self.mrhsm(self.homes[0], "enable", "-dare", "-sopin", SO_PIN)
        expect(told, *(f"Successfully generated {what}, UUID " for what in ("DARE key", "Core KEK", "Common KEK")))
        expect(self.mrhsm(self.homes[0], "info", "-kmip"), "Enabled             : Yes\n")

    def adopt(self) -> None:
        """Have a node that knows nothing find and take over the same keys."""
        home = self._home(None)
        self.mrhsm(home, "init", "-label", self.profile, "-sopin", SO_PIN)
        self._set(home)
        told = self.mrhsm(home, "enable", "-sopin", SO_PIN)
        expect(told, *(f"Found existing {what}, UUID " for what in ("CLDB key", "DARE key", "Core KEK", "Common KEK")))
        mine, theirs = (self.mrhsm(one, "info", "-kmip") for one in self.homes)
        if _uids(mine) != _uids(theirs):
            raise Failed(f"another key was taken over:\n{mine}\n{theirs}")

    def rekey(self) -> None:
        """Replace the Core KEK, and revoke the former one."""
        before = self.mrhsm(self.homes[0], "info", "-kmip")
        self.mrhsm(self.homes[0], "rekey", "core", "-sopin", SO_PIN)
        after = self.mrhsm(self.homes[0], "info", "-kmip")
        changed = _uids(before) ^ _uids(after)
        if len(changed) != 2:
            raise Failed(f"not just one key was replaced:\n{before}\n{after}")
        expect(self.mrhsm(self.homes[0], "rekey", "core", "-retire", "-sopin", SO_PIN), "Revoked the former Core KEK")

    def wrap(self) -> None:
        self._use("wrap")

    def unwrap(self) -> None:
        self._use("unwrap")

    def _home(self, cldb_key: str | None) -> Path:
        home = self.folder / f"node{len(self.homes)}"
        for name in ("conf", "logs"):
            (home / name).mkdir(parents=True)
        (home / "conf" / "mapr-clusters.conf").write_text(f"{CLUSTER} secure=true cldb1:7222\n")
        (home / "conf" / "maprhsm.conf").write_text("[network]\ndeadline_seconds = 60\nconnect_seconds = 30\n")
        if cldb_key is not None:
            (home / "conf" / "cldb.key").write_text(cldb_key)
        self.homes.append(home)
        return home

    def _set(self, home: Path) -> None:
        certs, row = self.folder / "certs", ROWS[self.profile]
        words = ["-ip", "127.0.0.1", "-port", str(self.port), "-cacert", str(certs / "ca.pem")]
        words += ["-clientcert", str(certs / "client.pem"), "-clientkey", str(certs / "client.key")]
        if row.versions:
            words += ["-kmipversion", next(f"{a}.{b}" for a, b in reversed(row.versions) if a == 1)]
        if row.offers(Operation.QUERY) is not True:
            words += ["-profile", self.profile]
        if row.username:
            words += ["-username", USER, "-passwordfile", str(self.folder / "password")]
        self.mrhsm(home, "set", *words, "-sopin", SO_PIN)

    def _use(self, what: str) -> None:
        """Use the Core KEK through the library, as a program does that knows nothing of KMIP."""
        program = Path(__file__).with_name("use_kek.py")
        command = [sys.executable, str(program), what, CLUSTER, CLDB.hex()]
        environment = {**os.environ, "MAPR_HOME": str(self.homes[0])}
        done = subprocess.run(command, env=environment, check=False, text=True, capture_output=True, timeout=LIMIT_S)
        if done.returncode or not done.stdout.startswith(f"{what} ok"):
            raise Failed(f"{what}: {done.stdout[-500:]}{done.stderr[-1500:]}")


JOBS = ("init", "set", "enable", "adopt", "rekey", "wrap", "unwrap")


@dataclass(frozen=True)
class Cell:
    """What one job at one product came to; `failure` is empty where it passed."""

    profile: str
    job: str
    failure: str
    seconds: float


def _uids(shown: str) -> set[str]:
    return set(re.findall(r"UUID +: (\S+)", shown))


def run(profile: str, folder: Path, mrhsm: Mrhsm, *more: str) -> Iterator[Cell]:
    """Do every job at one product, each on what the jobs before it left; `more` are options of the appliance."""
    (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
    (folder / "password").write_text(f"{PASSWORD}\n")
    demands = ("-users", str(folder / "users")) if ROWS[profile].username else ()
    with imitation(profile, folder, *demands, *more) as port:
        scene = Scene(profile, folder, port, mrhsm)
        for job in JOBS:
            began, failure = time.monotonic(), ""
            try:
                getattr(scene, job)()
            except (Failed, OSError, subprocess.SubprocessError, IndexError) as error:
                failure = f"{type(error).__name__}: {error}"
            yield Cell(profile, job, failure, time.monotonic() - began)


@contextlib.contextmanager
def imitation(profile: str, folder: Path, *more: str) -> Iterator[int]:
    """Lend the port of a trial appliance that passes for a product."""
    command = [sys.executable, "-m", "mrhsm_p11.appliance.main", "-with-parent", "-imitate", profile]
    places = ["-certs", str(folder / "certs"), "-store", str(folder / "store.sqlite"), "-nosync"]
    with (folder / "appliance.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *places, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        ready = next((line for line in process.stdout if line.startswith("READY ")), None)
        if ready is None:
            raise Failed(f"the appliance did not start: {(folder / 'appliance.log').read_text()[-500:]}")
        yield int(ready.split()[2])
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)
