"""What the cluster's own files under conf/ say: its name, and the keys that it has used so far."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import Path

from mrhsm_p11.cluster.keys import CLDB, DARE, KEY_BYTES, ClusterKey
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret

CLUSTERS_FILE = "mapr-clusters.conf"
_MOST_BYTES = 4096


class SiteFileRefused(MrhsmError):
    """A file under conf/ that cannot be used."""


def cluster_name(conf: Path) -> str:
    """Return the first word of the first line of mapr-clusters.conf: this node's own cluster."""
    path = conf / CLUSTERS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SiteFileRefused(f"cannot read the cluster name from {path}: {why}") from error
    words = (line.split() for line in text.splitlines())
    name = next((line[0] for line in words if line and not line[0].startswith("#")), "")
    if not name:
        raise SiteFileRefused(f"{path} names no cluster: its first line must begin with the cluster's name")
    if not (name.isascii() and name.isprintable()) or "/" in name:
        raise SiteFileRefused(f"{path}: the cluster name {name!r} is not plain printable ASCII without a slash")
    return name


def legacy_path(conf: Path, key: ClusterKey) -> Path:
    """Return where a cluster without an HSM keeps this key."""
    return conf / key.legacy_file


def has_legacy_key(conf: Path, key: ClusterKey) -> bool:
    """Tell whether the legacy file is there and is more than the empty marker."""
    path = legacy_path(conf, key)
    try:
        return path.stat().st_size > 0 or key is not DARE
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SiteFileRefused(f"cannot read {path}: {error.strerror}") from error


def legacy_key(conf: Path, key: ClusterKey) -> Secret | None:
    """Return the bytes of a legacy key, None where there is none. Raises SiteFileRefused."""
    if not has_legacy_key(conf, key):
        return None
    path = legacy_path(conf, key)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SiteFileRefused(f"cannot read {path}: {error.strerror}") from error
    for _, decode in FORMS[key]:
        plain = decode(content)
        if plain is not None and len(plain) == KEY_BYTES:
            return Secret(plain)
    raise SiteFileRefused(
        f"{path} is not a {key.title}: it holds {len(content) if len(content) <= _MOST_BYTES else 'too many'} bytes, "
        f"and the key must be {' or '.join(words for words, _ in FORMS[key])}"
    )


def _raw(content: bytes) -> bytes | None:
    # Thirty-two printable characters are a shorter key in hex or Base-64, not a key.
    return None if content.isascii() and content.decode().isprintable() else content


def _hex(content: bytes) -> bytes | None:
    try:
        return binascii.unhexlify(content.strip())
    except ValueError:
        return None


def _base64(content: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except ValueError:
        return None


FORMS: dict[ClusterKey, tuple[tuple[str, Callable[[bytes], bytes | None]], ...]] = {
    CLDB: (("32 bytes in Base-64", _base64), ("64 hex digits", _hex), ("32 raw bytes", _raw)),
    DARE: (("64 hex digits", _hex),),
}
