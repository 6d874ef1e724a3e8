"""Managed objects as records: what the blob may say, and what it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fix_stores import aes_key

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.kmip.vocabulary import CryptographicAlgorithm, CryptographicUsageMask, ObjectType
from mrhsm_p11.mapping import kmip_objects
from mrhsm_p11.store.base import Value
from mrhsm_p11.store.kmip import blob as blobs
from mrhsm_p11.store.kmip import records
from mrhsm_p11.store.kmip.blob import Blob
from mrhsm_p11.store.kmip.found import NAMESPACE, Found, Information
from mrhsm_p11.store.kmip.sidecar import Note

ENCRYPT_ONLY = CryptographicUsageMask.ENCRYPT.value


def told(line: str, mask: int, object_type: ObjectType = ObjectType.SYMMETRIC_KEY) -> Found:
    return Found(
        "uid",
        object_type,
        CryptographicAlgorithm.AES,
        256,
        mask,
        information=(Information(0, NAMESPACE, line),) if line else (),
    )


def read(line: str, mask: int) -> dict[int, Value]:
    entry = records.entry(told(line, mask), None)
    assert entry is not None
    return dict(entry.record.attributes)


def test_the_blob_only_narrows_the_usage_mask() -> None:
    line = blobs.dump(Blob("s", "n", {CKA.ENCRYPT: False, CKA.DECRYPT: True, CKA.WRAP: True}))
    found = read(line, ENCRYPT_ONLY)
    assert [found[cka] for cka in (CKA.ENCRYPT, CKA.DECRYPT, CKA.WRAP)] == [False, False, False]
    assert read(blobs.dump(Blob("s", "n")), ENCRYPT_ONLY)[CKA.ENCRYPT] is True


def test_only_what_cannot_be_derived_is_in_the_blob() -> None:
    given = aes_key(LABEL="one")
    shape = records.shape_of(given, 256)
    said = records.changes_of(given, shape)
    assert {CKA.LABEL, CKA.SENSITIVE, CKA.EXTRACTABLE} <= set(said)
    assert not {CKA.CLASS, CKA.KEY_TYPE, CKA.ENCRYPT, CKA.TOKEN, CKA.PRIVATE, CKA.VALUE_LEN} & set(said)
    assert CKA.KEY_TYPE in records.changes_of({**given, CKA.KEY_TYPE: CKK.GENERIC_SECRET}, records.shape_of(
        {**given, CKA.KEY_TYPE: CKK.GENERIC_SECRET}, 256))  # fmt: skip


def test_an_attribute_that_the_object_lacks_stays_away() -> None:
    given = aes_key()
    shape = records.shape_of(given, 256)
    line = blobs.dump(Blob("s", "n", records.changes_of(given, shape)))
    found = read(line, shape.mask)
    assert found == {**given, CKA.VALUE_LEN: 32}


@pytest.mark.parametrize("line", ["", "nonsense", '{"v":9,"t":"s","n":"n","a":{"LABEL":"x"}}'])
def test_without_a_blob_that_we_know_the_object_is_another_tools(line: str) -> None:
    entry = records.entry(told(line, ENCRYPT_ONLY), None)
    assert entry is not None
    assert entry.record.foreign
    assert entry.record.attributes[CKA.LABEL] == "uid"


@pytest.mark.parametrize(
    ("bits", "key_type", "key_bytes"),
    [
        (112, CKK.DES2, 16),
        (128, CKK.DES2, 16),
        (168, CKK.DES3, 24),
        (192, CKK.DES3, 24),
    ],
)
def test_another_tools_triple_des_key_is_what_its_length_says(bits: int, key_type: int, key_bytes: int) -> None:
    found = replace(told("", ENCRYPT_ONLY), algorithm=CryptographicAlgorithm.TRIPLE_DES, length=bits)
    entry = records.entry(found, None)
    assert entry is not None
    assert (entry.record.attributes[CKA.KEY_TYPE], entry.record.attributes[CKA.VALUE_LEN]) == (key_type, key_bytes)


@pytest.mark.parametrize("object_type", sorted(kmip_objects.HIDDEN_TYPES, key=lambda one: one.value))
def test_objects_without_a_class_are_not_listed(object_type: ObjectType) -> None:
    assert records.entry(told("", 0, object_type), None) is None


def test_secret_data_is_never_shown_as_data() -> None:
    entry = records.entry(told("", 0, ObjectType.SECRET_DATA), None)
    assert entry is not None
    assert entry.record.attributes[CKA.CLASS] == CKO.SECRET_KEY


def test_a_note_adds_only_what_the_blob_had_no_room_for() -> None:
    note = Note("uid", {CKA.LABEL: "long", CKA.EXTRACTABLE: True}, whole=False)
    full = blobs.dump(Blob("s", "n", {CKA.EXTRACTABLE: False}))
    cut = blobs.dump(Blob("s", "n", {CKA.EXTRACTABLE: False}, rest=True))
    for line, label in ((full, ""), (cut, "long")):
        entry = records.entry(told(line, ENCRYPT_ONLY), note)
        assert entry is not None
        assert (entry.record.attributes[CKA.LABEL], entry.record.attributes[CKA.EXTRACTABLE]) == (label, False)
