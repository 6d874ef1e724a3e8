from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC

from mrhsm_p11.cluster import blob
from mrhsm_p11.cluster.blob import BlobDamaged
from mrhsm_p11.secret import Secret

KEK, KEY = Secret(b"k" * 32), Secret(bytes(range(32)))


def test_format_is_iv_then_cbc_with_pkcs7_padding() -> None:
    made = blob.encrypt(KEK, KEY)
    assert len(made) == 64
    decryptor = Cipher(AES256(KEK.reveal()), CBC(made[:16])).decryptor()
    assert decryptor.update(made[16:]) + decryptor.finalize() == KEY.reveal() + b"\x10" * 16


def test_every_blob_has_an_iv_of_its_own() -> None:
    assert blob.encrypt(KEK, KEY)[:16] != blob.encrypt(KEK, KEY)[:16]


def test_checksum_is_upper_case_hex_of_the_plain_bytes() -> None:
    # sha256sum of the bytes 00..1f
    assert blob.checksum(KEY) == "630DCD2966C4336691125448BBB25B4FF412A49C732DB2C8ABC1B8581BD710DD"


@pytest.mark.parametrize("place", [0, 15, 16, 40, 63])
def test_a_changed_byte_is_noticed(place: int) -> None:
    made = bytearray(blob.encrypt(KEK, KEY))
    made[place] ^= 1
    with pytest.raises(BlobDamaged):
        blob.decrypt(KEK, bytes(made), blob.checksum(KEY), "CLDB key")


@pytest.mark.parametrize("length", [0, 15, 16, 17, 48])
def test_a_shortened_blob_is_noticed(length: int) -> None:
    with pytest.raises(BlobDamaged):
        blob.decrypt(KEK, blob.encrypt(KEK, KEY)[:length], blob.checksum(KEY), "CLDB key")


def test_another_kek_and_another_checksum_are_noticed() -> None:
    made = blob.encrypt(KEK, KEY)
    assert blob.decrypt(KEK, made, blob.checksum(KEY), "CLDB key") == KEY
    with pytest.raises(BlobDamaged):
        blob.decrypt(Secret(b"x" * 32), made, blob.checksum(KEY), "CLDB key")
    with pytest.raises(BlobDamaged):
        blob.decrypt(KEK, made, blob.checksum(KEK), "CLDB key")
