from __future__ import annotations

from itertools import pairwise

import pytest

from mrhsm_p11.abi import plan as plans
from mrhsm_p11.abi._prototypes import OFFERED, PROTOTYPES
from mrhsm_p11.abi.marshal import CROSSINGS
from mrhsm_p11.abi.plan import Role, Step, plan


def roles(name: str) -> list[Role]:
    return [step.role for step in plan(name, PROTOTYPES[name])]


@pytest.mark.parametrize("name", OFFERED)
def test_every_offered_function_has_a_plan_that_covers_each_argument_once(name: str) -> None:
    steps = plan(name, PROTOTYPES[name])
    covered = [index for step in steps for index in range(step.index, step.index + step.width)]
    assert covered == list(range(len(PROTOTYPES[name])))


def test_every_row_is_of_use() -> None:
    kinds = {kind for prototype in PROTOTYPES.values() for kind, _ in prototype}
    assert set(plans.SINGLE) <= kinds
    neighbours = {(a[0], b[0]) for p in PROTOTYPES.values() for a, b in pairwise(p)}
    assert set(plans.PAIRS) <= neighbours
    arguments = {(name, argument) for name, prototype in PROTOTYPES.items() for _, argument in prototype}
    assert set(plans.EXCEPTIONS) <= arguments
    assert set(plans.TOO_LONG) <= arguments | {argument for _, argument in arguments}


def test_every_role_crosses_and_is_played() -> None:
    assert set(CROSSINGS) == set(Role)
    assert {role for name in OFFERED for role in roles(name)} == set(Role)


def test_pairs_are_read_before_single_types() -> None:
    assert plan("C_Encrypt", PROTOTYPES["C_Encrypt"]) == (
        Step(Role.NUMBER, 0, 1, "CK_SESSION_HANDLE"),
        Step(Role.BYTES, 1, 2, "CK_BYTE_PTR"),
        Step(Role.ROOM, 3, 2, "CK_BYTE_PTR"),
    )


def test_exceptions_win_over_types() -> None:
    assert roles("C_GenerateRandom") == [Role.NUMBER, Role.FILL]
    assert roles("C_SeedRandom") == [Role.NUMBER, Role.BYTES]


def test_a_type_without_a_row_is_refused() -> None:
    with pytest.raises(LookupError, match="C_New: no row says what CK_NEW_PTR pNew is"):
        plan("C_New", (("CK_NEW_PTR", "pNew"),))
