"""C_DeriveKey: what is derived, what new keys inherit, what is refused and what a refusal leaves behind."""

from __future__ import annotations

import hashlib
import hmac
import struct
import sys

import pytest
from fix_provider import READ_ONLY, create_secret, find, get, template
from fix_tokens import TokenOnDisk
from openssl_kdf import kdf

from mrhsm_p11.constants import CK, CKA, CKF, CKK, CKM, CKO, CKU
from mrhsm_p11.errors import (
    ArgumentsBad,
    AttributeReadOnly,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    CryptokiError,
    DeviceMemory,
    KeyFunctionNotPermitted,
    KeyHandleInvalid,
    KeySizeRange,
    KeyTypeInconsistent,
    MechanismInvalid,
    MechanismParamInvalid,
    SessionReadOnly,
    TemplateIncomplete,
    TemplateInconsistent,
    UserNotLoggedIn,
)
from mrhsm_p11.functions import derive, keys, objects, sessions
from mrhsm_p11.mapping import attributes
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms.derive import SECRETS
from mrhsm_p11.parameters import Mechanism, Place
from mrhsm_p11.parameters.derive import (
    AESCBCData,
    CounterParams,
    DerivedKey,
    DESCBCData,
    ECDH1Params,
    FeedbackParams,
    HKDFParams,
    PRFPart,
    StringData,
)
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyState, Record
from mrhsm_p11.store.memory import MemoryStore
from mrhsm_p11.token import inheritance

BASE = bytes(range(16))
DERIVES: dict[int, Value] = {CKA.DERIVE: True}


def number(value: int) -> bytes:
    return value.to_bytes(struct.calcsize("L"), sys.byteorder)


def base_key(session: int, value: bytes = BASE, key_type: int = CKK.GENERIC_SECRET, **more: Value) -> int:
    given = {getattr(CKA, name): item for name, item in more.items()}
    return create_secret(session, value, {**DERIVES, **given}, key_type)


def derived(session: int, mechanism: Mechanism, key: int, values: dict[int, Value] | None = None) -> int:
    handle = derive.derive_key(session, mechanism, key, template(values or {}), True)
    assert isinstance(handle, int)
    return handle


def value_of(session: int, mechanism: Mechanism, key: int, values: dict[int, Value] | None = None) -> bytes:
    value = get(session, derived(session, mechanism, key, values), CKA.VALUE)
    assert isinstance(value, bytes)
    return value


def data(value: bytes) -> StringData:
    return StringData(value)


def counter(bits: int, *, little: bool = False) -> bytes:
    return struct.pack("@BL", little, bits)


def told(bits: int, method: int = CK.SP800_108_DKM_LENGTH_SUM_OF_KEYS) -> bytes:
    return struct.pack("@LBL", method, False, bits)


# ---- known answers


@pytest.mark.parametrize(
    ("mechanism", "expected"),
    [
        (Mechanism(CKM.CONCATENATE_BASE_AND_DATA, data(b"more")), BASE + b"more"),
        (Mechanism(CKM.CONCATENATE_DATA_AND_BASE, data(b"more")), b"more" + BASE),
        (Mechanism(CKM.XOR_BASE_AND_DATA, data(b"\xff" * 20)), bytes(255 - n for n in range(16))),
        (Mechanism(CKM.XOR_BASE_AND_DATA, data(b"\x0f" * 4)), bytes([15, 14, 13, 12])),
        (Mechanism(CKM.SHA1_KEY_DERIVATION), hashlib.sha1(BASE).digest()),
        (Mechanism(CKM.SHA224_KEY_DERIVATION), hashlib.sha224(BASE).digest()),
        (Mechanism(CKM.SHA256_KEY_DERIVATION), hashlib.sha256(BASE).digest()),
        (Mechanism(CKM.SHA384_KEY_DERIVATION), hashlib.sha384(BASE).digest()),
        (Mechanism(CKM.SHA512_KEY_DERIVATION), hashlib.sha512(BASE).digest()),
        (Mechanism(CKM.SHA512_256_KEY_DERIVATION), hashlib.new("sha512_256", BASE).digest()),
        (Mechanism(CKM.SHA3_256_KEY_DERIVE), hashlib.sha3_256(BASE).digest()),
        (Mechanism(CKM.SHA3_512_KEY_DERIVE), hashlib.sha3_512(BASE).digest()),
    ],
    ids=lambda each: CKM.name(each.type) if isinstance(each, Mechanism) else "",
)
def test_without_a_length_the_mechanism_decides(user_session: int, mechanism: Mechanism, expected: bytes) -> None:
    key = derived(user_session, mechanism, base_key(user_session))
    assert get(user_session, key, CKA.VALUE) == expected
    assert get(user_session, key, CKA.VALUE_LEN) == len(expected)
    assert get(user_session, key, CKA.KEY_TYPE) == CKK.GENERIC_SECRET
    shorter = {CKA.VALUE_LEN: len(expected) - 1}
    assert value_of(user_session, mechanism, base_key(user_session), shorter) == expected[:-1]
    with pytest.raises(KeySizeRange):
        derived(user_session, mechanism, base_key(user_session), {CKA.VALUE_LEN: len(expected) + 1})


def test_two_keys_are_joined(user_session: int) -> None:
    second = base_key(user_session, b"second")
    joined = Mechanism(CKM.CONCATENATE_BASE_AND_KEY, number(second))
    assert value_of(user_session, joined, base_key(user_session)) == BASE + b"second"


@pytest.mark.parametrize(
    ("bit", "length", "expected"),
    [(21, 2, "9526"), (0, 4, "329f84a9"), (8, 4, "9f84a932"), (31, 1, "99"), (4, 3, "29f84a")],
)
def test_a_key_is_cut_out_of_a_key(user_session: int, bit: int, length: int, expected: str) -> None:
    """The first is the standard's own example."""
    key = base_key(user_session, bytes.fromhex("329f84a9"))
    cut = Mechanism(CKM.EXTRACT_KEY_FROM_KEY, number(bit))
    assert value_of(user_session, cut, key, {CKA.VALUE_LEN: length}).hex() == expected


def test_encrypted_data_is_a_key(user_session: int) -> None:
    """SP 800-38A, F.1.1 and F.2.1."""
    key = base_key(user_session, bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), CKK.AES)
    blocks = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    ecb = Mechanism(CKM.AES_ECB_ENCRYPT_DATA, data(blocks))
    cbc = Mechanism(CKM.AES_CBC_ENCRYPT_DATA, AESCBCData(bytes(range(16)), blocks))
    assert value_of(user_session, ecb, key).hex() == "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"
    assert value_of(user_session, cbc, key).hex() == "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
    assert len(value_of(user_session, cbc, key, {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 24})) == 24
    with pytest.raises(MechanismParamInvalid):
        derived(user_session, ecb, key, {CKA.VALUE_LEN: 33})
    for refused in (data(b""), data(blocks[:-1])):
        with pytest.raises(MechanismParamInvalid):
            derived(user_session, Mechanism(CKM.AES_ECB_ENCRYPT_DATA, refused), key)


def test_des_keys_of_encrypted_data_have_their_parity(user_session: int) -> None:
    value = bytes.fromhex("0123456789abcdef23456789abcdef01456789abcdef0123")
    key = base_key(user_session, value, CKK.DES3)
    ecb, cbc = (
        Mechanism(CKM.DES3_ECB_ENCRYPT_DATA, data(bytes(24))),
        Mechanism(CKM.DES3_CBC_ENCRYPT_DATA, DESCBCData(bytes(8), bytes(24))),
    )
    plain, chained = value_of(user_session, ecb, key), value_of(user_session, cbc, key)
    assert plain[:8] == chained[:8] == plain[8:16] != chained[8:16]
    made = derived(user_session, ecb, key, {CKA.KEY_TYPE: CKK.DES3})
    des = get(user_session, made, CKA.VALUE)
    assert isinstance(des, bytes)
    assert [byte >> 1 for byte in des] == [byte >> 1 for byte in plain]
    assert all(byte.bit_count() % 2 for byte in des)


IKM, SALT, INFO = b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA))
PRK = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
OKM = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
NULL_OKM = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"


def hkdf(
    salt: bytes | None = SALT,
    info: bytes = INFO,
    *,
    extract: int = 1,
    expand: int = 1,
    key: int = 0,
    hash: int = CKM.SHA256,
) -> HKDFParams:
    kind = CKF.HKDF_SALT_KEY if key else CKF.HKDF_SALT_NULL if salt is None else CKF.HKDF_SALT_DATA
    return HKDFParams(extract, expand, hash, kind, salt or b"", key, info)


def test_hkdf_as_rfc_5869_has_it(user_session: int) -> None:
    """Appendix A.1 and A.3: whole, in halves, with the salt as bytes, as a key, and none."""
    whole, key = {CKA.VALUE_LEN: 42}, base_key(user_session, IKM, CKK.HKDF)
    assert value_of(user_session, Mechanism(CKM.HKDF_DERIVE, hkdf()), key, whole).hex() == OKM
    assert value_of(user_session, Mechanism(CKM.HKDF_DERIVE, hkdf(None, b"")), key, whole).hex() == NULL_OKM
    assert value_of(user_session, Mechanism(CKM.HKDF_DERIVE, hkdf(b"", b"")), key, whole).hex() == NULL_OKM
    assert value_of(user_session, Mechanism(CKM.HKDF_DERIVE, hkdf()), key).hex() == OKM[:64]  # one output of its hash
    salt = base_key(user_session, SALT)
    assert value_of(user_session, Mechanism(CKM.HKDF_DERIVE, hkdf(key=salt)), key, whole).hex() == OKM
    extracted = derived(user_session, Mechanism(CKM.HKDF_DERIVE, hkdf(expand=0)), key, DERIVES)
    assert get(user_session, extracted, CKA.VALUE) == bytes.fromhex(PRK)
    assert value_of(user_session, Mechanism(CKM.HKDF_DERIVE, hkdf(extract=0)), extracted, whole).hex() == OKM


def test_hkdf_to_a_data_object(user_session: int) -> None:
    made = derived(
        user_session,
        Mechanism(CKM.HKDF_DATA, hkdf()),
        base_key(user_session, IKM),
        {CKA.VALUE_LEN: 42, CKA.LABEL: "okm"},
    )
    assert get(user_session, made, CKA.CLASS) == CKO.DATA
    assert get(user_session, made, CKA.VALUE) == bytes.fromhex(OKM)
    with pytest.raises(TemplateInconsistent):
        derived(
            user_session,
            Mechanism(CKM.HKDF_DATA, hkdf()),
            base_key(user_session, IKM),
            {CKA.VALUE_LEN: 42, CKA.CLASS: CKO.SECRET_KEY},
        )


FIXED = (
    "e679861a613465a67385372671b107e6b895a2f64043c934ff4256a7e63cfb8b"
    "facc2124251c90fa670d45745c1c35da9b6e05af77ea9c4ad486fd1a"
)
CMAC_KEY = bytes.fromhex("23eb065be127a881e35a6514d435679f")
CMAC_OUT = "ea4ebbb4efff4b01684012ed8ff9c64e", "70ae38197c36445a6c804a0e44819ac3"


def after_fixed(additional: tuple[DerivedKey, ...] = ()) -> CounterParams:
    parts = (
        PRFPart(CK.SP800_108_BYTE_ARRAY, bytes.fromhex(FIXED)),
        PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(8)),
    )
    return CounterParams(CKM.AES_CMAC, parts, additional)


def place_for(handles: list[int]) -> Place:
    return Place(lambda value: handles.append(int(value)))  # type: ignore[arg-type]


def test_counter_mode_with_cmac_gives_two_keys(user_session: int) -> None:
    """CAVP, KDF in counter mode, AES-128 CMAC, counter of 8 bits after the fixed data."""
    handles: list[int] = []
    more = DerivedKey(template({CKA.VALUE_LEN: 16, CKA.LABEL: "second"}), place_for(handles))
    key = base_key(user_session, CMAC_KEY, CKK.AES)
    first = value_of(user_session, Mechanism(CKM.SP800_108_COUNTER_KDF, after_fixed((more,))), key, {CKA.VALUE_LEN: 16})
    assert first.hex() == CMAC_OUT[0]
    assert [get(user_session, handle, CKA.VALUE) for handle in handles] == [bytes.fromhex(CMAC_OUT[1])]
    assert get(user_session, handles[0], CKA.LABEL) == "second"
    both = value_of(user_session, Mechanism(CKM.SP800_108_COUNTER_KDF, after_fixed()), key, {CKA.VALUE_LEN: 32})
    assert both.hex() == "".join(CMAC_OUT)


def test_each_key_begins_with_a_new_output(user_session: int) -> None:
    handles: list[int] = []
    more = DerivedKey(template({CKA.VALUE_LEN: 3}), place_for(handles))
    key = base_key(user_session, CMAC_KEY, CKK.AES)
    derived(user_session, Mechanism(CKM.SP800_108_COUNTER_KDF, after_fixed((more, more))), key, {CKA.VALUE_LEN: 1})
    whole = value_of(user_session, Mechanism(CKM.SP800_108_COUNTER_KDF, after_fixed()), key, {CKA.VALUE_LEN: 48})
    assert [get(user_session, handle, CKA.VALUE) for handle in handles] == [whole[16:19], whole[32:35]]


@pytest.mark.parametrize("mode", ["COUNTER", "FEEDBACK"])
@pytest.mark.parametrize("mac", ["HMAC", "CMAC"])
def test_sp800_108_agrees_with_openssl(user_session: int, mode: str, mac: str) -> None:
    """OpenSSL lays its input out as SP 800-108 suggests: counter, label, zero, context, length in 32 bits."""
    label, context, iv = b"label", b"context", b"\x55" * (64 if mac == "HMAC" else 16)
    prf, digest = (CKM.SHA512_HMAC, "digest:SHA512") if mac == "HMAC" else (CKM.AES_CMAC, "cipher:AES-128-CBC")
    before = PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(32))
    if mode == "FEEDBACK":
        before = PRFPart(CK.SP800_108_ITERATION_VARIABLE, b"")
    parts = (
        before,
        *((PRFPart(CK.SP800_108_COUNTER, counter(32)),) if mode == "FEEDBACK" else ()),
        PRFPart(CK.SP800_108_BYTE_ARRAY, label + b"\0"),
        PRFPart(CK.SP800_108_BYTE_ARRAY, context),
        PRFPart(CK.SP800_108_DKM_LENGTH, told(32)),
    )
    given = CounterParams(prf, parts, ()) if mode == "COUNTER" else FeedbackParams(prf, parts, iv, ())
    mechanism = Mechanism(getattr(CKM, f"SP800_108_{mode}_KDF"), given)
    made = value_of(user_session, mechanism, base_key(user_session), {CKA.VALUE_LEN: 100})
    seed = [f"hexseed:{iv.hex()}"] if mode == "FEEDBACK" else []
    told_openssl = [f"mac:{mac}", digest, f"hexkey:{BASE.hex()}", f"hexsalt:{label.hex()}", f"hexinfo:{context.hex()}"]
    assert made == kdf("KBKDF", 100, f"mode:{mode}", *told_openssl, *seed)


def test_double_pipeline_as_sp800_108_has_it(user_session: int) -> None:
    """Composed here from hmac, as section 4.3 writes it: K(i) = PRF(A(i) || i || fixed), A(i) = PRF(A(i-1))."""
    fixed = b"label\0context"
    parts = (
        PRFPart(CK.SP800_108_ITERATION_VARIABLE, b""),
        PRFPart(CK.SP800_108_COUNTER, counter(16, little=True)),
        PRFPart(CK.SP800_108_BYTE_ARRAY, fixed),
    )
    given = Mechanism(CKM.SP800_108_DOUBLE_PIPELINE_KDF, CounterParams(CKM.SHA256_HMAC, parts, ()))
    expected, state = b"", fixed
    for number_of_round in range(1, 4):
        state = hmac.digest(BASE, state, "sha256")
        expected += hmac.digest(BASE, state + number_of_round.to_bytes(2, "little") + fixed, "sha256")
    assert value_of(user_session, given, base_key(user_session), {CKA.VALUE_LEN: 70}) == expected[:70]


def test_the_value_of_another_key_goes_into_sp800_108(user_session: int) -> None:
    iteration = PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(8))
    key, other = base_key(user_session), base_key(user_session, b"other")
    values = {
        value_of(
            user_session,
            Mechanism(CKM.SP800_108_COUNTER_KDF, CounterParams(CKM.SHA256_HMAC, (iteration, part), ())),
            key,
        )
        for part in (
            PRFPart(CK.SP800_108_KEY_HANDLE, number(other)),
            PRFPart(CK.SP800_108_BYTE_ARRAY, b"other"),
        )
    }
    assert values == {hmac.digest(BASE, b"\1other", "sha256")}


def test_lengths_are_told_of_keys_or_of_segments(user_session: int) -> None:
    """Two keys of 3 bytes: 48 bits, or two outputs of 256."""
    results = []
    for method in (CK.SP800_108_DKM_LENGTH_SUM_OF_KEYS, CK.SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS):
        more = DerivedKey(template({CKA.VALUE_LEN: 3}), place_for([]))
        parts = (
            PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(8)),
            PRFPart(CK.SP800_108_DKM_LENGTH, told(16, method)),
        )
        given = Mechanism(CKM.SP800_108_COUNTER_KDF, CounterParams(CKM.SHA256_HMAC, parts, (more,)))
        results.append(value_of(user_session, given, base_key(user_session), {CKA.VALUE_LEN: 3}))
    assert results == [hmac.digest(BASE, b"\1" + bits.to_bytes(2, "big"), "sha256")[:3] for bits in (48, 512)]


# ---- what new keys are

SHA256 = Mechanism(CKM.SHA256_KEY_DERIVATION)
MORE = Mechanism(CKM.CONCATENATE_BASE_AND_DATA, data(b"more"))


def joined(session: int, **second: Value) -> Mechanism:
    return Mechanism(CKM.CONCATENATE_BASE_AND_KEY, number(base_key(session, b"second", **second)))


def guards(session: int, key: int) -> str:
    """Return the attributes that guard a key as a word: S, E, AS, NE where they are true."""
    told_of = {"S": CKA.SENSITIVE, "E": CKA.EXTRACTABLE, "AS": CKA.ALWAYS_SENSITIVE, "NE": CKA.NEVER_EXTRACTABLE}
    return " ".join(name for name, cka in told_of.items() if get(session, key, cka))


def generated(session: int, sensitive: bool, extractable: bool) -> int:
    """Make a key whose history is its present state."""
    made = {CKA.VALUE_LEN: 16, CKA.SENSITIVE: sensitive, CKA.EXTRACTABLE: extractable, CKA.DERIVE: True}
    return keys.generate_key(session, Mechanism(CKM.GENERIC_SECRET_KEY_GEN), template(made))


@pytest.mark.parametrize(
    ("base", "asked", "chosen", "bound"),
    [
        ((False, True), {}, "E", "E"),
        ((True, False), {}, "E", "S AS NE"),
        ((True, False), {CKA.SENSITIVE: True}, "S E AS", "S AS NE"),
        ((True, False), {CKA.SENSITIVE: True, CKA.EXTRACTABLE: False}, "S AS NE", "S AS NE"),
        ((False, True), {CKA.SENSITIVE: True, CKA.EXTRACTABLE: False}, "S", "S"),
        ((True, True), {CKA.EXTRACTABLE: False}, "", "S AS"),
    ],
)
def test_what_a_derived_key_inherits(
    user_session: int, base: tuple[bool, bool], asked: dict[int, Value], chosen: str, bound: str
) -> None:
    key = generated(user_session, *base)
    for mechanism, expected in ((SHA256, chosen), (MORE, bound)):
        made = derived(user_session, mechanism, key, asked)
        assert guards(user_session, made) == expected
        assert get(user_session, made, CKA.LOCAL) is False
        assert get(user_session, made, CKA.KEY_GEN_MECHANISM) == CK.UNAVAILABLE_INFORMATION


def test_both_keys_of_a_concatenation_count(user_session: int) -> None:
    open_key, closed = generated(user_session, False, True), generated(user_session, True, False)
    for first, second in ((open_key, closed), (closed, open_key)):
        made = derived(user_session, Mechanism(CKM.CONCATENATE_BASE_AND_KEY, number(second)), first)
        assert guards(user_session, made) == "S"
    both = derived(user_session, Mechanism(CKM.CONCATENATE_BASE_AND_KEY, number(closed)), closed)
    assert guards(user_session, both) == "S AS NE"


@pytest.mark.parametrize(
    "mechanism",
    [mechanism for mechanism, rule in inheritance.INHERITANCE.items() if rule is inheritance.Inheritance.BOUND],
    ids=CKM.name,
)
def test_a_bound_key_does_not_shed_its_guards(user_session: int, mechanism: int) -> None:
    """Whatever the parameter: cutting a sensitive key up, or joining it with nothing, does not reveal it."""
    key = generated(user_session, True, False)
    parameter = {
        CKM.CONCATENATE_BASE_AND_KEY: number(base_key(user_session)),
        CKM.EXTRACT_KEY_FROM_KEY: number(0),
    }.get(mechanism, data(b"\0" * 16))
    for shed in ({CKA.SENSITIVE: False}, {CKA.EXTRACTABLE: True}):
        with pytest.raises(TemplateInconsistent):
            derived(user_session, Mechanism(mechanism, parameter), key, {CKA.VALUE_LEN: 8, **shed})


def test_a_derive_template_is_forced_on_new_keys(user_session: int) -> None:
    key = base_key(user_session, DERIVE_TEMPLATE={CKA.SENSITIVE: True, CKA.LABEL: "child"})
    assert get(user_session, derived(user_session, SHA256, key), CKA.LABEL) == "child"
    with pytest.raises(TemplateInconsistent):
        derived(user_session, SHA256, key, {CKA.SENSITIVE: False})


def test_lengths_and_key_types(user_session: int) -> None:
    key = base_key(user_session)
    aes = derived(user_session, SHA256, key, {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 24})
    assert (get(user_session, aes, CKA.KEY_TYPE), get(user_session, aes, CKA.VALUE_LEN)) == (CKK.AES, 24)
    for values, error in (
        ({CKA.KEY_TYPE: CKK.AES}, TemplateIncomplete),
        ({CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 17}, AttributeValueInvalid),
        ({CKA.KEY_TYPE: CKK.SHA256_HMAC}, TemplateIncomplete),
        ({CKA.VALUE_LEN: 0}, AttributeValueInvalid),
        ({CKA.VALUE_LEN: 1 << 40}, AttributeValueInvalid),
        ({CKA.KEY_TYPE: CKK.RSA, CKA.VALUE_LEN: 16}, AttributeValueInvalid),
        ({CKA.CLASS: CKO.PRIVATE_KEY}, TemplateInconsistent),
        ({CKA.VALUE: b"x" * 16}, AttributeReadOnly),
        ({CKA.LOCAL: False}, AttributeReadOnly),
        ({CKA.MODULUS: b"1"}, AttributeTypeInvalid),
    ):
        with pytest.raises(error):
            derived(user_session, SHA256, key, values)


# ---- who may derive


def test_the_base_key_must_allow_it(user_session: int) -> None:
    with pytest.raises(KeyFunctionNotPermitted):
        derived(user_session, SHA256, create_secret(user_session, BASE))
    with pytest.raises(MechanismInvalid):
        derived(user_session, SHA256, base_key(user_session, ALLOWED_MECHANISMS=(CKM.HKDF_DERIVE,)))
    with pytest.raises(KeyFunctionNotPermitted):
        derived(user_session, SHA256, base_key(user_session, END_DATE=b"20200101"))
    with pytest.raises(KeyFunctionNotPermitted):
        derived(user_session, SHA256, base_key(user_session, START_DATE=b"29990101"))
    with pytest.raises(KeyHandleInvalid):
        derived(user_session, SHA256, 0)
    with pytest.raises(MechanismInvalid):
        derived(user_session, Mechanism(CKM.SHA256), base_key(user_session))
    with pytest.raises(KeyTypeInconsistent):
        derived(user_session, Mechanism(CKM.AES_ECB_ENCRYPT_DATA, data(bytes(16))), base_key(user_session))
    with pytest.raises(ArgumentsBad):
        derive.derive_key(user_session, None, base_key(user_session), {}, True)
    with pytest.raises(ArgumentsBad):
        derive.derive_key(user_session, SHA256, base_key(user_session), {}, False)


@pytest.mark.parametrize("state", [KeyState.PRE_ACTIVE, KeyState.DEACTIVATED, KeyState.COMPROMISED])
def test_only_an_active_key_derives(user_session: int, monkeypatch: pytest.MonkeyPatch, state: KeyState) -> None:
    key, load = base_key(user_session), MemoryStore.load
    monkeypatch.setattr(
        MemoryStore, "load", lambda self, uid: Record(uid, load(self, uid).attributes, state, load(self, uid).foreign)
    )
    with pytest.raises(KeyFunctionNotPermitted):
        derived(user_session, SHA256, key)


def test_keys_in_parameters_are_checked_too(user_session: int) -> None:
    idle = create_secret(user_session, BASE)
    ended = base_key(user_session, END_DATE=b"20200101")
    label = objects.create_object(user_session, template({CKA.CLASS: CKO.DATA}))
    part = (PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(8)),)
    for other, error in (
        (0, KeyHandleInvalid),
        (label, KeyHandleInvalid),
        (idle, KeyFunctionNotPermitted),
        (ended, KeyFunctionNotPermitted),
    ):
        named = (*part, PRFPart(CK.SP800_108_KEY_HANDLE, number(other)))
        for mechanism in (
            Mechanism(CKM.CONCATENATE_BASE_AND_KEY, number(other)),
            Mechanism(CKM.HKDF_DERIVE, HKDFParams(1, 0, CKM.SHA256, CKF.HKDF_SALT_KEY, b"", other, b"")),
            Mechanism(CKM.SP800_108_COUNTER_KDF, CounterParams(CKM.SHA256_HMAC, named, ())),
        ):
            with pytest.raises(error):
                derived(user_session, mechanism, base_key(user_session))
    unused = HKDFParams(1, 0, CKM.SHA256, CKF.HKDF_SALT_NULL, b"", 0, b"")
    assert len(value_of(user_session, Mechanism(CKM.HKDF_DERIVE, unused), base_key(user_session))) == 32


def test_a_key_that_wants_a_login_before_each_use_does_not_derive(user_session: int) -> None:
    _, private = keys.generate_key_pair(
        user_session,
        Mechanism(CKM.EC_KEY_PAIR_GEN),
        template({CKA.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}),
        template({CKA.DERIVE: True, CKA.ALWAYS_AUTHENTICATE: True}),
    )
    with pytest.raises(UserNotLoggedIn):
        derived(user_session, Mechanism(CKM.ECDH1_DERIVE, ECDH1Params(1, b"", b"\4" * 65)), private)


def test_sessions_bound_where_new_keys_go(library: TokenOnDisk, public_session: int) -> None:
    key = base_key(public_session, PRIVATE=False)
    for values, error in (
        ({CKA.PRIVATE: True}, UserNotLoggedIn),
        ({CKA.TOKEN: True, CKA.PRIVATE: False}, UserNotLoggedIn),
    ):
        with pytest.raises(error):
            derived(public_session, SHA256, key, values)
    sessions.login(public_session, CKU.USER, Secret(library.user_pin.view()))
    kept = derived(public_session, SHA256, key, {CKA.TOKEN: True, CKA.LABEL: "kept"})
    assert get(public_session, kept, CKA.TOKEN) is True
    read_only = sessions.open_session(library.slot_id, READ_ONLY)
    assert get(read_only, derived(read_only, SHA256, key), CKA.TOKEN) is False
    with pytest.raises(SessionReadOnly):
        derived(read_only, SHA256, key, {CKA.TOKEN: True})


# ---- nothing half done


def test_all_keys_or_none(user_session: int, monkeypatch: pytest.MonkeyPatch) -> None:
    handles: list[int] = []
    more = [DerivedKey(template(values), place_for(handles)) for values in ({CKA.VALUE_LEN: 8}, {CKA.VALUE_LEN: 8})]
    key = base_key(user_session, CMAC_KEY, CKK.AES)
    before = find(user_session, {})
    insert, made = MemoryStore.insert, []

    def third_fails(self: MemoryStore, *arguments: object) -> Record:
        made.append(arguments)
        if len(made) == 3:
            raise DeviceMemory
        return insert(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryStore, "insert", third_fails)
    with pytest.raises(DeviceMemory):
        derived(user_session, Mechanism(CKM.SP800_108_COUNTER_KDF, after_fixed(tuple(more))), key, {CKA.VALUE_LEN: 8})
    assert (find(user_session, {}), handles) == (before, [])


@pytest.mark.parametrize(
    "refused",
    [
        DerivedKey(template({CKA.VALUE_LEN: 8, CKA.SENSITIVE: True, CKA.MODULUS: b"1"}), place_for([])),
        DerivedKey(template({CKA.VALUE_LEN: 8}), Place(None)),
        DerivedKey(template({CKA.KEY_TYPE: CKK.AES}), place_for([])),
        DerivedKey(template({CKA.VALUE_LEN: 8, CKA.CLASS: CKO.DATA}), place_for([])),
    ],
    ids=["attribute", "no place", "no length", "class"],
)
def test_a_refused_additional_key_stops_all(user_session: int, refused: DerivedKey) -> None:
    key = base_key(user_session, CMAC_KEY, CKK.AES)
    before = find(user_session, {})
    with pytest.raises(CryptokiError):
        derived(user_session, Mechanism(CKM.SP800_108_COUNTER_KDF, after_fixed((refused,))), key, {CKA.VALUE_LEN: 8})
    assert find(user_session, {}) == before


NEW: dict[int, Value] = {CKA.VALUE_LEN: 8}
ITERATION = PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(8))
COUNTER_KDF, FEEDBACK_KDF = CKM.SP800_108_COUNTER_KDF, CKM.SP800_108_FEEDBACK_KDF


@pytest.mark.parametrize(
    ("type", "parts", "length", "error"),
    [
        (COUNTER_KDF, (), 8, MechanismParamInvalid),
        (COUNTER_KDF, (ITERATION, ITERATION), 8, MechanismParamInvalid),
        (COUNTER_KDF, (ITERATION, PRFPart(CK.SP800_108_COUNTER, counter(8))), 8, MechanismParamInvalid),
        (COUNTER_KDF, (PRFPart(CK.SP800_108_ITERATION_VARIABLE, b""),), 8, MechanismParamInvalid),
        (COUNTER_KDF, (PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(0)),), 8, MechanismParamInvalid),
        (COUNTER_KDF, (PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(12)),), 8, MechanismParamInvalid),
        (COUNTER_KDF, (PRFPart(CK.SP800_108_ITERATION_VARIABLE, counter(40)),), 8, MechanismParamInvalid),
        (COUNTER_KDF, (ITERATION, PRFPart(CK.SP800_108_DKM_LENGTH, told(72))), 8, MechanismParamInvalid),
        (COUNTER_KDF, (ITERATION, PRFPart(CK.SP800_108_DKM_LENGTH, told(16, 3))), 8, MechanismParamInvalid),
        (COUNTER_KDF, (ITERATION, PRFPart(CK.SP800_108_DKM_LENGTH, told(8))), 32, KeySizeRange),
        (COUNTER_KDF, (ITERATION, PRFPart(99, b"")), 8, MechanismParamInvalid),
        (COUNTER_KDF, (ITERATION,), 255 * 32 + 1, KeySizeRange),
        (FEEDBACK_KDF, (ITERATION,), 8, MechanismParamInvalid),
        (FEEDBACK_KDF, (PRFPart(CK.SP800_108_COUNTER, counter(8)),), 8, MechanismParamInvalid),
    ],
)
def test_what_sp800_108_does_not_take(
    user_session: int, type: int, parts: tuple[PRFPart, ...], length: int, error: type[CryptokiError]
) -> None:
    given = (
        CounterParams(CKM.SHA256_HMAC, parts, ())
        if type == COUNTER_KDF
        else FeedbackParams(CKM.SHA256_HMAC, parts, b"", ())
    )
    with pytest.raises(error):
        derived(user_session, Mechanism(type, given), base_key(user_session), {CKA.VALUE_LEN: length})


@pytest.mark.parametrize(
    ("mechanism", "values", "error"),
    [
        (Mechanism(CKM.HKDF_DERIVE, hkdf(extract=0, expand=0)), {}, MechanismParamInvalid),
        (Mechanism(CKM.HKDF_DERIVE, hkdf(hash=CKM.SHA256_HMAC)), {CKA.VALUE_LEN: 8}, MechanismParamInvalid),
        (
            Mechanism(CKM.HKDF_DERIVE, HKDFParams(1, 1, CKM.SHA256, 3, b"", 0, b"")),
            {CKA.VALUE_LEN: 8},
            MechanismParamInvalid,
        ),
        (Mechanism(CKM.HKDF_DERIVE, hkdf()), {CKA.VALUE_LEN: 255 * 32 + 1}, KeySizeRange),
        (Mechanism(CKM.EXTRACT_KEY_FROM_KEY, number(128)), {CKA.VALUE_LEN: 1}, MechanismParamInvalid),
        (Mechanism(CKM.EXTRACT_KEY_FROM_KEY, b"1"), {CKA.VALUE_LEN: 1}, MechanismParamInvalid),
        (Mechanism(CKM.EXTRACT_KEY_FROM_KEY, number(0)), {CKA.VALUE_LEN: 17}, KeySizeRange),
        (Mechanism(CKM.EXTRACT_KEY_FROM_KEY, number(0)), {}, TemplateIncomplete),
        (Mechanism(CKM.CONCATENATE_BASE_AND_KEY, b"x"), {}, MechanismParamInvalid),
        (Mechanism(CKM.CONCATENATE_BASE_AND_DATA), {}, MechanismParamInvalid),
        (Mechanism(CKM.SP800_108_COUNTER_KDF, CounterParams(CKM.SHA256, (ITERATION,), ())), {}, MechanismParamInvalid),
        (Mechanism(CKM.XOR_BASE_AND_DATA, data(b"")), {}, AttributeValueInvalid),
    ],
)
def test_parameters_that_mean_nothing(
    user_session: int, mechanism: Mechanism, values: dict[int, Value], error: type[CryptokiError]
) -> None:
    with pytest.raises(error):
        derived(user_session, mechanism, base_key(user_session), values)


def test_every_secret_key_type_may_be_a_base() -> None:
    stored = {key_type for key_type in vars(CKK).values() if isinstance(key_type, int)}
    secrets = {key_type for key_type in stored if attributes.supported(CKO.SECRET_KEY, key_type)}
    left_out = {CKK.POLY1305, CKK.AES_XTS, CKK.DES2, CKK.MD5_HMAC}
    assert {each for each in secrets - set(SECRETS) if "BLAKE2" not in CKK.name(each)} <= left_out
