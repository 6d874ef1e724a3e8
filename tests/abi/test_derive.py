"""Derivation through the C ABI: real structures, and what is written back into them."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from p11 import Cryptoki, rv_of

from mrhsm_p11.constants import CK, CKA, CKF, CKK, CKM, CKO, CKP, CKR, CKU, CKZ

SO_PIN, PIN = "so pin 1234", "user pin 5678"
BASE = bytes(range(48))


@pytest.fixture
def session(cryptoki: Cryptoki) -> int:
    """A read/write session of a new token, the user logged in."""
    cryptoki.initialize()
    slot = cryptoki.slots()[0]
    cryptoki.init_token(slot, SO_PIN, "derive")
    first = cryptoki.open_session(slot)
    cryptoki.login(first, SO_PIN, CKU.SO)
    cryptoki.init_pin(first, PIN)
    cryptoki.logout(first)
    cryptoki.login(first, PIN)
    return first


@pytest.fixture
def base(cryptoki: Cryptoki, session: int) -> int:
    given = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.VALUE: BASE, CKA.DERIVE: True}
    return cryptoki.create_object(session, given)


class Struct:
    """Build structures whose pointers stay alive as long as this does."""

    def __init__(self, p11: Cryptoki) -> None:
        self.p11 = p11
        self.kept: list[Any] = []

    def keep(self, value: Any) -> Any:
        self.kept.append(value)
        return value

    def bytes(self, value: bytes) -> Any:
        return self.keep(self.p11.new("CK_BYTE[]", value or b"\0"))

    def new(self, kind: str, *values: Any) -> Any:
        return self.keep(self.p11.new(kind, [self.p11.ffi.NULL if value is None else value for value in values]))

    def void(self, pointer: Any) -> Any:
        return self.p11.ffi.cast("void *", pointer)


@pytest.fixture
def struct(cryptoki: Cryptoki) -> Struct:
    return Struct(cryptoki)


def test_data_and_a_handle_in_parameters(cryptoki: Cryptoki, session: int, base: int, struct: Struct) -> None:
    data = struct.new("CK_KEY_DERIVATION_STRING_DATA *", struct.bytes(b"more"), 4)
    made = cryptoki.derive_key(session, (CKM.CONCATENATE_BASE_AND_DATA, data), base, {CKA.DERIVE: True})
    assert cryptoki.get(session, made, CKA.VALUE) == BASE + b"more"
    other = struct.keep(cryptoki.new("CK_OBJECT_HANDLE *", made))
    both = cryptoki.derive_key(session, (CKM.CONCATENATE_BASE_AND_KEY, other), base, {})
    assert cryptoki.get(session, both, CKA.VALUE) == BASE + BASE + b"more"
    bit = struct.keep(cryptoki.new("CK_ULONG *", 8))
    cut = cryptoki.derive_key(session, (CKM.EXTRACT_KEY_FROM_KEY, bit), base, {CKA.VALUE_LEN: 4})
    assert cryptoki.get(session, cut, CKA.VALUE) == BASE[1:5]
    data.pData = cryptoki.ffi.NULL
    assert rv_of(cryptoki.derive_key, session, (CKM.XOR_BASE_AND_DATA, data), base, {}) == CKR.MECHANISM_PARAM_INVALID
    other[0] = 0
    joined = (CKM.CONCATENATE_BASE_AND_KEY, other)
    assert rv_of(cryptoki.derive_key, session, joined, base, {}) == CKR.KEY_HANDLE_INVALID


def test_hkdf(cryptoki: Cryptoki, session: int, base: int, struct: Struct) -> None:
    parameter = struct.new(
        *("CK_HKDF_PARAMS *", 1, 1, CKM.SHA256, CKF.HKDF_SALT_DATA),
        *(struct.bytes(b"salt"), 4, 0, struct.bytes(b"info"), 4),
    )
    made = cryptoki.derive_key(session, (CKM.HKDF_DERIVE, parameter), base, {CKA.VALUE_LEN: 32})
    extracted = hmac.digest(b"salt", BASE, "sha256")
    assert cryptoki.get(session, made, CKA.VALUE) == hmac.digest(extracted, b"info\1", "sha256")


def counting(struct: Struct, additional: list[tuple[dict[int, Any], Any]]) -> tuple[int, Any]:
    """Return CKM_SP800_108_COUNTER_KDF with its parameter, of a counter of 8 bits and nothing else."""
    p11 = struct.p11
    layout = struct.new("CK_SP800_108_COUNTER_FORMAT *", 0, 8)
    part = (CK.SP800_108_ITERATION_VARIABLE, struct.void(layout), p11.ffi.sizeof("CK_SP800_108_COUNTER_FORMAT"))
    parts = struct.new("CK_PRF_DATA_PARAM[]", part)
    more = struct.keep(p11.new("CK_DERIVED_KEY[]", max(1, len(additional))))
    for entry, (wanted, place) in zip(more, additional, strict=False):
        entry.pTemplate, entry.ulAttributeCount = p11.template(wanted)
        entry.phKey = p11.ffi.NULL if place is None else place
    parameter = struct.new("CK_SP800_108_KDF_PARAMS *", CKM.SHA256_HMAC, 1, parts, len(additional), more)
    return CKM.SP800_108_COUNTER_KDF, parameter


def test_additional_keys_come_back_by_handle(cryptoki: Cryptoki, session: int, base: int, struct: Struct) -> None:
    places = [struct.keep(cryptoki.new("CK_OBJECT_HANDLE *", 77)) for _ in range(2)]
    wanted = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 16, CKA.LABEL: "more"}
    mechanism = counting(struct, [(wanted, place) for place in places])
    first = cryptoki.derive_key(session, mechanism, base, {CKA.VALUE_LEN: 32})
    values = [cryptoki.get(session, handle, CKA.VALUE) for handle in (first, places[0][0], places[1][0])]
    outputs = [hmac.digest(BASE, bytes([number]), "sha256") for number in (1, 2, 3)]
    assert values == [outputs[0], outputs[1][:16], outputs[2][:16]]
    assert sorted(cryptoki.find(session, {CKA.LABEL: "more"})) == sorted(place[0] for place in places)


def test_a_refused_additional_key_leaves_handles_and_token_alone(
    cryptoki: Cryptoki, session: int, base: int, struct: Struct
) -> None:
    place = struct.keep(cryptoki.new("CK_OBJECT_HANDLE *", 77))
    before = cryptoki.find(session)
    for second in (({CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 17}, place), ({CKA.VALUE_LEN: 8}, None)):
        mechanism = counting(struct, [({CKA.VALUE_LEN: 8}, place), second])
        assert rv_of(cryptoki.derive_key, session, mechanism, base, {CKA.VALUE_LEN: 8}) != CKR.OK
    mechanism = counting(struct, [])
    mechanism[1].ulAdditionalDerivedKeys = 1 << 40
    assert rv_of(cryptoki.derive_key, session, mechanism, base, {}) == CKR.MECHANISM_PARAM_INVALID
    assert (cryptoki.find(session), place[0]) == (before, 77)


def test_a_handle_needs_a_place(cryptoki: Cryptoki, session: int, base: int) -> None:
    mechanism, before = cryptoki.mechanism(CKM.SHA256_KEY_DERIVATION), cryptoki.find(session)
    assert cryptoki.rv("C_DeriveKey", session, mechanism, base, None, 0, None) == CKR.ARGUMENTS_BAD
    assert cryptoki.find(session) == before
    made = cryptoki.derive_key(session, CKM.SHA256_KEY_DERIVATION, base, {})
    assert cryptoki.get(session, made, CKA.VALUE) == hashlib.sha256(BASE).digest()


def randoms(struct: Struct) -> tuple[Any, int, Any, int]:
    return struct.bytes(b"c" * 32), 32, struct.bytes(b"s" * 32), 32


def test_a_key_block_is_written_into_the_parameter(cryptoki: Cryptoki, session: int, base: int, struct: Struct) -> None:
    ivs = [struct.keep(cryptoki.new("CK_BYTE[]", b"\xa5" * 20)) for _ in range(2)]
    out = struct.new("CK_SSL3_KEY_MAT_OUT *", 77, 77, 77, 77, *ivs)
    given = struct.new("CK_TLS12_KEY_MAT_PARAMS *", 256, 128, 128, 0, randoms(struct), out, CKM.SHA256)
    array, count = cryptoki.template({CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 16, CKA.ENCRYPT: True})
    mechanism = cryptoki.mechanism((CKM.TLS12_KEY_AND_MAC_DERIVE, given))
    cryptoki.call("C_DeriveKey", session, mechanism, base, array, count, None)
    handles = (out.hClientMacSecret, out.hServerMacSecret, out.hClientKey, out.hServerKey)
    assert [len(cryptoki.get(session, handle, CKA.VALUE)) for handle in handles] == [32, 32, 16, 16]
    for iv in ivs:
        assert bytes(iv[0:16]) != b"\xa5" * 16
        assert bytes(iv[16:20]) == b"\xa5" * 4
    assert len(cryptoki.encrypt(session, CKM.AES_ECB, out.hClientKey, bytes(16))) == 16
    given.prfHashMechanism = CKM.RSA_PKCS
    out.hClientKey = 77
    rv = cryptoki.rv("C_DeriveKey", session, mechanism, base, array, count, None)
    assert (rv, out.hClientKey) == (CKR.MECHANISM_PARAM_INVALID, 77)


def test_the_version_and_the_prf_are_written(cryptoki: Cryptoki, session: int, base: int, struct: Struct) -> None:
    version = struct.new("CK_VERSION *", 9, 9)
    given = struct.new("CK_TLS12_MASTER_KEY_DERIVE_PARAMS *", randoms(struct), version, CKM.SHA256)
    master = cryptoki.derive_key(session, (CKM.TLS12_MASTER_KEY_DERIVE, given), base, {})
    assert (version.major, version.minor) == (BASE[0], BASE[1])
    assert len(cryptoki.get(session, master, CKA.VALUE)) == 48
    output, length = struct.keep(cryptoki.new("CK_BYTE[]", b"\xa5" * 40)), struct.keep(cryptoki.new("CK_ULONG *", 36))
    prf = struct.new("CK_TLS_PRF_PARAMS *", struct.bytes(b"seed"), 4, struct.bytes(b"label"), 5, output, length)
    mechanism = cryptoki.mechanism((CKM.TLS_PRF, prf))
    cryptoki.call("C_DeriveKey", session, mechanism, base, None, 0, None)
    assert bytes(output[0:36]) != b"\xa5" * 36
    assert (bytes(output[36:40]), length[0]) == (b"\xa5" * 4, 36)
    needless = struct.keep(cryptoki.new("CK_OBJECT_HANDLE *", 77))  # a place that gets no key is told so
    cryptoki.call("C_DeriveKey", session, mechanism, base, None, 0, needless)
    assert needless[0] == CK.INVALID_HANDLE


@pytest.mark.parametrize("form", ["CK_PKCS5_PBKD2_PARAMS", "CK_PKCS5_PBKD2_PARAMS2"])
def test_a_password_with_its_length_or_a_pointer_to_it(
    cryptoki: Cryptoki, session: int, struct: Struct, form: str
) -> None:
    """Both forms have one size: 2.40's holds a pointer where its successor holds the length."""
    size: Any = struct.keep(cryptoki.new("CK_ULONG *", 8)) if form == "CK_PKCS5_PBKD2_PARAMS" else 8
    given = struct.new(
        *(f"{form} *", CKZ.SALT_SPECIFIED, struct.void(struct.bytes(b"salt")), 4, 2),
        *(CKP.PKCS5_PBKD2_HMAC_SHA256, None, 0, struct.bytes(b"password"), size),
    )
    wanted = {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 32}
    made = cryptoki.generate_key(session, (CKM.PKCS5_PBKD2, given), wanted)
    assert cryptoki.get(session, made, CKA.VALUE) == hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2)


@pytest.mark.parametrize("length", [1 << 16, 1 << 31, 1 << 46, (1 << 64) - 1, (1 << 63)])
def test_a_length_that_points_nowhere_is_refused(cryptoki: Cryptoki, session: int, struct: Struct, length: int) -> None:
    given = struct.new(
        *("CK_PKCS5_PBKD2_PARAMS2 *", CKZ.SALT_SPECIFIED, struct.void(struct.bytes(b"salt")), 4, 2),
        *(CKP.PKCS5_PBKD2_HMAC_SHA256, None, 0, struct.bytes(b"password"), length),
    )
    wanted = {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 32}
    rv = rv_of(cryptoki.generate_key, session, (CKM.PKCS5_PBKD2, given), wanted)
    assert rv == CKR.MECHANISM_PARAM_INVALID
