"""Sessions and login: every transition of the state that the standard draws, and what PINs may do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fix_provider import READ_ONLY, READ_WRITE, create_secret, find, get, make_aes, template
from fix_tokens import SO_PIN, USER_PIN, TokenOnDisk

from mrhsm_p11.constants import CKA, CKF, CKM, CKO, CKS, CKU
from mrhsm_p11.errors import (
    ArgumentsBad,
    CryptokiError,
    FunctionNotParallel,
    FunctionRejected,
    KeyHandleInvalid,
    ObjectHandleInvalid,
    OperationNotInitialized,
    PinIncorrect,
    PinLenRange,
    PinLocked,
    SavedStateInvalid,
    SessionAsyncNotSupported,
    SessionHandleInvalid,
    SessionParallelNotSupported,
    SessionReadOnly,
    SessionReadOnlyExists,
    SessionReadWriteSoExists,
    SlotIdInvalid,
    TokenNotRecognized,
    UserAlreadyLoggedIn,
    UserAnotherAlreadyLoggedIn,
    UserNotLoggedIn,
    UserPinNotInitialized,
    UserTypeInvalid,
)
from mrhsm_p11.functions import asynchronous, crypto, general, objects, sessions
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider
from mrhsm_p11.tokendir.settings import ClusterRecord
from mrhsm_p11.tokendir.tokens import UserPin

PINS = {CKU.SO: SO_PIN, CKU.USER: USER_PIN}


def login(session: int, role: int, pin: bytes | None = b"") -> None:
    sessions.login(session, role, None if pin is None else Secret(pin or PINS[role]))


def state(session: int) -> int:
    return sessions.get_session_info(session)[1]


@pytest.mark.parametrize(
    ("role", "flags", "before", "after"),
    [
        (CKU.USER, READ_ONLY, CKS.RO_PUBLIC_SESSION, CKS.RO_USER_FUNCTIONS),
        (CKU.USER, READ_WRITE, CKS.RW_PUBLIC_SESSION, CKS.RW_USER_FUNCTIONS),
        (CKU.SO, READ_WRITE, CKS.RW_PUBLIC_SESSION, CKS.RW_SO_FUNCTIONS),
    ],
)
def test_login_and_logout_change_every_session(
    library: TokenOnDisk, role: int, flags: int, before: int, after: int
) -> None:
    first, second = (sessions.open_session(library.slot_id, flags) for _ in range(2))
    assert sessions.get_session_info(first) == (library.slot_id, before, flags, 0)
    login(first, role)
    assert (state(first), state(second)) == (after, after)
    assert state(sessions.open_session(library.slot_id, READ_WRITE)) in (CKS.RW_USER_FUNCTIONS, CKS.RW_SO_FUNCTIONS)
    sessions.logout(second)
    assert (state(first), state(second)) == (before, before)


@pytest.mark.parametrize(
    ("present", "asked", "error"),
    [
        (CKU.USER, CKU.USER, UserAlreadyLoggedIn),
        (CKU.SO, CKU.SO, UserAlreadyLoggedIn),
        (CKU.USER, CKU.SO, UserAnotherAlreadyLoggedIn),
        (CKU.SO, CKU.USER, UserAnotherAlreadyLoggedIn),
    ],
)
def test_one_role_at_a_time(public_session: int, present: int, asked: int, error: type[CryptokiError]) -> None:
    login(public_session, present)
    with pytest.raises(error):
        login(public_session, asked)


@pytest.mark.parametrize("role", [3, 4, 2**63])
def test_no_other_user_types(public_session: int, role: int) -> None:
    with pytest.raises(UserTypeInvalid):
        login(public_session, role, b"whatever")


def test_the_so_has_no_read_only_sessions(library: TokenOnDisk, public_session: int) -> None:
    read_only = sessions.open_session(library.slot_id, READ_ONLY)
    with pytest.raises(SessionReadOnlyExists):
        login(public_session, CKU.SO)
    sessions.close_session(read_only)
    login(public_session, CKU.SO)
    with pytest.raises(SessionReadWriteSoExists):
        sessions.open_session(library.slot_id, READ_ONLY)


def test_the_so_sees_public_objects_only(public_session: int) -> None:
    login(public_session, CKU.USER)
    private = make_aes(public_session, {CKA.TOKEN: True})
    public = make_aes(public_session, {CKA.TOKEN: True, CKA.PRIVATE: False})
    sessions.logout(public_session)
    login(public_session, CKU.SO)
    assert find(public_session, {}) == [public]
    with pytest.raises(ObjectHandleInvalid):
        get(public_session, private, CKA.LABEL)
    with pytest.raises(UserNotLoggedIn):
        make_aes(public_session, {CKA.TOKEN: True})


def test_logout_needs_a_login(public_session: int) -> None:
    with pytest.raises(UserNotLoggedIn):
        sessions.logout(public_session)


def test_logout_ends_private_handles_for_good(user_session: int) -> None:
    key = make_aes(user_session, {CKA.TOKEN: True, CKA.LABEL: "kept"})
    session_key = make_aes(user_session)
    public = create_secret(user_session, b"0" * 16, {CKA.PRIVATE: False})
    sessions.logout(user_session)
    for handle in (key, session_key):
        with pytest.raises(ObjectHandleInvalid):
            get(user_session, handle, CKA.LABEL)
    assert get(user_session, public, CKA.PRIVATE) is False
    login(user_session, CKU.USER)
    with pytest.raises(ObjectHandleInvalid):
        get(user_session, key, CKA.LABEL)
    (again,) = find(user_session, {CKA.LABEL: "kept"})
    assert again not in (key, session_key)


def test_the_last_session_takes_the_login_but_not_the_handles(library: TokenOnDisk, user_session: int) -> None:
    key = make_aes(user_session, {CKA.TOKEN: True})
    other = sessions.open_session(library.slot_id, READ_ONLY)
    sessions.close_session(user_session)
    assert state(other) == CKS.RO_USER_FUNCTIONS
    sessions.close_session(other)
    again = sessions.open_session(library.slot_id, READ_WRITE)
    assert state(again) == CKS.RW_PUBLIC_SESSION
    with pytest.raises(KeyHandleInvalid):
        crypto.encrypt_init(again, Mechanism(CKM.AES_ECB), key)
    login(again, CKU.USER)
    crypto.encrypt_init(again, Mechanism(CKM.AES_ECB), key)
    assert find(again, {}) == [key]


def test_closing_a_session_destroys_its_objects(library: TokenOnDisk, user_session: int) -> None:
    other = sessions.open_session(library.slot_id, READ_ONLY)
    mine, theirs = make_aes(user_session), make_aes(other)
    assert sorted(find(user_session, {})) == [mine, theirs]
    sessions.close_session(other)
    assert find(user_session, {}) == [mine]
    with pytest.raises(ObjectHandleInvalid):
        get(user_session, theirs, CKA.LABEL)


def test_closing_all_sessions(library: TokenOnDisk, user_session: int) -> None:
    other = sessions.open_session(library.slot_id, READ_ONLY)
    sessions.close_all_sessions(library.slot_id)
    for session in (user_session, other):
        with pytest.raises(SessionHandleInvalid):
            sessions.get_session_info(session)
    with pytest.raises(SlotIdInvalid):
        sessions.close_all_sessions(12345)


def test_handles_are_never_given_twice(library: TokenOnDisk, user_session: int) -> None:
    seen = set()
    for _ in range(5):
        handle = make_aes(user_session)
        session = sessions.open_session(library.slot_id, READ_ONLY)
        seen |= {handle, session}
        objects.destroy_object(user_session, handle)
        sessions.close_session(session)
    assert len(seen) == 10


def test_opening_sessions(library: TokenOnDisk) -> None:
    with pytest.raises(SessionParallelNotSupported):
        sessions.open_session(library.slot_id, CKF.RW_SESSION)
    with pytest.raises(SlotIdInvalid):
        sessions.open_session(12345, READ_ONLY)
    with pytest.raises(TokenNotRecognized):
        sessions.open_session(0, READ_ONLY)


def test_legacy_functions(public_session: int) -> None:
    for function in (sessions.get_function_status, sessions.cancel_function):
        with pytest.raises(FunctionNotParallel):
            function(public_session)
        with pytest.raises(SessionHandleInvalid):
            function(0)


# ---- PINs


@pytest.mark.parametrize("role", PINS)
@pytest.mark.parametrize("pin", [b"wrong pin", b"abc", b"x" * 256])
def test_a_wrong_pin(public_session: int, role: int, pin: bytes) -> None:
    with pytest.raises(PinIncorrect):
        login(public_session, role, pin)
    login(public_session, role)


@pytest.mark.parametrize("pin", [None, Secret(b"")])
def test_no_pin_means_the_pin_file(library: TokenOnDisk, public_session: int, pin: Secret | None) -> None:
    assert general.get_token_info(library.slot_id)[4] & CKF.PROTECTED_AUTHENTICATION_PATH
    sessions.login(public_session, CKU.USER, pin)
    assert state(public_session) == CKS.RW_USER_FUNCTIONS


def test_a_pin_that_is_given_is_verified_even_with_a_pin_file(public_session: int) -> None:
    with pytest.raises(PinIncorrect):
        login(public_session, CKU.USER, b"wrong pin")


@pytest.mark.parametrize("pin", [None, Secret(b"")])
def test_no_pin_and_no_file(library: TokenOnDisk, public_session: int, pin: Secret | None) -> None:
    (library.folder / "user.pin").unlink()
    assert not general.get_token_info(library.slot_id)[4] & CKF.PROTECTED_AUTHENTICATION_PATH
    with pytest.raises(ArgumentsBad):
        sessions.login(public_session, CKU.USER, pin)


def test_a_stale_pin_file_is_a_wrong_pin_that_is_not_counted(library: TokenOnDisk, public_session: int) -> None:
    (library.folder / "user.pin").chmod(0o600)
    (library.folder / "user.pin").write_bytes(b"mrhsm user PIN, generation 1\n" + USER_PIN)
    assert not general.get_token_info(library.slot_id)[4] & CKF.PROTECTED_AUTHENTICATION_PATH
    for _ in range(12):
        with pytest.raises(PinIncorrect):
            login(public_session, CKU.USER, None)
    assert not general.get_token_info(library.slot_id)[4] & CKF.USER_PIN_COUNT_LOW
    login(public_session, CKU.USER)


def test_there_is_no_protected_path_for_the_so(library: TokenOnDisk, public_session: int) -> None:
    with pytest.raises(ArgumentsBad):
        login(public_session, CKU.SO, None)
    with pytest.raises(ArgumentsBad):
        sessions.set_pin(public_session, None, Secret(b"new pin"))
    with pytest.raises(ArgumentsBad):
        sessions.set_pin(public_session, Secret(USER_PIN), None)
    login(public_session, CKU.SO)
    with pytest.raises(ArgumentsBad):
        sessions.init_pin(public_session, None)
    sessions.close_session(public_session)
    with pytest.raises(ArgumentsBad):
        general.init_token(library.slot_id, None, b"label".ljust(32))


def test_wrong_chosen_pins_are_counted_and_lock(library: TokenOnDisk, public_session: int) -> None:
    flags = [_flags_after_wrong_pin(library, public_session) for _ in range(10)]
    low, last, locked = CKF.USER_PIN_COUNT_LOW, CKF.USER_PIN_FINAL_TRY, CKF.USER_PIN_LOCKED
    assert flags == [low] * 8 + [low | last, low | locked]
    with pytest.raises(PinLocked):
        login(public_session, CKU.USER)
    login(public_session, CKU.USER, None)  # no count blocks the PIN file


def _flags_after_wrong_pin(library: TokenOnDisk, session: int) -> int:
    with pytest.raises(PinIncorrect):
        login(session, CKU.USER, b"wrong pin")
    mask = CKF.USER_PIN_COUNT_LOW | CKF.USER_PIN_FINAL_TRY | CKF.USER_PIN_LOCKED
    return int(general.get_token_info(library.slot_id)[4]) & mask  # type: ignore[call-overload]


def test_a_pin_that_we_made_is_not_counted(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token(user_pin=UserPin.random())
    general.initialize(None)
    session = sessions.open_session(token.slot_id, READ_WRITE)
    for _ in range(12):
        _flags_after_wrong_pin(token, session)
    assert _flags_after_wrong_pin(token, session) == 0
    login(session, CKU.USER, None)
    general.finalize(False)


def test_the_user_pin_is_set_by_the_so(make_token: Callable[..., TokenOnDisk]) -> None:
    token = make_token(user_pin=None)
    general.initialize(None)
    session = sessions.open_session(token.slot_id, READ_WRITE)
    assert not general.get_token_info(token.slot_id)[4] & CKF.USER_PIN_INITIALIZED
    for pin in (USER_PIN, None):
        with pytest.raises(UserPinNotInitialized):
            login(session, CKU.USER, pin)
    with pytest.raises(UserNotLoggedIn):
        sessions.init_pin(session, Secret(USER_PIN))
    login(session, CKU.SO)
    for short in (b"", b"123", b"x" * 256):
        with pytest.raises(PinLenRange):
            sessions.init_pin(session, Secret(short))
    sessions.init_pin(session, Secret(b"first pin"))
    sessions.init_pin(session, Secret(USER_PIN))
    sessions.logout(session)
    assert general.get_token_info(token.slot_id)[4] & CKF.USER_PIN_INITIALIZED
    assert not list(token.folder.glob("user.pin*"))
    with pytest.raises(PinIncorrect):
        login(session, CKU.USER, b"first pin")
    login(session, CKU.USER)
    general.finalize(False)


@pytest.mark.parametrize("logged_in", [True, False])
def test_the_user_changes_the_user_pin(library: TokenOnDisk, public_session: int, logged_in: bool) -> None:
    if logged_in:
        login(public_session, CKU.USER)
    key = make_aes(public_session, {CKA.TOKEN: True}) if logged_in else 0
    with pytest.raises(PinIncorrect):
        sessions.set_pin(public_session, Secret(b"wrong pin"), Secret(b"new user pin"))
    with pytest.raises(PinLenRange):
        sessions.set_pin(public_session, Secret(USER_PIN), Secret(b"123"))
    sessions.set_pin(public_session, Secret(USER_PIN), Secret(b"new user pin"))
    assert not list(library.folder.glob("user.pin*"))
    if logged_in:
        assert get(public_session, key, CKA.CLASS) == CKO.SECRET_KEY
        sessions.logout(public_session)
    with pytest.raises(PinIncorrect):
        login(public_session, CKU.USER)
    login(public_session, CKU.USER, b"new user pin")
    assert len(find(public_session, {})) == logged_in


def test_the_so_changes_the_so_pin(public_session: int) -> None:
    login(public_session, CKU.SO)
    with pytest.raises(PinIncorrect):
        sessions.set_pin(public_session, Secret(USER_PIN), Secret(b"new so pin"))
    sessions.set_pin(public_session, Secret(SO_PIN), Secret(b"new so pin"))
    sessions.logout(public_session)
    with pytest.raises(PinIncorrect):
        login(public_session, CKU.SO)
    login(public_session, CKU.SO, b"new so pin")
    sessions.set_pin(public_session, Secret(b"new so pin"), Secret(SO_PIN))


def test_pins_are_not_changed_in_a_read_only_session(library: TokenOnDisk) -> None:
    session = sessions.open_session(library.slot_id, READ_ONLY)
    with pytest.raises(SessionReadOnly):
        sessions.set_pin(session, Secret(USER_PIN), Secret(b"new user pin"))


def test_pins_of_a_token_with_cluster_keys_are_mrhsm_s(library: TokenOnDisk, public_session: int) -> None:
    so = library.open_so()
    so.save_settings(type(so.settings)(so.settings.connection, ClusterRecord("c"), "file"))
    for logged_in in (False, True):
        if logged_in:
            login(public_session, CKU.USER)
        with pytest.raises(FunctionRejected):
            sessions.set_pin(public_session, Secret(USER_PIN), Secret(b"new user pin"))
    sessions.logout(public_session)
    login(public_session, CKU.SO)
    with pytest.raises(FunctionRejected):
        sessions.init_pin(public_session, Secret(b"new user pin"))
    assert "mrhsm userpin" in (library.home / "logs" / "mrhsm.log").read_text()


# ---- CKA_ALWAYS_AUTHENTICATE


def test_a_key_that_wants_a_login_for_each_use(user_session: int) -> None:
    from mrhsm_p11.functions import keys

    public, private = keys.generate_key_pair(
        user_session,
        Mechanism(CKM.EC_KEY_PAIR_GEN),
        template({CKA.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}),
        template({CKA.ALWAYS_AUTHENTICATE: True}),
    )
    with pytest.raises(OperationNotInitialized):
        login(user_session, CKU.CONTEXT_SPECIFIC, USER_PIN)
    for _ in range(2):
        crypto.sign_init(user_session, Mechanism(CKM.ECDSA_SHA256), private)
        with pytest.raises(UserNotLoggedIn):
            crypto.sign(user_session, b"text", 100)
        crypto.sign_init(user_session, Mechanism(CKM.ECDSA_SHA256), private)
        with pytest.raises(PinIncorrect):
            login(user_session, CKU.CONTEXT_SPECIFIC, b"wrong pin")
        login(user_session, CKU.CONTEXT_SPECIFIC, USER_PIN)
        signature = crypto.sign(user_session, b"text", 100)
        assert isinstance(signature, bytes)
        crypto.verify_init(user_session, Mechanism(CKM.ECDSA_SHA256), public)
        crypto.verify(user_session, b"text", signature)


def test_finalize_forgets_all(library: TokenOnDisk, user_session: int) -> None:
    make_aes(user_session)
    general.finalize(False)
    assert provider.current is None
    general.initialize(None)
    with pytest.raises(SessionHandleInvalid):
        sessions.get_session_info(user_session)
    assert state(sessions.open_session(library.slot_id, READ_WRITE)) == CKS.RW_PUBLIC_SESSION


def test_a_user_has_no_name(library: TokenOnDisk, public_session: int) -> None:
    with pytest.raises(ArgumentsBad):
        sessions.login_user(public_session, CKU.USER, Secret(library.user_pin.view()), b"admin")
    assert state(public_session) == CKS.RW_PUBLIC_SESSION
    sessions.login_user(public_session, CKU.USER, Secret(library.user_pin.view()), b"")
    assert state(public_session) == CKS.RW_USER_FUNCTIONS
    with pytest.raises(UserAlreadyLoggedIn):
        sessions.login_user(public_session, CKU.USER, Secret(library.user_pin.view()), b"")


def test_cancelling_ends_a_search(user_session: int) -> None:
    objects.find_objects_init(user_session, {})
    sessions.session_cancel(user_session, 0)
    objects.find_objects(user_session, 1)
    sessions.session_cancel(user_session, CKF.FIND_OBJECTS)
    with pytest.raises(OperationNotInitialized):
        objects.find_objects(user_session, 1)


def test_nothing_is_validated(public_session: int) -> None:
    assert sessions.get_session_validation_flags(public_session, CKS.LAST_VALIDATION_OK) == 0
    with pytest.raises(ArgumentsBad):
        sessions.get_session_validation_flags(public_session, 2)


def test_nothing_is_asynchronous(library: TokenOnDisk, public_session: int) -> None:
    with pytest.raises(SessionAsyncNotSupported):
        sessions.open_session(library.slot_id, READ_WRITE | CKF.ASYNC_SESSION)
    with pytest.raises(OperationNotInitialized):
        asynchronous.async_complete(public_session, "C_Sign")
    with pytest.raises(OperationNotInitialized):
        asynchronous.async_get_id(public_session, "C_Sign")
    with pytest.raises(SavedStateInvalid):
        asynchronous.async_join(public_session, "C_Sign", 1, b"")
