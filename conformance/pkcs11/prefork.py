"""Web servers that load a key and then fork their workers: nginx and Apache with the prefork MPM, and their reload."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from places import Place, need, need_file
from services import free_port

WORKERS = 4
_LIMIT_S = 60.0
_NOBODY = "nobody"  # Apache serves nothing as root

_NGINX = """daemon off;
{user}
worker_processes {workers};
pid {folder}/server.pid;
error_log {folder}/server.log info;
{passed_on}
ssl_engine pkcs11;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    {keys}
    location / {{ return 200 "served\\n"; }}
  }}
}}
"""
_APACHE = """ServerRoot {folder}
ServerName 127.0.0.1
{modules}
PidFile {folder}/server.pid
ErrorLog {folder}/server.log
DefaultRuntimeDir {folder}
Mutex file:{folder}
StartServers {workers}
MinSpareServers {workers}
MaxSpareServers {workers}
MaxRequestWorkers {workers}
Listen 127.0.0.1:{port}
SSLCryptoDevice pkcs11
SSLSessionCache none
<VirtualHost 127.0.0.1:{port}>
SSLEngine on
{keys}
</VirtualHost>
"""


@dataclass(frozen=True)
class Kind:
    """A server program: how it is told of keys, and how it is asked to begin anew without losing a connection."""

    name: str
    program: str
    command: tuple[str, ...]
    settings: str
    certificate: str
    key: str
    scheme: str  # before a pkcs11: URI
    reload: signal.Signals


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            *("nginx", "nginx", ("-e", "stderr", "-c"), _NGINX),
            *("ssl_certificate {};", 'ssl_certificate_key "{}";', "engine:pkcs11:", signal.SIGHUP),
        ),
        Kind(
            *("Apache", "apache2", ("-D", "FOREGROUND", "-f"), _APACHE),
            *("SSLCertificateFile {}", 'SSLCertificateKeyFile "{}"', "", signal.SIGUSR1),
        ),
    )
}


@dataclass(frozen=True)
class Server:
    """A server under way; `place` is where its module has its token."""

    kind: Kind
    place: Place
    port: int
    master: subprocess.Popen[bytes]

    def workers(self) -> set[int]:
        """Return the processes that the master has forked and not yet seen off."""
        assert self.master.poll() is None, f"the server ended: {self.said()[-600:]}"
        listed = Path(f"/proc/{self.master.pid}/task/{self.master.pid}/children").read_text()
        return {int(word) for word in listed.split()}

    def reload(self) -> None:
        """Have new workers made, which load the keys anew, and wait until the former have gone."""
        former = self.workers()
        self.master.send_signal(self.kind.reload)
        self._until(lambda: not former & self.workers(), "the former workers have not gone")
        self._until(lambda: len(self.workers()) >= WORKERS, "there are not as many workers as before")

    def helpers(self) -> list[int]:
        """Return the processes that serve isolated hosts of this place."""
        home = f"MAPR_HOME={self.place.folder}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile
                named = home in (folder / "environ").read_bytes().split(b"\0")
                if named and b"mrhsm_p11.abi.isolated" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return found

    def stop(self) -> None:
        """End it; nothing of it may be left. Raises AssertionError."""
        former = self.workers() if self.master.poll() is None else set()
        self.master.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.master.wait(_LIMIT_S)
        left = [pid for pid in former if _lives(pid, self.kind.program)]
        for pid in (*left, self.master.pid) if self.master.poll() is None or left else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.master.wait(_LIMIT_S)
        assert not left, f"{len(left)} workers outlived the server"
        self._until(lambda: not self.helpers(), "a process of the library outlived the server")

    def _until(self, true: Callable[[], bool], otherwise: str) -> None:
        until = time.monotonic() + _LIMIT_S
        while not true():
            assert time.monotonic() < until, f"{otherwise} after {_LIMIT_S:.0f} s"
            time.sleep(0.02)

    def said(self) -> str:
        """Return the server's own log."""
        log = self.place.folder / "server.log"
        return log.read_text(errors="replace") if log.exists() else ""


def _lives(pid: int, program: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == program
    except OSError:
        return False


def _settings(kind: Kind, place: Place, port: int, keys: list[tuple[Path, str]]) -> str:
    lines = [template.format(value) for pair in keys for template, value in _pairs(kind, pair)]
    modules = [
        f"LoadModule {name}_module {need_file('apache2-bin', f'/usr/lib/apache2/modules/mod_{name}.so')}"
        for name in (("mpm_prefork", "socache_shmcb", "authz_core", "ssl") if kind.settings is _APACHE else ())
    ]
    return kind.settings.format(
        folder=place.folder,
        port=port,
        workers=WORKERS,
        keys="\n".join(lines),
        modules="\n".join(modules),
        user="user root;" if os.geteuid() == 0 else "",
        passed_on="\n".join(f"env {name};" for name in place.extra),
    )


def _pairs(kind: Kind, pair: tuple[Path, str]) -> tuple[tuple[str, str], ...]:
    certificate, key = pair
    return (kind.certificate, str(certificate)), (kind.key, (kind.scheme if key.startswith("pkcs11:") else "") + key)


def _as_nobody(folder: Path) -> list[str]:
    """Return what runs a program as a user who may read what root may: the interpreter may be in root's own folder."""
    if os.geteuid() != 0:
        return []
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, _NOBODY)
    rights = "+dac_override,+dac_read_search"
    return [
        *(need("setpriv"), "--reuid", _NOBODY, "--clear-groups"),
        *("--inh-caps", rights, "--ambient-caps", rights),
    ]


@contextlib.contextmanager
def running(kind: Kind, place: Place, keys: list[tuple[Path, str]], **more: str) -> Iterator[Server]:
    """Run a server on loopback with these certificates and keys while the block runs. Raises AssertionError."""
    port = free_port()
    (place.folder / "server.conf").write_text(_settings(kind, place, port, keys))
    command = [need(kind.program), *kind.command, str(place.folder / "server.conf")]
    (place.folder / "server.log").write_bytes(b"")
    before = _as_nobody(place.folder) if kind.settings is _APACHE else []
    with (place.folder / "server.log").open("ab") as log:
        master = subprocess.Popen(
            [*before, *command],
            env=place.environment | more,
            cwd=place.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Apache that stops ends its whole process group, another Apache's too
        )
    server = Server(kind, place, port, master)
    try:
        server._until(lambda: len(server.workers()) >= WORKERS, "there are no workers")
        yield server
    finally:
        server.stop()
