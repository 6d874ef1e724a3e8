"""Values to JSON and back: the fields of a frozen dataclass are its format, and nothing is guessed.

Bytes and secrets travel as Base-64, tuples as lists, a missing value as null. Reading is strict: an unknown, absent or
mistyped member raises Malformed with its path. Only a field that came LATER is left out while it has its default value,
so that versions with and without it read each other's files for as long as it is not used.
"""

from __future__ import annotations

import binascii
import dataclasses
import functools
import json
import types
import typing

from mrhsm_p11.secret import Secret

LATER = {"later": True}  # metadata of such a field
Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
T = typing.TypeVar("T")


class Malformed(ValueError):
    """The text says what is wrong and where; it holds no value."""


def to_json(value: object) -> Json:
    """Turn a dataclass and what it holds into what json.dumps takes."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, bytes):
        return binascii.b2a_base64(value, newline=False).decode()
    if isinstance(value, Secret):
        return binascii.b2a_base64(value.view(), newline=False).decode()
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            spec.name: to_json(held)
            for spec in dataclasses.fields(value)
            if (held := getattr(value, spec.name)) != spec.default or not spec.metadata.get("later")
        }
    raise TypeError(f"{type(value).__name__} has no JSON form")


def from_json(kind: type[T], document: object, where: str = "") -> T:
    """Build a dataclass from what `to_json` made. Raises Malformed."""
    built = _read(kind, document, where or kind.__name__)
    assert isinstance(built, kind)
    return built


def canonical(document: Json) -> bytes:
    """Return the one spelling of a document, the one that is signed."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def parse(text: bytes | str) -> object:
    """Parse JSON, refusing a member that stands twice. Raises Malformed."""
    try:
        document: object = json.loads(
            text, object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number
        )
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        at = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Malformed(f"cut off or not JSON{at}") from None
    return document


def _read(kind: object, value: object, where: str) -> object:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_fields(kind, value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise Malformed(f"{where} is not a list")
        item = typing.get_args(kind)[0]
        return tuple(_read(item, one, f"{where}[{index}]") for index, one in enumerate(value))
    if isinstance(kind, types.UnionType):  # only `X | None` occurs
        inner = next(one for one in typing.get_args(kind) if one is not type(None))
        return None if value is None else _read(inner, value, where)
    if kind in (bytes, Secret):
        return _read_base64(kind, value, where)
    if type(value) is not kind:  # bool is an int for isinstance, not here
        raise Malformed(f"{where} is not of the right type")
    return value


def _read_fields(kind: type, value: object, where: str) -> object:
    hints = _hints(kind)
    if not isinstance(value, dict):
        raise Malformed(f"{where} is not an object")
    odd = (value.keys() ^ hints.keys()) - (_later(kind) - value.keys())
    if odd:
        raise Malformed(f"{where} lacks or has too much: {', '.join(sorted(odd))}")
    return kind(**{name: _read(hints[name], held, f"{where}.{name}") for name, held in value.items()})


def _read_base64(kind: object, value: object, where: str) -> bytes | Secret:
    try:
        if not isinstance(value, str):
            raise Malformed(f"{where} is not Base-64")
        content = binascii.a2b_base64(value.encode("ascii"), strict_mode=True) if value else b""
    except ValueError:
        raise Malformed(f"{where} is not Base-64") from None
    return Secret(content) if kind is Secret else content


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    return typing.get_type_hints(kind)


@functools.cache
def _later(kind: type) -> frozenset[str]:
    return frozenset(spec.name for spec in dataclasses.fields(kind) if spec.metadata.get("later"))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a member stands twice")
    return members


def _no_number(text: str) -> object:
    raise Malformed(f"{text} is no whole number")
