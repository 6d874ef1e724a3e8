"""Each parameter class reads members that its C struct has, and leaves none unread without saying so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from mrhsm_p11 import parameters
from mrhsm_p11.parameters import Parameter

HEADER = (Path(__file__).parents[1] / "cdef" / "pkcs11t.h").read_text()
CLASSES = [cls for cls in vars(parameters).values() if isinstance(cls, type) and issubclass(cls, Parameter)]
CLASSES.remove(Parameter)
UNREAD = {("CK_GCM_PARAMS", "ulIvBits"): "the standard: do not use ulIvBits, use ulIvLen"}


def members_of(struct: str) -> dict[str, str]:
    found = re.search(rf"typedef struct {struct} \{{(.*?)\}} {struct};", HEADER)
    assert found, struct
    declared = (member.split() for member in found[1].split(";") if member.strip())
    return {name: declaration for declaration, name in declared}


@pytest.mark.parametrize("cls", CLASSES)
def test_members_are_those_of_the_struct(cls: type[Parameter]) -> None:
    declared = members_of(cls.struct)
    named = [name for field in dataclasses.fields(cls) for name in field.metadata["members"]]
    left = {(cls.struct, re.sub(r"\[.*", "", name)) for name in declared} - {(cls.struct, name) for name in named}
    assert left <= UNREAD.keys()
    assert len(named) == len(set(named))
    assert {re.sub(r"\[.*", "", name) for name in declared} >= set(named)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_field_of_two_members_is_pointer_and_length_as_bytes(cls: type[Parameter]) -> None:
    declared = members_of(cls.struct)
    arrays = {re.sub(r"\[.*", "", name) for name in declared if "[" in name}
    for field in dataclasses.fields(cls):
        names = field.metadata["members"]
        if len(names) == 2:
            assert declared[names[0]].endswith("_PTR")
            assert declared[names[1]] == "CK_ULONG"
            assert field.type == "bytes"
        else:
            assert len(names) == 1
            assert field.type == ("bytes" if names[0] in arrays else "int")


def test_values_are_frozen_and_compare() -> None:
    first = parameters.Mechanism(1, parameters.CTRParams(128, bytes(16)))
    assert first == parameters.Mechanism(1, parameters.CTRParams(128, bytes(16)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.type = 2  # type: ignore[misc]
