"""What a token's key managers were seen to do with keys that they keep: a file beside the token.

It is not signed: `mrhsm doctor`, which has no SO PIN, writes it too, and it grants nothing that a server would refuse.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mrhsm_p11 import log
from mrhsm_p11.constants import CKF, CKM
from mrhsm_p11.tokendir import codec
from mrhsm_p11.tokendir.files import DirectoryError, DirectoryMissing, FileMissing

if TYPE_CHECKING:
    from mrhsm_p11.tokendir.files import TokenDirectory

Served = Mapping[tuple[int, int], int]  # (CKM, CKF) -> which of mapping.kmip_mechanisms.WAYS works, -1: none does
NONE_WORKS = -1
_VERSION = 1
_FLAGS = {"encrypt": CKF.ENCRYPT, "decrypt": CKF.DECRYPT, "sign": CKF.SIGN, "verify": CKF.VERIFY, "wrap": CKF.WRAP}
_NAMES = {flag: name for name, flag in _FLAGS.items()}


def read(directory: TokenDirectory, serial: str) -> Served | None:
    """Return what the last probe found, None where there has been none."""
    try:
        return _parsed(directory.read(_file(serial)))
    except (FileMissing, DirectoryMissing):
        return None
    except (DirectoryError, codec.Malformed, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning(f"{directory.path}/{_file(serial)} is ignored: {error}")
        return None


def write(directory: TokenDirectory, serial: str, found: Served) -> Served:
    """Keep what a probe found; what it could not find out stays as it was. Raises DirectoryError."""
    merged = {**(read(directory, serial) or {}), **found}
    mechanisms: dict[str, codec.Json] = {}
    for (mechanism, flag), way in sorted(merged.items()):
        uses = mechanisms.setdefault(CKM.name(mechanism), {})
        assert isinstance(uses, dict)
        uses[_NAMES[flag]] = way
    directory.make_folder(serial)
    directory.write(_file(serial), codec.canonical({"v": _VERSION, "at": int(time.time()), "mechanisms": mechanisms}))
    return merged


def _parsed(content: bytes) -> Served:
    document = codec.parse(content)
    if not isinstance(document, dict) or document["v"] != _VERSION:
        raise ValueError("it is of another version")
    return {
        (getattr(CKM, name), _FLAGS[use]): int(way)
        for name, uses in document["mechanisms"].items()
        for use, way in uses.items()
    }


def _file(serial: str) -> str:
    return f"{serial}/custody.json"
