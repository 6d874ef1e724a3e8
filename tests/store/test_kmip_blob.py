"""The line in which PKCS #11 attributes travel through KMIP."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrhsm_p11.constants import CKA
from mrhsm_p11.store.kmip import blob
from mrhsm_p11.store.kmip.blob import Blob

KNOWN = sorted({value for name, value in vars(CKA).items() if isinstance(value, int)})
numbers = st.integers(0, 2**64 - 1)
text = st.text(st.characters(codec=None), max_size=40)
flat = st.booleans() | numbers | text | st.binary(max_size=80) | st.lists(numbers, max_size=4).map(tuple)
types = st.sampled_from(KNOWN) | st.integers(0x80000000, 2**63)
values = flat | st.dictionaries(types, flat, max_size=3)
attributes = st.dictionaries(types, values | st.none(), max_size=6)


@given(attributes)
@settings(max_examples=200, deadline=None)
def test_what_is_dumped_is_loaded_with_the_same_types(given_attributes: dict[int, object]) -> None:
    line = blob.dump(Blob("07137a824d621939", "00ff", given_attributes))
    assert line.isascii()
    assert line.isprintable()
    found = blob.load(line)
    assert found is not None
    assert found.attributes == given_attributes
    assert {k: type(v) for k, v in found.attributes.items()} == {k: type(v) for k, v in given_attributes.items()}
    assert (found.serial, found.nonce, found.rest) == ("07137a824d621939", "00ff", False)


def test_an_undecodable_label_survives() -> None:
    label = b"caf\xe9".decode("utf-8", "surrogateescape")
    found = blob.load(blob.dump(Blob("s", "n", {CKA.LABEL: label})))
    assert found is not None
    assert found.attributes[CKA.LABEL] == label


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "1",
        '{"v":2,"t":"s","n":"n","a":{}}',
        '{"v":1,"t":"s","n":"n"}',
        '{"v":1,"t":1,"n":"n","a":{}}',
        '{"v":1,"t":"s","n":"n","a":{"NO_SUCH":1}}',
        '{"v":1,"t":"s","n":"n","a":{"ID":{"b":"*"}}}',
        '{"v":1,"t":"s","n":"n","a":{"ID":{"x":"00"}}}',
        '{"v":1,"t":"s","n":"n","a":{"ID":1.5}}',
        "[" * 100_000,
    ],
)
def test_what_is_not_ours_is_not_a_blob(line: str) -> None:
    assert blob.load(line) is None


def test_the_largest_attributes_leave_a_blob_that_is_too_long() -> None:
    given_attributes = {CKA.LABEL: "x" * 1500, CKA.APPLICATION: "y" * 900, CKA.SENSITIVE: True, CKA.ID: b"\x01"}
    fitted, left = blob.fit(Blob("s", "n", given_attributes))
    assert len(blob.dump(fitted)) <= blob.LIMIT
    assert left == {CKA.LABEL: "x" * 1500}
    assert fitted.rest
    assert {**fitted.attributes, **left} == given_attributes


def test_a_blob_that_fits_is_left_alone() -> None:
    given = Blob("s", "n", {CKA.LABEL: "x"})
    assert blob.fit(given) == (given, {})
