"""A certificate object says what its certificate says."""

from __future__ import annotations

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from mrhsm_p11.constants import CKA, CKC, CKO
from mrhsm_p11.crypto import der, material
from mrhsm_p11.errors import AttributeValueInvalid, TemplateIncomplete, TemplateInconsistent
from mrhsm_p11.mapping.attributes import for_class
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.secret import Secret

SUBJECT = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node-1.пример")])
ISSUER = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "CA")])
KEYS: list[CertificateIssuerPrivateKeyTypes] = [
    rsa.generate_private_key(65537, 1024),
    ec.generate_private_key(ec.SECP384R1()),
    ed25519.Ed25519PrivateKey.generate(),
]


def certificate(key: CertificateIssuerPrivateKeyTypes, since: int = 1999, until: int = 2049) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(SUBJECT)
        .issuer_name(ISSUER)
        .serial_number(0x80FF)
        .public_key(key.public_key())
        .not_valid_before(datetime.datetime(since, 12, 31))
        .not_valid_after(datetime.datetime(until, 1, 2))
        .sign(key, algorithm)
        .public_bytes(Encoding.DER)
    )


DAMAGED = certificate(KEYS[1])


def template(value: bytes) -> dict[int, Value]:
    return {
        CKA.CLASS: CKO.CERTIFICATE,
        CKA.CERTIFICATE_TYPE: CKC.X_509,
        CKA.SUBJECT: SUBJECT.public_bytes(),
        CKA.VALUE: value,
    }


@pytest.mark.parametrize("key", KEYS, ids=["RSA", "EC", "Ed25519"])
def test_derived_attributes(key: CertificateIssuerPrivateKeyTypes) -> None:
    value = certificate(key)
    rest, made = material.split(template(value) | {CKA.LABEL: "c"})
    assert rest == {CKA.CLASS: CKO.CERTIFICATE, CKA.CERTIFICATE_TYPE: CKC.X_509, CKA.LABEL: "c"}
    derived = material.derived(CKO.CERTIFICATE, CKC.X_509, made)
    assert derived == {
        CKA.VALUE: value,
        CKA.SUBJECT: SUBJECT.public_bytes(),
        CKA.ISSUER: ISSUER.public_bytes(),
        CKA.SERIAL_NUMBER: b"\x02\x03\x00\x80\xff",
        CKA.START_DATE: b"19991231",
        CKA.END_DATE: b"20490102",
        CKA.CHECK_VALUE: hashlib.sha1(value).digest()[:3],
        CKA.PUBLIC_KEY_INFO: key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    }
    assert set(derived) == {cka for cka, use in for_class(CKO.CERTIFICATE, CKC.X_509).items() if use.material}
    assert material.public_derived(CKO.CERTIFICATE, None, made) == derived


def test_dates_around_the_turn_of_utc_times_century() -> None:
    derived = material.derived(CKO.CERTIFICATE, CKC.X_509, Secret(certificate(KEYS[1], since=1950, until=2050)))
    assert derived[CKA.START_DATE] == b"19501231"
    assert derived[CKA.END_DATE] == b"20500102"


@pytest.mark.parametrize("field", ["issuer", "subject", "public key"])
def test_a_field_that_is_no_sequence(field: str) -> None:
    name, other = der.encode(der.SEQUENCE), der.NULL
    time = der.encode(0x17, b"260101000000Z")
    fields = [other if field == each else name for each in ("issuer", "subject", "public key")]
    validity = der.encode(der.SEQUENCE, time, time)
    signed = der.encode(der.SEQUENCE, der.integer(b"\1"), name, fields[0], validity, fields[1], fields[2])
    with pytest.raises(AttributeValueInvalid):
        material.normalise(CKO.CERTIFICATE, CKC.X_509, der.encode(der.SEQUENCE, signed, name, der.bit_string(b"")))


def test_a_template_that_repeats_the_certificate() -> None:
    value = certificate(KEYS[1])
    derived = material.derived(CKO.CERTIFICATE, CKC.X_509, Secret(value))
    assert material.split(template(value) | derived)[1].reveal() == value
    bare_number = {CKA.SERIAL_NUMBER: b"\x00\x80\xff", CKA.ISSUER: b"", CKA.START_DATE: b""}
    assert material.split(template(value) | bare_number)[1].reveal() == value


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({CKA.SUBJECT: ISSUER.public_bytes()}, TemplateInconsistent),
        ({CKA.ISSUER: SUBJECT.public_bytes()}, TemplateInconsistent),
        ({CKA.SERIAL_NUMBER: b"\x02\x01\x07"}, TemplateInconsistent),
        ({CKA.SERIAL_NUMBER: b"\x80\xff"}, TemplateInconsistent),
        ({CKA.CHECK_VALUE: b"\1\2\3"}, AttributeValueInvalid),
        ({CKA.VALUE: b"-----BEGIN CERTIFICATE-----"}, AttributeValueInvalid),
    ],
)
def test_a_template_that_contradicts_the_certificate(wrong: dict[int, Value], error: type[Exception]) -> None:
    with pytest.raises(error):
        material.split(template(certificate(KEYS[1])) | wrong)


def test_subject_and_value_are_required() -> None:
    whole = template(certificate(KEYS[1]))
    for cka in (CKA.SUBJECT, CKA.VALUE):
        with pytest.raises(TemplateIncomplete):
            material.split({other: value for other, value in whole.items() if other != cka})


def test_every_truncation_is_refused() -> None:
    value = certificate(KEYS[1])
    for n in range(1, len(value)):  # without bytes a certificate is where its CKA_URL says
        with pytest.raises(AttributeValueInvalid):
            material.normalise(CKO.CERTIFICATE, CKC.X_509, value[:n])
    with pytest.raises(AttributeValueInvalid):
        material.normalise(CKO.CERTIFICATE, CKC.X_509, value + b"\0")
    empty = der.encode(der.SEQUENCE)
    for malformed in (
        empty,
        der.encode(der.SEQUENCE, empty),
        der.encode(der.SEQUENCE, empty, empty, empty),
        b"\x30\x02\x05\0",
    ):
        with pytest.raises(AttributeValueInvalid):
            material.normalise(CKO.CERTIFICATE, CKC.X_509, malformed)


@settings(deadline=None)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 3))
def test_a_damaged_certificate_is_refused_or_read(at: int, byte: int, cut: int) -> None:
    damaged = bytearray(DAMAGED)
    at %= len(damaged)
    damaged[at : at + cut] = bytes((byte,))
    try:
        made = material.normalise(CKO.CERTIFICATE, CKC.X_509, bytes(damaged))
    except AttributeValueInvalid:
        return
    assert material.derived(CKO.CERTIFICATE, CKC.X_509, made)[CKA.VALUE] == bytes(damaged)
