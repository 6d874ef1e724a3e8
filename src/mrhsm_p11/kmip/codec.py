"""Structures to TTLV and back, driven by what their annotations say."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from functools import cache, partial
from typing import TypeVar

from mrhsm_p11.kmip import ttlv
from mrhsm_p11.kmip.structure import Field, Get, InTwo, Kind, Schema, Structure, schema
from mrhsm_p11.kmip.ttlv import Item, TTLVError
from mrhsm_p11.kmip.vocabulary import KMIP_2, ItemType, Version, tag_name, tag_of
from mrhsm_p11.secret import Secret

S = TypeVar("S", bound=Structure)
Header = tuple[int, int, int, int]  # tag, type, first, last
Reader = Callable[[memoryview, int, int, int], object]  # view, first, last, depth

# The types whose values a field of unknown meaning shows as plain Python values; the others stay items.
_SELF_EVIDENT = {ItemType.TEXT_STRING, ItemType.BYTE_STRING, ItemType.BOOLEAN, ItemType.INTEGER}


def decode(cls: type[S], data: bytes | bytearray | memoryview) -> S:
    """Return the structure whose whole encoding is `data`. Raises TTLVError, and nothing else, whatever the bytes."""
    view = memoryview(data)
    found = list(ttlv.headers(view, 0, len(view)))
    if len(found) != 1 or found[0][:2] != (tag_of(cls.__name__), ItemType.STRUCTURE):
        raise TTLVError(f"{len(view)} bytes are not one {cls.__name__}")
    return _decode(cls, view, found[0][2], found[0][3], 0)


def encode(value: Structure, version: Version | None = None) -> bytearray:
    """Return the encoding, which the caller may wipe.

    With a version, a field or attribute that is younger is refused rather than left out. Raises TTLVError.
    """
    out = bytearray()
    _encode(out, tag_of(type(value).__name__), value, version)
    return out


@cache
def _reader(kind: Kind) -> Reader:
    if kind.python is Secret:
        return lambda view, first, last, depth: Secret(view[first:last])
    if issubclass(kind.python, Structure):
        cls: type[Structure] = kind.python
        return lambda view, first, last, depth: _decode(cls, view, first, last, depth + 1)
    read = ttlv.READERS[kind.item_type]
    if issubclass(kind.python, enum.Enum):
        members: dict[object, object] = {member.value: member for member in kind.python}

        def read_member(view: memoryview, first: int, last: int, depth: int) -> object:
            value = read(view, first, last)
            return members.get(value, value)

        return read_member
    return lambda view, first, last, depth: read(view, first, last)


def _decode(cls: type[S], view: memoryview, start: int, end: int, depth: int) -> S:
    if depth > ttlv.MAXIMUM_DEPTH:
        raise TTLVError(f"structures are nested more than {ttlv.MAXIMUM_DEPTH} deep")
    plan = schema(cls)
    values: dict[str, object] = {}
    repeats: dict[tuple[str, InTwo | None], list[object]] = {}
    unknown: list[Item] = []
    order: list[int] = []
    position, canonical = 0, True
    for header in ttlv.headers(view, start, end):
        order.append(header[0])
        f = plan.by_tag.get(header[0])
        if f is None:
            unknown.append(ttlv.read(view, *header, depth + 1))
            continue
        canonical = canonical and f.position >= position
        position = f.position
        value = _read_value(cls, f, values.get, view, header, depth)
        if f.repeated:
            repeats.setdefault((f.name, f.two), []).append(value)
        elif f.name in values:
            raise TTLVError(f"{cls.__name__} has more than one {tag_name(header[0])}")
        else:
            values[f.name] = value
    for (name, two), several in repeats.items():
        if name in values:
            raise TTLVError(f"{cls.__name__} has {name} in the forms of KMIP 1 and 2")
        values[name] = two.read(tuple(several)) if two else tuple(several)
    for f in plan.required:
        if f.name not in values:
            raise TTLVError(f"{cls.__name__} has no {f.name}")
    if unknown or not canonical:
        values["unknown"], values["order"] = tuple(unknown), tuple(order)
    make: Callable[..., S] = cls
    return make(**values)


def _read_value(cls: type[Structure], f: Field, get: Get, view: memoryview, header: Header, depth: int) -> object:
    tag, type_, first, last = header
    try:
        if f.chosen:
            return _read_chosen(f.chosen.kind(get), view, header, depth)
        for kind_tag, kind in f.kinds:
            if kind.item_type == type_ and kind_tag == tag:
                return _reader(kind)(view, first, last, depth)
    except TTLVError:
        if not cls.tolerant or not (f.chosen or f.repeated):
            raise
    if cls.tolerant and (f.chosen or f.repeated):
        return ttlv.read(view, *header, depth + 1)
    raise TTLVError(f"{tag_name(tag)} in {cls.__name__} is a {ItemType.name(type_)}")


def _read_chosen(kind: Kind | None, view: memoryview, header: Header, depth: int) -> object:
    _, type_, first, last = header
    if kind is not None and kind.item_type == type_:
        return _reader(kind)(view, first, last, depth)
    if type_ == ItemType.STRUCTURE:
        return _decode(Structure, view, first, last, depth + 1)
    if kind is None and type_ in _SELF_EVIDENT:
        return ttlv.READERS[type_](view, first, last)
    return ttlv.read(view, *header)


def _encode(out: bytearray, tag: int, value: Structure, version: Version | None) -> None:
    plan = schema(type(value))
    mark = ttlv.open_structure(out, tag)
    if value.order:
        _encode_ordered(out, plan, value, version)
    else:
        for f in _form(plan, version):
            for one in _held(f, value, version):
                _write_value(out, f, one, value, version)
        for item in value.unknown:
            ttlv.write(out, item)
    ttlv.close_structure(out, mark)


def _form(plan: Schema, version: Version | None) -> tuple[Field, ...]:
    """Return the fields as a message of this version has them."""
    return plan.fields_two if version is not None and version >= KMIP_2 else plan.fields


def _encode_ordered(out: bytearray, plan: Schema, value: Structure, version: Version | None) -> None:
    """Write a structure's items in the order they once came in; what has no place there follows."""
    waiting: dict[int, deque[bytearray]] = {}

    def add(part: bytearray) -> None:
        waiting.setdefault(int.from_bytes(part[:3], "big"), deque()).append(part)

    for f in _form(plan, version):
        for one in _held(f, value, version):
            part = bytearray()
            _write_value(part, f, one, value, version)
            add(part)
    for item in value.unknown:
        add(bytearray(ttlv.encode(item)))
    for tag in value.order:
        if waiting.get(tag):
            out += waiting[tag].popleft()
    for parts in waiting.values():
        for part in parts:
            out += part


def _held(f: Field, value: Structure, version: Version | None) -> tuple[object, ...]:
    """Return the values of a field."""
    held = getattr(value, f.name)
    if held is None or (held == () and f.two is None):
        if f.required:
            raise TTLVError(f"{type(value).__name__} has no {f.name}")
        return ()
    if version is not None:
        _check_version(f, value, version)
    if f.two:
        return f.two.write(held)
    return held if f.repeated else (held,)


def _check_version(f: Field, value: Structure, version: Version) -> None:
    since, what = f.since, f.name
    if f.chosen and since is None:
        since, what = f.chosen.since(partial(getattr, value)), f"{f.name} of {value!r}"
    if since is not None and since > version:
        raise TTLVError(f"{what} needs KMIP {since[0]}.{since[1]}, the message is {version[0]}.{version[1]}")
    if f.until is not None and f.until < version:
        raise TTLVError(f"{what} ended with KMIP {f.until[0]}.{f.until[1]}, the message is {version[0]}.{version[1]}")


def _write_value(out: bytearray, f: Field, one: object, value: Structure, version: Version | None) -> None:
    if f.chosen:
        _write_chosen(out, f.kinds[0][0], f.chosen.kind(partial(getattr, value)), one, version)
        return
    if isinstance(one, Item):
        ttlv.write(out, one)
        return
    for tag, kind in f.kinds:
        unnamed = type(one) is int and kind.item_type == ItemType.ENUMERATION
        if len(f.kinds) == 1 or unnamed or isinstance(one, kind.python):
            _write_kind(out, tag, kind, one, version)
            return
    raise TTLVError(f"{type(one).__name__} is no {f.name}")


def _write_chosen(out: bytearray, tag: int, kind: Kind | None, one: object, version: Version | None) -> None:
    if isinstance(one, Item):
        ttlv.write(out, Item(tag, one.type, one.value))
    elif isinstance(one, Structure):
        _encode(out, tag, one, version)
    elif kind is not None:
        _write_kind(out, tag, kind, one, version)
    else:
        for type_, python in _SELF_EVIDENT_PYTHON:
            if isinstance(one, python):
                _write_kind(out, tag, Kind(type_, python), one, version)
                return
        raise TTLVError(f"a {type(one).__name__} has no encoding where the meaning is unknown")


_SELF_EVIDENT_PYTHON: tuple[tuple[int, type], ...] = (
    (ItemType.BOOLEAN, bool),
    (ItemType.INTEGER, int),
    (ItemType.TEXT_STRING, str),
    (ItemType.BYTE_STRING, bytes),
    (ItemType.ENUMERATION, enum.Enum),
)


def _write_kind(out: bytearray, tag: int, kind: Kind, one: object, version: Version | None) -> None:
    if isinstance(one, enum.Enum):
        one = one.value
    if isinstance(one, int) and kind.item_type not in _NOT_NUMBERS:
        ttlv.write_number(out, tag, kind.item_type, one)
    elif isinstance(one, str) and kind.item_type == ItemType.TEXT_STRING:
        ttlv.write_bytes(out, tag, kind.item_type, one.encode("utf-8", "surrogateescape"))
    elif isinstance(one, bytes) and kind.item_type == ItemType.BYTE_STRING:
        ttlv.write_bytes(out, tag, kind.item_type, one)
    elif isinstance(one, Secret) and kind.item_type in _SECRETS:
        ttlv.write_bytes(out, tag, kind.item_type, one.view())
    elif isinstance(one, Structure) and kind.item_type == ItemType.STRUCTURE:
        _encode(out, tag, one, version)
    else:
        raise TTLVError(f"a {type(one).__name__} is no value of {tag_name(tag)}")


_SECRETS = {ItemType.TEXT_STRING, ItemType.BYTE_STRING}
_NOT_NUMBERS = {ItemType.STRUCTURE, *_SECRETS}
