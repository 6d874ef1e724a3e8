"""Key material in every format that servers send, and in those that we register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fix_kmip_store import KmipPlace
from fix_stores import aes_key

from mrhsm_p11.constants import CKA, CKC, CKK, CKO
from mrhsm_p11.errors import KeyFunctionNotPermitted
from mrhsm_p11.kmip import objects as kmip
from mrhsm_p11.kmip.vocabulary import KeyFormatType, ObjectType, RecommendedCurve, SecretDataType, WrappingMethod
from mrhsm_p11.mapping import kmip_objects
from mrhsm_p11.mapping.results import ServerFault
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip import materials, records

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP384R1())
KEYS: dict[int, Any] = {CKK.RSA: RSA, CKK.EC: EC}
DER = Encoding.DER


def pkcs8(key: Any) -> Secret:
    return Secret(key.private_bytes(DER, PrivateFormat.PKCS8, NoEncryption()))


def spki(key: Any) -> Secret:
    return Secret(key.public_key().public_bytes(DER, PublicFormat.SubjectPublicKeyInfo))


def material_of(cls: int, key_type: int) -> Secret:
    return pkcs8(KEYS[key_type]) if cls == CKO.PRIVATE_KEY else spki(KEYS[key_type])


@pytest.mark.parametrize(
    ("cls", "key_type", "form"),
    [
        (cls, key_type, form)
        for (cls, key_type), forms in kmip_objects.FORMATS.items()
        if key_type in KEYS
        for form in forms
    ],
)
def test_what_is_registered_is_read_back(cls: int, key_type: int, form: KeyFormatType) -> None:
    given = material_of(cls, key_type)
    shape = records.shape_of({CKA.CLASS: cls, CKA.KEY_TYPE: key_type}, materials.key_bits(cls, given))
    assert shape.length == KEYS[key_type].key_size
    packed = materials.pack(shape, given, form)
    block = packed.key_block  # type: ignore[union-attr]
    assert (block.key_format_type, block.cryptographic_length) == (form, shape.length)
    assert materials.unpack(packed) == given


def block(form: KeyFormatType, material: Any, **more: Any) -> kmip.KeyBlock:
    return kmip.KeyBlock(key_format_type=form, key_value=kmip.KeyValue(key_material=material), **more)


def transparent_rsa(**left_out: None) -> kmip.KeyMaterial:
    numbers = RSA.private_numbers()
    known: dict[str, Any] = {
        "modulus": numbers.public_numbers.n,
        "public_exponent": numbers.public_numbers.e,
        "private_exponent": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
    }
    return kmip.KeyMaterial(**{**known, **left_out})


@pytest.mark.parametrize("left_out", [{}, {"p": None, "q": None}, {"private_exponent": None}])
def test_transparent_rsa_keys_are_read(left_out: dict[str, None]) -> None:
    form = KeyFormatType.TRANSPARENT_RSA_PRIVATE_KEY
    found = materials.unpack(kmip.PrivateKey(key_block=block(form, transparent_rsa(**left_out))))
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    read = load_der_private_key(found.reveal(), None)
    assert read.public_key() == RSA.public_key()
    public = kmip.PublicKey(key_block=block(KeyFormatType.TRANSPARENT_RSA_PUBLIC_KEY, transparent_rsa()))
    assert materials.unpack(public) == spki(RSA)


def test_transparent_ec_keys_are_read() -> None:
    number = EC.private_numbers().private_value
    point = EC.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for family in ("EC", "ECDSA", "ECDH"):
        private = kmip.KeyMaterial(recommended_curve=RecommendedCurve.P_384, d=number)
        public = kmip.KeyMaterial(recommended_curve=RecommendedCurve.P_384, q_string=point)
        private_form = KeyFormatType[f"TRANSPARENT_{family}_PRIVATE_KEY"]
        public_form = KeyFormatType[f"TRANSPARENT_{family}_PUBLIC_KEY"]
        assert materials.unpack(kmip.PrivateKey(key_block=block(private_form, private))) == pkcs8(EC)
        assert materials.unpack(kmip.PublicKey(key_block=block(public_form, public))) == spki(EC)


def test_symmetric_keys_and_secrets_are_read() -> None:
    key = Secret(bytes(range(16)))
    transparent = block(KeyFormatType.TRANSPARENT_SYMMETRIC_KEY, kmip.KeyMaterial(key=key))
    assert materials.unpack(kmip.SymmetricKey(key_block=transparent)) == key
    for form in (KeyFormatType.RAW, KeyFormatType.OPAQUE):
        secret = kmip.SecretData(secret_data_type=SecretDataType.PASSWORD, key_block=block(form, key))
        assert materials.unpack(secret) == key


WRAPPED = kmip.KeyWrappingData(wrapping_method=WrappingMethod.ENCRYPT)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (kmip.Template, KeyFunctionNotPermitted),
        (
            lambda: kmip.SymmetricKey(
                key_block=block(KeyFormatType.RAW, Secret(b"wrapped"), key_wrapping_data=WRAPPED)
            ),
            KeyFunctionNotPermitted,
        ),
        (
            lambda: kmip.SymmetricKey(key_block=kmip.KeyBlock(key_format_type=KeyFormatType.RAW)),
            KeyFunctionNotPermitted,
        ),
        (
            lambda: kmip.PrivateKey(key_block=block(KeyFormatType.TRANSPARENT_DSA_PRIVATE_KEY, kmip.KeyMaterial())),
            KeyFunctionNotPermitted,
        ),
        (lambda: kmip.PrivateKey(key_block=block(KeyFormatType.PKCS_8, Secret(b"nonsense"))), ServerFault),
        (lambda: kmip.PublicKey(key_block=block(KeyFormatType.PKCS_1, Secret(b"nonsense"))), ServerFault),
        (lambda: kmip.SymmetricKey(key_block=block(KeyFormatType.RAW, kmip.KeyMaterial())), ServerFault),
        (
            lambda: kmip.PrivateKey(key_block=block(KeyFormatType.TRANSPARENT_EC_PRIVATE_KEY, kmip.KeyMaterial(d=1))),
            ServerFault,
        ),
        (
            lambda: kmip.PrivateKey(
                key_block=block(KeyFormatType.TRANSPARENT_RSA_PRIVATE_KEY, kmip.KeyMaterial(modulus=15))
            ),
            ServerFault,
        ),
    ],
)
def test_what_cannot_be_read_is_refused(make: Callable[[], kmip.ManagedObject], error: type[Exception]) -> None:
    with pytest.raises(error) as failure:
        materials.unpack(make())
    assert "nonsense" not in str(failure.value)


def test_key_types_without_an_algorithm_travel_as_opaque_objects() -> None:
    shape = records.shape_of({CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: CKK.EC_EDWARDS}, 0)
    assert (shape.object_type, shape.algorithm) == (ObjectType.OPAQUE_DATA, None)
    changes = records.changes_of({CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: CKK.EC_EDWARDS}, shape)
    assert (changes[CKA.CLASS], changes[CKA.KEY_TYPE]) == (CKO.PRIVATE_KEY, CKK.EC_EDWARDS)


@pytest.mark.parametrize("server", ["appliance", "stock_appliance"])
def test_keys_and_certificates_come_back_from_a_server(
    make_kmip_place: Callable[..., KmipPlace], request: pytest.FixtureRequest, server: str
) -> None:
    from cryptography.x509 import load_pem_x509_certificate

    at = request.getfixturevalue(server)
    place = make_kmip_place(at)
    certificate = load_pem_x509_certificate(at.client_cert_file.read_bytes()).public_bytes(DER)
    given: list[tuple[dict[int, Any], Secret]] = [
        ({CKA.CLASS: cls, CKA.KEY_TYPE: key_type, CKA.LABEL: "one", CKA.TOKEN: True}, material_of(cls, key_type))
        for key_type in KEYS
        for cls in (CKO.PRIVATE_KEY, CKO.PUBLIC_KEY)
    ]
    given.append(
        (
            {CKA.CLASS: CKO.CERTIFICATE, CKA.CERTIFICATE_TYPE: CKC.X_509, CKA.LABEL: "one", CKA.TOKEN: True},
            Secret(certificate),
        )
    )
    given.append((aes_key(LABEL="one", KEY_TYPE=CKK.GENERIC_SECRET), Secret(b"any length")))
    made = {place.open().insert(attributes, material).uid: (attributes, material) for attributes, material in given}
    there = place.open("there")
    assert {record.uid for record in there.search({CKA.LABEL: "one"})} == set(made)
    for uid, (attributes, material) in made.items():
        record = there.load(uid)
        assert {cka: record.attributes.get(cka) for cka in attributes} == attributes
        assert there.material(uid) == material
        place.open().delete(uid)
