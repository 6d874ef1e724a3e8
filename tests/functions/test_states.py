"""Operation states: what is saved, what is restored where, and what becomes of states that nobody takes up."""

from __future__ import annotations

import hashlib

import pytest
from fix_provider import READ_ONLY, READ_WRITE, make_aes
from fix_tokens import USER_PIN, TokenOnDisk

from mrhsm_p11.constants import CKM, CKU
from mrhsm_p11.errors import (
    KeyNotNeeded,
    OperationNotInitialized,
    SavedStateInvalid,
    StateUnsaveable,
)
from mrhsm_p11.functions import crypto, objects, sessions, states
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider
from mrhsm_p11.token.states import MOST_STATES, STATE_BYTES

ROOM = 64
HASHES = {CKM.SHA_1: "sha1", CKM.SHA256: "sha256", CKM.SHA512: "sha512"}


def begun(session: int, part: bytes, mechanism: int = CKM.SHA256) -> bytes:
    crypto.digest_init(session, Mechanism(mechanism))
    crypto.digest_update(session, part)
    state = states.get_operation_state(session, ROOM)
    assert isinstance(state, bytes)
    return state


@pytest.mark.parametrize("mechanism", HASHES)
def test_a_digest_is_cloned_into_another_session(library: TokenOnDisk, user_session: int, mechanism: int) -> None:
    state = begun(user_session, b"one", mechanism)
    other = sessions.open_session(library.slot_id, READ_WRITE)
    states.set_operation_state(other, state, 0, 0)
    crypto.digest_update(other, b"two")
    crypto.digest_update(user_session, b"three")
    new = HASHES[mechanism]
    assert crypto.digest_final(other, ROOM) == hashlib.new(new, b"onetwo").digest()
    assert crypto.digest_final(user_session, ROOM) == hashlib.new(new, b"onethree").digest()


def test_a_state_is_taken_up_more_than_once(user_session: int) -> None:
    state = begun(user_session, b"one")
    crypto.digest_update(user_session, b"lost")
    for _ in range(2):
        objects.find_objects_init(user_session, {})
        states.set_operation_state(user_session, state, 0, 0)
        with pytest.raises(OperationNotInitialized):
            objects.find_objects(user_session, 1)
        with pytest.raises(OperationNotInitialized):  # it has had its first part
            crypto.digest(user_session, b"whole", ROOM)
        states.set_operation_state(user_session, state, 0, 0)
        assert crypto.digest_final(user_session, ROOM) == hashlib.sha256(b"one").digest()


def test_asking_for_the_size_keeps_nothing(user_session: int) -> None:
    with pytest.raises(OperationNotInitialized):
        states.get_operation_state(user_session, None)
    crypto.digest_init(user_session, Mechanism(CKM.SHA256))
    assert states.get_operation_state(user_session, None) == STATE_BYTES
    assert states.get_operation_state(user_session, STATE_BYTES - 1) == STATE_BYTES
    assert not provider.session(user_session).token.states


def test_only_digests_are_saved(user_session: int) -> None:
    crypto.encrypt_init(user_session, Mechanism(CKM.AES_CBC_PAD, bytes(16)), make_aes(user_session))
    for room in (None, ROOM):
        with pytest.raises(StateUnsaveable):
            states.get_operation_state(user_session, room)
    crypto.digest_init(user_session, Mechanism(CKM.SHA256))
    with pytest.raises(StateUnsaveable):
        states.get_operation_state(user_session, ROOM)
    assert crypto.encrypt(user_session, b"", ROOM) is not None


@pytest.mark.parametrize("damage", [b"", b"x", bytes(STATE_BYTES), bytes(STATE_BYTES + 1)])
def test_what_is_no_state_changes_nothing(user_session: int, damage: bytes) -> None:
    begun(user_session, b"one")
    with pytest.raises(SavedStateInvalid):
        states.set_operation_state(user_session, damage, 1, 1)
    assert crypto.digest_final(user_session, ROOM) == hashlib.sha256(b"one").digest()


@pytest.mark.parametrize("keys", [(1, 0), (0, 1)])
def test_a_digest_needs_no_key(user_session: int, keys: tuple[int, int]) -> None:
    state = begun(user_session, b"one")
    with pytest.raises(KeyNotNeeded):
        states.set_operation_state(user_session, state, *keys)


def test_a_state_belongs_to_sessions_of_its_kind(library: TokenOnDisk, user_session: int) -> None:
    state = begun(user_session, b"one")
    read_only = sessions.open_session(library.slot_id, READ_ONLY)
    with pytest.raises(SavedStateInvalid):
        states.set_operation_state(read_only, state, 0, 0)


def test_no_state_outlives_a_login(user_session: int) -> None:
    state = begun(user_session, b"one")
    sessions.logout(user_session)
    sessions.login(user_session, CKU.USER, Secret(USER_PIN))
    with pytest.raises(SavedStateInvalid):
        states.set_operation_state(user_session, state, 0, 0)


def test_the_oldest_state_gives_way(user_session: int) -> None:
    oldest, second = begun(user_session, b"one"), states.get_operation_state(user_session, ROOM)
    for _ in range(MOST_STATES - 1):
        states.get_operation_state(user_session, ROOM)
    assert len(provider.session(user_session).token.states) == MOST_STATES
    with pytest.raises(SavedStateInvalid):
        states.set_operation_state(user_session, oldest, 0, 0)
    assert isinstance(second, bytes)
    states.set_operation_state(user_session, second, 0, 0)
