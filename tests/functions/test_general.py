"""Starting and ending, slots, token information, making tokens."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from fix_provider import READ_WRITE, find, make_aes
from fix_tokens import SO_PIN, TokenOnDisk

from mrhsm_p11.constants import CKA, CKF, CKM, CKR, CKU
from mrhsm_p11.errors import (
    ArgumentsBad,
    CantLock,
    CryptokiAlreadyInitialized,
    CryptokiNotInitialized,
    FunctionFailed,
    FunctionRejected,
    MechanismInvalid,
    NoEvent,
    PinIncorrect,
    PinLenRange,
    SessionExists,
    SlotIdInvalid,
    TokenWriteProtected,
)
from mrhsm_p11.functions import crypto, general, sessions
from mrhsm_p11.mapping import mechanisms
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider
from mrhsm_p11.token.slots import Slot
from mrhsm_p11.tokendir import entries
from mrhsm_p11.tokendir.settings import ClusterRecord

LABEL = b"new token".ljust(32)


@pytest.fixture
def started(mapr_home: Path):
    """The library initialised, without a token."""
    (mapr_home / "conf" / "tokens").mkdir(exist_ok=True, mode=0o700)
    general.initialize(None)
    yield mapr_home
    if provider.current is not None:
        general.finalize(False)


@pytest.mark.parametrize(
    ("flags", "callbacks", "reserved", "error"),
    [
        (0, 0, False, None),
        (CKF.OS_LOCKING_OK, 0, False, None),
        (CKF.OS_LOCKING_OK, 4, False, None),
        (CKF.LIBRARY_CANT_CREATE_OS_THREADS, 0, False, None),
        (0, 4, False, CantLock),
        (CKF.OS_LOCKING_OK, 1, False, ArgumentsBad),
        (CKF.OS_LOCKING_OK, 3, False, ArgumentsBad),
        (CKF.OS_LOCKING_OK, 0, True, ArgumentsBad),
    ],
)
def test_arguments_of_initialize(
    mapr_home: Path, flags: int, callbacks: int, reserved: bool, error: type[Exception] | None
) -> None:
    arguments = SimpleNamespace(flags=flags, callbacks=callbacks, reserved=reserved)
    if error is None:
        general.initialize(arguments)
        general.finalize(False)
        return
    with pytest.raises(error):
        general.initialize(arguments)
    assert provider.current is None


def test_starting_twice_and_not_at_all(started: Path) -> None:
    with pytest.raises(CryptokiAlreadyInitialized):
        general.initialize(None)
    with pytest.raises(ArgumentsBad):
        general.finalize(True)
    general.finalize(False)
    for call in (
        lambda: general.finalize(False),
        general.get_info,
        lambda: general.get_slot_list(True),
        lambda: sessions.get_session_info(1),
        lambda: crypto.generate_random(1, 1),
    ):
        with pytest.raises(CryptokiNotInitialized):
            call()


def test_a_home_without_token_directory_has_the_empty_slot(mapr_home: Path) -> None:
    general.initialize(None)
    assert general.get_slot_list(True) == [0]
    general.finalize(False)


@pytest.mark.parametrize("damage", ["mrhsm.conf", "maprhsm.conf"])
def test_a_damaged_configuration_is_refused_and_named(file_token: TokenOnDisk, damage: str) -> None:
    file = file_token.configuration if damage == "mrhsm.conf" else file_token.home / "conf" / damage
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b"\nnonsense = [")
    before = file.read_bytes()
    with pytest.raises(FunctionFailed, match=damage):
        general.initialize(None)
    assert provider.current is None
    assert file.read_bytes() == before


def test_a_forked_child_starts_uninitialised(started: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0 if provider.current is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert provider.current is not None


def test_slots_and_tokens(started: Path) -> None:
    assert general.get_slot_list(False) == general.get_slot_list(True) == [0]
    assert general.get_slot_info(0)[:3] == ("MapRHSM slot ID 0x0", "HPE MapR-HSM", CKF.TOKEN_PRESENT)
    info = general.get_token_info(0)
    assert info[:4] == ("", "HPE MapR-HSM", "MapRHSM", "")
    assert info[4] == CKF.RNG | CKF.LOGIN_REQUIRED | CKF.DUAL_CRYPTO_OPERATIONS
    for call in (general.get_slot_info, general.get_token_info, general.get_mechanism_list):
        with pytest.raises(SlotIdInvalid):
            call(77)


def test_a_token_keeps_the_slot_it_was_made_through_until_finalize(started: Path) -> None:
    general.init_token(0, Secret(SO_PIN), LABEL)
    assert general.get_slot_list(True) == [0, 1]
    label, _, _, serial, flags, *_ = general.get_token_info(0)
    assert (label, len(str(serial))) == ("new token", 16)
    assert int(flags) & CKF.TOKEN_INITIALIZED
    assert not int(flags) & CKF.USER_PIN_INITIALIZED
    general.init_token(1, Secret(SO_PIN), b"second".ljust(32))
    assert general.get_slot_list(True) == [0, 1, 2]
    serials = [general.get_token_info(slot)[3] for slot in (0, 1)]
    general.finalize(False)
    general.initialize(None)
    assert general.get_slot_list(True) == [*(entries.slot_id(str(one)) for one in serials), 0]


@pytest.mark.parametrize("behind", [b"\0".ljust(27), b"\0\xff\xfe garbage".ljust(27, b"\1"), bytes(27)])
def test_a_label_ends_where_a_c_string_does(started: Path, behind: bytes) -> None:
    general.init_token(0, Secret(SO_PIN), b"label" + behind)
    assert general.get_token_info(0)[0] == "label"


def test_a_token_is_seated_once_even_if_its_entry_is_seen_first(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = provider.require().slots
    seat = slots.seat

    def seen_first(slot: Slot, entry: entries.TokenEntry) -> None:
        slots.refresh()  # what another thread's C_GetSlotList does
        seat(slot, entry)

    monkeypatch.setattr(slots, "seat", seen_first)
    general.init_token(0, Secret(SO_PIN), LABEL)
    assert general.get_slot_list(True) == [0, 1]


def test_tokens_of_other_processes_appear(started: Path) -> None:
    from mrhsm_p11.tokendir import tokens
    from mrhsm_p11.tokendir.files import TokenDirectory

    made = tokens.create_token(
        TokenDirectory(started / "conf" / "tokens"), "x", Secret(SO_PIN), user_pin=None, store="file"
    )
    assert general.get_slot_list(True) == [entries.slot_id(made.entry.serial), 0]


def test_session_counts(library: TokenOnDisk) -> None:
    for flags in (CKF.SERIAL_SESSION, READ_WRITE, READ_WRITE):
        sessions.open_session(library.slot_id, flags)
    info = general.get_token_info(library.slot_id)
    assert (info[6], info[8]) == (3, 2)


def test_what_init_token_refuses(library: TokenOnDisk) -> None:
    for slot, pin, label, error in (
        (77, SO_PIN, LABEL, SlotIdInvalid),
        (0, b"123", LABEL, PinLenRange),
        (0, SO_PIN, b"\xff".ljust(32), ArgumentsBad),
        (0, SO_PIN, b" " * 32, ArgumentsBad),
        (library.slot_id, b"wrong pin", LABEL, PinIncorrect),
    ):
        with pytest.raises(error):
            general.init_token(slot, Secret(pin), label)
    session = sessions.open_session(library.slot_id, READ_WRITE)
    with pytest.raises(SessionExists):
        general.init_token(library.slot_id, Secret(SO_PIN), LABEL)
    sessions.close_session(session)
    assert general.get_token_info(library.slot_id)[0] == "MapRHSM"


def test_initialising_again_destroys_the_objects_and_the_user_pin(library: TokenOnDisk, user_session: int) -> None:
    make_aes(user_session, {CKA.TOKEN: True})
    sessions.close_session(user_session)
    general.init_token(library.slot_id, Secret(SO_PIN), LABEL)
    info = general.get_token_info(library.slot_id)
    assert (info[0], info[3]) == ("new token", library.serial)
    assert not int(info[4]) & CKF.USER_PIN_INITIALIZED  # type: ignore[arg-type]
    assert not list(library.folder.glob("*.object"))
    session = sessions.open_session(library.slot_id, READ_WRITE)
    sessions.login(session, CKU.SO, Secret(SO_PIN))
    sessions.init_pin(session, Secret(library.user_pin.view()))
    sessions.logout(session)
    sessions.login(session, CKU.USER, Secret(library.user_pin.view()))
    assert find(session, {}) == []


def test_a_token_with_cluster_keys_is_not_initialised_again(library: TokenOnDisk) -> None:
    so = library.open_so()
    so.save_settings(type(so.settings)(so.settings.connection, ClusterRecord("c", enabled=False), "file"))
    with pytest.raises(TokenWriteProtected):
        general.init_token(library.slot_id, Secret(SO_PIN), LABEL)
    assert general.get_token_info(library.slot_id)[0] == "MapRHSM"


def test_new_tokens_may_take_over_a_connection(make_token, mapr_home: Path) -> None:
    like = make_token("kmip token", store="kmip")
    (mapr_home / "conf" / "maprhsm.conf").write_text('[new_token]\nstore = "kmip"\nlike = "kmip token"\n')
    general.initialize(None)
    try:
        general.init_token(0, Secret(SO_PIN), LABEL)
        serial = str(general.get_token_info(0)[3])
        made = TokenOnDisk(mapr_home, serial).open_so()
        assert (made.settings.store, made.settings.connection) == ("kmip", like.open().settings.connection)
        assert made.settings.group
        for file in like.folder.glob("user.pin"):
            file.unlink()
        with pytest.raises(FunctionRejected):
            general.init_token(1, Secret(SO_PIN), b"third".ljust(32))
    finally:
        general.finalize(False)


def test_mechanisms(library: TokenOnDisk) -> None:
    offered = general.get_mechanism_list(library.slot_id)
    assert offered == list(mechanisms.ROWS)
    assert general.get_mechanism_info(library.slot_id, CKM.AES_KEY_GEN) == (16, 32, CKF.GENERATE)
    with pytest.raises(MechanismInvalid):
        general.get_mechanism_info(library.slot_id, 0x80000001)


def test_legacy_mechanisms_can_be_switched_off(file_token: TokenOnDisk) -> None:
    (file_token.home / "conf" / "maprhsm.conf").write_text("[mechanisms]\nlegacy = false\n")
    general.initialize(None)
    try:
        offered = general.get_mechanism_list(file_token.slot_id)
        assert CKM.SHA1_RSA_PKCS not in offered
        assert CKM.SHA256_RSA_PKCS in offered
        assert CKM.SHA_1 in offered
        with pytest.raises(MechanismInvalid):
            general.get_mechanism_info(file_token.slot_id, CKM.ECDSA_SHA1)
    finally:
        general.finalize(False)


def test_there_are_no_slot_events(started: Path) -> None:
    for flags, reserved, error in (
        (CKF.DONT_BLOCK, False, NoEvent),
        (0, True, ArgumentsBad),
        (CKF.DONT_BLOCK, True, ArgumentsBad),
    ):
        with pytest.raises(error):
            general.wait_for_slot_event(flags, reserved)
    assert NoEvent.ckr == CKR.NO_EVENT


def test_random(library: TokenOnDisk) -> None:
    session = sessions.open_session(library.slot_id, CKF.SERIAL_SESSION)
    first, second = (crypto.generate_random(session, 32) for _ in range(2))
    assert len(first) == 32
    assert first != second
    assert crypto.generate_random(session, 0) == b""
    crypto.seed_random(session, b"seed")
