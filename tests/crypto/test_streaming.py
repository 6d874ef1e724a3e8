"""Whatever the chunks: parts give what one part gives, and size() is never exceeded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.base import Cipher
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.parameters.symmetric import CTRParams, GCMParams
from mrhsm_p11.secret import Secret

IV = bytes(range(16))
PARAMETERS: dict[int, AnyParameter] = {
    CKM.AES_CBC: IV,
    CKM.AES_CBC_PAD: IV,
    CKM.AES_CTR: CTRParams(64, IV),
    CKM.AES_GCM: GCMParams(IV[:12], b"associated", 96),
}
# what a mechanism takes: a step between lengths, and the least length
STEPS = {CKM.AES_ECB: (16, 0), CKM.AES_CBC: (16, 0), CKM.AES_KEY_WRAP: (8, 16), CKM.AES_KEY_WRAP_KWP: (1, 1)}
WRAP_PADDED = {CKM.AES_KEY_WRAP_PAD: (1, 8), CKM.AES_KEY_WRAP_PKCS7: (1, 8)}
AES_CIPHERS = [row for row in ROWS.values() if row.flags & CKF.ENCRYPT and row.key_types == (CKK.AES,)]
# those whose output is known to the byte before it is computed, whatever the direction
EXACT = {CKM.AES_ECB, CKM.AES_CBC, CKM.AES_CTR, CKM.AES_GCM, CKM.AES_KEY_WRAP}
KEY = Secret(bytes(range(32)))

ciphers = pytest.mark.parametrize("row", AES_CIPHERS, ids=lambda row: CKM.name(row.type))
chunkings = st.lists(st.integers(0, 40), max_size=8)


def start(row: MechanismRow, *, encrypt: bool) -> Cipher:
    return engine.cipher(row, PARAMETERS.get(row.type), KEY, encrypt=encrypt)


def plaintext(row: MechanismRow, n: int) -> bytes:
    step, least = (STEPS | WRAP_PADDED).get(row.type, (1, 0))
    return bytes(byte % 251 for byte in range(max(n - n % step, least)))


def in_parts(row: MechanismRow, whole: bytes, chunks: list[int], *, encrypt: bool, last_part: bool) -> bytes:
    operation, out, at = start(row, encrypt=encrypt), b"", 0
    exact = encrypt or row.type in EXACT
    for n in chunks:
        part, at = whole[at : at + n], at + n
        promised = operation.size(len(part), final=False)
        given = operation.update(memoryview(part))
        assert len(given) == promised
        out += given
    rest = whole[at:]
    if not last_part:
        out, rest = out + operation.update(rest), b""
    promised = operation.size(len(rest), final=True)
    given = operation.finish(memoryview(rest))
    assert len(given) == promised if exact else len(given) <= promised
    return out + given


@ciphers
@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 100), chunks=chunkings, last_part=st.booleans())
def test_parts_are_one_part(row: MechanismRow, n: int, chunks: list[int], last_part: bool) -> None:
    plain = plaintext(row, n)
    sealed = start(row, encrypt=True).finish(plain)
    assert in_parts(row, plain, chunks, encrypt=True, last_part=last_part) == sealed
    assert in_parts(row, sealed, chunks, encrypt=False, last_part=last_part) == plain


@ciphers
def test_one_part_of_every_length(row: MechanismRow) -> None:
    for n in range(70):
        plain = plaintext(row, n)
        sealing, opening = start(row, encrypt=True), start(row, encrypt=False)
        promised = sealing.size(len(plain), final=True)
        sealed = sealing.finish(plain)
        assert len(sealed) == promised
        assert len(plain) <= opening.size(len(sealed), final=True) <= len(sealed)
        assert opening.finish(sealed) == plain


@ciphers
@pytest.mark.parametrize("encrypt", [True, False])
def test_operation_and_caller_own_their_keys(row: MechanismRow, encrypt: bool) -> None:
    plain = plaintext(row, 48)
    sealed = engine.cipher(row, PARAMETERS.get(row.type), Secret(bytes(range(32))), encrypt=True).finish(plain)
    data, expected = (plain, sealed) if encrypt else (sealed, plain)
    key = Secret(bytes(range(32)))
    assert engine.cipher(row, PARAMETERS.get(row.type), key, encrypt=encrypt).finish(data) == expected
    assert key == Secret(bytes(range(32)))
    operation = engine.cipher(row, PARAMETERS.get(row.type), key, encrypt=encrypt)
    key.wipe()
    assert operation.finish(data) == expected


def test_no_plaintext_leaves_gcm_before_its_tag() -> None:
    row = ROWS[CKM.AES_GCM]
    sealed = start(row, encrypt=True).finish(bytes(100))
    opening = start(row, encrypt=False)
    assert opening.update(sealed[:-1]) == b""
    assert opening.size(0, final=False) == 0
    assert opening.finish(sealed[-1:]) == bytes(100)


@settings(deadline=None, max_examples=30)
@given(chunks=chunkings)
@pytest.mark.parametrize("mechanism", [CKM.SHA256, CKM.SHA_1, CKM.SHA512])
def test_digests_in_parts(mechanism: int, chunks: list[int]) -> None:
    data = bytes(sum(chunks))
    whole, parts, at = engine.digest(ROWS[mechanism]), engine.digest(ROWS[mechanism]), 0
    whole.update(data)
    for n in chunks:
        parts.update(memoryview(data)[at : at + n])
        at += n
    assert parts.finish() == whole.finish()
