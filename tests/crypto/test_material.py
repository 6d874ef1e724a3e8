"""Templates become material and material becomes attributes, without a number changing on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import secret_samples
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mrhsm_p11.constants import CKA, CKK, CKM, CKO
from mrhsm_p11.crypto import der, engine, material, secret_keys
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    CryptokiError,
    CurveNotSupported,
    DomainParamsInvalid,
    TemplateIncomplete,
    TemplateInconsistent,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
)
from mrhsm_p11.mapping.attributes import for_class
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.secret import Secret

P256 = bytes.fromhex("06082a8648ce3d030107")
RSA_KEY = rsa.generate_private_key(65537, 1024)
EC_KEY = ec.derive_private_key(0x00FF << 200, ec.SECP256R1())  # a number with leading zeros
AES_TEMPLATE: dict[int, Value] = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.VALUE: bytes(range(16))}


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def rsa_template(cls: int) -> dict[int, Value]:
    numbers = RSA_KEY.private_numbers()
    template: dict[int, Value] = {
        CKA.CLASS: cls,
        CKA.KEY_TYPE: CKK.RSA,
        CKA.MODULUS: number(numbers.public_numbers.n),
        CKA.PUBLIC_EXPONENT: number(numbers.public_numbers.e),
    }
    if cls == CKO.PRIVATE_KEY:
        parts = (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        names = (CKA.PRIVATE_EXPONENT, CKA.PRIME_1, CKA.PRIME_2, CKA.EXPONENT_1, CKA.EXPONENT_2, CKA.COEFFICIENT)
        template |= {cka: number(part) for cka, part in zip(names, parts, strict=True)}
    return template


def ec_template(cls: int) -> dict[int, Value]:
    template: dict[int, Value] = {CKA.CLASS: cls, CKA.KEY_TYPE: CKK.EC, CKA.EC_PARAMS: P256}
    if cls == CKO.PRIVATE_KEY:
        return template | {CKA.VALUE: EC_KEY.private_numbers().private_value.to_bytes(32, "big")}
    point = EC_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return template | {CKA.EC_POINT: b"\x04\x41" + point}


TEMPLATES: list[tuple[Callable[[int], dict[int, Value]], int, bytes]] = [
    (rsa_template, CKO.PUBLIC_KEY, spki(RSA_KEY)),
    (rsa_template, CKO.PRIVATE_KEY, pkcs8(RSA_KEY)),
    (ec_template, CKO.PUBLIC_KEY, spki(EC_KEY)),
    (ec_template, CKO.PRIVATE_KEY, pkcs8(EC_KEY)),
]
templates = pytest.mark.parametrize(("make", "cls", "expected"), TEMPLATES, ids=["RSA", "RSA-", "EC", "EC-"])


@templates
def test_a_key_template_and_its_material(make: Callable[[int], dict[int, Value]], cls: int, expected: bytes) -> None:
    template = make(cls) | {CKA.LABEL: "key", CKA.ID: b"\1"}
    rest, made = material.split(template)
    assert made.reveal() == expected
    assert rest == {cka: template[cka] for cka in (CKA.CLASS, CKA.KEY_TYPE, CKA.LABEL, CKA.ID)}
    derived = material.derived(cls, rest[CKA.KEY_TYPE], made)  # type: ignore[arg-type]
    assert {cka: value for cka, value in template.items() if cka not in rest}.items() <= derived.items()
    info = spki(RSA_KEY if make is rsa_template else EC_KEY)
    assert derived[CKA.PUBLIC_KEY_INFO] == info
    assert material.split(template | {CKA.PUBLIC_KEY_INFO: info})[1] == made
    assert material.split(template | {CKA.PUBLIC_KEY_INFO: b""})[1] == made
    with pytest.raises(TemplateInconsistent):
        material.split(template | {CKA.PUBLIC_KEY_INFO: spki(rsa.generate_private_key(65537, 1024))})


@templates
def test_derived_is_exactly_the_material_of_the_table(
    make: Callable[[int], dict[int, Value]], cls: int, expected: bytes
) -> None:
    key_type = make(cls)[CKA.KEY_TYPE]
    assert isinstance(key_type, int)
    derived = material.derived(cls, key_type, Secret(expected))
    uses = for_class(cls, key_type)
    assert set(derived) == {cka for cka, use in uses.items() if use.material}
    public = material.public_derived(cls, key_type, Secret(expected))
    assert set(public) == {cka for cka in derived if not uses[cka].sensitive}


@templates
def test_each_required_attribute_is_missed(make: Callable[[int], dict[int, Value]], cls: int, expected: bytes) -> None:
    template = make(cls)
    for cka in template:
        with pytest.raises(TemplateIncomplete):
            material.split({other: value for other, value in template.items() if other != cka})


def test_numbers_that_are_no_key() -> None:
    for cka in (CKA.PRIME_1, CKA.EXPONENT_2, CKA.COEFFICIENT, CKA.PRIVATE_EXPONENT):
        for value in (b"", b"\0", b"\7"):
            with pytest.raises(AttributeValueInvalid):
                material.split(rsa_template(CKO.PRIVATE_KEY) | {cka: value})
    short = rsa_template(CKO.PUBLIC_KEY) | {CKA.MODULUS: number((1 << 510) | 1)}
    with pytest.raises(AttributeValueInvalid):
        material.split(short)


ORDER_P256 = bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")


@pytest.mark.parametrize("scalar", [b"", bytes(32), ORDER_P256, b"\xff" * 32, b"\1" * 33])
def test_ec_private_numbers_out_of_range(scalar: bytes) -> None:
    with pytest.raises(AttributeValueInvalid):
        material.split(ec_template(CKO.PRIVATE_KEY) | {CKA.VALUE: scalar})


def test_ec_private_numbers_with_and_without_leading_zeros() -> None:
    template = ec_template(CKO.PRIVATE_KEY)
    value = template[CKA.VALUE]
    assert isinstance(value, bytes)
    for form in (value, value.lstrip(b"\0"), b"\0" + value):
        made = material.split(template | {CKA.VALUE: form})[1]
        assert made.reveal() == pkcs8(EC_KEY)
        assert material.derived(CKO.PRIVATE_KEY, CKK.EC, made)[CKA.VALUE] == value


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_ec_points_bare_wrapped_and_compressed(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    bare = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    compressed = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    params = material.derived(CKO.PUBLIC_KEY, CKK.EC, Secret(spki(key)))[CKA.EC_PARAMS]
    template: dict[int, Value] = {CKA.CLASS: CKO.PUBLIC_KEY, CKA.KEY_TYPE: CKK.EC, CKA.EC_PARAMS: params}
    wrapped = der.encode(der.OCTET_STRING, bare)
    for form in (bare, wrapped, compressed, der.encode(der.OCTET_STRING, compressed)):
        _, made = material.split(template | {CKA.EC_POINT: form})
        assert made.reveal() == spki(key)
        assert material.derived(CKO.PUBLIC_KEY, CKK.EC, made)[CKA.EC_POINT] == wrapped
    off_curve = bare[:-1] + bytes((bare[-1] ^ 1,))
    for wrong in (b"", b"\x04", bare[:-1], bare + b"\0", off_curve, b"\0" + bare[1:]):
        with pytest.raises(AttributeValueInvalid):
            material.split(template | {CKA.EC_POINT: wrong})


def test_ec_parameters() -> None:
    template = ec_template(CKO.PUBLIC_KEY)
    _, by_name = material.split(template | {CKA.EC_PARAMS: b"\x13\x09secp256r1"})
    assert material.derived(CKO.PUBLIC_KEY, CKK.EC, by_name)[CKA.EC_PARAMS] == P256
    with pytest.raises(CurveNotSupported):
        material.split(template | {CKA.EC_PARAMS: bytes.fromhex("06052b8104001f")})
    with pytest.raises(DomainParamsInvalid):
        material.split(template | {CKA.EC_PARAMS: b"nonsense"})
    # from `openssl ecparam -name secp192k1 -genkey`
    private = (
        "306c020100301006072a8648ce3d020106052b8104001f04553053020101041855ad97b62220475fc79d4d271297c9cf00b6ff49629c"
    )
    point = "0487969aeac0ad0d60ac064a6f038bd838199db0d6870f4aecb76085768adf1c2412a37c6f7febcc2114ff9048e57f9142"
    with pytest.raises(CurveNotSupported):
        material.normalise(CKO.PRIVATE_KEY, CKK.EC, bytes.fromhex(private + "bbffa134033200" + point))
    with pytest.raises(CurveNotSupported):
        material.normalise(
            CKO.PUBLIC_KEY, CKK.EC, bytes.fromhex(f"3046301006072a8648ce3d020106052b8104001f033200{point}")
        )


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY], ids=["RSA", "EC"])
def test_other_encodings_become_the_one_kept(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    key_type = CKK.RSA if isinstance(key, rsa.RSAPrivateKey) else CKK.EC
    traditional = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    for form in (traditional, pkcs8(key), traditional + bytes(7), pkcs8(key) + bytes(15)):
        for check in (True, False):
            assert material.normalise(CKO.PRIVATE_KEY, key_type, form, check=check).reveal() == pkcs8(key)
    for wrong in (b"", traditional[:-1], pkcs8(key) + b"\1", pkcs8(key) + bytes(16), spki(key), b"\x30\x80"):
        with pytest.raises(AttributeValueInvalid):
            material.normalise(CKO.PRIVATE_KEY, key_type, wrong)
    assert material.normalise(CKO.PUBLIC_KEY, key_type, Secret(spki(key))).reveal() == spki(key)
    for wrong in (b"", spki(key)[:-1], pkcs8(key)):
        with pytest.raises(AttributeValueInvalid):
            material.normalise(CKO.PUBLIC_KEY, key_type, wrong)
    other = CKK.EC if key_type == CKK.RSA else CKK.RSA
    for cls, form in ((CKO.PUBLIC_KEY, spki(key)), (CKO.PRIVATE_KEY, pkcs8(key))):
        for another in (other, CKK.DSA):
            with pytest.raises(AttributeValueInvalid):
                material.normalise(cls, another, form)


def test_pkcs1_public_keys_are_taken() -> None:
    pkcs1 = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert material.normalise(CKO.PUBLIC_KEY, CKK.RSA, pkcs1).reveal() == spki(RSA_KEY)


def test_keys_of_algorithms_that_are_not_here() -> None:
    for key in (ed25519.Ed25519PrivateKey.generate(), dsa.generate_private_key(1024)):
        form = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        for key_type in (CKK.RSA, CKK.EC):
            with pytest.raises(AttributeValueInvalid):
                material.normalise(CKO.PRIVATE_KEY, key_type, form)


def test_a_refused_private_key_is_not_quoted() -> None:
    marker = b"not to be seen"
    with pytest.raises(AttributeValueInvalid) as raised:
        material.normalise(CKO.PRIVATE_KEY, CKK.RSA, pkcs8(RSA_KEY)[:-20] + marker + b"123456")
    assert marker.decode() not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_secret_keys() -> None:
    rest, made = material.split(AES_TEMPLATE | {CKA.LABEL: "k"})
    assert rest == {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.LABEL: "k"}
    derived = material.derived(CKO.SECRET_KEY, CKK.AES, made)
    # FIPS 197's example key over a block of zeros
    assert derived == {CKA.VALUE: bytes(range(16)), CKA.VALUE_LEN: 16, CKA.CHECK_VALUE: bytes.fromhex("c6a13b")}
    assert material.public_derived(CKO.SECRET_KEY, CKK.AES, made) == {CKA.VALUE_LEN: 16}
    generic = material.derived(CKO.SECRET_KEY, CKK.GENERIC_SECRET, Secret(b"abc"))
    assert generic[CKA.CHECK_VALUE] == bytes.fromhex("a9993e")  # SHA-1 of "abc"


def test_what_a_secret_template_says_twice_must_agree() -> None:
    check_value = secret_keys.check_value(CKK.AES, Secret(bytes(range(16))))
    for agreeing in ({CKA.CHECK_VALUE: check_value}, {CKA.CHECK_VALUE: b""}, {CKA.VALUE_LEN: 16}):
        assert material.split(AES_TEMPLATE | agreeing)[1].reveal() == bytes(range(16))
    with pytest.raises(AttributeValueInvalid):
        material.split(AES_TEMPLATE | {CKA.CHECK_VALUE: b"\1\2\3"})
    with pytest.raises(TemplateInconsistent):
        material.split(AES_TEMPLATE | {CKA.VALUE_LEN: 32})


@pytest.mark.parametrize("n", [0, 1, 15, 17, 31, 33, 64])
def test_aes_keys_have_three_lengths(n: int) -> None:
    with pytest.raises(AttributeValueInvalid):
        material.split(AES_TEMPLATE | {CKA.VALUE: bytes(n)})


def test_data_objects() -> None:
    rest, made = material.split({CKA.CLASS: CKO.DATA, CKA.APPLICATION: "a", CKA.VALUE: b"value"})
    assert (rest, made.reveal()) == ({CKA.CLASS: CKO.DATA, CKA.APPLICATION: "a"}, b"value")
    assert material.split({CKA.CLASS: CKO.DATA})[1].reveal() == b""
    assert material.derived(CKO.DATA, None, made) == {CKA.VALUE: b"value"}
    assert material.public_derived(CKO.DATA, None, made) == {}


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ({}, TemplateIncomplete),
        ({CKA.CLASS: CKO.SECRET_KEY}, TemplateIncomplete),
        ({CKA.CLASS: CKO.CERTIFICATE, CKA.VALUE: b"x"}, TemplateIncomplete),
        ({CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.BLOWFISH, CKA.VALUE: bytes(24)}, TemplateInconsistent),
        ({CKA.CLASS: CKO.DOMAIN_PARAMETERS, CKA.KEY_TYPE: CKK.DSA}, TemplateIncomplete),
        ({CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.VALUE: "text"}, AttributeValueInvalid),
    ],
)
def test_templates_of_nothing_that_is_stored(template: dict[int, Value], error: type[CryptokiError]) -> None:
    with pytest.raises(error):
        material.split(template)


FILLING = [CKM.AES_ECB, CKM.AES_CBC, CKM.AES_KEY_WRAP]


@pytest.mark.parametrize("mechanism", FILLING, ids=CKM.name)
def test_filling_of_wrapped_keys_is_cut_off_where_the_template_says_so(mechanism: int) -> None:
    row, kek = ROWS[mechanism], Secret(bytes(32))
    parameter = bytes(16) if mechanism == CKM.AES_CBC else None
    key = Secret(b"\7" * 27)
    wrapped = engine.wrap(row, parameter, kek, key)
    assert len(wrapped) == engine.wrapped_size(row, parameter, len(key), kek)
    plain = engine.unwrap(row, parameter, kek, wrapped)
    assert len(plain) == 32
    assert material.unwrapped(row, CKO.SECRET_KEY, CKK.GENERIC_SECRET, 27, plain) == key
    assert len(material.unwrapped(row, CKO.SECRET_KEY, CKK.GENERIC_SECRET, None, plain)) == 32
    for wrong in (0, 32 - row.fills_to, 33):
        with pytest.raises(WrappedKeyLenRange):
            material.unwrapped(row, CKO.SECRET_KEY, CKK.GENERIC_SECRET, wrong, plain)


WRAPPING = [row for row in ROWS.values() if row.wraps_private and row.key_types == (CKK.AES,)]


@pytest.mark.parametrize("row", WRAPPING, ids=lambda row: CKM.name(row.type))
@pytest.mark.parametrize(("cls", "key_type", "form"), [
    (CKO.PRIVATE_KEY, CKK.RSA, pkcs8(RSA_KEY)),
    (CKO.PRIVATE_KEY, CKK.EC, pkcs8(EC_KEY)),
    (CKO.SECRET_KEY, CKK.AES, bytes(24)),
], ids=["RSA", "EC", "AES"])  # fmt: skip
def test_keys_come_out_as_they_went_in(row: object, cls: int, key_type: int, form: bytes) -> None:
    assert isinstance(row, MechanismRow)
    kek, key = secret_samples.key(row), Secret(form)
    parameter = secret_samples.parameter(row, len(key))
    wrapped = engine.wrap(row, parameter, kek, key)
    assert len(wrapped) == engine.wrapped_size(row, parameter, len(key))
    plain = engine.unwrap(row, parameter, kek, wrapped)
    assert material.unwrapped(row, cls, key_type, None, plain) == key
    if cls == CKO.PRIVATE_KEY:
        with pytest.raises(WrappedKeyInvalid):
            material.unwrapped(row, cls, CKK.EC if key_type == CKK.RSA else CKK.RSA, None, plain)
        with pytest.raises(WrappedKeyLenRange):
            material.unwrapped(row, CKO.SECRET_KEY, CKK.AES, None, plain)
    else:
        with pytest.raises(WrappedKeyInvalid):
            material.unwrapped(row, CKO.PRIVATE_KEY, CKK.RSA, None, plain)
        with pytest.raises(WrappedKeyLenRange):
            material.unwrapped(row, CKO.SECRET_KEY, CKK.AES, 16, plain)


def test_rsa_wraps_secret_keys() -> None:
    public, private = Secret(spki(RSA_KEY)), Secret(pkcs8(RSA_KEY))
    row, key = ROWS[CKM.RSA_PKCS], Secret(bytes(range(32)))
    wrapped = engine.wrap(row, None, public, key)
    assert len(wrapped) == engine.wrapped_size(row, None, 32, public) == 128
    assert engine.wrapped_size(row, None, 32) >= 128
    assert engine.unwrap(row, None, private, wrapped) == key


@given(st.binary(min_size=1, max_size=60))
def test_malformed_der_is_a_value_error_or_a_value(junk: bytes) -> None:
    for cls, key_type in ((CKO.PRIVATE_KEY, CKK.RSA), (CKO.PUBLIC_KEY, CKK.EC), (CKO.CERTIFICATE, None)):
        with pytest.raises(AttributeValueInvalid):
            material.normalise(cls, key_type, junk)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 255))
def test_der_lengths(content: bytes, after: int) -> None:
    element = der.encode(der.OCTET_STRING, content)
    assert der.take(element + bytes((after,))) == (der.OCTET_STRING, content, bytes((after,)))
    assert der.only(element, der.OCTET_STRING) == content
    assert der.unsigned(der.take(der.integer(content))[:2]) == content.lstrip(b"\0")
