"""The library started in this process, and sessions with a token of the file store: functions called as Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO, CKU
from mrhsm_p11.functions import general, keys, objects, sessions
from mrhsm_p11.mapping import attributes
from mrhsm_p11.mapping.codecs import Raw, Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider

if TYPE_CHECKING:
    from fix_tokens import TokenOnDisk

READ_WRITE = CKF.SERIAL_SESSION | CKF.RW_SESSION
READ_ONLY = CKF.SERIAL_SESSION


def template(values: dict[int, Value]) -> dict[int, Raw]:
    """Encode a template, as the C boundary hands it over."""
    return {cka: attributes.encode(cka, value) for cka, value in values.items()}


def get(session: int, handle: int, cka: int) -> Value:
    """Return one attribute's natural value; raise what is answered instead of it."""
    (answer,) = objects.get_attribute_value(session, handle, [cka])
    if isinstance(answer, Exception):
        raise answer
    return attributes.decode(cka, answer)


def find(session: int, values: dict[int, Value]) -> list[int]:
    """Return all handles that a search finds."""
    objects.find_objects_init(session, template(values))
    try:
        return objects.find_objects(session, 10_000)
    finally:
        objects.find_objects_final(session)


def make_aes(session: int, values: dict[int, Value] | None = None) -> int:
    """Generate an AES key that may do everything, unless `values` says otherwise."""
    uses = dict.fromkeys((CKA.ENCRYPT, CKA.DECRYPT, CKA.WRAP, CKA.UNWRAP), True)
    return keys.generate_key(
        session, Mechanism(CKM.AES_KEY_GEN), template({CKA.VALUE_LEN: 32, **uses, **(values or {})})
    )


def create_secret(session: int, value: bytes, values: dict[int, Value] | None = None, key_type: int = CKK.AES) -> int:
    """Create a secret key with these bytes."""
    given = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: key_type, CKA.VALUE: value, **(values or {})}
    return objects.create_object(session, template(given))


@pytest.fixture
def library(file_token: TokenOnDisk) -> Iterator[TokenOnDisk]:
    """The library initialised, with one token; finalised afterwards."""
    general.initialize(None)
    yield file_token
    if provider.current is not None:
        general.finalize(False)


@pytest.fixture
def public_session(library: TokenOnDisk) -> int:
    """A read/write session; nobody is logged in."""
    return sessions.open_session(library.slot_id, READ_WRITE)


@pytest.fixture
def user_session(library: TokenOnDisk, public_session: int) -> int:
    """A read/write session, the user logged in."""
    sessions.login(public_session, CKU.USER, Secret(library.user_pin.view()))
    return public_session
