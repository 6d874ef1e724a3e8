"""Each parameter class reads members that its C struct has, and leaves none unread without saying so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mrhsm_p11.mapping import mechanisms  # noqa: F401  imports every class
from mrhsm_p11.parameters import Mechanism, Parameter, member
from mrhsm_p11.parameters.symmetric import CTRParams

HEADER = (Path(__file__).parents[1] / "cdef" / "pkcs11t.h").read_text()
CLASSES = [cls for cls in Parameter.__subclasses__() if cls.__module__.startswith("mrhsm_p11.")]
UNREAD = {("CK_GCM_PARAMS", "ulIvBits"): "the standard: do not use ulIvBits, use ulIvLen"}


def members_of(struct: str) -> dict[str, str]:
    found = re.search(rf"typedef struct {struct} \{{(.*?)\}} {struct};", HEADER)
    assert found, struct
    declared = (member.split() for member in found[1].split(";") if member.strip())
    return {name: declaration for declaration, name in declared}


@pytest.mark.parametrize("cls", CLASSES)
def test_members_are_those_of_the_struct(cls: type[Parameter]) -> None:
    declared = {re.sub(r"\[.*", "", name) for name in members_of(cls.struct)}
    named = [name for each in cls.members.values() for name in each.names]
    assert declared.issuperset(cls.places.values())
    declared -= set(cls.places.values()) - set(named)
    assert {(cls.struct, name) for name in declared.difference(named)} <= UNREAD.keys()
    written = [name for each in cls.members.values() if each.kind == "place" for name in each.names]
    read = [name for each in cls.members.values() if each.kind != "place" for name in each.names]
    assert (len(read), len(written)) == (len(set(read)), len(set(written)))  # an IV may be taken or made
    assert declared.issuperset(named)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_field_of_two_members_is_pointer_and_length(cls: type[Parameter]) -> None:
    declared = members_of(cls.struct)
    arrays = {re.sub(r"\[.*", "", name) for name in declared if "[" in name}
    for name, each in cls.members.items():
        annotation = cls.__annotations__[name]
        if len(each.names) == 2:
            assert declared[each.names[0]].endswith("_PTR")
            assert declared[each.names[1]] == "CK_ULONG"
            plain = {"secret": "Secret", "attributes": "dict[int, bytes]"}.get(each.kind, "bytes")
            assert annotation == (f"tuple[{each.shape.__name__}, ...]" if each.shape else plain)
        elif each.kind == "place":
            assert annotation == "Place"
        else:
            assert len(each.names) == 1
            plain = "bytes" if each.names[0] in arrays else "int"
            assert annotation.removesuffix(" | None") == (each.shape.__name__ if each.shape else plain)


def test_values_are_frozen_and_compare() -> None:
    first = Mechanism(1, CTRParams(128, bytes(16)))
    assert first == Mechanism(1, CTRParams(counter_bits=128, counter=bytes(16)))
    assert first != Mechanism(1, CTRParams(64, bytes(16)))
    assert hash(first) == hash(Mechanism(1, CTRParams(128, bytes(16))))
    assert isinstance(first.parameter, CTRParams)
    with pytest.raises(AttributeError):
        first.parameter.counter_bits = 2  # type: ignore[misc]


@pytest.mark.parametrize("values", [(), (1,), (1, 2, 3)])
def test_a_value_has_exactly_its_fields(values: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match="counter"):
        CTRParams(*values)  # type: ignore[arg-type]


def test_a_value_shows_nothing_of_what_it_holds() -> None:
    class Passing(Parameter):
        struct = "CK_PBE_PARAMS"
        password: bytes = member("pPassword", "ulPasswordLen")

    assert "hunter2" not in repr(Passing(b"hunter2"))
