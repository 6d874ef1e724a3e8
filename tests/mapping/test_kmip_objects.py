"""PKCS #11 objects in KMIP's words: the tables are complete and agree with each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.kmip.vocabulary import CryptographicAlgorithm, CryptographicUsageMask, ObjectType
from mrhsm_p11.mapping import kmip_objects as objects


def test_every_object_type_is_shown_or_hidden() -> None:
    assert set(objects.CLASSES) | objects.HIDDEN_TYPES == set(ObjectType)
    assert not set(objects.CLASSES) & objects.HIDDEN_TYPES


def test_every_algorithm_is_a_key_type_or_has_none() -> None:
    assert set(objects.KEY_TYPES) | objects.UNTYPED_ALGORITHMS == set(CryptographicAlgorithm)
    assert not set(objects.KEY_TYPES) & objects.UNTYPED_ALGORITHMS


def test_what_is_sent_reads_as_the_same_class() -> None:
    for cls, object_type in objects.OBJECT_TYPES.items():
        assert objects.CLASSES[object_type] == cls


def test_what_is_sent_reads_as_the_same_key_type_unless_the_blob_must_say() -> None:
    ambiguous = {key_type for key_type, row in objects.ALGORITHMS.items() if objects.KEY_TYPES[row[0]] != key_type}
    assert ambiguous == {CKK.DES2, CKK.GENERIC_SECRET, CKK.HKDF}


def test_every_asymmetric_key_type_that_has_an_algorithm_has_formats() -> None:
    keys = {key_type for key_type in objects.ALGORITHMS if key_type in (CKK.RSA, CKK.DSA, CKK.DH, CKK.EC)}
    for cls in (CKO.PRIVATE_KEY, CKO.PUBLIC_KEY):
        assert {key_type for found, key_type in objects.FORMATS if found == cls} == keys


@pytest.mark.parametrize("cls", [CKO.SECRET_KEY, CKO.PUBLIC_KEY, CKO.PRIVATE_KEY])
@given(st.data())
def test_flags_come_back_from_the_mask(cls: int, data: st.DataObject) -> None:
    of_class = [cka for cka, usage in objects.USAGE.items() if cls in usage.classes]
    flags = {cka: data.draw(st.booleans()) for cka in of_class}
    if cls != CKO.SECRET_KEY:  # one mask bit grants both: only the blob can tell them apart
        for recover, plain in ((CKA.SIGN_RECOVER, CKA.SIGN), (CKA.VERIFY_RECOVER, CKA.VERIFY)):
            if recover in flags:
                flags[recover] = flags[plain]
    assert objects.usage_flags(cls, objects.usage_mask(cls, dict(flags))) == flags


def test_a_secret_key_that_signs_makes_macs() -> None:
    mask = objects.usage_mask(CKO.SECRET_KEY, {CKA.SIGN: True})
    assert mask == CryptographicUsageMask.MAC_GENERATE.value


def test_certificates_and_data_have_no_usage() -> None:
    assert objects.usage_flags(CKO.CERTIFICATE, 0xFFFF) == {}
    assert objects.usage_flags(CKO.DATA, 0xFFFF) == {}
