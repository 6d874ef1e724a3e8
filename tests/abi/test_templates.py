from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from p11 import Cryptoki, declarations

from mrhsm_p11.abi import templates
from mrhsm_p11.abi.templates import NESTED, Template, template_reader, wanted_reader, wanted_writer
from mrhsm_p11.constants import CK, CKA, CKR
from mrhsm_p11.errors import (
    ArgumentsBad,
    AttributeSensitive,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    CryptokiError,
    TemplateInconsistent,
)

ffi = declarations()
read, read_types, write = template_reader(ffi), wanted_reader(ffi), wanted_writer(ffi)
ULONG_MAX = CK.UNAVAILABLE_INFORMATION


class Encoder(Cryptoki):
    """The client's template encoding, without a library."""

    def __init__(self) -> None:
        self.ffi, self._kept = ffi, []


def attributes(*rows: tuple[int, Any, int]) -> Any:
    return ffi.new("CK_ATTRIBUTE[]", [[kind, ffi.cast("void *", place), length] for kind, place, length in rows])


def nested(depth: int) -> st.SearchStrategy[Template]:
    plain = st.dictionaries(st.integers(0, 0x3FFFFFFF), st.binary(max_size=40), max_size=6)
    if depth == 0:
        return plain
    inner = st.dictionaries(st.sampled_from(sorted(NESTED)), nested(depth - 1), max_size=2)
    return st.builds(lambda a, b: {**a, **b}, plain, inner)


@settings(deadline=None)
@given(nested(2))
def test_what_a_client_encodes_is_what_is_read(template: Template) -> None:
    assert read(*Encoder().template(template)) == template


def test_the_nested_attributes_are_the_templates() -> None:
    assert {CKA.WRAP_TEMPLATE, CKA.UNWRAP_TEMPLATE, CKA.DERIVE_TEMPLATE} <= NESTED
    assert CKA.ALLOWED_MECHANISMS not in NESTED


def test_a_misaligned_array_is_read() -> None:
    array, count = Encoder().template({CKA.LABEL: b"one", CKA.ID: b"two"})
    raw = ffi.new("CK_BYTE[]", 200)
    ffi.memmove(raw + 5, array, count * 24)
    assert read(ffi.cast("CK_ATTRIBUTE *", raw + 5), count) == {CKA.LABEL: b"one", CKA.ID: b"two"}


def test_the_same_value_twice_is_fine_and_another_is_not() -> None:
    value, other = ffi.new("CK_BYTE[1]", b"a"), ffi.new("CK_BYTE[1]", b"b")
    assert read(attributes((3, value, 1), (3, value, 1)), 2) == {3: b"a"}
    with pytest.raises(TemplateInconsistent):
        read(attributes((3, value, 1), (3, other, 1)), 2)


def test_lengths_that_cannot_be_are_refused_untouched() -> None:
    for row, error in [
        ((3, 0, 1), ArgumentsBad),
        ((3, 0, ULONG_MAX), ArgumentsBad),
        ((3, 1, ULONG_MAX), AttributeValueInvalid),
        ((CKA.WRAP_TEMPLATE, 1, 23), AttributeValueInvalid),
        ((CKA.WRAP_TEMPLATE, 1, 24 * 1025), ArgumentsBad),
    ]:
        with pytest.raises(error):
            read(attributes(row), 1)


@pytest.mark.parametrize("reader", [read, read_types])
def test_counts_that_cannot_be_are_refused_untouched(reader: Any) -> None:
    for pointer, count in [(ffi.NULL, 1), (ffi.cast("CK_ATTRIBUTE *", 1), 1025), (ffi.NULL, ULONG_MAX)]:
        with pytest.raises(ArgumentsBad):
            reader(pointer, count)
    assert not reader(ffi.NULL, 0)


def test_a_template_that_contains_itself_ends() -> None:
    array = ffi.new("CK_ATTRIBUTE[1]", [[CKA.WRAP_TEMPLATE, ffi.NULL, 24]])
    array[0].pValue = ffi.cast("void *", array)
    with pytest.raises(AttributeValueInvalid):
        read(array, 1)


def room(size: int) -> Any:
    """Return a buffer with a guard of 0xa5 behind it."""
    return ffi.new("CK_BYTE[]", bytes(size) + b"\xa5" * 8)


def test_values_lengths_and_failures_are_reported_each_by_itself() -> None:
    enough, exact, short = room(10), room(3), room(2)
    array = attributes((1, 0, 77), (2, enough, 10), (3, exact, 3), (4, short, 2), (5, 0, 0), (6, enough, 10))
    values = [b"abc", b"def", b"ghi", b"jkl", AttributeTypeInvalid(), AttributeSensitive()]
    assert read_types(array, 6) == [1, 2, 3, 4, 5, 6]
    assert write(array, values) == CKR.ATTRIBUTE_SENSITIVE
    assert [entry.ulValueLen for entry in array] == [3, 3, 3, ULONG_MAX, ULONG_MAX, ULONG_MAX]
    assert bytes(ffi.buffer(enough)).startswith(b"def\0\0")
    assert bytes(ffi.buffer(exact, 11)) == b"ghi" + b"\xa5" * 8
    assert bytes(ffi.buffer(short, 10)) == b"\0\0" + b"\xa5" * 8


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([b"1"], CKR.OK),
        ([], CKR.OK),
        ([b"12"], CKR.BUFFER_TOO_SMALL),
        ([b"12", AttributeTypeInvalid()], CKR.ATTRIBUTE_TYPE_INVALID),
        ([AttributeTypeInvalid(), AttributeSensitive(), b"12"], CKR.ATTRIBUTE_SENSITIVE),
        ([AttributeValueInvalid(), b"1"], CKR.ATTRIBUTE_VALUE_INVALID),
    ],
)
def test_the_worst_failure_is_the_answer(values: list[Any], answer: int) -> None:
    place = room(1)
    assert write(attributes(*[(1, place, 1)] * len(values)), values) == answer


def test_nested_templates_are_told_in_three_calls() -> None:
    value: Template = {CKA.LABEL: b"inner", CKA.ENCRYPT: b"\1"}
    outer = attributes((CKA.WRAP_TEMPLATE, 0, 0))
    assert write(outer, [value]) == CKR.OK
    assert outer[0].ulValueLen == 2 * 24

    inner = ffi.new("CK_ATTRIBUTE[2]")
    outer[0].pValue = ffi.cast("void *", inner)
    assert write(outer, [value]) == CKR.OK
    assert [(entry.type, entry.ulValueLen) for entry in inner] == [(CKA.LABEL, 5), (CKA.ENCRYPT, 1)]

    places = [room(5), room(1)]
    for entry, place in zip(inner, places, strict=True):
        entry.pValue = ffi.cast("void *", place)
    assert write(outer, [value]) == CKR.OK
    assert bytes(ffi.buffer(places[0], 5)) == b"inner"

    outer[0].ulValueLen = 24
    assert write(outer, [value]) == CKR.BUFFER_TOO_SMALL
    assert outer[0].ulValueLen == ULONG_MAX


def test_what_is_read_in_one_piece_is_what_is_read_step_by_step(
    cryptoki: Cryptoki, monkeypatch: pytest.MonkeyPatch
) -> None:
    cryptoki.initialize()  # which brings the C front's half
    chance, flat, pieces = random.Random(1), templates._flat, []
    assert flat is not None

    def counted(*arguments: Any) -> int:
        pieces.append(flat(*arguments))
        return pieces[-1]

    def answer(array: Any, count: int) -> object:
        try:
            return read(array, count)
        except CryptokiError as error:
            return type(error)

    for _ in range(2000):
        values = [ffi.new("CK_BYTE[]", chance.randbytes(chance.choice((1, 1, 8, 8, 100, 200)))) for _ in range(6)]
        rows = [(chance.choice((0, 1, 2, 3, CKA.WRAP_TEMPLATE)), value, len(value)) for value in values]
        rows = [(kind, *chance.choice(((value, n), (value, n), (value, 0), (0, n)))) for kind, value, n in rows]
        rows = rows[: chance.randrange(7)] if chance.random() < 0.5 else [row for row in rows if row[1] and row[0] < 4]
        array, count = attributes(*rows), len(rows)
        monkeypatch.setattr(templates, "_flat", None)
        expected = answer(array, count)
        monkeypatch.setattr(templates, "_flat", counted)
        assert answer(array, count) == expected
    assert 0 < pieces.count(0) < len(pieces)
