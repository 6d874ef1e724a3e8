"""Published test vectors of ciphers and MACs with secret keys; see test_known_answers for AES, GCM and key wrap."""

from __future__ import annotations

import pytest
from secret_samples import CIPHERS, MACS, ulong

from mrhsm_p11.constants import CKK, CKM
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.parameters.symmetric import CCMParams, ChaCha20Params, ChaCha20Poly1305Params, GCMParams
from mrhsm_p11.secret import Secret

# SP 800-38A, appendix F
AES_128 = "2b7e151628aed2a6abf7158809cf4f3c"
BLOCKS = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
IV = bytes(range(16))
CCM_KEY = "404142434445464748494a4b4c4d4e4f"
TDES = "8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5"
TDES_IV = bytes.fromhex("f69f2445df4f9b17")
TDES_CBC = "891cab3af57b53f872e6da276568eb42"
XTS_15 = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0bfbebdbcbbbab9b8b7b6b5b4b3b2b1b0"
TERIYAKI = b"chicken teriyaki".hex()
SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
).hex()
CHACHA = (
    "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357"
    "1639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736"
    "5af90bbf74a35be6b40b8eedf2785e42874d"
)
CHACHA_POLY = (
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
    "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
    "3ff4def08e4b7a9de576d26586cec64b6116" + "1ae10b594f09e26a7e902ecbd0600691"
)

ENCRYPTED: list[tuple[str, int, AnyParameter, str, str, str]] = [
    (
        "SP 800-38A F.4.1",
        CKM.AES_OFB,
        IV,
        AES_128,
        BLOCKS,
        "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed825",
    ),
    ("SP 800-38A F.3.7", CKM.AES_CFB8, IV, AES_128, BLOCKS[:36], "3b79424c9c0dd436bace9e0ed4586a4f32b9"),
    (
        "SP 800-38A F.3.13",
        CKM.AES_CFB128,
        IV,
        AES_128,
        BLOCKS,
        "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b",
    ),
    # RFC 3962 has the last two blocks the other way round: that is CS3
    (
        "RFC 3962, 17 bytes",
        CKM.AES_CTS,
        bytes(16),
        TERIYAKI,
        b"I would like the ".hex(),
        "97c6353568f2bf8cb4d8a580362da7ff7f",
    ),
    (
        "RFC 3962, 31 bytes",
        CKM.AES_CTS,
        bytes(16),
        TERIYAKI,
        b"I would like the General Gau's ".hex(),
        "97687268d6ecccc0c07b25e25ecfe5fc00783e0efdb2c1d445d4c8eff7ed22",
    ),
    (
        "RFC 3962, 32 bytes",
        CKM.AES_CTS,
        bytes(16),
        TERIYAKI,
        b"I would like the General Gau's C".hex(),
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a8",
    ),
    (
        "IEEE 1619 vector 2",
        CKM.AES_XTS,
        b"\x33" * 5 + bytes(11),
        "11" * 16 + "22" * 16,
        "44" * 32,
        "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0",
    ),
    (
        "IEEE 1619 vector 15",
        CKM.AES_XTS,
        bytes.fromhex("9a78563412") + bytes(11),
        XTS_15,
        bytes(range(17)).hex(),
        "6c1625db4671522d3d7599601de7ca09ed",
    ),
    (
        "SP 800-38C example 1",
        CKM.AES_CCM,
        CCMParams(4, bytes.fromhex("10111213141516"), bytes(range(8)), 4),
        CCM_KEY,
        "20212223",
        "7162015b4dac255d",
    ),
    (
        "SP 800-38C example 2",
        CKM.AES_CCM,
        CCMParams(16, bytes.fromhex("1011121314151617"), bytes(range(16)), 6),
        CCM_KEY,
        bytes(range(0x20, 0x30)).hex(),
        "d2a1f0e051ea5f62081a7792073d593d1fc64fbfaccd",
    ),
    (
        "SP 800-67 appendix B",
        CKM.DES3_ECB,
        None,
        "0123456789abcdef23456789abcdef01456789abcdef0123",
        b"The qufck brown fox jump".hex(),
        "a826fd8ce53b855fcce21c8112256fe668d5c05dd9b6b900",
    ),
    ("openssl enc", CKM.DES3_CBC, TDES_IV, TDES, BLOCKS[:32], TDES_CBC),
    ("openssl enc", CKM.DES3_CBC_PAD, TDES_IV, TDES, BLOCKS[:32], TDES_CBC + "5910a3a8662fee57"),
    (
        "RFC 8439 2.4.2",
        CKM.CHACHA20,
        ChaCha20Params(b"\1\0\0\0", bytes.fromhex("000000000000004a00000000")),
        bytes(range(32)).hex(),
        SUNSCREEN,
        CHACHA,
    ),
    (
        "ChaCha20 of Bernstein, all zero",
        CKM.CHACHA20,
        ChaCha20Params(bytes(8), bytes(8)),
        bytes(32).hex(),
        bytes(32).hex(),
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7",
    ),
    (
        "RFC 8439 2.8.2",
        CKM.CHACHA20_POLY1305,
        ChaCha20Poly1305Params(bytes.fromhex("070000004041424344454647"), bytes.fromhex("50515253c0c1c2c3c4c5c6c7")),
        bytes(range(0x80, 0xA0)).hex(),
        SUNSCREEN,
        CHACHA_POLY,
    ),
]
# in test_known_answers
ELSEWHERE = {
    *(CKM.AES_ECB, CKM.AES_CBC, CKM.AES_CBC_PAD, CKM.AES_CTR, CKM.AES_GCM),
    *(CKM.AES_KEY_WRAP, CKM.AES_KEY_WRAP_PAD, CKM.AES_KEY_WRAP_PKCS7, CKM.AES_KEY_WRAP_KWP),
}


@pytest.mark.parametrize(("source", "mechanism", "parameter", "key", "plain", "sealed"), ENCRYPTED, ids=str)
def test_ciphers(source: str, mechanism: int, parameter: AnyParameter, key: str, plain: str, sealed: str) -> None:
    row, secret = ROWS[mechanism], Secret(bytes.fromhex(key))
    assert engine.cipher(row, parameter, secret, encrypt=True).finish(bytes.fromhex(plain)).hex() == sealed
    assert engine.cipher(row, parameter, secret, encrypt=False).finish(bytes.fromhex(sealed)).hex() == plain


FIPS_113 = (CKK.DES3, "0123456789abcdef" * 3, b"7654321 Now is the time for ".hex())
MADE: list[tuple[str, int, AnyParameter, int, str, str, str]] = [
    ("SP 800-38B D.1", CKM.AES_CMAC, None, CKK.AES, AES_128, "", "bb1d6929e95937287fa37d129b756746"),
    ("SP 800-38B D.1", CKM.AES_CMAC, None, CKK.AES, AES_128, BLOCKS[:32], "070a16b46b4d4144f79bdd9dd04a287c"),
    (
        "SP 800-38B D.1",
        CKM.AES_CMAC,
        None,
        CKK.AES,
        AES_128,
        BLOCKS + "30c81c46a35ce411",
        "dfa66747de9ae63030ca32611497c827",
    ),
    ("SP 800-38B D.1, cut", CKM.AES_CMAC_GENERAL, ulong(5), CKK.AES, AES_128, BLOCKS[:32], "070a16b46b"),
    ("SP 800-38B D.4", CKM.DES3_CMAC, None, CKK.DES3, TDES, "", "b7a688e122ffaf95"),
    ("SP 800-38B D.4", CKM.DES3_CMAC, None, CKK.DES3, TDES, BLOCKS[:16], "8e8f293136283797"),
    ("SP 800-38B D.4", CKM.DES3_CMAC, None, CKK.DES3, TDES, BLOCKS[:40], "743ddbe0ce2dc2ed"),
    ("SP 800-38B D.5", CKM.DES3_CMAC, None, CKK.DES2, "4cf15134a2850dd58a3d10ba80570d38", "", "bd2ebf9a3ba00361"),
    ("SP 800-38B D.4, cut", CKM.DES3_CMAC_GENERAL, ulong(2), CKK.DES3, TDES, "", "b7a6"),
    # of single DES, which three equal parts of a key make of triple DES
    ("FIPS 113", CKM.DES3_MAC, None, *FIPS_113, "f1d30f68"),
    ("FIPS 113", CKM.DES3_MAC_GENERAL, ulong(8), *FIPS_113, "f1d30f6849312ca4"),
    ("openssl enc", CKM.AES_MAC, None, CKK.AES, AES_128, BLOCKS + b"odd".hex(), "b663d90fc4f63b16"),
    (
        "openssl enc",
        CKM.AES_MAC_GENERAL,
        ulong(16),
        CKK.AES,
        AES_128,
        BLOCKS + b"odd".hex(),
        "b663d90fc4f63b160746cdbe009689c1",
    ),
    (
        "CAVS gcmEncryptExtIV128",
        CKM.AES_GMAC,
        bytes.fromhex("e0e00f19fed7ba0136a797f3"),
        CKK.AES,
        "77be63708971c4e240d1cb79e8d77feb",
        "7a43ec1d9c0a5a78a0b16533a6213cab",
        "209fcc8d3675ed938e9c7166709dd946",
    ),
    (
        "the same, cut and in two places",
        CKM.AES_GMAC,
        GCMParams(bytes.fromhex("e0e00f19fed7ba0136a797f3"), bytes.fromhex("7a43ec1d"), 96),
        CKK.AES,
        "77be63708971c4e240d1cb79e8d77feb",
        "9c0a5a78a0b16533a6213cab",
        "209fcc8d3675ed938e9c7166",
    ),
    (
        "RFC 8439 2.5.2",
        CKM.POLY1305,
        None,
        CKK.POLY1305,
        "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
        b"Cryptographic Forum Research Group".hex(),
        "a8061dc1305136c6c22b8baf0c0127a9",
    ),
]


@pytest.mark.parametrize(("source", "mechanism", "parameter", "key_type", "key", "data", "expected"), MADE, ids=str)
def test_macs(
    source: str, mechanism: int, parameter: AnyParameter, key_type: int, key: str, data: str, expected: str
) -> None:
    mac = engine.signer(ROWS[mechanism], parameter, key_type, Secret(bytes.fromhex(key)))
    mac.update(bytes.fromhex(data))
    assert mac.finish().hex() == expected


def test_an_empty_message_is_authenticated_as_a_block_of_zeros() -> None:
    row, secret = ROWS[CKM.AES_MAC_GENERAL], Secret(bytes.fromhex(AES_128))
    empty, zeros = (engine.signer(row, ulong(16), CKK.AES, secret) for _ in range(2))
    zeros.update(bytes(16))
    assert (
        empty.finish()
        == zeros.finish()
        == engine.cipher(ROWS[CKM.AES_ECB], None, secret, encrypt=True).finish(bytes(16))
    )


def test_each_mechanism_has_an_answer() -> None:
    assert {mechanism for _, mechanism, *_ in ENCRYPTED} | ELSEWHERE == {row.type for row in CIPHERS}
    assert {mechanism for _, mechanism, *_ in MADE} == {row.type for row in MACS if row.family != "mac"}


def test_a_counter_of_64_bits_carries_into_its_upper_half() -> None:
    row, secret = ROWS[CKM.CHACHA20], Secret(bytes(range(32)))
    before, after = (first.to_bytes(8, "little") for first in ((1 << 32) - 1, 1 << 32))
    whole = engine.cipher(row, ChaCha20Params(before, bytes(8)), secret, encrypt=True).finish(bytes(200))
    rest = engine.cipher(row, ChaCha20Params(after, bytes(8)), secret, encrypt=True).finish(bytes(136))
    assert whole[64:] == rest
