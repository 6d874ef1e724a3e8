"""The entry: what it loads and when, that each row reaches a module, and that keys stay unseen."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.crypto import engine, families
from mrhsm_p11.errors import (
    CryptokiError,
    KeyTypeInconsistent,
    UnwrappingKeyTypeInconsistent,
    WrappingKeyTypeInconsistent,
)
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.secret import Secret


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split())


def test_starting_loads_nothing_that_can_wait() -> None:
    entry = loaded_by("from mrhsm_p11.crypto import engine, material")
    assert not {name for name in entry if name.startswith("cryptography")}
    warm = loaded_by("from mrhsm_p11.crypto import engine\nengine.warm_up()")
    assert "cryptography.hazmat.primitives.ciphers" in warm
    heavy = ("cryptography.x509", "cryptography.hazmat.primitives.asymmetric", "cryptography.hazmat.primitives.serial")
    assert not {name for name in warm if name.startswith((*heavy, "logging", "asyncio", "ssl", "traceback"))}


def test_each_family_of_the_table_is_a_module_with_its_functions() -> None:
    for family in families.CIPHERS:
        module = families.cipher(family)
        assert callable(module.cipher)
        assert callable(module.encrypted_size)
    for family in families.SIGNATURES:
        assert callable(families.signature(family).signer)
        assert callable(families.signature(family).verifier)
    used = {row.family for row in ROWS.values()}
    modules = {*families.CIPHERS, *families.SIGNATURES, *families.PAIRS, *families.DERIVERS}
    assert used == modules | {"digest", "random", "password"}


@pytest.mark.parametrize(("mechanism", "n"), [(CKM.AES_KEY_GEN, 16), (CKM.AES_KEY_GEN, 24), (CKM.AES_KEY_GEN, 32)])
def test_secret_keys_are_random_and_as_long_as_asked(mechanism: int, n: int) -> None:
    made = {engine.generate_secret(ROWS[mechanism], n).reveal() for _ in range(20)}
    assert len(made) == 20
    assert {len(key) for key in made} == {n}
    assert {len(engine.generate_secret(ROWS[CKM.GENERIC_SECRET_KEY_GEN], size)) for size in (1, 4096)} == {1, 4096}


def test_random_bytes() -> None:
    assert engine.random(0) == b""
    assert len({engine.random(16) for _ in range(100)}) == 100


KEYED = [row for row in ROWS.values() if row.flags & (CKF.ENCRYPT | CKF.SIGN)]


@pytest.mark.parametrize("row", KEYED, ids=lambda row: CKM.name(row.type))
def test_no_refusal_quotes_the_key(row: MechanismRow) -> None:
    key = Secret(b"PASSWORDPASSWORD!")
    with pytest.raises(CryptokiError) as raised:
        if row.flags & CKF.ENCRYPT:
            engine.cipher(row, b"\0", key, encrypt=False)
        else:
            engine.signer(row, b"\0", row.key_types[0], key)
    assert "PASSWORD" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_wrapping_with_a_key_of_another_kind() -> None:
    row, junk = ROWS[CKM.RSA_PKCS], Secret(bytes(40))
    with pytest.raises(WrappingKeyTypeInconsistent):
        engine.wrap(row, None, junk, junk)
    with pytest.raises(UnwrappingKeyTypeInconsistent):
        engine.unwrap(row, None, junk, bytes(128))
    with pytest.raises(KeyTypeInconsistent):
        engine.verifier(row, None, CKK.RSA, junk)
