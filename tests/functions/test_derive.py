"""C_DeriveKey: what is derived, what new keys inherit, what is refused and what a refusal leaves behind."""

from __future__ import annotations

import hashlib
import struct
import sys

import pytest
from fix_provider import create_secret, get, template

from mrhsm_p11.constants import CK, CKA, CKF, CKK, CKM, CKO
from mrhsm_p11.errors import (
    DataLenRange,
    KeySizeRange,
    MechanismParamInvalid,
    TemplateInconsistent,
)
from mrhsm_p11.functions import derive
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism, Place
from mrhsm_p11.parameters.derive import (
    AESCBCData,
    CounterParams,
    DerivedKey,
    HKDFParams,
    PRFPart,
    StringData,
)

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
    with pytest.raises(DataLenRange):
        derived(user_session, ecb, key, {CKA.VALUE_LEN: 33})
    for refused in (data(b""), data(blocks[:-1])):
        with pytest.raises((MechanismParamInvalid, DataLenRange)):
            derived(user_session, Mechanism(CKM.AES_ECB_ENCRYPT_DATA, refused), key)


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
