"""The token directory as one file: sealed under a pass phrase for another node, or as a Kubernetes Secret.

A sealed archive is one line of JSON that names the format and the parameters of scrypt, then nonce, AES-256-GCM
ciphertext and tag; the line is authenticated with it.
"""

from __future__ import annotations

import base64
import gzip
import io
import os
import re
import tarfile
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import codec
from mrhsm_p11.tokendir.entries import CONFIGURATION, SERIAL

FORMAT = "mrhsm-export/1"
PHRASE_LEAST_BYTES = 8
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
SCRYPT_MOST_BYTES, SCRYPT_P_MAX = 2**30, 16  # a damaged archive must not take all memory, nor an hour
ARCHIVE_MOST_BYTES = 1 << 30
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32
_HEAD_MOST_BYTES = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*\Z")
_SECRET_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")  # a DNS subdomain, RFC 1123

MANIFEST = """\
apiVersion: v1
kind: Secret
metadata:
  name: {name}
  namespace: hpe-secure
type: Opaque
data:
  MAPR_KMIP: {content}
"""


class ArchiveRefused(MrhsmError):
    """An archive that cannot be opened, or a name or pass phrase that cannot be one."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """One file of the token directory, by its name in there."""

    name: str
    mode: int
    content: Secret


@dataclass(frozen=True, slots=True)
class Archive:
    """All that another node needs of a token directory."""

    owner: str
    group: str
    files: tuple[PackedFile, ...]

    def content(self, name: str) -> Secret | None:
        """Return one file's bytes."""
        return next((file.content for file in self.files if file.name == name), None)


@dataclass(frozen=True, slots=True)
class _Head:
    format: str
    salt: bytes
    n: int
    r: int
    p: int


def seal(archive: Archive, phrase: Secret) -> bytes:
    """Return the archive sealed under a pass phrase. Raises ArchiveRefused for one that is too short."""
    if len(phrase) < PHRASE_LEAST_BYTES:
        raise ArchiveRefused(f"the pass phrase must have at least {PHRASE_LEAST_BYTES} characters")
    head = _Head(FORMAT, os.urandom(_SALT_BYTES), SCRYPT_N, SCRYPT_R, SCRYPT_P)
    line, nonce = codec.canonical(codec.to_json(head)) + b"\n", os.urandom(_NONCE_BYTES)
    plain = codec.canonical(codec.to_json(archive))
    return line + nonce + AESGCM(_key(head, phrase)).encrypt(nonce, plain, line)


def unseal(sealed: bytes, phrase: Secret) -> Archive:
    """Return what `seal` was given. Raises ArchiveRefused."""
    line, newline, rest = sealed[:_HEAD_MOST_BYTES].partition(b"\n")
    line, rest = line + newline, sealed[len(line) + 1 :]
    try:
        head = codec.from_json(_Head, codec.parse(line))
    except codec.Malformed:
        raise ArchiveRefused("it is not an archive that mrhsm export made") from None
    if head.format != FORMAT or not _sound(head):
        raise ArchiveRefused("its format is not known to this version of mrhsm")
    try:
        plain = AESGCM(_key(head, phrase)).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], line)
        archive = codec.from_json(Archive, codec.parse(plain))
    except (InvalidTag, ValueError):
        raise ArchiveRefused("the pass phrase is not the one it was made with, or the archive is damaged") from None
    if not all(belongs(file.name) for file in archive.files) or archive.content(CONFIGURATION) is None:
        raise ArchiveRefused("it holds something else than a token directory")
    return archive


def belongs(name: str) -> bool:
    """Tell whether a file of the token directory is one that other nodes need: not what a node notes for itself."""
    folder, _, base = name.rpartition("/")
    if not folder:
        return base == CONFIGURATION
    of_node = base.startswith("node-") or base == "learned.json"
    return SERIAL.match(folder) is not None and _NAME.match(base) is not None and not of_node


def manifest(archive: Archive, name: str) -> str:
    """Return a Kubernetes Secret of this name: `tokens` as a tar file, gzip and Base-64. Raises ArchiveRefused."""
    if not _SECRET_NAME.match(name):
        raise ArchiveRefused(f"{name!r} cannot be the name of a Kubernetes Secret: a-z, 0-9, - and . only")
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        folders = sorted({file.name.rpartition("/")[0] for file in archive.files})
        for folder in folders:
            entry = _tar_entry(archive, f"tokens/{folder}".rstrip("/"), 0o700)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for file in archive.files:
            entry = _tar_entry(archive, f"tokens/{file.name}", file.mode)
            entry.size = len(file.content)
            tar.addfile(entry, io.BytesIO(file.content.reveal()))
    return MANIFEST.format(name=name, content=base64.b64encode(packed.getvalue()).decode())


def _tar_entry(archive: Archive, name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uname, entry.gname = mode, archive.owner, archive.group
    return entry


def _sound(head: _Head) -> bool:
    if len(head.salt) != _SALT_BYTES or min(head.n - 1, head.r, head.p) < 1 or head.n & (head.n - 1):
        return False
    return 128 * head.n * head.r <= SCRYPT_MOST_BYTES and head.p <= SCRYPT_P_MAX


def _key(head: _Head, phrase: Secret) -> bytes:
    return Scrypt(salt=head.salt, length=_KEY_BYTES, n=head.n, r=head.r, p=head.p).derive(phrase.view())
