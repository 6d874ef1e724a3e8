"""Attributes that a server would not take, in files of this node beside the token: one an object."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mrhsm_p11 import log
from mrhsm_p11.store.kmip import blob
from mrhsm_p11.tokendir.files import FileMissing

if TYPE_CHECKING:
    from mrhsm_p11.tokendir.files import TokenDirectory

SUFFIX = ".kmip"


@dataclass(frozen=True, slots=True)
class Note:
    """What this node knows of an object: all its attributes, or those that the blob has no room for."""

    uid: str
    attributes: blob.Changes = field(default_factory=dict)
    whole: bool = True


class Sidecar:
    """Notes by unique identifier."""

    def __init__(self, directory: TokenDirectory, serial: str) -> None:
        self._directory = directory
        self._serial = serial

    def read(self, uid: str) -> Note | None:
        """Return the object's note; one that is damaged is logged and counts as none."""
        try:
            content = self._directory.read(self._file(uid))
        except FileMissing:
            return None
        try:
            found = json.loads(content)
            if found["v"] != blob.SCHEMA or found["uid"] != uid:
                raise ValueError("of another schema or object")  # noqa: TRY301
            return Note(uid, blob.load_attributes(found["a"]), bool(found["whole"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning(f"{self._file(uid)} in the token directory is damaged and not used: {error}")
            return None

    def write(self, note: Note) -> None:
        """Keep a note, durably. Raises a DeviceError where it cannot be saved."""
        content = {
            "v": blob.SCHEMA,
            "uid": note.uid,
            "whole": note.whole,
            "a": blob.dump_attributes(note.attributes),
        }
        self._directory.make_folder(self._serial)
        self._directory.write(self._file(note.uid), json.dumps(content).encode())

    def remove(self, uid: str) -> None:
        try:
            self._directory.remove(self._file(uid))
        except FileMissing:  # not even the folder
            return

    def _file(self, uid: str) -> str:
        return f"{self._serial}/{hashlib.sha256(uid.encode()).hexdigest()[:32]}{SUFFIX}"
