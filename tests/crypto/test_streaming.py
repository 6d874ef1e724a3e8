"""Whatever the chunks: parts give what one part gives, and size() is never exceeded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secret_samples import CIPHERS, MACS, PADDED, key, name, parameter, plain

from mrhsm_p11.constants import CKM
from mrhsm_p11.crypto import engine, families
from mrhsm_p11.crypto.base import Cipher
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow

ciphers = pytest.mark.parametrize("row", CIPHERS, ids=name)
macs = pytest.mark.parametrize("row", MACS, ids=name)
chunkings = st.lists(st.integers(0, 40), max_size=8)


def start(row: MechanismRow, n: int, *, encrypt: bool) -> Cipher:
    """Start an operation for `n` bytes of plaintext."""
    return engine.cipher(row, parameter(row, n), key(row), encrypt=encrypt)


def in_parts(operation: Cipher, whole: bytes, chunks: list[int], *, exact: bool, last_part: bool) -> bytes:
    out, at = b"", 0
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
    data = plain(row, n)
    sealing, opening = (start(row, len(data), encrypt=encrypt) for encrypt in (True, False))
    sealed = start(row, len(data), encrypt=True).finish(data)
    assert in_parts(sealing, data, chunks, exact=True, last_part=last_part) == sealed
    assert in_parts(opening, sealed, chunks, exact=row.type not in PADDED, last_part=last_part) == data


@ciphers
def test_one_part_of_every_length(row: MechanismRow) -> None:
    for n in range(70):
        data = plain(row, n)
        sealing, opening = (start(row, len(data), encrypt=encrypt) for encrypt in (True, False))
        promised = sealing.size(len(data), final=True)
        sealed = sealing.finish(data)
        assert (
            len(sealed)
            == promised
            == families.cipher(row.family).encrypted_size(row, parameter(row, len(data)), len(data), None)
        )
        assert len(data) <= opening.size(len(sealed), final=True) <= len(sealed)
        assert opening.finish(sealed) == data


@ciphers
@pytest.mark.parametrize("encrypt", [True, False])
def test_operation_and_caller_own_their_keys(row: MechanismRow, encrypt: bool) -> None:
    plaintext = plain(row, 48)
    sealed = start(row, 48, encrypt=True).finish(plaintext)
    data, expected = (plaintext, sealed) if encrypt else (sealed, plaintext)
    lent = key(row)
    assert engine.cipher(row, parameter(row, 48), lent, encrypt=encrypt).finish(data) == expected
    assert lent == key(row)
    operation = engine.cipher(row, parameter(row, 48), lent, encrypt=encrypt)
    lent.wipe()
    assert operation.finish(data) == expected


@macs
@settings(deadline=None, max_examples=30)
@given(chunks=chunkings)
def test_macs_in_parts(row: MechanismRow, chunks: list[int]) -> None:
    data, at = bytes(byte % 251 for byte in range(sum(chunks))), 0
    whole, parts = (engine.signer(row, parameter(row), row.key_types[0], key(row)) for _ in range(2))
    lent = key(row)
    check = engine.verifier(row, parameter(row), row.key_types[0], lent)
    lent.wipe()
    whole.update(data)
    for n in chunks:
        parts.update(memoryview(data)[at : at + n])
        check.update(memoryview(data)[at : at + n])
        at += n
    mac = parts.finish()
    assert mac == whole.finish()
    assert len(mac) == parts.size
    check.finish(mac)


@pytest.mark.parametrize("mechanism", [CKM.AES_GCM, CKM.AES_CCM, CKM.CHACHA20_POLY1305], ids=CKM.name)
def test_no_plaintext_leaves_before_its_tag(mechanism: int) -> None:
    row = ROWS[mechanism]
    sealed = start(row, 100, encrypt=True).finish(bytes(100))
    opening = start(row, 100, encrypt=False)
    assert opening.update(sealed[:-1]) == b""
    assert opening.size(0, final=False) == 0
    assert opening.finish(sealed[-1:]) == bytes(100)


@settings(deadline=None, max_examples=30)
@given(chunks=chunkings)
@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.family == "digest"], ids=name)
def test_digests_in_parts(row: MechanismRow, chunks: list[int]) -> None:
    data = bytes(sum(chunks))
    whole, parts, at = engine.digest(row), engine.digest(row), 0
    whole.update(data)
    for n in chunks:
        parts.update(memoryview(data)[at : at + n])
        at += n
    assert parts.finish() == whole.finish()
