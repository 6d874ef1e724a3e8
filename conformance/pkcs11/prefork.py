"""Web servers that load a key and then fork their workers: nginx and Apache with the prefork MPM, and their reload."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from places import Place, need, need_file
from services import free_port
from workers import WORKERS, Server, started

_NOBODY = "nobody"  # Apache serves nothing as root

_NGINX = """daemon off;
{user}
worker_processes {workers};
pid {folder}/server.pid;
error_log {folder}/server.log info;
{passed_on}
{engine}
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
{engine}
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
    engine: str  # has libp11's engine read such URIs
    reload: signal.Signals


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            *("nginx", "nginx", ("-e", "stderr", "-c"), _NGINX),
            *(
                "ssl_certificate {};",
                'ssl_certificate_key "{}";',
                "engine:pkcs11:",
                "ssl_engine pkcs11;",
                signal.SIGHUP,
            ),
        ),
        Kind(
            *("Apache", "apache2", ("-D", "FOREGROUND", "-f"), _APACHE),
            *("SSLCertificateFile {}", 'SSLCertificateKeyFile "{}"', "", "SSLCryptoDevice pkcs11", signal.SIGUSR1),
        ),
    )
}


def _settings(kind: Kind, place: Place, port: int, keys: list[tuple[Path, str]], engine: bool) -> str:
    lines = [template.format(value) for pair in keys for template, value in _pairs(kind, pair)]
    modules = [
        f"LoadModule {name}_module {need_file('apache2-bin', f'/usr/lib/apache2/modules/mod_{name}.so')}"
        for name in (("mpm_prefork", "socache_shmcb", "authz_core", "ssl") if kind.settings is _APACHE else ())
    ]
    return kind.settings.format(
        folder=place.folder,
        port=port,
        workers=WORKERS,
        engine=kind.engine if engine else "",
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
def running(
    kind: Kind, place: Place, keys: list[tuple[Path, str]], *, engine: bool = True, **more: str
) -> Iterator[Server]:
    """Run a server on loopback with these certificates and keys while the block runs. Raises AssertionError."""
    port = free_port()
    (place.folder / "server.conf").write_text(_settings(kind, place, port, keys, engine))
    command = [need(kind.program), *kind.command, str(place.folder / "server.conf")]
    before = _as_nobody(place.folder) if kind.settings is _APACHE else []
    with started(place, port, kind.program, kind.reload, [*before, *command], **more) as server:
        yield server
