"""Mechanism parameters as values: each class names the C struct it is read from, each field the struct's members."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, ClassVar, Literal, NamedTuple, dataclass_transform


class Member(NamedTuple):
    """Where a field comes from: one struct member, or a pointer and its length (then bytes, or a tuple of `shape`).

    `shape`: the class of a struct that is nested, pointed to, or (with a length) stands in an array. `kind` says what
    is made of a member that is neither a number, nor bytes, nor a structure. `bits`: the lengths that count bits.
    """

    names: tuple[str, ...]
    shape: type[Parameter] | None
    kind: Literal["", "secret", "place", "attributes"] = ""
    bits: Container[int] = ()


EVERY = range(1 << 64)


# as dataclasses.field(): it stands where a value is declared
def member(*names: str, bits: Container[int] = ()) -> Any:
    """Declare a field read from one struct member, or from (pointer, length): it is then bytes, copied."""
    return Member(names, None, bits=bits)


def nested(shape: type[Parameter], *names: str) -> Any:
    """Declare a field that is a struct of its own (None at NULL), or from (pointer, count) a tuple of such."""
    return Member(names, shape)


def secret(*names: str) -> Any:
    """Declare a field of (pointer, length) that nobody may see: it is a Secret."""
    return Member(names, None, "secret")


def place(name: str) -> Any:
    """Declare a field that an answer is written to: a number in the struct, or memory that it points to."""
    return Member((name,), None, "place")


def attributes(*names: str) -> Any:
    """Declare a field of (pointer, count) that is a template."""
    return Member(names, None, "attributes")


class Place:
    """The caller's memory, which takes part of an answer; `number` is the CK_ULONG that stands there now."""

    __slots__ = ("_write", "number")

    def __init__(self, write: Callable[[int | bytes], None] | None, number: int = 0) -> None:
        self._write = write
        self.number = number

    @property
    def given(self) -> bool:
        return self._write is not None

    def fill(self, value: int | bytes) -> None:
        """Write the answer. Only what is given is filled, and only once nothing can fail any more."""
        assert self._write is not None
        self._write(value)


@dataclass_transform(frozen_default=True, field_specifiers=(member, nested, secret, place, attributes))
class Parameter:
    """The base of all structured mechanism parameters: an immutable value.

    Not a dataclass: forty of those would cost a fifth of what C_Initialize may take.
    """

    struct: ClassVar[str]
    members: ClassVar[dict[str, Member]] = {}
    # pointers that are read and written when their length is known: name -> member
    places: ClassVar[dict[str, str]] = {}
    # field -> values that are off with `legacy = false`
    legacy: ClassVar[dict[str, tuple[int, ...]]] = {}

    @property
    def is_legacy(self) -> bool:
        """Tell whether one of the fields asks for what `legacy = false` turns off."""
        return any(getattr(self, name) in values for name, values in self.legacy.items())

    def named_keys(self) -> tuple[int, ...]:
        """Return the handles of the keys that the parameter names, beside the one a function is called with."""
        return ()

    def __init_subclass__(cls) -> None:
        cls.members = {name: value for name, value in vars(cls).items() if isinstance(value, Member)}
        for name in cls.members:
            delattr(cls, name)

    def __init__(self, *values: object, **named: object) -> None:
        given = dict(zip(self.members, values, strict=False), **named)
        if len(values) + len(named) != len(self.members) or given.keys() != self.members.keys():
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.members)}")
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        shown = (f"{name}={_shown(value)}" for name, value in vars(self).items())
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else repr(value)  # which may be a password


class Mechanism(NamedTuple):
    """What a caller asked for: a CKM and its parameter (structured, raw bytes such as an IV, or none)."""

    type: int
    parameter: Parameter | bytes | None = None
