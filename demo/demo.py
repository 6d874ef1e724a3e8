"""The main job on made-up keys, twice: with a KMIP appliance, then with the file store.

A token is set up and enabled with `mrhsm`, then three programs that know nothing of each other load the library, find
the Core KEK and the encrypted CLDB key, and unwrap it without a PIN. Everything happens in a temporary MAPR_HOME; exit
code 1 tells that something did not match.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stage import Failed, Stage

CLUSTER = "demo.cluster.com"
SO_PIN = "so-secret"
CONSUMERS = {"pkcs11-tool": "pkcs11-tool (OpenSC)", "java": "Java (SunPKCS11)", "python": "python-pkcs11"}


@dataclass
class Node:
    """A made-up cluster host with legacy keys, and what was seen on it."""

    title: str
    label: str
    home: Path
    cldb_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    checksums: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        conf = self.home / "conf"
        conf.mkdir(parents=True)
        (self.home / "logs").mkdir()
        (conf / "mapr-clusters.conf").write_text(f"{CLUSTER} secure=true cldb1.{CLUSTER}:7222\n")
        (conf / "cldb.key").write_text(base64.b64encode(self.cldb_key).decode() + "\n")
        (conf / "dare.master.key").write_text(secrets.token_hex(32) + "\n")
        self.stage = Stage({"MAPR_HOME": str(self.home)})

    def introduce(self) -> None:
        heading(self.title)
        self.stage.say(f"A host of {CLUSTER} with the legacy files conf/cldb.key and conf/dare.master.key")
        print(f"$ export MAPR_HOME={self.home}")

    def enable(self) -> None:
        self.stage.say("Put the keys under the store's protection (the SO PIN is typed)")
        output = self.stage.run("mrhsm", "enable", "-dare", typed=[SO_PIN])
        self.checksums["mrhsm enable"] = found(r"SHA-256 checksum for CLDB key is ([0-9A-F]{64})", output)

    def rekey(self) -> None:
        self.stage.say("Replace the Core KEK: the CLDB and DARE keys stay what they are")
        output = self.stage.run("mrhsm", "rekey", "core", typed=[SO_PIN])
        self.checksums["mrhsm rekey core"] = found(r"SHA-256 checksum for CLDB key is ([0-9A-F]{64})", output)

    def show(self, option: str, *wanted: str) -> str:
        output = self.stage.run("mrhsm", "info", option)
        for pattern in wanted:
            found(pattern, output)
        return output

    def consume(self) -> None:
        """Let the three programs print the SHA-256 of the key that they unwrapped."""
        slots = self.show("-slots")
        slot, serial = found(r"^Slot (\d+)", slots), found(r"Serial number: +([0-9a-f]{16})", slots)
        module = self.stage.run("mrhsm", "path").strip()
        blob = str(self.home / "conf" / "tokens" / serial / "cldb.key.enc")
        commands = {
            "pkcs11-tool": ("demo/unwrap_cldb.sh", module, self.label),
            "java": ("java", "demo/UnwrapCldb.java", module, slot, blob),
            "python": ("python", "demo/unwrap_cldb.py", module, self.label),
        }
        for name, command in commands.items():
            self.stage.say(f"{CONSUMERS[name]}, no PIN given")
            self.checksums[CONSUMERS[name]] = found(r"^([0-9A-F]{64})$", self.stage.run(*command))


def heading(title: str) -> None:
    print(f"\n{'=' * 78}\n{title.center(78).rstrip()}\n{'=' * 78}")


def found(pattern: str, output: str) -> str:
    """Return what the pattern's group (or all of it) matched. Raises Failed."""
    match = re.search(pattern, output, re.MULTILINE)
    if match is None:
        raise Failed(f"the output has nothing like {pattern}")
    return match[match.lastindex or 0]


@contextlib.contextmanager
def appliance(folder: Path) -> Iterator[tuple[str, str]]:
    """Start mrhsm-appliance with its certificates in `folder`; it ends with us, whatever happens."""
    print("\n# A KMIP appliance on this host, in the background\n$ mrhsm-appliance -certs certs -store store.sqlite &")
    command = [str(Path(sys.executable).with_name("mrhsm-appliance")), "-with-parent"]
    command += ["-certs", str(folder / "certs"), "-store", str(folder / "store.sqlite")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  (our own command)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
            if line.startswith("READY "):
                _, host, port = line.split()
                yield host, port
                return
        raise Failed(f"the appliance did not start: {(folder / 'log').read_text().strip()}")
    finally:
        process.terminate()
        process.communicate(timeout=10)


def with_appliance(folder: Path) -> Node:
    node = Node("With a KMIP appliance", "Demo KMIP", folder / "kmip-node")
    node.introduce()
    certs = folder / "certs"
    with appliance(folder) as (host, port):
        node.stage.say("Make the token (the new SO PIN is typed twice)")
        node.stage.run("mrhsm", "init", "-label", node.label, typed=[SO_PIN, SO_PIN])
        node.stage.say("Tell it where the appliance is and who we are")
        where = ("-ip", host, "-port", port)
        who = ("-cacert", f"{certs}/ca.pem", "-clientcert", f"{certs}/client.pem", "-clientkey", f"{certs}/client.key")
        node.stage.run("mrhsm", "set", *where, *who, typed=[SO_PIN])
        node.show("-config", rf"{re.escape(host)} Active")
        node.enable()
        node.show("-kmip", r"^Enabled +: Yes")
        node.rekey()
        node.consume()
    return node


def with_files(folder: Path) -> Node:
    node = Node("With the file store, no appliance", "Demo file", folder / "file-node")
    node.introduce()
    node.stage.say("Make the token")
    node.stage.run("mrhsm", "init", "-label", node.label, "-storetype", "file", typed=[SO_PIN, SO_PIN])
    node.enable()
    node.show("-file", r"^Enabled +: Yes")
    node.consume()
    return node


def summary(nodes: list[Node], seconds: float) -> bool:
    """Print who saw which SHA-256 of the CLDB key; return whether all saw that of the legacy file's key."""
    heading("SHA-256 of the CLDB key")
    good = True
    for node in nodes:
        expected = hashlib.sha256(node.cldb_key).hexdigest().upper()
        print(f"{node.title}\n  {'conf/cldb.key':<22}{expected[:32]}...")
        for name, checksum in node.checksums.items():
            same = checksum == expected
            good &= same
            print(f"  {name:<22}{checksum[:32]}...  {'same' if same else 'DIFFERENT'}")
    print(f"\n{'All the same' if good else 'NOT ALL THE SAME'} after {seconds:.0f} seconds; nothing is left running.")
    return good


def main() -> int:
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, so that what was started is ended
    try:
        with tempfile.TemporaryDirectory(prefix="mrhsm-demo-") as scratch:
            nodes = [with_appliance(Path(scratch)), with_files(Path(scratch))]
    except (Failed, OSError, KeyboardInterrupt) as problem:
        print(f"\nThe demonstration failed: {problem or 'interrupted'}", file=sys.stderr)
        return 1
    return 0 if summary(nodes, time.monotonic() - began) else 1


if __name__ == "__main__":
    sys.exit(main())
