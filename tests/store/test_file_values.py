from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrhsm_p11.secret import Secret
from mrhsm_p11.store import sealed, values
from mrhsm_p11.store.base import KeyState
from mrhsm_p11.store.sealed import SealKey, StoredObject
from mrhsm_p11.tokendir import codec

SIMPLE = (
    st.booleans()
    | st.integers(0, 2**64 - 1)
    | st.text(alphabet=st.characters(), max_size=20)  # lone surrogates too: what is not UTF-8 travels as those
    | st.binary(max_size=40)
    | st.lists(st.integers(0, 2**64 - 1), max_size=4).map(tuple)
)
TYPES = st.integers(0, 2**64 - 1)
ATTRIBUTES = st.dictionaries(TYPES, st.recursive(SIMPLE, lambda inner: st.dictionaries(TYPES, inner, max_size=3)))
KEY = SealKey(Secret(bytes(32)), "07137a824d621939")


def types(value: object) -> object:
    return {key: types(one) for key, one in value.items()} if isinstance(value, dict) else type(value)


@settings(max_examples=100, deadline=None)
@given(ATTRIBUTES)
def test_values_come_back_as_they_were(attributes: dict[int, object]) -> None:
    found = values.from_json(codec.parse(codec.canonical(values.to_json(attributes))))  # type: ignore[arg-type]
    assert found == attributes
    assert types(found) == types(attributes)


@settings(max_examples=50, deadline=None)
@given(ATTRIBUTES, st.sampled_from(KeyState), st.integers(1, 2**40), st.text(max_size=9), st.none() | st.integers())
def test_objects_come_back_as_they_were(
    attributes: dict[int, object], state: KeyState, generation: int, name: str, date: int | None
) -> None:
    stored = StoredObject(attributes, state, generation, name, date)  # type: ignore[arg-type]
    content = sealed.seal(KEY, "l-1", stored, Secret(b"material"))
    assert sealed.open_object(KEY, "l-1", content) == stored
    assert sealed.open_material(KEY, "l-1", content) == Secret(b"material")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_damaged(content: bytes) -> None:
    for start in (b"", sealed.MAGIC, sealed.MAGIC + b"\1"):
        for opener in (sealed.open_object, sealed.open_material):
            with pytest.raises(sealed.Damaged):
                opener(KEY, "l-1", start + content)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        '{"x":1}',
        '{"1":null}',
        '{"1":{"b":"?"}}',
        '{"1":{"b":1}}',
        '{"1":{"c":1}}',
        '{"1":["a"]}',
        '{"1":[true]}',
    ],
)
def test_other_json_is_malformed(text: str) -> None:
    with pytest.raises(codec.Malformed):
        values.from_json(json.loads(text))


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_joined_objects_part_again(first: bytes, second: bytes) -> None:
    assert sealed.split(sealed.join(first, second)) == (first, second)
