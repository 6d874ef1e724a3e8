"""The attribute table covers every CKA there is, and its rules and values hold together."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrhsm_p11.constants import CKA, CKC, CKF, CKK, CKO
from mrhsm_p11.errors import AttributeTypeInvalid, AttributeValueInvalid
from mrhsm_p11.mapping import attribute_rows, attributes, codecs
from mrhsm_p11.mapping.attributes import ROWS, AttributeUse, decode, encode, for_class

NOT_OURS_YET = {
    "AC_ISSUER OWNER ATTR_TYPES": "of attribute certificates: only X.509 certificates are stored",
    "SECONDARY_AUTH AUTH_PIN_FLAGS": "deprecated since 2.20",
    "OTP_FORMAT OTP_LENGTH OTP_TIME_INTERVAL OTP_USER_FRIENDLY_MODE OTP_CHALLENGE_REQUIREMENT OTP_TIME_REQUIREMENT "
    "OTP_COUNTER_REQUIREMENT OTP_PIN_REQUIREMENT OTP_COUNTER OTP_TIME OTP_USER_IDENTIFIER OTP_SERVICE_IDENTIFIER "
    "OTP_SERVICE_LOGO OTP_SERVICE_LOGO_TYPE": "of one-time-password keys, not stored",
    "GOSTR3410_PARAMS GOSTR3411_PARAMS GOST28147_PARAMS": "of GOST keys: the primitives have none",
    "HW_FEATURE_TYPE RESET_ON_INIT HAS_RESET PIXEL_X PIXEL_Y RESOLUTION CHAR_ROWS CHAR_COLUMNS COLOR BITS_PER_PIXEL "
    "CHAR_SETS ENCODING_METHODS MIME_TYPES": "of hardware features: there is no hardware",
    "REQUIRED_CMS_ATTRIBUTES DEFAULT_CMS_ATTRIBUTES SUPPORTED_CMS_ATTRIBUTES": "of CMS signatures, not made here",
    "X2RATCHET_BAG X2RATCHET_BAGSIZE X2RATCHET_BOBS1STMSG X2RATCHET_CKR X2RATCHET_CKS X2RATCHET_DHP X2RATCHET_DHR "
    "X2RATCHET_DHS X2RATCHET_HKR X2RATCHET_HKS X2RATCHET_ISALICE X2RATCHET_NHKR X2RATCHET_NHKS X2RATCHET_NR "
    "X2RATCHET_NS X2RATCHET_PNS X2RATCHET_RK": "of the double ratchet: the primitives have none",
    "HSS_LEVELS HSS_LMS_TYPE HSS_LMOTS_TYPE HSS_LMS_TYPES HSS_LMOTS_TYPES HSS_KEYS_REMAINING": "of HSS keys, not taken",
    "OBJECT_VALIDATION_FLAGS VALIDATION_TYPE VALIDATION_VERSION VALIDATION_LEVEL VALIDATION_MODULE_ID VALIDATION_FLAG "
    "VALIDATION_AUTHORITY_TYPE VALIDATION_COUNTRY VALIDATION_CERTIFICATE_IDENTIFIER VALIDATION_CERTIFICATE_URI "
    "VALIDATION_VENDOR_URI VALIDATION_PROFILE": "of 3.2's validation objects, not offered",
    "PUBLIC_CRC64_VALUE": "of 3.2: stored with no key here",
    "VENDOR_DEFINED": "the start of a range, no attribute",
}
KINDS = [
    (CKO.DATA, None),
    (CKO.CERTIFICATE, CKC.X_509),
    (CKO.PUBLIC_KEY, CKK.RSA),
    (CKO.PUBLIC_KEY, CKK.EC),
    (CKO.PRIVATE_KEY, CKK.RSA),
    (CKO.PRIVATE_KEY, CKK.EC),
    (CKO.SECRET_KEY, CKK.AES),
    (CKO.SECRET_KEY, CKK.GENERIC_SECRET),
    (CKO.SECRET_KEY, CKK.SHA256_HMAC),
]
SUPPORTED = [
    *((cls, kind) for cls in range(12) for kind in (None, *range(0x80)) if attributes.supported(cls, kind)),
    *((CKO.PROFILE, None), (CKO.MECHANISM, None)),
]
USES = [use for row in ROWS.values() for use in row.uses]
kinds = pytest.mark.parametrize("kind", KINDS, ids=str)


def constants() -> dict[str, int]:
    return {name: value for name, value in vars(CKA).items() if isinstance(value, int)}


def test_each_constant_is_a_row_or_excused() -> None:
    excused = [name for names in NOT_OURS_YET for name in names.split()]
    assert len(excused) == len(set(excused))
    missing = {name for name, value in constants().items() if value not in ROWS}
    known_by_another_name = {name for name in missing if constants()[name] in map(constants().get, excused)}
    assert missing == known_by_another_name
    assert not {name for name in excused if constants()[name] in ROWS}


def test_each_row_is_a_constant_and_used_by_some_object() -> None:
    assert set(ROWS) <= set(constants().values())
    kinds_there_are = {kind for cls, key_type in SUPPORTED for kind in attributes.kinds(cls, key_type)}
    unused = {kind for use in USES for kind in use.kinds} - kinds_there_are
    assert not unused


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{CKA.name(use.type)}-{'/'.join(use.kinds)}")
def test_rules_of_a_use_do_not_contradict(use: AttributeUse) -> None:
    assert use.notes <= set(range(13))
    assert not {1, 2} <= use.notes
    assert not {3, 4} <= use.notes
    assert not {5, 6} <= use.notes
    assert not {11, 12} <= use.notes
    assert not (use.material and use.settable)
    assert not (use.sensitive and not use.material)
    if use.default is not None:
        assert decode(use.type, encode(use.type, use.default)) == use.default
        assert not use.material or use.type == CKA.VALUE


def test_array_types_are_exactly_those_with_the_array_bit() -> None:
    for cka, row in ROWS.items():
        if cka in (CKA.ENCAPSULATE_TEMPLATE, CKA.DECAPSULATE_TEMPLATE):  # which 3.2 numbers without the bit
            continue
        assert bool(cka & CKF.ARRAY_ATTRIBUTE) == (row.codec in (codecs.ULONGS, attribute_rows.TEMPLATE))


@kinds
def test_each_kind_is_supported_and_has_one_use_an_attribute(kind: tuple[int, int | None]) -> None:
    assert attributes.supported(*kind)
    mine = set(attributes.kinds(*kind))
    for row in ROWS.values():
        assert sum(1 for use in row.uses if mine & set(use.kinds)) <= 1


def test_what_is_not_supported() -> None:
    assert not attributes.supported(CKO.SECRET_KEY, CKK.BLOWFISH)
    assert not attributes.supported(CKO.CERTIFICATE, CKC.WTLS)
    assert not attributes.supported(CKO.DOMAIN_PARAMETERS, CKK.EC)
    assert set(for_class(0x7FFFFFFF)) == {CKA.CLASS}


def names(kind: tuple[int, int | None], rule: str) -> set[str]:
    return {CKA.name(cka) for cka, use in for_class(*kind).items() if getattr(use, rule)}


def test_samples_of_the_standards_tables() -> None:
    aes, rsa_private, ec_public = KINDS[6], KINDS[4], KINDS[3]
    assert names(aes, "required_on_create") == {"CLASS", "KEY_TYPE", "VALUE"}
    assert names(aes, "required_on_generate") == {"VALUE_LEN"}
    made_by_us = {"LOCAL", "KEY_GEN_MECHANISM", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "UNIQUE_ID"}
    assert names(aes, "forbidden_on_create") == made_by_us | {"VALUE_LEN"}
    assert names(aes, "forbidden_on_generate") == names(aes, "forbidden_on_unwrap") == made_by_us | {"VALUE"}
    assert names(aes, "sensitive") == {"VALUE"}
    assert names(rsa_private, "sensitive") == {
        "PRIVATE_EXPONENT", "PRIME_1", "PRIME_2", "EXPONENT_1", "EXPONENT_2", "COEFFICIENT",
    }  # fmt: skip
    assert names(ec_public, "required_on_generate") == {CKA.name(CKA.EC_PARAMS)}
    assert names(aes, "only_to_true") == {"SENSITIVE", "WRAP_WITH_TRUSTED"}
    assert names(rsa_private, "only_to_true") == {"SENSITIVE", "WRAP_WITH_TRUSTED"}
    assert names(rsa_private, "only_to_false") == {"EXTRACTABLE", "COPYABLE"}
    assert names(aes, "only_to_false") == {"EXTRACTABLE", "COPYABLE"}
    assert names(aes, "so_only_true") == {"TRUSTED"}
    assert names(aes, "copy_settable") - names(aes, "settable") == {"TOKEN", "PRIVATE", "MODIFIABLE", "DESTROYABLE"}
    assert names(KINDS[0], "settable") == {"LABEL", "COPYABLE"}


def default_uses(kind: tuple[int, int | None]) -> set[str]:
    usages = ["ENCRYPT", "DECRYPT", "SIGN", "VERIFY", "WRAP", "UNWRAP", "SIGN_RECOVER", "VERIFY_RECOVER", "DERIVE"]
    return {name for name in usages if (use := for_class(*kind).get(getattr(CKA, name))) and use.default is True}


def test_usage_defaults_follow_the_mechanisms() -> None:
    assert default_uses((CKO.SECRET_KEY, CKK.AES)) == {"ENCRYPT", "DECRYPT", "SIGN", "VERIFY"}
    assert default_uses((CKO.SECRET_KEY, CKK.AES_XTS)) == {"ENCRYPT", "DECRYPT"}
    assert default_uses((CKO.SECRET_KEY, CKK.CHACHA20)) == {"ENCRYPT", "DECRYPT"}
    assert default_uses((CKO.SECRET_KEY, CKK.GENERIC_SECRET)) == {"SIGN", "VERIFY"}
    assert default_uses((CKO.PRIVATE_KEY, CKK.RSA)) == {"DECRYPT", "SIGN", "SIGN_RECOVER"}
    assert default_uses((CKO.PUBLIC_KEY, CKK.RSA)) == {"ENCRYPT", "VERIFY", "VERIFY_RECOVER"}
    assert default_uses((CKO.PRIVATE_KEY, CKK.EC)) == {"SIGN"}


def ulong(value: int) -> bytes:
    return value.to_bytes(codecs.ULONG_BYTES, sys.byteorder)


def test_values_have_one_natural_form() -> None:
    assert decode(CKA.TOKEN, b"\1") is True
    assert decode(CKA.CLASS, ulong(4)) == 4
    assert decode(CKA.LABEL, "schlüssel".encode()) == "schlüssel"
    assert decode(CKA.MODULUS, b"\0\0\1\2") == b"\1\2"
    assert decode(CKA.START_DATE, b"20261124") == b"20261124"
    assert decode(CKA.END_DATE, b"") == b""
    assert decode(CKA.ALLOWED_MECHANISMS, ulong(7) + ulong(9)) == (7, 9)
    assert decode(CKA.WRAP_TEMPLATE, {CKA.TOKEN: b"\1"}) == {CKA.TOKEN: True}


@pytest.mark.parametrize(
    ("cka", "raw"),
    [
        (CKA.TOKEN, b""),
        (CKA.TOKEN, b"\2"),
        (CKA.TOKEN, b"\1\0"),
        (CKA.CLASS, b"\0" * 4),
        (CKA.CLASS, b"\0" * 9),
        (CKA.START_DATE, b"20261"),
        (CKA.START_DATE, b"20261324"),
        (CKA.START_DATE, b"2026112x"),
        (CKA.ALLOWED_MECHANISMS, b"\0" * 9),
        (CKA.WRAP_TEMPLATE, b"\0"),
        (CKA.WRAP_TEMPLATE, {CKA.TOKEN: b"\2"}),
        (CKA.LABEL, {}),
    ],
)
def test_malformed_values(cka: int, raw: codecs.Raw) -> None:
    with pytest.raises(AttributeValueInvalid):
        decode(cka, raw)


def test_unknown_types() -> None:
    with pytest.raises(AttributeTypeInvalid):
        decode(CKA.VENDOR_DEFINED | 5, b"")
    with pytest.raises(AttributeTypeInvalid):
        encode(CKA.OTP_TIME, b"")
    with pytest.raises(AttributeTypeInvalid):
        decode(CKA.WRAP_TEMPLATE, {CKA.OTP_TIME: b""})


def test_a_value_of_another_shape_is_a_bug_that_shows() -> None:
    with pytest.raises(TypeError):
        encode(CKA.LABEL, b"label")
    with pytest.raises(TypeError):
        encode(CKA.TOKEN, 1)


@given(st.binary(max_size=40))
def test_text_survives_whatever_its_bytes(raw: bytes) -> None:
    assert encode(CKA.LABEL, decode(CKA.LABEL, raw)) == raw


@given(st.lists(st.integers(0, 2**64 - 1), max_size=5))
def test_arrays_of_numbers_round_trip(numbers: list[int]) -> None:
    assert decode(CKA.ALLOWED_MECHANISMS, encode(CKA.ALLOWED_MECHANISMS, tuple(numbers))) == tuple(numbers)
