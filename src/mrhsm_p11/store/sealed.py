"""One object of the file store as bytes: a short header, the sealed attributes, the sealed material.

The two parts are sealed apart, so that a search opens no material; both are bound to the object's identifier, class and
generation, so that neither can be moved to another object or mixed with an older one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from mrhsm_p11.constants import CKA
from mrhsm_p11.secret import Secret
from mrhsm_p11.store import values
from mrhsm_p11.store.base import Attributes, KeyState
from mrhsm_p11.tokendir import codec, sealing

MAGIC = b"mrhsmobj"
VERSION = 1
NO_CLASS = 0xFFFFFFFFFFFFFFFF
_HEADER = struct.Struct(">8sBQQL")  # magic, version, class, generation, length of the sealed attributes


class Damaged(Exception):
    """The bytes are not an object of this token."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """All of an object but its material."""

    attributes: Attributes = field(default_factory=dict)
    state: KeyState = KeyState.ACTIVE
    generation: int = 1  # raised by each change
    name: str = ""  # cluster keys only, as is:
    initial_date: int | None = None


@dataclass(frozen=True, slots=True)
class SealKey:
    """What objects of one token are sealed with."""

    token_key: Secret
    serial: str


def seal(key: SealKey, uid: str, stored: StoredObject, material: Secret) -> bytes:
    """Return the bytes of an object's file."""
    cls = stored.attributes.get(CKA.CLASS)
    cls = cls if isinstance(cls, int) else NO_CLASS
    plain = codec.canonical(
        {
            "attributes": values.to_json(stored.attributes),
            "state": stored.state.name,
            "name": stored.name,
            "initial_date": stored.initial_date,
        }
    )
    bound = _bound(uid, cls, stored.generation)
    attributes = sealing.seal(key.token_key, "object attributes", key.serial, plain, bound)
    header = _HEADER.pack(MAGIC, VERSION, cls, stored.generation, len(attributes))
    return header + attributes + sealing.seal(key.token_key, "object material", key.serial, material.view(), bound)


def open_object(key: SealKey, uid: str, content: bytes) -> StoredObject:
    """Return what an object's file says of it. Raises Damaged."""
    cls, generation, sealed, _ = _split(content)
    try:
        plain = sealing.open_sealed(
            key.token_key, "object attributes", key.serial, sealed, _bound(uid, cls, generation)
        )
        document = codec.parse(plain)
        if not isinstance(document, dict):
            raise Damaged
        name, date = document["name"], document["initial_date"]
        return StoredObject(
            values.from_json(document["attributes"]), KeyState[document["state"]], generation, name, date
        )
    except (sealing.SealBroken, codec.Malformed, KeyError):
        raise Damaged from None


def open_material(key: SealKey, uid: str, content: bytes) -> Secret:
    """Return an object's material. Raises Damaged."""
    cls, generation, _, sealed = _split(content)
    try:
        return Secret(
            sealing.open_sealed(key.token_key, "object material", key.serial, sealed, _bound(uid, cls, generation))
        )
    except sealing.SealBroken:
        raise Damaged from None


def join(first: bytes, second: bytes) -> bytes:
    """Put two objects into one file, which exists whole or not at all."""
    return len(first).to_bytes(8) + first + second


def split(content: bytes) -> tuple[bytes, bytes]:
    """Undo `join`."""
    end = 8 + int.from_bytes(content[:8])
    return content[8:end], content[end:]


def _split(content: bytes) -> tuple[int, int, memoryview, memoryview]:
    if len(content) < _HEADER.size:
        raise Damaged
    magic, version, cls, generation, size = _HEADER.unpack_from(content)
    if (magic, version) != (MAGIC, VERSION):
        raise Damaged
    body = memoryview(content)[_HEADER.size :]
    return cls, generation, body[:size], body[size:]


def _bound(uid: str, cls: int, generation: int) -> bytes:
    return f"{uid}/{cls:x}/{generation}".encode()
