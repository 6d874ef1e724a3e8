"""The table of what crosses to an isolated process: complete, and within the room that crossing.h leaves."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import cffi
import pytest
from p11 import build_ffi

from mrhsm_p11.abi import isolation
from mrhsm_p11.abi._prototypes import OFFERED, PROTOTYPES
from mrhsm_p11.abi.plan import Role, plan
from mrhsm_p11.constants import CKM
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.parameters import Parameter


@cache
def declared() -> Any:
    ffi = cffi.FFI()
    ffi.cdef(build_ffi.declarations() + build_ffi.declarations("crossing.h"))
    return ffi


@cache
def numbers() -> Any:
    """Return the enumerators of crossing.h as attributes, as a library has them."""
    kinds = ("step_kind", "member_kind", "length_kind")
    found = [declared().typeof(f"enum crossing_{kind}").relements for kind in kinds]
    return SimpleNamespace(**{name: value for one in found for name, value in one.items()})


@cache
def table() -> Any:
    return isolation.fill(declared(), numbers())


def members(layout: int) -> list[Any]:
    it = table().layouts[layout]
    return [table().members[it.first + index] for index in range(it.count)]


def layout_of(kind: int) -> int:
    (row,) = [row for row in table().mechanisms[0 : table().mechanism_count] if row.type == kind]
    return int(row.layouts[0])


def test_every_role_crosses_or_is_a_value() -> None:
    assert isolation.STEPS.keys() | isolation.VALUES == set(Role)
    assert not isolation.STEPS.keys() & isolation.VALUES


def test_every_pointer_of_every_function_has_a_step() -> None:
    for index, name in enumerate(OFFERED):
        function = table().functions[index]
        steps = [table().steps[function.first + at] for at in range(function.count)]
        planned = [step for step in plan(name, PROTOTYPES[name]) if step.role not in isolation.VALUES]
        assert [step.index for step in steps] == [step.index for step in planned], name
        assert all(step.size or step.kind != numbers().STEP_ROOM for step in steps), name


def pointers(struct: str) -> set[int]:
    """Return the offsets of a structure's pointers, those of structures inside it as well."""
    found = set()
    for _, field in declared().typeof(struct).fields:
        if field.type.kind == "pointer":
            found.add(field.offset)
        elif field.type.kind == "struct":
            found |= {field.offset + offset for offset in pointers(field.type.cname.removeprefix("struct "))}
    return found


STRUCTURED = {
    CKM.name(row.type): row for row in ROWS.values() if row.parameter and issubclass(row.parameter, Parameter)
}


@pytest.mark.parametrize("row", STRUCTURED.values(), ids=STRUCTURED)
def test_every_pointer_of_every_parameter_crosses(row: Any) -> None:
    layout = layout_of(row.type)
    assert table().layouts[layout].size == declared().sizeof(row.parameter.struct)
    assert {member.offset for member in members(layout)} == pointers(row.parameter.struct)


@pytest.mark.parametrize("shape", isolation.message_shapes(), ids=lambda shape: shape.struct)
def test_every_pointer_of_every_message_crosses_both_ways(shape: type[Parameter]) -> None:
    for index in range(table().message_count):
        layout = table().messages[index]
        if table().layouts[layout].size == declared().sizeof(shape.struct):
            assert {member.offset for member in members(layout)} == pointers(shape.struct)
            assert {member.kind for member in members(layout)} == {numbers().MEMBER_PLACE}


def test_initialisation_vectors_take_their_length_from_the_structure_that_led_there() -> None:
    offsets = {declared().offsetof(f"CK_{kind}_KEY_MAT_PARAMS", "ulIVSizeInBits") for kind in ("SSL3", "TLS12")}
    outside = [
        member
        for layout in range(64)
        for member in members(layout)
        if member.length_kind == numbers().LENGTH_BITS_OUTSIDE
    ]
    assert {member.length for member in outside} == offsets
    assert len(offsets) == 1


def test_a_length_that_is_pointed_to_crosses_first() -> None:
    kinds = [member.length_kind for member in members(layout_of(CKM.TLS_PRF))]
    assert kinds[-1] == numbers().LENGTH_POINTED_TO
    assert kinds.count(numbers().LENGTH_POINTED_TO) == 1


def test_messages_are_told_apart_by_size() -> None:
    sizes = [declared().sizeof(shape.struct) for shape in isolation.message_shapes()]
    assert len(set(sizes)) == len(sizes) == table().message_count == 3


@pytest.mark.parametrize("function", ["C_MessageEncryptInit", "C_MessageDecryptInit"])
def test_what_only_has_a_size_is_not_followed(function: str) -> None:
    """CK_GCM_PARAMS is as long as CK_GCM_MESSAGE_PARAMS, and has a number where that has a pointer."""
    it = table().functions[OFFERED.index(function)]
    kinds = [table().steps[it.first + at].kind for at in range(it.count)]
    assert kinds == [numbers().STEP_SIZED_MECHANISM]


def test_a_message_is_told_by_its_mechanism_where_there_is_one() -> None:
    for row in table().mechanisms[0 : table().mechanism_count]:
        shape = ROWS[row.type].message_parameter
        assert row.message_count == bool(shape), CKM.name(row.type)
        if shape and issubclass(shape, Parameter):
            assert table().layouts[row.message].size == declared().sizeof(shape.struct)


def test_no_parameter_of_a_signature_is_followed() -> None:
    for name in OFFERED:
        if name.removeprefix("C_").startswith(("SignMessage", "VerifyMessage")):
            it = table().functions[OFFERED.index(name)]
            kinds = {table().steps[it.first + at].kind for at in range(it.count)}
            assert numbers().STEP_MESSAGE not in kinds, name
