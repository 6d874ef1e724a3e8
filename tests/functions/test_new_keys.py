"""Keys that come of other keys: what is said of their value is compared, what those keys demand is done."""

from __future__ import annotations

import hashlib
import struct

import pytest
from fix_provider import READ_WRITE, create_secret, find, get, template
from fix_tokens import TokenOnDisk

from mrhsm_p11.constants import CKA, CKD, CKG, CKK, CKM, CKU
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    MechanismParamInvalid,
    TemplateInconsistent,
)
from mrhsm_p11.functions import crypto, derive, encapsulation, general, keys, sessions
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism, Parameter
from mrhsm_p11.parameters.derive import CounterParams, ECDH1Params, PRFPart, StringData
from mrhsm_p11.parameters.rsa import PSSParams
from mrhsm_p11.parameters.tls import Randoms, TLSKDFParams, TLSMACParams
from mrhsm_p11.secret import Secret

Values = dict[int, Value]
BASE = bytes(range(16))
JOINED = Mechanism(CKM.CONCATENATE_BASE_AND_DATA, StringData(BASE))
KEM = Mechanism(CKM.ML_KEM)


def derived(session: int, base: int, values: Values, mechanism: Mechanism = JOINED) -> int:
    handle = derive.derive_key(session, mechanism, base, template(values), True)
    assert isinstance(handle, int)
    return handle


def kem_pair(session: int, public: Values | None = None, private: Values | None = None) -> tuple[int, int]:
    return keys.generate_key_pair(
        session,
        Mechanism(CKM.ML_KEM_KEY_PAIR_GEN),
        template({CKA.PARAMETER_SET: 2, **(public or {})}),
        template(private or {}),
    )


def encapsulated(session: int, public: int, values: Values) -> tuple[bytes, int]:
    sent, handle = encapsulation.encapsulate_key(session, KEM, public, template(values), 2000)
    assert isinstance(sent, bytes)
    assert handle is not None
    return sent, handle


# ---- what is said of the value


def test_a_derived_key_must_have_the_check_value_that_is_said(user_session: int) -> None:
    base = create_secret(user_session, BASE, {CKA.DERIVE: True}, CKK.GENERIC_SECRET)
    before = find(user_session, {})
    right = hashlib.sha1(BASE + BASE).digest()[:3]
    with pytest.raises(AttributeValueInvalid):
        derived(user_session, base, {CKA.CHECK_VALUE: b"\0\0\0"})
    assert find(user_session, {}) == before
    made = derived(user_session, base, {CKA.CHECK_VALUE: right})
    assert get(user_session, made, CKA.CHECK_VALUE) == right


def test_a_decapsulated_key_must_have_the_check_value_that_is_said(user_session: int) -> None:
    public, private = kem_pair(user_session)
    sent, shared = encapsulated(user_session, public, {})
    before = find(user_session, {})
    with pytest.raises(AttributeValueInvalid):
        encapsulation.decapsulate_key(user_session, KEM, private, template({CKA.CHECK_VALUE: b"\0\0\0"}), sent)
    assert find(user_session, {}) == before
    right = {CKA.CHECK_VALUE: get(user_session, shared, CKA.CHECK_VALUE)}
    again = encapsulation.decapsulate_key(user_session, KEM, private, template(right), sent)
    assert get(user_session, again, CKA.VALUE) == get(user_session, shared, CKA.VALUE)


def test_no_xts_key_of_equal_halves_is_derived(user_session: int) -> None:
    base = create_secret(user_session, BASE, {CKA.DERIVE: True}, CKK.GENERIC_SECRET)
    before = find(user_session, {})
    xts: Values = {CKA.KEY_TYPE: CKK.AES_XTS, CKA.VALUE_LEN: 32}
    with pytest.raises(AttributeValueInvalid):
        derived(user_session, base, xts)
    assert find(user_session, {}) == before
    other = Mechanism(CKM.CONCATENATE_BASE_AND_DATA, StringData(BASE[::-1]))
    assert get(user_session, derived(user_session, base, xts, other), CKA.VALUE) == BASE + BASE[::-1]


# ---- what a key demands of those that it brings in


def test_what_a_derivation_key_demands(user_session: int) -> None:
    demands = {CKA.DERIVE: True, CKA.DERIVE_TEMPLATE: {CKA.EXTRACTABLE: False, CKA.KEY_TYPE: CKK.AES}}
    base = create_secret(user_session, BASE, demands, CKK.GENERIC_SECRET)
    made = derived(user_session, base, {CKA.VALUE_LEN: 32})
    assert get(user_session, made, CKA.EXTRACTABLE) is False
    assert get(user_session, made, CKA.KEY_TYPE) == CKK.AES
    for contradicting in ({CKA.EXTRACTABLE: True}, {CKA.KEY_TYPE: CKK.GENERIC_SECRET}):
        with pytest.raises(TemplateInconsistent):
            derived(user_session, base, {CKA.VALUE_LEN: 32, **contradicting})


# ---- parameters that ask for what `legacy = false` turns off

_HELLOS = Randoms(bytes(32), bytes(32))
LEGACY: dict[int, Parameter] = {
    CKM.TLS_KDF: TLSKDFParams(CKM.TLS_PRF, b"label", _HELLOS, b""),
    CKM.ECDH1_DERIVE: ECDH1Params(CKD.SHA1_KDF, b"", b""),
    CKM.SP800_108_COUNTER_KDF: CounterParams(CKM.MD5_HMAC, (PRFPart(1, struct.pack("@BL", 0, 32)),), ()),
    CKM.TLS_MAC: TLSMACParams(CKM.TLS_PRF, 12, 1),
    CKM.RSA_PKCS_PSS: PSSParams(CKM.SHA_1, CKG.MGF1_SHA1, 20),
}


@pytest.mark.parametrize("legacy", [True, False])
def test_a_parameter_asks_for_nothing_legacy_where_that_is_off(file_token: TokenOnDisk, legacy: bool) -> None:
    configuration = file_token.home / "conf" / "maprhsm.conf"
    configuration.write_text(f"[mechanisms]\nlegacy = {str(legacy).lower()}\n")
    general.initialize(None)
    try:
        session = sessions.open_session(file_token.slot_id, READ_WRITE)
        sessions.login(session, CKU.USER, Secret(file_token.user_pin.view()))
        refused = {mechanism for mechanism in LEGACY if is_refused(session, mechanism)}
        assert refused == (set() if legacy else set(LEGACY))
    finally:
        general.finalize(False)


def is_refused(session: int, mechanism: int) -> bool:
    uses = {CKA.DERIVE: True, CKA.SIGN: True}
    asked = Mechanism(mechanism, LEGACY[mechanism])
    if mechanism == CKM.RSA_PKCS_PSS:
        _, key = keys.generate_key_pair(
            session, Mechanism(CKM.RSA_PKCS_KEY_PAIR_GEN), template({CKA.MODULUS_BITS: 1024}), template({})
        )
    elif mechanism == CKM.ECDH1_DERIVE:
        curve = {CKA.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}
        public, key = keys.generate_key_pair(
            session, Mechanism(CKM.EC_KEY_PAIR_GEN), template(curve), template({CKA.DERIVE: True})
        )
        point = get(session, public, CKA.EC_POINT)
        assert isinstance(point, bytes)
        asked = Mechanism(mechanism, ECDH1Params(CKD.SHA1_KDF, b"", point))
    else:
        key = create_secret(session, BASE, uses, CKK.GENERIC_SECRET)
    try:
        if mechanism in (CKM.TLS_MAC, CKM.RSA_PKCS_PSS):
            crypto.sign_init(session, asked, key)
            crypto.sign_init(session, None, 0)
        else:
            derived(session, key, {CKA.VALUE_LEN: 16}, asked)
    except MechanismParamInvalid:
        return True
    return False
