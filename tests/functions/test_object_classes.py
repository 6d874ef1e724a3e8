"""Classes of objects beside keys, and what templates may say of values that come with the object itself."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fix_provider import READ_WRITE, create_secret, find, get, make_aes, template
from fix_tokens import TokenOnDisk

from mrhsm_p11.constants import CKA, CKC, CKK, CKM, CKO, CKU
from mrhsm_p11.errors import (
    ActionProhibited,
    AttributeReadOnly,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    CryptokiError,
    KeyNotWrappable,
    TemplateIncomplete,
    TemplateInconsistent,
)
from mrhsm_p11.functions import general, keys, objects, sessions
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret

Values = dict[int, Value]
P256 = bytes.fromhex("06082a8648ce3d030107")
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "classes.example")])
SUBJECT = NAME.public_bytes()
CERTIFICATE: Values = {CKA.CLASS: CKO.CERTIFICATE, CKA.CERTIFICATE_TYPE: CKC.X_509, CKA.SUBJECT: SUBJECT}
HASHES: Values = {CKA.HASH_OF_SUBJECT_PUBLIC_KEY: b"s" * 20, CKA.HASH_OF_ISSUER_PUBLIC_KEY: b"i" * 20}
AT_URL: Values = {**CERTIFICATE, CKA.VALUE: b"", CKA.URL: "https://certificates.example/1", **HASHES}
TRUST: Values = {CKA.CLASS: CKO.TRUST, CKA.ISSUER: SUBJECT, CKA.SERIAL_NUMBER: b"\2\1\7", CKA.TRUST_SERVER_AUTH: 2}


def der() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.datetime(2026, 1, 1)
    built = x509.CertificateBuilder(NAME, NAME, key.public_key(), 7, start, start + datetime.timedelta(days=9))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def create(session: int, values: Values) -> int:
    return objects.create_object(session, template(values))


# ---- certificates


@pytest.mark.parametrize("on_token", [False, True])
def test_a_certificate_may_be_only_a_url(user_session: int, on_token: bool) -> None:
    more: Values = {CKA.ISSUER: b"0\0", CKA.SERIAL_NUMBER: b"\2\1\5", CKA.START_DATE: b"20260101", CKA.ID: b"id"}
    given = {**AT_URL, **more, CKA.TOKEN: on_token}
    handle = create(user_session, given)
    assert {cka: get(user_session, handle, cka) for cka in given} == given
    assert find(user_session, {CKA.SUBJECT: SUBJECT, CKA.URL: given[CKA.URL]}) == [handle]
    copy = objects.copy_object(user_session, handle, {})
    assert get(user_session, copy, CKA.SUBJECT) == SUBJECT


def test_a_certificate_with_a_url_says_what_is_in_it(user_session: int) -> None:
    handle = create(user_session, {**AT_URL, CKA.VALUE: der()})
    assert get(user_session, handle, CKA.SERIAL_NUMBER) == b"\2\1\7"
    with pytest.raises(TemplateInconsistent):
        create(user_session, {**AT_URL, CKA.VALUE: der(), CKA.SERIAL_NUMBER: b"\2\1\10"})


@pytest.mark.parametrize("on_token", [False, True])
def test_dates_of_a_certificate_are_its_owners_to_give(user_session: int, on_token: bool) -> None:
    own = create(user_session, {**CERTIFICATE, CKA.VALUE: der(), CKA.TOKEN: on_token})
    dates: Values = {CKA.START_DATE: b"20260102", CKA.END_DATE: b"20260103"}
    given = create(user_session, {**CERTIFICATE, CKA.VALUE: der(), CKA.TOKEN: on_token, **dates})
    copy = objects.copy_object(user_session, given, template({CKA.TOKEN: not on_token}))
    half = create(user_session, {**CERTIFICATE, CKA.VALUE: der(), CKA.END_DATE: b"20260103"})
    for handle, start, end in (
        (own, b"20260101", b"20260110"),
        (given, b"20260102", b"20260103"),
        (copy, b"20260102", b"20260103"),
        (half, b"20260101", b"20260103"),
    ):
        assert (get(user_session, handle, CKA.START_DATE), get(user_session, handle, CKA.END_DATE)) == (start, end)
    assert sorted(find(user_session, dates)) == sorted([given, copy])


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({**CERTIFICATE, CKA.VALUE: b""}, AttributeValueInvalid),
        ({**AT_URL, CKA.HASH_OF_SUBJECT_PUBLIC_KEY: b""}, TemplateIncomplete),
        ({**CERTIFICATE, CKA.VALUE: b"", CKA.URL: "https://x.example"}, TemplateIncomplete),
        ({**CERTIFICATE, CKA.VALUE: b"0\0"}, AttributeValueInvalid),
        ({**AT_URL, CKA.CERTIFICATE_TYPE: CKC.WTLS}, AttributeValueInvalid),
        ({**AT_URL, CKA.CERTIFICATE_TYPE: CKC.X_509_ATTR_CERT}, AttributeValueInvalid),
        ({CKA.CLASS: CKO.OTP_KEY, CKA.KEY_TYPE: CKK.HOTP}, AttributeValueInvalid),
        ({CKA.CLASS: CKO.HW_FEATURE}, AttributeValueInvalid),
        ({CKA.CLASS: 0xCE534353}, AttributeValueInvalid),  # NSS then keeps trust in its own database
    ],
)
def test_objects_that_are_not_kept(user_session: int, values: Values, error: type[CryptokiError]) -> None:
    with pytest.raises(error):
        create(user_session, values)
    assert find(user_session, {}) == []


# ---- trust


def test_trust_is_kept_without_being_believed(user_session: int) -> None:
    handle = create(user_session, {**TRUST, CKA.TOKEN: True})
    assert get(user_session, handle, CKA.TRUST_SERVER_AUTH) == 2
    assert get(user_session, handle, CKA.TRUST_CODE_SIGNING) == 0
    objects.set_attribute_value(user_session, handle, template({CKA.TRUST_CODE_SIGNING: 3}))
    wanted: Values = {CKA.CLASS: CKO.TRUST, CKA.ISSUER: SUBJECT, CKA.SERIAL_NUMBER: b"\2\1\7"}
    assert find(user_session, {**wanted, CKA.TRUST_CODE_SIGNING: 3}) == [handle]
    with pytest.raises(AttributeReadOnly):
        objects.set_attribute_value(user_session, handle, template({CKA.ISSUER: b"0\0"}))
    with pytest.raises(TemplateIncomplete):
        create(user_session, {CKA.CLASS: CKO.TRUST, CKA.ISSUER: SUBJECT})
    with pytest.raises(AttributeTypeInvalid):
        get(user_session, handle, CKA.VALUE)


# ---- check values


def test_a_check_value_may_be_left_out(user_session: int) -> None:
    handle = create_secret(user_session, b"0" * 16, {CKA.CHECK_VALUE: b""})
    assert get(user_session, handle, CKA.CHECK_VALUE) == b""
    made = make_aes(user_session, {CKA.CHECK_VALUE: b"", CKA.TOKEN: True})
    assert get(user_session, made, CKA.CHECK_VALUE) == b""
    other = create_secret(user_session, b"0" * 16)
    assert len(get(user_session, other, CKA.CHECK_VALUE)) == 3  # type: ignore[arg-type]
    with pytest.raises(AttributeReadOnly):
        objects.set_attribute_value(user_session, other, template({CKA.CHECK_VALUE: b"abc"}))
    objects.set_attribute_value(user_session, other, template({CKA.CHECK_VALUE: b""}))
    assert get(user_session, other, CKA.CHECK_VALUE) == b""


def test_a_check_value_is_checked_when_a_key_is_unwrapped(user_session: int) -> None:
    kek, key = make_aes(user_session), make_aes(user_session)
    wrapped = keys.wrap_key(user_session, Mechanism(CKM.AES_KEY_WRAP), kek, key, 1000)
    assert isinstance(wrapped, bytes)
    wanted: Values = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES}
    right = {**wanted, CKA.CHECK_VALUE: get(user_session, key, CKA.CHECK_VALUE)}
    keys.unwrap_key(user_session, Mechanism(CKM.AES_KEY_WRAP), kek, wrapped, template(right))
    before = find(user_session, {})
    with pytest.raises(AttributeValueInvalid):
        keys.unwrap_key(
            user_session, Mechanism(CKM.AES_KEY_WRAP), kek, wrapped, template({**wanted, CKA.CHECK_VALUE: b"bad"})
        )
    assert find(user_session, {}) == before


@pytest.mark.parametrize("cka", [CKA.CHECK_VALUE, CKA.PUBLIC_KEY_INFO], ids=CKA.name)
def test_nobody_knows_a_key_before_it_is_made(user_session: int, cka: int) -> None:
    with pytest.raises(TemplateInconsistent):
        if cka == CKA.CHECK_VALUE:
            make_aes(user_session, {cka: b"abc"})
        else:
            public = template({CKA.EC_PARAMS: P256, cka: b"0\0"})
            keys.generate_key_pair(user_session, Mechanism(CKM.EC_KEY_PAIR_GEN), public, {})
    assert find(user_session, {}) == []


# ---- other rules


def test_a_key_with_its_own_login_is_private(user_session: int) -> None:
    for private in ({CKA.PRIVATE: False}, {}):
        values: Values = {CKA.ALWAYS_AUTHENTICATE: True, **private}
        if not private:
            sessions.logout(user_session)  # the default is then false
        with pytest.raises(TemplateInconsistent):
            keys.generate_key_pair(
                user_session, Mechanism(CKM.EC_KEY_PAIR_GEN), template({CKA.EC_PARAMS: P256}), template(values)
            )


def test_objects_are_found_by_their_unique_identifier(user_session: int) -> None:
    for on_token in (True, False):
        handle = make_aes(user_session, {CKA.TOKEN: on_token})
        assert find(user_session, {CKA.UNIQUE_ID: get(user_session, handle, CKA.UNIQUE_ID)}) == [handle]


def test_how_a_wrapping_key_becomes_trusted(library: TokenOnDisk, user_session: int) -> None:
    """The SO sees public objects only: the user makes the wrapping key public, the SO trusts it."""
    label: Values = {CKA.TOKEN: True, CKA.LABEL: "wrapping", CKA.PRIVATE: False}
    make_aes(user_session, label)
    make_aes(user_session, {CKA.TOKEN: True, CKA.LABEL: "wrapped", CKA.WRAP_WITH_TRUSTED: True})
    sessions.logout(user_session)
    sessions.login(user_session, CKU.SO, Secret(library.so_pin.view()))
    (wrapping,) = find(user_session, {CKA.CLASS: CKO.SECRET_KEY})
    objects.set_attribute_value(user_session, wrapping, template({CKA.TRUSTED: True}))
    general.finalize(False)
    general.initialize(None)
    session = sessions.open_session(library.slot_id, READ_WRITE)
    sessions.login(session, CKU.USER, Secret(library.user_pin.view()))
    (wrapping,), (wrapped,) = find(session, {CKA.LABEL: "wrapping"}), find(session, {CKA.LABEL: "wrapped"})
    assert isinstance(keys.wrap_key(session, Mechanism(CKM.AES_KEY_WRAP), wrapping, wrapped, 1000), bytes)
    with pytest.raises(KeyNotWrappable):
        keys.wrap_key(session, Mechanism(CKM.AES_KEY_WRAP), make_aes(session), wrapped, 1000)
    with pytest.raises(AttributeReadOnly):
        make_aes(session, {CKA.TRUSTED: True})


def test_a_key_that_may_not_be_copied_stays_one(user_session: int) -> None:
    handle = make_aes(user_session)
    objects.set_attribute_value(user_session, handle, template({CKA.COPYABLE: False}))
    with pytest.raises(ActionProhibited):
        objects.copy_object(user_session, handle, {})
    with pytest.raises(AttributeReadOnly):
        objects.set_attribute_value(user_session, handle, template({CKA.COPYABLE: True}))
