"""PKCS #11 attributes that have no home in KMIP, as one line of printable ASCII.

`{"v":1,"t":"<token serial>","n":"<nonce>","a":{"LABEL":"...","ID":{"b":"<base64>"},...}}`; a null says that the object
lacks an attribute which would be derived. The nonce makes the line one of its kind: an unanswered Create is looked for
by it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from mrhsm_p11.constants import CKA
from mrhsm_p11.store.base import Value

SCHEMA = 1
LIMIT = 2048
FOREIGN = ""  # in place of a serial: the object is another tool's, only its attributes were changed here
Changes = Mapping[int, Value | None]
_Json = bool | int | str | list[int] | dict[str, "_Json"] | None

_KINDS = {"b", "t"}


@dataclass(frozen=True, slots=True)
class Blob:
    """`attributes` differ from what can be derived; None: derived, but the object has no such attribute."""

    serial: str
    nonce: str
    attributes: Changes = field(default_factory=dict)
    rest: bool = False  # some attributes did not fit: they are in the sidecar file


def dump(blob: Blob) -> str:
    """Return the blob's line; it may exceed LIMIT."""
    head: dict[str, _Json] = {"v": SCHEMA, "t": blob.serial, "n": blob.nonce}
    if blob.rest:
        head["r"] = 1
    head["a"] = dump_attributes(blob.attributes)
    return json.dumps(head, separators=(",", ":"), ensure_ascii=True)


def load(text: str) -> Blob | None:
    """Return what the line says, or None where it is not a blob of a schema that we know."""
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(head, dict) or head.get("v") != SCHEMA or not isinstance(head.get("a"), dict):
        return None
    serial, nonce = head.get("t"), head.get("n")
    if not isinstance(serial, str) or not isinstance(nonce, str):
        return None
    try:
        return Blob(serial, nonce, load_attributes(head["a"]), bool(head.get("r")))
    except (ValueError, TypeError, binascii.Error):
        return None


def fit(blob: Blob) -> tuple[Blob, Changes]:
    """Return the blob cut to LIMIT, and the attributes (largest first) that had to leave it."""
    kept = dict(blob.attributes)
    left: dict[int, Value | None] = {}
    by_size = sorted(kept, key=lambda cka: len(json.dumps(_dumped(kept[cka]))))
    fitted = blob
    while len(dump(fitted)) > LIMIT and by_size:
        largest = by_size.pop()
        left[largest] = kept.pop(largest)
        fitted = Blob(blob.serial, blob.nonce, dict(kept), rest=True)
    return fitted, left


def dump_attributes(attributes: Changes) -> dict[str, _Json]:
    """Return the attributes as JSON values under their CKA names."""
    return {CKA.name(cka): _dumped(value) for cka, value in attributes.items()}


def load_attributes(found: Mapping[str, object]) -> dict[int, Value | None]:
    """Return what dump_attributes was given. Raises ValueError."""
    return {_cka(name): _loaded(value) for name, value in found.items()}


def _dumped(value: Value | None) -> _Json:
    if isinstance(value, bytes):
        return {"b": base64.b64encode(value).decode()}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {"t": dump_attributes(value)}
    return value


def _loaded(value: object) -> Value | None:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list) and all(type(item) is int for item in value):
        return tuple(value)
    if isinstance(value, dict) and len(value) == 1 and set(value) <= _KINDS:
        ((kind, inner),) = value.items()
        if kind == "b" and isinstance(inner, str):
            return base64.b64decode(inner, validate=True)
        if kind == "t" and isinstance(inner, dict):
            return {cka: item for cka, item in load_attributes(inner).items() if item is not None}
    raise ValueError("not an attribute value")


def _cka(name: str) -> int:
    if name.startswith("0x"):
        return int(name, 16)
    value = getattr(CKA, name, None)
    if not isinstance(value, int):
        raise ValueError(f"unknown attribute {name!r}")  # noqa: TRY004
    return value
