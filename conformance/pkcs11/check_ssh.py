"""OpenSSH: keys listed with ssh-keygen -D, held by ssh-agent, and used to log in at a real sshd on loopback."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outcome import Outcome
from part import main
from places import LABEL, Place, need
from services import free_port, serving
from steps import Steps
from workshop import Workshop

KEYS = {"rsa": "rsa:2048", "p256": "EC:prime256v1", "p384": "EC:secp384r1"}
SERVER = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PermitRootLogin yes
"""


class SSH:
    """OpenSSH's programs; a program stands for the one who types the PIN."""

    def __init__(self, place: Place) -> None:
        self.place = place
        askpass = place.folder / "askpass"
        askpass.write_text(f"#!/bin/sh\necho {place.pins.user}\n")
        askpass.chmod(0o700)
        self.asked = {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}

    def listed(self) -> list[str]:
        """Return the public keys that the token shows, as lines of authorized_keys."""
        return re.findall(
            r"^(?:ssh|ecdsa)-\S+ \S+.*$", self.place.good(need("ssh-keygen"), "-D", self.place.module), re.M
        )

    def login(self, port: int, *how: object, **more: str) -> None:
        options = (
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=known",
            "-o",
            "BatchMode=no",
        )
        only = ("-o", "PreferredAuthentications=publickey", "-o", "IdentitiesOnly=no", "-p", port)
        there = f"{getpass.getuser()}@127.0.0.1"
        said = self.place.good(need("ssh"), *options, *only, *how, there, "echo", "let in", **self.asked, **more)
        assert "let in" in said, said[-300:]


def suite(place: Place, _: Workshop) -> Outcome:
    steps, ssh = Steps(), SSH(place)
    tool = (need("pkcs11-tool"), "--module", place.module, "--token-label", LABEL, "--login", "--pin", place.pins.user)
    for number, (name, key_type) in enumerate(KEYS.items(), 1):
        place.good(*tool, "--keypairgen", "--key-type", key_type, "--id", f"0{number}", "--label", name)
    steps.step("ssh-keygen -D", lambda: _listed(ssh))
    steps.step("ssh-add -s, -L, -T, -e", lambda: _agent(ssh))
    for name in KEYS:
        steps.step(f"sshd lets {name} in: PKCS11Provider", lambda name=name: _provider(ssh, name))
        steps.step(f"sshd lets {name} in: ssh-agent", lambda name=name: _through_agent(ssh, name))
    steps.step("ssh-keygen -s: a certificate authority's key", lambda: _authority(ssh))
    return steps.outcome()


def _listed(ssh: SSH) -> None:
    found = sorted(line.split()[0] for line in ssh.listed())
    assert found == ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa"], found


def _line(ssh: SSH, name: str) -> str:
    kind = {"rsa": "ssh-rsa", "p256": "ecdsa-sha2-nistp256", "p384": "ecdsa-sha2-nistp384"}[name]
    return next(line for line in ssh.listed() if line.startswith(kind))


@contextmanager
def _running_agent(ssh: SSH) -> Iterator[dict[str, str]]:
    """An agent that may load the module, and has loaded it."""
    socket = ssh.place.folder / "agent"
    allowed = ssh.place.module.resolve()
    with serving(ssh.place, socket, need("ssh-agent"), "-D", "-a", socket, "-P", allowed):
        where = {"SSH_AUTH_SOCK": str(socket)}
        ssh.place.good(need("ssh-add"), "-s", allowed, **ssh.asked, **where)
        yield where
    socket.unlink(missing_ok=True)


def _agent(ssh: SSH) -> None:
    with _running_agent(ssh) as where:
        held = ssh.place.good(need("ssh-add"), "-L", **where)
        (ssh.place.folder / "held.pub").write_text(held.splitlines()[0] + "\n")
        assert {line.split()[1] for line in held.splitlines()} == {line.split()[1] for line in ssh.listed()}, held
        ssh.place.good(need("ssh-add"), "-T", "held.pub", **where)
        ssh.place.good(need("ssh-add"), "-e", ssh.place.module.resolve(), **ssh.asked, **where)
        assert "no identities" in ssh.place.run(need("ssh-add"), "-L", **where).stdout, "keys are still held"


@contextmanager
def _server(ssh: SSH, key: str) -> Iterator[int]:
    """A server of this user that lets one key in."""
    folder, port = ssh.place.folder, free_port()
    if not (folder / "host").exists():
        ssh.place.good(need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", "host")
    (folder / "authorized").write_text(key + "\n")
    (folder / "sshd_config").write_text(SERVER.format(port=port, folder=folder))
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it parts from its privileges
    with serving(ssh.place, port, need("sshd"), "-D", "-e", "-f", folder / "sshd_config"):
        yield port


def _provider(ssh: SSH, name: str) -> None:
    with _server(ssh, _line(ssh, name)) as port:
        ssh.login(port, "-o", f"PKCS11Provider={ssh.place.module}", "-o", "IdentityAgent=none")


def _through_agent(ssh: SSH, name: str) -> None:
    with _running_agent(ssh) as where, _server(ssh, _line(ssh, name)) as port:
        ssh.login(port, **where)


def _authority(ssh: SSH) -> None:
    """The token's key signs another key as a certificate, which then opens the door."""
    folder = ssh.place.folder
    (folder / "ca.pub").write_text(_line(ssh, "p256") + "\n")
    ssh.place.good(need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", "guest")
    about = ("-I", "guest", "-n", getpass.getuser(), "-V", "+1d")
    ssh.place.good(need("ssh-keygen"), "-D", ssh.place.module, "-s", "ca.pub", *about, "guest.pub", **ssh.asked)
    with _server(ssh, f"cert-authority {_line(ssh, 'p256')}") as port:
        ssh.login(port, "-i", "guest", "-o", "CertificateFile=guest-cert.pub", "-o", "IdentityAgent=none")


if __name__ == "__main__":
    sys.exit(main("OpenSSH", suite))
