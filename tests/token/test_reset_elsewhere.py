"""C_InitToken while another process has a session with the token: no object of a key manager is left to nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Appliance
from fix_stores import aes_key
from fix_tokens import SO_PIN, USER_PIN, TokenOnDisk
from p11 import Cryptoki, rv_of

from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKM, CKR
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.functions import general
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.secret import Secret
from mrhsm_p11.store import open_store
from mrhsm_p11.store.base import Store
from mrhsm_p11.store.kmip.connection import make_pool
from mrhsm_p11.store.kmip.creating import Creator
from mrhsm_p11.token import provider
from mrhsm_p11.tokendir.tokens import SoToken, TokenReset

KEY = {**aes_key(LABEL="a label"), CKA.VALUE_LEN: 32}
TESTS = Path(__file__).resolve().parent.parent
INITIALISE = """
import sys
sys.path.insert(0, sys.argv[1])
from p11 import Cryptoki
p11 = Cryptoki(sys.argv[2])
p11.initialize()
p11.init_token(int(sys.argv[3]), sys.argv[4], "again")
p11.finalize()
"""


class Shared:
    """A token of a key manager, and what the key manager holds."""

    def __init__(self, token: TokenOnDisk, server: Appliance) -> None:
        self.token = token
        self._client = Client(make_pool(server.connection(), Config()))

    def store(self) -> Store:
        return open_store(self.token.open(), Config())

    def objects(self) -> tuple[str, ...]:
        return self._client.locate(deadline=Deadline(60))


@pytest.fixture
def shared(make_token: Callable[..., TokenOnDisk], make_appliance: Callable[..., Appliance]) -> Shared:
    server = make_appliance()
    return Shared(make_token("a token", store="kmip", connection=server.connection()), server)


def test_open_sessions_make_no_more_objects(shared: Shared, library_path: Path) -> None:
    p11 = Cryptoki(library_path)
    p11.initialize()
    try:
        session = p11.open_session(shared.token.slot_id)
        p11.login(session, USER_PIN)
        template = {CKA.TOKEN: True, CKA.VALUE_LEN: 32, CKA.ENCRYPT: True}
        p11.generate_key(session, CKM.AES_KEY_GEN, template)
        assert len(shared.objects()) == 1
        words = [TESTS, library_path, shared.token.slot_id, SO_PIN.decode()]
        subprocess.run([sys.executable, "-c", INITIALISE, *map(str, words)], check=True, timeout=120)
        assert shared.objects() == ()
        for _ in range(2):
            assert rv_of(p11.generate_key, session, CKM.AES_KEY_GEN, template) == CKR.DEVICE_ERROR
        assert rv_of(p11.create_object, session, {CKA.CLASS: 0, CKA.TOKEN: True, CKA.VALUE: b"1"}) == CKR.DEVICE_ERROR
        assert shared.objects() == ()
    finally:
        p11.finalize()


def test_what_is_made_between_the_destruction_and_the_reset_goes_too(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset, made = SoToken.reset, []

    def late(self: SoToken, label: str, so_pin: Secret) -> None:
        made.append(shared.store().generate(KEY).uid)
        assert shared.objects() == tuple(made)
        reset(self, label, so_pin)

    monkeypatch.setattr(SoToken, "reset", late)
    general.initialize(None)
    try:
        general.init_token(shared.token.slot_id, Secret(SO_PIN), b"again".ljust(32))
    finally:
        general.finalize(None)
    assert made
    assert shared.objects() == ()


def test_what_is_under_way_at_the_reset_is_taken_back(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    store, create = shared.store(), Creator.create

    def meanwhile(self: Creator, *arguments: object, **options: object) -> object:
        entry = create(self, *arguments, **options)  # type: ignore[arg-type]
        assert len(shared.objects()) == 1
        shared.token.open_so().reset("again", Secret(SO_PIN))
        return entry

    monkeypatch.setattr(Creator, "create", meanwhile)
    with pytest.raises(TokenReset):
        store.generate(KEY)
    assert shared.objects() == ()
    assert provider.current is None
