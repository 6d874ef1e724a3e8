"""Structures as dataclasses: the fields are tags, their annotations the wire types.

    @structure
    class Digest(Structure):
        hashing_algorithm: HashingAlgorithm | int             # Enumeration; an unknown value stays an int
        digest_value: bytes | None = None                     # None is absent
        key_format_type: Annotated[KeyFormatType | int | None, V1_1] = None   # since KMIP 1.1

int is Integer, the aliases below the other numbers and a text that is secret; str, bytes and Secret, bool; a Structure;
tuple[X, ...] repeats.
A union is told apart by wire type (`bytes | KeyValue`) or, for several structures, by their own tags. What a
structure does not know, and an order it does not expect, are kept and written again where they were. A field that
KMIP 2 writes as other items says so with `InTwo`: it holds the same value in every version.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, NoReturn, TypeAlias, TypeVar, dataclass_transform

from mrhsm_p11.kmip.ttlv import Item
from mrhsm_p11.kmip.vocabulary import ItemType, Version, tag_of
from mrhsm_p11.secret import Secret

S = TypeVar("S", bound="Structure")


@dataclass(frozen=True, slots=True)
class _Wire:
    """Marks an annotation with another item type than its class has."""

    type: int


@dataclass(frozen=True, slots=True)
class Since:
    """Marks a field that no message of an earlier version may have."""

    version: Version


@dataclass(frozen=True, slots=True)
class Until:
    """Marks a field that no message of a later version may have."""

    version: Version


LongInteger: TypeAlias = Annotated[int, _Wire(ItemType.LONG_INTEGER)]
BigInteger: TypeAlias = Annotated[int, _Wire(ItemType.BIG_INTEGER)]
DateTime: TypeAlias = Annotated[int, _Wire(ItemType.DATE_TIME)]  # seconds since the epoch
Interval: TypeAlias = Annotated[int, _Wire(ItemType.INTERVAL)]  # seconds
SecretText: TypeAlias = Annotated[Secret, _Wire(ItemType.TEXT_STRING)]  # UTF-8
V1_1, V1_2, V1_3, V1_4 = (Since((1, minor)) for minor in range(1, 5))
V2_0 = Since((2, 0))
ONLY_1 = Until((1, 4))


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def structure(cls: type[S]) -> type[S]:
    """Make a class statement a slotted dataclass whose methods are all those of `Structure`.

    Methods of its own would cost each of some 80 classes a quarter of a millisecond at import.
    """
    cls.__doc__ = cls.__doc__ or cls.__name__  # else dataclass() spends time on composing one
    return dataclass(init=False, repr=False, eq=False, match_args=False, slots=True)(cls)


@structure
class Structure:
    """A structure of which nothing is known, and the frozen, keyword-only base of those of which something is."""

    # What is not as its field says is kept as it came, instead of being refused.
    tolerant: ClassVar[bool] = False
    unknown: tuple[Item, ...] = ()  # items without a field
    order: tuple[int, ...] = ()  # the tags as they came, where that is not the order of the fields

    def __init__(self, **values: object) -> None:
        hold = object.__setattr__
        for name, default in _defaults(type(self)):
            value = values.pop(name, default)
            if value is MISSING:
                raise TypeError(f"{type(self).__name__} needs {name}")
            hold(self, name, value)
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"{name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"{name} cannot be deleted")

    def __repr__(self) -> str:
        shown = []
        for f in fields(self):
            value = getattr(self, f.name)
            if f.repr and value is not None and value != ():
                shown.append(f"{f.name}={f'<{len(value)} bytes>' if isinstance(value, bytes) else value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self))

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, f.name) for f in fields(self))))


def _defaults(cls: type[Structure]) -> tuple[tuple[str, object], ...]:
    known = _known_defaults.get(cls)
    if known is None:
        known = _known_defaults[cls] = tuple((f.name, f.default) for f in fields(cls))
    return known


_known_defaults: dict[type[Structure], tuple[tuple[str, object], ...]] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One way a value is written: item type, and the Python class of its values."""

    item_type: int
    python: type


Get = Callable[[str], object]  # the value of a field by its name


@dataclass(frozen=True, slots=True)
class Chosen:
    """Marks a field whose kind, and first version, the fields before it tell; None where they do not."""

    kind: Callable[[Get], Kind | None]
    since: Callable[[Get], Version | None] = lambda get: None


@dataclass(frozen=True, slots=True)
class InTwo:
    """Marks a field that KMIP 2 writes as items called `name`, each one of `hint`.

    `write` makes them of the field's value and `read` the value of them. `only`: 1.x has no such field, and leaves
    the value out because it says the same by other means.
    """

    name: str
    hint: object
    write: Callable[[Any], tuple[object, ...]]
    read: Callable[[tuple[Any, ...]], object]
    only: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """What the codec needs to know of a field, in one of its forms."""

    name: str
    position: int
    repeated: bool
    required: bool
    since: Version | None
    until: Version | None
    chosen: Chosen | None
    kinds: tuple[tuple[int, Kind], ...]  # (tag, kind)
    two: InTwo | None = None  # this is its form in KMIP 2


@dataclass(frozen=True, slots=True)
class Schema:
    """What the codec needs to know of a structure."""

    fields: tuple[Field, ...]  # in the form of KMIP 1
    fields_two: tuple[Field, ...]  # in that of KMIP 2
    by_tag: dict[int, Field]  # in either
    required: tuple[Field, ...]


_PLAIN: dict[type, int] = {
    Secret: ItemType.BYTE_STRING,
    int: ItemType.INTEGER,
    bool: ItemType.BOOLEAN,
    str: ItemType.TEXT_STRING,
    bytes: ItemType.BYTE_STRING,
}


def _kind(hint: object) -> Kind:
    if typing.get_origin(hint) is Annotated:
        wire = next(mark for mark in typing.get_args(hint) if isinstance(mark, _Wire))
        return Kind(wire.type, typing.get_args(hint)[0])
    if not isinstance(hint, type):
        raise TypeError(f"{hint!r} is no wire type")
    if issubclass(hint, enum.Enum):
        return Kind(ItemType.ENUMERATION, hint)
    if issubclass(hint, Structure):
        return Kind(ItemType.STRUCTURE, hint)
    return Kind(_PLAIN[hint], hint)


def _alternatives(hint: object) -> tuple[list[object], bool]:
    """Return the members of an annotation other than None, and whether it repeats."""
    if typing.get_origin(hint) is tuple:
        return _alternatives(typing.get_args(hint)[0])[0], True
    if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
        return [hint], False
    members = [member for member in typing.get_args(hint) if member is not types.NoneType]
    if any(isinstance(member, type) and issubclass(member, enum.Enum) for member in members):
        members.remove(int)  # the int of an unknown enumeration value
    if len(members) == 1:
        return _alternatives(members[0])
    return members, False


def kind_of(hint: object) -> Kind:
    """Return the kind that an annotation of one wire type says."""
    return _kind(_alternatives(hint)[0][0])


def _kinds(name: str, hint: object) -> tuple[tuple[tuple[int, Kind], ...], bool]:
    members, repeated = _alternatives(hint)
    kinds = [_kind(member) for member in members]
    structures = [kind for kind in kinds if kind.item_type == ItemType.STRUCTURE]
    if len(structures) > 1:
        return tuple((tag_of(kind.python.__name__), kind) for kind in structures), repeated
    return tuple((tag_of(name), kind) for kind in kinds), repeated


def _unmarked(hint: object) -> tuple[object, tuple[object, ...]]:
    """Return an annotation without the marks of its field, and those."""
    if typing.get_origin(hint) is not Annotated:
        return hint, ()
    inner, *marks = typing.get_args(hint)
    wire = [mark for mark in marks if isinstance(mark, _Wire)]
    return (Annotated[inner, wire[0]] if wire else inner), tuple(mark for mark in marks if mark not in wire)


def schema(cls: type[Structure]) -> Schema:
    """Return what the annotations of `cls` say, worked out at its first use."""
    known = _schemas.get(cls)
    if known is None:
        known = _schemas[cls] = _schema(cls)
    return known


_schemas: dict[type[Structure], Schema] = {}


def _schema(cls: type[Structure]) -> Schema:
    hints = typing.get_type_hints(cls, include_extras=True)
    one: list[Field] = []
    two: list[Field] = []
    for position, f in enumerate(f for f in fields(cls) if f.name not in _BASE_FIELDS):
        hint, marks = _unmarked(hints[f.name])
        since = next((mark.version for mark in marks if isinstance(mark, Since)), None)
        until = next((mark.version for mark in marks if isinstance(mark, Until)), None)
        chosen = next((mark for mark in marks if isinstance(mark, Chosen)), None)
        form = next((mark for mark in marks if isinstance(mark, InTwo)), None)
        kinds, repeated = _kinds(f.name, Structure if chosen else hint)
        made = Field(f.name, position, repeated, f.default is MISSING, since, until, chosen, kinds)
        if form is None or not form.only:
            one.append(made)
        if form is not None:
            kinds, _ = _kinds(form.name, form.hint)
            made = replace(made, repeated=True, chosen=None, kinds=kinds, two=form)
        two.append(made)
    by_tag = {tag: f for f in (*two, *one) for tag, _ in f.kinds}
    return Schema(tuple(one), tuple(two), by_tag, tuple(f for f in two if f.required))


_BASE_FIELDS = {f.name for f in fields(Structure)}
