"""A support archive: what was found and what it was found on, and no secret.

It holds public parts only. Whatever the checks saw that is secret is removed from every member once more, in each
spelling, before it is written: a log of another program may hold what ours never does.
"""

from __future__ import annotations

import base64
import io
import os
import platform
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mrhsm_p11.doctor.findings import Result
from mrhsm_p11.doctor.subjects import Node, Token
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret

LOG_BYTES = 1 << 20
REMOVED = b"[removed]"
_SHORTEST = 4  # a PIN's least length: nothing shorter is a secret
_PACKAGES = ("mrhsm-p11", "cryptography", "cffi", "PyKMIP")


def write(
    path: Path, node: Node, tokens: Sequence[Token], results: Sequence[Result], reports: Mapping[str, str]
) -> None:
    """Make the archive (0600); a file that is there already is left alone. Raises MrhsmError."""
    members = {name: text.encode() for name, text in reports.items()} | _members(node, tokens)
    spellings = [spelling for token in tokens for secret in token.secrets for spelling in spelled(secret)]
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise MrhsmError(f"{path} exists already: give another name for the bundle") from None
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            clean = without(content, spellings)
            entry = tarfile.TarInfo(f"mrhsm-doctor/{name}")
            entry.size, entry.mode, entry.mtime = len(clean), 0o600, int(node.now.timestamp())
            archive.addfile(entry, io.BytesIO(clean))


def spelled(secret: Secret) -> list[bytes]:
    """Return the ways in which a secret could stand in a text, the longest first."""
    plain = secret.reveal()
    ways = {plain, plain.hex().encode(), plain.hex().upper().encode(), base64.b64encode(plain)}
    ways |= {line for line in plain.splitlines() if line and b"-----" not in line}  # a PEM key, line by line
    return sorted((way for way in ways if len(way) >= _SHORTEST), key=len, reverse=True)


def without(content: bytes, spellings: Iterable[bytes]) -> bytes:
    """Return the content without any of the spellings."""
    for spelling in spellings:
        content = content.replace(spelling, REMOVED)
    return content


def _members(node: Node, tokens: Sequence[Token]) -> dict[str, bytes]:
    config = node.config
    found = {
        "environment.txt": _environment().encode(),
        "files.txt": _files(config.home / "conf").encode(),
        "tokens.txt": "".join(_public(token) for token in tokens).encode(),
    }
    for name, path in (("maprhsm.conf", config.file), ("mapr-clusters.conf", config.conf_dir / "mapr-clusters.conf")):
        found[name] = _tail(path)
    found["mrhsm.log"] = _tail(config.log_path)
    for token in tokens:
        if token.opened is not None:
            connection = token.settings.connection
            found[f"{token.entry.serial}-client.pem"] = connection.client_certificate
            found[f"{token.entry.serial}-ca.pem"] = connection.ca_certificate
    return found


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            return file.read(LOG_BYTES)
    except OSError as error:
        return f"{path}: {error.strerror}\n".encode()


def _environment() -> str:
    from importlib import metadata

    lines = [f"python {platform.python_version()}", f"system {platform.platform()}"]
    for package in _PACKAGES:
        try:
            lines.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{package} is not installed as a package")
    lines += [f"{name}={os.environ[name]}" for name in ("MAPR_HOME", "MRHSM_CONF", "JAVA_HOME") if name in os.environ]
    return "\n".join([*lines, f"user {os.geteuid()}:{os.getegid()}", ""])


def _files(root: Path) -> str:
    """List names, modes, owners and sizes below a folder; nothing is read."""
    lines = []
    for path in [root, *sorted(root.rglob("*"))]:
        try:
            status = path.lstat()
        except OSError as error:
            lines.append(f"{path}: {error.strerror}")
            continue
        owner = f"{status.st_uid}:{status.st_gid}"
        lines.append(f"{stat.filemode(status.st_mode)} {owner:>11} {status.st_size:>9} {status.st_mtime:.0f} {path}")
    return "\n".join([*lines, ""])


def _public(token: Token) -> str:
    """Return what may be told of a token: nothing sealed, no PIN record, no encrypted key."""
    entry = token.entry
    lines = [
        f"serial {entry.serial}",
        f"label {entry.label}",
        f"store {entry.store}",
        f"generation {entry.generation}",
        f"fingerprint {entry.fingerprint()}",
    ]
    if token.opened is not None:
        connection, cluster = token.settings.connection, token.settings.cluster
        lines += [
            f"addresses {' '.join(connection.addresses)}",
            f"port {connection.port}",
            f"KMIP {connection.kmip_version}",
            f"server names {' '.join(connection.server_names)}",
            f"user name {connection.username}",
            f"profile set {connection.profile}",
            f"client key {'configured' if connection.client_key is not None else 'missing'}",
        ]
        for name in ("core_kek", "common_kek", "cldb", "dare") if cluster is not None else ():
            known = getattr(cluster, name)
            lines.append(f"{name} {known.uid} SHA-256 {known.checksum}" if known is not None else f"{name} missing")
    return "\n".join([*lines, "", ""])
