"""Generating, wrapping, unwrapping: whose key may do what, and what a refusal leaves behind."""

from __future__ import annotations

import time

import pytest
from fix_provider import READ_ONLY, create_secret, find, get, make_aes, template
from fix_tokens import TokenOnDisk

from mrhsm_p11.constants import CKA, CKK, CKM, CKO, CKU
from mrhsm_p11.errors import (
    ArgumentsBad,
    AttributeValueInvalid,
    CryptokiError,
    CurveNotSupported,
    KeyFunctionNotPermitted,
    KeyHandleInvalid,
    KeyIndigestible,
    KeyNotWrappable,
    KeyTypeInconsistent,
    KeyUnextractable,
    MechanismInvalid,
    MechanismParamInvalid,
    SessionReadOnly,
    TemplateIncomplete,
    TemplateInconsistent,
    UnwrappingKeyHandleInvalid,
    UnwrappingKeyTypeInconsistent,
    UserNotLoggedIn,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
    WrappingKeyHandleInvalid,
    WrappingKeyTypeInconsistent,
)
from mrhsm_p11.functions import crypto, keys, objects, sessions
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import KeyState, Record
from mrhsm_p11.token import provider, usage

P256 = bytes.fromhex("06082a8648ce3d030107")
KW = Mechanism(CKM.AES_KEY_WRAP)
CBC_PAD = Mechanism(CKM.AES_CBC_PAD, bytes(16))
ECB = Mechanism(CKM.AES_ECB)
GENERATE = Mechanism(CKM.AES_KEY_GEN)
NEW_AES: dict[int, Value] = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES}


def pair(
    session: int, public: dict[int, Value] | None = None, private: dict[int, Value] | None = None
) -> tuple[int, int]:
    return keys.generate_key_pair(
        session,
        Mechanism(CKM.EC_KEY_PAIR_GEN),
        template({CKA.EC_PARAMS: P256, **(public or {})}),
        template(private or {}),
    )


# ---- generating


@pytest.mark.parametrize("key_bytes", [16, 24, 32])
@pytest.mark.parametrize("on_token", [True, False])
def test_aes_keys(user_session: int, key_bytes: int, on_token: bool) -> None:
    key = make_aes(user_session, {CKA.VALUE_LEN: key_bytes, CKA.TOKEN: on_token})
    value = get(user_session, key, CKA.VALUE)
    assert isinstance(value, bytes)
    assert len(value) == key_bytes


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({CKA.VALUE_LEN: 17}, AttributeValueInvalid),
        ({CKA.VALUE_LEN: 0}, AttributeValueInvalid),
        ({CKA.VALUE_LEN: 2**40}, AttributeValueInvalid),
        ({CKA.VALUE_LEN: 32, CKA.CLASS: CKO.PUBLIC_KEY}, TemplateInconsistent),
        ({CKA.VALUE_LEN: 32, CKA.KEY_TYPE: CKK.DES3}, TemplateInconsistent),
        ({}, TemplateIncomplete),
    ],
)
def test_keys_that_cannot_be(user_session: int, values: dict[int, Value], error: type[CryptokiError]) -> None:
    with pytest.raises(error):
        keys.generate_key(user_session, GENERATE, template(values))
    assert find(user_session, {}) == []


def test_generation_wants_a_mechanism_that_generates(user_session: int) -> None:
    for mechanism, error in ((None, ArgumentsBad), (ECB, MechanismInvalid), (Mechanism(0x80000001), MechanismInvalid)):
        with pytest.raises(error):
            keys.generate_key(user_session, mechanism, template({CKA.VALUE_LEN: 32}))
    with pytest.raises(MechanismInvalid):
        keys.generate_key_pair(user_session, GENERATE, {}, {})


def test_a_pair_is_made_whole_or_not_at_all(user_session: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for public, private, error in (
        ({CKA.EC_PARAMS: bytes.fromhex("06052b81040009")}, {}, CurveNotSupported),
        ({}, {CKA.CLASS: CKO.PUBLIC_KEY}, TemplateInconsistent),
        ({CKA.EC_POINT: b"x"}, {}, CryptokiError),
    ):
        with pytest.raises(error):
            pair(user_session, public, private)

    def full(attributes: object, material: object) -> Record:
        raise OSError("no space")

    monkeypatch.setattr(provider.session(user_session).token.stores[0], "insert", full)
    with pytest.raises(OSError, match="no space"):
        pair(user_session, {CKA.TOKEN: False}, {CKA.TOKEN: True})
    assert find(user_session, {}) == []


def test_halves_may_live_apart(user_session: int) -> None:
    public, private = pair(user_session, {CKA.TOKEN: False}, {CKA.TOKEN: True})
    assert (get(user_session, public, CKA.TOKEN), get(user_session, private, CKA.TOKEN)) == (False, True)


def test_who_may_generate(library: TokenOnDisk, public_session: int) -> None:
    read_only = sessions.open_session(library.slot_id, READ_ONLY)
    with pytest.raises(UserNotLoggedIn):
        make_aes(public_session, {CKA.PRIVATE: True})
    with pytest.raises(UserNotLoggedIn):
        make_aes(public_session, {CKA.TOKEN: True})
    sessions.login(public_session, CKU.USER, Secret(library.user_pin.view()))
    with pytest.raises(SessionReadOnly):
        make_aes(read_only, {CKA.TOKEN: True})
    with pytest.raises(SessionReadOnly):
        pair(read_only, {}, {CKA.TOKEN: True})
    assert find(public_session, {}) == []


# ---- use

_PURPOSE_KEYS = {
    "encrypt": "aes",
    "decrypt": "aes",
    "sign": "private",
    "verify": "public",
    "wrap": "aes",
    "unwrap": "aes",
}


@pytest.fixture
def made(user_session: int) -> dict[str, int]:
    every = dict.fromkeys((CKA.ENCRYPT, CKA.DECRYPT, CKA.WRAP, CKA.UNWRAP), True)
    public, private = pair(user_session)
    return {"aes": create_secret(user_session, b"0" * 16, {**every}), "public": public, "private": private}


def use(session: int, purpose: str, key: int, mechanism: Mechanism | None = None) -> None:
    """Begin to use a key for one purpose."""
    asked = mechanism or {"sign": Mechanism(CKM.ECDSA), "verify": Mechanism(CKM.ECDSA)}.get(purpose, CBC_PAD)
    if purpose == "wrap":
        keys.wrap_key(session, asked, key, make_aes(session), None)
    elif purpose == "unwrap":
        wrapper = create_secret(session, b"0" * 16, {CKA.WRAP: True})
        wrapped = keys.wrap_key(session, CBC_PAD, wrapper, make_aes(session), 100)
        assert isinstance(wrapped, bytes)
        keys.unwrap_key(session, asked, key, wrapped, template(NEW_AES))
    else:
        getattr(crypto, f"{purpose}_init")(session, asked, key)
        getattr(crypto, f"{purpose}_init")(session, None, 0)


# What the AES and HMAC keys of these tests can be wanted for; other purposes have other keys and tests of their own.
SIX = ("encrypt", "decrypt", "sign", "verify", "wrap", "unwrap")


@pytest.mark.parametrize("purpose", SIX)
def test_a_key_does_what_its_attribute_allows(user_session: int, made: dict[str, int], purpose: str) -> None:
    key = made[_PURPOSE_KEYS[purpose]]
    use(user_session, purpose, key)
    objects.set_attribute_value(user_session, key, template({usage.PURPOSES[purpose].attribute: False}))
    with pytest.raises(KeyFunctionNotPermitted):
        use(user_session, purpose, key)


@pytest.mark.parametrize("purpose", SIX)
def test_an_allowed_mechanism_list_is_exhaustive(user_session: int, purpose: str) -> None:
    attribute = usage.PURPOSES[purpose].attribute
    for allowed, error in (
        ((CKM.AES_CBC_PAD, CKM.ECDSA), None),
        ((CKM.AES_CTR,), MechanismInvalid),
        ((), MechanismInvalid),
    ):
        if purpose in ("sign", "verify"):
            limits: dict[int, Value] = {CKA.ALLOWED_MECHANISMS: allowed}
            key = pair(user_session, limits, limits)[purpose == "sign"]
        else:
            key = create_secret(user_session, b"0" * 16, {attribute: True, CKA.ALLOWED_MECHANISMS: allowed})
        if error is None:
            use(user_session, purpose, key)
            continue
        with pytest.raises(error):
            use(user_session, purpose, key)


@pytest.mark.parametrize(
    ("purpose", "error"),
    [
        *((name, KeyTypeInconsistent) for name in ("encrypt", "decrypt", "sign", "verify")),
        ("wrap", WrappingKeyTypeInconsistent),
        ("unwrap", UnwrappingKeyTypeInconsistent),
    ],
)
def test_the_type_of_key_must_fit(
    user_session: int, made: dict[str, int], purpose: str, error: type[CryptokiError]
) -> None:
    with pytest.raises(error):
        use(user_session, purpose, made["aes" if purpose in ("sign", "verify") else "private"])


@pytest.mark.parametrize(
    ("purpose", "error"),
    [
        *((name, KeyHandleInvalid) for name in ("encrypt", "decrypt", "sign", "verify")),
        ("wrap", WrappingKeyHandleInvalid),
        ("unwrap", UnwrappingKeyHandleInvalid),
    ],
)
def test_the_handle_must_be_a_key_s(user_session: int, purpose: str, error: type[CryptokiError]) -> None:
    data = objects.create_object(user_session, template({CKA.CLASS: CKO.DATA}))
    for handle in (0, 999_999, data):
        with pytest.raises(error):
            use(user_session, purpose, handle)


@pytest.mark.parametrize("purpose", SIX)
def test_the_mechanism_must_serve_the_purpose(user_session: int, made: dict[str, int], purpose: str) -> None:
    with pytest.raises(MechanismInvalid):
        use(user_session, purpose, made[_PURPOSE_KEYS[purpose]], Mechanism(CKM.SHA256))


def test_parameters_are_checked_before_an_operation_begins(user_session: int, made: dict[str, int]) -> None:
    for wrong in (None, b"", bytes(8), bytes(17)):
        with pytest.raises(MechanismParamInvalid):
            crypto.encrypt_init(user_session, Mechanism(CKM.AES_CBC, wrong), made["aes"])


RECEDING = {"decrypt", "verify", "unwrap"}


@pytest.mark.parametrize("purpose", SIX)
@pytest.mark.parametrize(
    ("start", "end", "allowed"),
    [
        (b"", b"", set(SIX)),
        (b"20200101", b"29990101", set(SIX)),
        (b"29990101", b"", set()),
        (b"", b"20200101", RECEDING),
        (time.strftime("%Y%m%d", time.gmtime()).encode(), b"", set(SIX)),
    ],
)
def test_dates_bound_what_a_key_does(
    user_session: int, made: dict[str, int], purpose: str, start: bytes, end: bytes, allowed: set[str]
) -> None:
    key = made[_PURPOSE_KEYS[purpose]]
    objects.set_attribute_value(user_session, key, template({CKA.START_DATE: start, CKA.END_DATE: end}))
    if purpose in allowed:
        use(user_session, purpose, key)
        return
    with pytest.raises(KeyFunctionNotPermitted):
        use(user_session, purpose, key)


def test_a_key_does_not_end_before_it_starts(user_session: int) -> None:
    wrong: dict[int, Value] = {CKA.START_DATE: b"20300102", CKA.END_DATE: b"20300101"}
    with pytest.raises(TemplateInconsistent):
        make_aes(user_session, wrong)
    key = make_aes(user_session, {CKA.START_DATE: b"20300101", CKA.END_DATE: b"20300101"})
    for change in ({CKA.START_DATE: b"20300102"}, {CKA.END_DATE: b"20291231"}, wrong):
        with pytest.raises(TemplateInconsistent):
            objects.set_attribute_value(user_session, key, template(change))
        with pytest.raises(TemplateInconsistent):
            objects.copy_object(user_session, key, template(change))
    assert get(user_session, key, CKA.START_DATE) == get(user_session, key, CKA.END_DATE) == b"20300101"
    objects.set_attribute_value(user_session, key, template({CKA.END_DATE: b""}))
    objects.set_attribute_value(user_session, key, template({CKA.START_DATE: b"20300102"}))


@pytest.mark.parametrize("purpose", SIX)
@pytest.mark.parametrize(
    ("state", "lenient", "allowed"),
    [
        (KeyState.PRE_ACTIVE, True, set()),
        (KeyState.ACTIVE, False, set(SIX)),
        (KeyState.DEACTIVATED, False, RECEDING),
        (KeyState.COMPROMISED, False, set()),
        (KeyState.COMPROMISED, True, RECEDING),
    ],
)
def test_states_bound_what_a_key_does(
    user_session: int,
    made: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    purpose: str,
    state: KeyState,
    lenient: bool,
    allowed: set[str],
) -> None:
    token = provider.session(user_session).token
    key = token.objects.get(made[_PURPOSE_KEYS[purpose]])
    load = key.store.load

    def in_state(uid: str) -> Record:
        record = load(uid)
        return Record(uid, record.attributes, state) if uid == key.uid else record

    monkeypatch.setattr(key.store, "load", in_state)
    from dataclasses import replace

    monkeypatch.setattr(token, "config", replace(token.config, allow_compromised=lenient))
    if purpose in allowed:
        use(user_session, purpose, key.handle)
        return
    with pytest.raises(KeyFunctionNotPermitted):
        use(user_session, purpose, key.handle)


# ---- wrapping and unwrapping


@pytest.mark.parametrize("mechanism", [KW, CBC_PAD, Mechanism(CKM.AES_KEY_WRAP_KWP), ECB])
def test_a_wrapped_key_comes_back(user_session: int, made: dict[str, int], mechanism: Mechanism) -> None:
    key = create_secret(user_session, b"1" * 32)
    needed = keys.wrap_key(user_session, mechanism, made["aes"], key, None)
    assert isinstance(needed, int)
    assert keys.wrap_key(user_session, mechanism, made["aes"], key, needed - 1) == needed
    wrapped = keys.wrap_key(user_session, mechanism, made["aes"], key, needed)
    assert isinstance(wrapped, bytes)
    assert len(wrapped) == needed
    again = keys.unwrap_key(user_session, mechanism, made["aes"], wrapped, template(NEW_AES))
    assert get(user_session, again, CKA.VALUE) == b"1" * 32
    history = (CKA.LOCAL, CKA.ALWAYS_SENSITIVE, CKA.NEVER_EXTRACTABLE)
    assert [get(user_session, again, cka) for cka in history] == [False, False, False]


def test_a_wrapped_private_key_comes_back(user_session: int, made: dict[str, int]) -> None:
    public, private = pair(user_session, {}, {CKA.EXTRACTABLE: True})
    wrapped = keys.wrap_key(user_session, CBC_PAD, made["aes"], private, 4096)
    assert isinstance(wrapped, bytes)
    wanted: dict[int, Value] = {CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: CKK.EC}
    again = keys.unwrap_key(user_session, CBC_PAD, made["aes"], wrapped, template(wanted))
    assert get(user_session, again, CKA.EXTRACTABLE) is True
    crypto.sign_init(user_session, Mechanism(CKM.ECDSA_SHA256), again)
    signature = crypto.sign(user_session, b"text", 100)
    assert isinstance(signature, bytes)
    crypto.verify_init(user_session, Mechanism(CKM.ECDSA_SHA256), public)
    crypto.verify(user_session, b"text", signature)
    with pytest.raises(WrappedKeyInvalid):
        keys.unwrap_key(user_session, CBC_PAD, made["aes"], wrapped, template({**wanted, CKA.KEY_TYPE: CKK.RSA}))


def test_what_is_not_wrapped(user_session: int, made: dict[str, int]) -> None:
    plain = make_aes(user_session)
    for key, error in (
        (make_aes(user_session, {CKA.EXTRACTABLE: False}), KeyUnextractable),
        (make_aes(user_session, {CKA.WRAP_WITH_TRUSTED: True}), KeyNotWrappable),
        (made["private"], KeyUnextractable),
        (made["public"], KeyNotWrappable),
        (999_999, KeyHandleInvalid),
    ):
        with pytest.raises(error):
            keys.wrap_key(user_session, CBC_PAD, made["aes"], key, 4096)
    limited = make_aes(user_session, {CKA.WRAP_TEMPLATE: {CKA.LABEL: "only this"}})
    with pytest.raises(KeyHandleInvalid):
        keys.wrap_key(user_session, KW, limited, plain, 4096)
    named = make_aes(user_session, {CKA.LABEL: "only this"})
    assert isinstance(keys.wrap_key(user_session, KW, limited, named, 4096), bytes)
    with pytest.raises(KeyNotWrappable):
        extractable = pair(user_session, {}, {CKA.EXTRACTABLE: True})[1]
        keys.wrap_key(user_session, ECB, made["aes"], extractable, 4096)


def test_a_trusted_key_wraps_what_wants_one(library: TokenOnDisk, public_session: int) -> None:
    sessions.login(public_session, CKU.SO, Secret(library.so_pin.view()))
    trusted = make_aes(public_session, {CKA.PRIVATE: False, CKA.TRUSTED: True})
    wants = make_aes(public_session, {CKA.PRIVATE: False, CKA.WRAP_WITH_TRUSTED: True})
    assert isinstance(keys.wrap_key(public_session, KW, trusted, wants, 4096), bytes)


def test_what_is_not_unwrapped(user_session: int, made: dict[str, int]) -> None:
    wrapped = keys.wrap_key(user_session, KW, made["aes"], create_secret(user_session, b"1" * 32), 100)
    assert isinstance(wrapped, bytes)
    before = sorted(find(user_session, {}))
    for data, values, error in (
        (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), NEW_AES, WrappedKeyInvalid),
        (wrapped[:-1], NEW_AES, WrappedKeyLenRange),
        (wrapped, {CKA.CLASS: CKO.SECRET_KEY}, TemplateIncomplete),
        (wrapped, {CKA.KEY_TYPE: CKK.AES}, TemplateIncomplete),
        (wrapped, {**NEW_AES, CKA.VALUE_LEN: 16}, (WrappedKeyLenRange, TemplateInconsistent)),
        (wrapped, {**NEW_AES, CKA.CLASS: CKO.DATA}, CryptokiError),
    ):
        with pytest.raises(error):
            keys.unwrap_key(user_session, KW, made["aes"], data, template(values))
    assert sorted(find(user_session, {})) == before


def test_an_unwrap_template_is_forced_on_new_keys(user_session: int, made: dict[str, int]) -> None:
    key = create_secret(user_session, b"0" * 16, {CKA.UNWRAP: True, CKA.UNWRAP_TEMPLATE: {CKA.LABEL: "forced"}})
    wrapped = keys.wrap_key(user_session, KW, made["aes"], make_aes(user_session), 100)
    assert isinstance(wrapped, bytes)
    new = keys.unwrap_key(user_session, KW, key, wrapped, template(NEW_AES))
    assert get(user_session, new, CKA.LABEL) == "forced"
    with pytest.raises(TemplateInconsistent):
        keys.unwrap_key(user_session, KW, key, wrapped, template({**NEW_AES, CKA.LABEL: "other"}))


def test_digesting_a_key(user_session: int, made: dict[str, int]) -> None:
    import hashlib

    crypto.digest_init(user_session, Mechanism(CKM.SHA256))
    crypto.digest_key(user_session, made["aes"])
    crypto.digest_update(user_session, b"tail")
    assert crypto.digest_final(user_session, 32) == hashlib.sha256(b"0" * 16 + b"tail").digest()
    for key in (made["private"], make_aes(user_session, {CKA.SENSITIVE: True})):
        crypto.digest_init(user_session, Mechanism(CKM.SHA256))
        with pytest.raises(KeyIndigestible):
            crypto.digest_key(user_session, key)
