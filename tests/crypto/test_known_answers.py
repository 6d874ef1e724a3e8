"""Published test vectors, and values made once with other software."""

from __future__ import annotations

import sys

import pytest

from mrhsm_p11.constants import CKK, CKM
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import SignatureInvalid, SignatureLenRange
from mrhsm_p11.mapping.codecs import ULONG_BYTES
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.parameters.symmetric import CTRParams, GCMParams
from mrhsm_p11.secret import Secret

# SP 800-38A, appendix F
KEY_128 = "2b7e151628aed2a6abf7158809cf4f3c"
BLOCKS = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
COUNTER = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
IV = bytes(range(16))
# McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 4, 5 and (AES-256) 16
GCM_KEY = "feffe9928665731c6d6a8f9467308308"
GCM_PLAIN = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
GCM_AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_IV = bytes.fromhex("cafebabefacedbaddecaf888")
GCM_4 = (
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47"
)
GCM_5 = (
    "61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c7423"
    "73806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f45983612d2e79e3b0785561be14aaca2fccb"
)
GCM_16 = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
)
KEK_256 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
KWP_KEK = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"

CIPHERS: list[tuple[str, int, AnyParameter, str, str, str]] = [
    ("ECB", CKM.AES_ECB, None, KEY_128, BLOCKS, "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"),
    ("CBC", CKM.AES_CBC, IV, KEY_128, BLOCKS, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"),
    (
        "CBC-PAD, the last block from openssl enc",
        CKM.AES_CBC_PAD,
        IV,
        KEY_128,
        BLOCKS,
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b255e21d7100b988ffec32feeafaf23538",
    ),
    (
        "CTR",
        CKM.AES_CTR,
        CTRParams(128, bytes.fromhex(COUNTER)),
        KEY_128,
        BLOCKS,
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff",
    ),
    ("GCM 4", CKM.AES_GCM, GCMParams(GCM_IV, GCM_AAD, 128), GCM_KEY, GCM_PLAIN, GCM_4),
    ("GCM 4, 96-bit tag", CKM.AES_GCM, GCMParams(GCM_IV, GCM_AAD, 96), GCM_KEY, GCM_PLAIN, GCM_4[:-8]),
    ("GCM 5, 8-byte IV", CKM.AES_GCM, GCMParams(GCM_IV[:8], GCM_AAD, 128), GCM_KEY, GCM_PLAIN, GCM_5),
    ("GCM 16, AES-256", CKM.AES_GCM, GCMParams(GCM_IV, GCM_AAD, 128), GCM_KEY * 2, GCM_PLAIN, GCM_16),
    (
        "RFC 3394 4.1",
        CKM.AES_KEY_WRAP,
        None,
        KEK_256[:32],
        "00112233445566778899aabbccddeeff",
        "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
    ),
    (
        "RFC 3394 4.6",
        CKM.AES_KEY_WRAP,
        b"\xa6" * 8,
        KEK_256,
        "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
        "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
    ),
    (
        "RFC 5649, 20 bytes",
        CKM.AES_KEY_WRAP_KWP,
        None,
        KWP_KEK,
        "c37b7e6492584340bed12207808941155068f738",
        "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
    ),
    (
        "RFC 5649, 7 bytes",
        CKM.AES_KEY_WRAP_KWP,
        bytes.fromhex("a65959a6"),
        KWP_KEK,
        "466f7250617369",
        "afbeb0f07dfbf5419200f2ccb50bb24f",
    ),
]


@pytest.mark.parametrize(("name", "mechanism", "parameter", "key", "plain", "sealed"), CIPHERS, ids=lambda value: value)
def test_ciphers(name: str, mechanism: int, parameter: AnyParameter, key: str, plain: str, sealed: str) -> None:
    row = ROWS[mechanism]
    secret = Secret(bytes.fromhex(key))
    assert engine.cipher(row, parameter, secret, encrypt=True).finish(bytes.fromhex(plain)).hex() == sealed
    assert engine.cipher(row, parameter, secret, encrypt=False).finish(bytes.fromhex(sealed)).hex() == plain


def test_key_wrap_after_pkcs7_padding_is_key_wrap_of_the_padded_bytes() -> None:
    kek = Secret(bytes.fromhex(KEK_256))
    for n in range(8, 33):
        plain, fill = bytes(range(n)), 8 - n % 8
        sealed = engine.cipher(ROWS[CKM.AES_KEY_WRAP], None, kek, encrypt=True).finish(plain + bytes((fill,)) * fill)
        for mechanism in (CKM.AES_KEY_WRAP_PAD, CKM.AES_KEY_WRAP_PKCS7):
            assert engine.cipher(ROWS[mechanism], None, kek, encrypt=True).finish(plain) == sealed
            assert engine.cipher(ROWS[mechanism], None, kek, encrypt=False).finish(sealed) == plain


DIGESTS = [  # of "abc", FIPS 180-4
    (CKM.SHA_1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
    (CKM.SHA224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
    (CKM.SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        CKM.SHA384,
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
    ),
    (
        CKM.SHA512,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
    # FIPS 180-4, examples of SHA-512/t; FIPS 202, examples of SHA-3; RFC 1321; RFC 7693, appendix A
    (CKM.SHA512_224, "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa"),
    (CKM.SHA512_256, "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
    (CKM.SHA3_224, "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"),
    (CKM.SHA3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
    (
        CKM.SHA3_384,
        "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25",
    ),
    (
        CKM.SHA3_512,
        "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e"
        "10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
    ),
    (CKM.MD5, "900150983cd24fb0d6963f7d28e17f72"),
    (
        CKM.BLAKE2B_512,
        "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
        "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
    ),
    # made once with b2sum -l
    (CKM.BLAKE2B_160, "384264f676f39536840523f284921cdc68b6846b"),
    (CKM.BLAKE2B_256, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"),
    (
        CKM.BLAKE2B_384,
        "6f56a82c8e7ef526dfe182eb5212f7db9df1317e57815dbda46083fc30f54ee6c66ba83be64b302d7cba6ce15bb556f4",
    ),
]


def test_every_digest_has_a_known_answer() -> None:
    assert {mechanism for mechanism, _ in DIGESTS} == {row.type for row in ROWS.values() if row.family == "digest"}


@pytest.mark.parametrize(("mechanism", "expected"), DIGESTS, ids=lambda value: str(value)[:10])
def test_digests(mechanism: int, expected: str) -> None:
    digest = engine.digest(ROWS[mechanism])
    digest.update(b"a")
    early = digest.copy()
    digest.update(b"bc")
    assert digest.finish().hex() == expected
    assert digest.size == len(expected) // 2
    early.update(b"bc")
    assert early.finish().hex() == expected


# RFC 4231 test cases 2 (a key shorter than the hash), 6 (longer than the block), and RFC 2202 test case 2; those of
# SHA-512/t, SHA-3 and BLAKE2b-512 made once with openssl dgst, of other BLAKE2b from RFC 2104's own definition
MACS = [
    (CKM.SHA224_HMAC, b"Jefe", "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44"),
    (CKM.SHA256_HMAC, b"Jefe", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (
        CKM.SHA384_HMAC,
        b"Jefe",
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
    ),
    (
        CKM.SHA512_HMAC,
        b"Jefe",
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ),
    (CKM.SHA_1_HMAC, b"Jefe", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    (CKM.MD5_HMAC, b"Jefe", "750c783e6ab0b503eaa86e310a5db738"),
    (CKM.SHA512_224_HMAC, b"Jefe", "4a530b31a79ebcce36916546317c45f247d83241dfb818fd37254bde"),
    (CKM.SHA512_256_HMAC, b"Jefe", "6df7b24630d5ccb2ee335407081a87188c221489768fa2020513b2d593359456"),
    (CKM.SHA3_224_HMAC, b"Jefe", "7fdb8dd88bd2f60d1b798634ad386811c2cfc85bfaf5d52bbace5e66"),
    (CKM.SHA3_256_HMAC, b"Jefe", "c7d4072e788877ae3596bbb0da73b887c9171f93095b294ae857fbe2645e1ba5"),
    (
        CKM.SHA3_384_HMAC,
        b"Jefe",
        "f1101f8cbf9766fd6764d2ed61903f21ca9b18f57cf3e1a23ca13508a93243ce48c045dc007f26a21b3f5e0e9df4c20a",
    ),
    (
        CKM.SHA3_512_HMAC,
        b"Jefe",
        "5a4bfeab6166427c7a3647b747292b8384537cdb89afb3bf5665e4c5e709350b"
        "287baec921fd7ca0ee7a0c31d022a95e1fc92ba9d77df883960275beb4e62024",
    ),
    (CKM.BLAKE2B_160_HMAC, b"Jefe", "c4728ccc2f7600f89d9a480514910b9f5daf3dd6"),
    (CKM.BLAKE2B_256_HMAC, b"Jefe", "3cf096eeeb2202a250db168c4823a44ef4618ebabb225789386fed316131e3a0"),
    (
        CKM.BLAKE2B_384_HMAC,
        b"Jefe",
        "e87f61624bc6c1db706a1efcc98e7e98c0ab8fea0978dbd87e2852406fdd313c87968c5b825847f3c04d975b8b88598d",
    ),
    (
        CKM.BLAKE2B_512_HMAC,
        b"Jefe",
        "6ff884f8ddc2a6586b3c98a4cd6ebdf14ec10204b6710073eb5865ade37a2643"
        "b8807c1335d107ecdb9ffeaeb6828c4625ba172c66379efcd222c2de11727ab4",
    ),
]


def test_every_hmac_has_a_known_answer() -> None:
    assert {mechanism for mechanism, *_ in MACS} == {
        row.type for row in ROWS.values() if row.mode == "hmac" and row.hash
    }


@pytest.mark.parametrize(("mechanism", "key", "expected"), MACS, ids=lambda value: str(value)[:10])
def test_hmac(mechanism: int, key: bytes, expected: str) -> None:
    mac = engine.signer(ROWS[mechanism], None, CKK.GENERIC_SECRET, Secret(key))
    mac.update(b"what do ya want ")
    mac.update(b"for nothing?")
    assert mac.finish().hex() == expected
    assert mac.size == len(expected) // 2
    for given, error in ((expected, None), ("00" + expected[2:], SignatureInvalid), (expected[2:], SignatureLenRange)):
        check = engine.verifier(ROWS[mechanism], None, CKK.GENERIC_SECRET, Secret(key))
        check.update(b"what do ya want for nothing?")
        if error is None:
            check.finish(bytes.fromhex(given))
        else:
            with pytest.raises(error):
                check.finish(bytes.fromhex(given))


def test_hmac_with_a_key_longer_than_the_block() -> None:
    mac = engine.signer(ROWS[CKM.SHA256_HMAC], None, CKK.SHA256_HMAC, Secret(b"\xaa" * 131))
    mac.update(b"Test Using Larger Than Block-Size Key - Hash Key First")
    assert mac.finish().hex() == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"


def test_hmac_of_a_chosen_length_is_cut_at_the_end() -> None:
    half = (16).to_bytes(ULONG_BYTES, sys.byteorder)
    mac = engine.signer(ROWS[CKM.SHA256_HMAC_GENERAL], half, CKK.GENERIC_SECRET, Secret(b"\x0c" * 20))
    mac.update(b"Test With Truncation")
    assert mac.size == 16
    assert mac.finish().hex() == "a3b6167473100ee06e0c796c2955552b"  # RFC 4231 test case 5


def test_ecdsa_of_rfc_6979() -> None:
    point = (
        "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
    )
    spki = Secret(bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200" + point))
    signature = bytes.fromhex(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )
    check = engine.verifier(ROWS[CKM.ECDSA_SHA256], None, CKK.EC, spki)
    check.update(b"sample")
    check.finish(signature)
    check = engine.verifier(ROWS[CKM.ECDSA_SHA256], None, CKK.EC, spki)
    check.update(b"Sample")
    with pytest.raises(SignatureInvalid):
        check.finish(signature)
