"""The mechanism table is complete and agrees with the engine, family by family."""

from __future__ import annotations

import pytest

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.crypto import digests, families
from mrhsm_p11.mapping.mechanisms import HASHES, ROWS, MechanismRow, symmetric
from mrhsm_p11.mapping.mechanisms import digests as digest_rows
from mrhsm_p11.parameters import Parameter

rows = pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: CKM.name(row.type))

# flag of a use -> the families that do it
USES = {
    CKF.ENCRYPT: set(families.CIPHERS),
    CKF.DECRYPT: set(families.CIPHERS),
    CKF.WRAP: set(families.CIPHERS),
    CKF.UNWRAP: set(families.CIPHERS),
    CKF.SIGN: set(families.SIGNATURES),
    CKF.VERIFY: set(families.SIGNATURES),
    CKF.SIGN_RECOVER: set(families.RECOVERS),
    CKF.VERIFY_RECOVER: set(families.RECOVERS),
    CKF.MESSAGE_ENCRYPT: set(families.CIPHERS),
    CKF.MESSAGE_DECRYPT: set(families.CIPHERS),
    CKF.MESSAGE_SIGN: set(families.SIGNATURES),
    CKF.MESSAGE_VERIFY: set(families.SIGNATURES),
    CKF.DIGEST: {"digest"},
    CKF.GENERATE: {"random", *families.MAKERS, *families.PARAMETERS},
    CKF.GENERATE_KEY_PAIR: set(families.PAIRS),
    CKF.DERIVE: set(families.DERIVERS),
    CKF.ENCAPSULATE: set(families.ENCAPSULATIONS),
    CKF.DECAPSULATE: set(families.ENCAPSULATIONS),
}
# whose key sizes the standard counts in bytes
IN_BYTES = {
    *(
        row.type
        for row in ROWS.values()
        if row.key_types and CKM.name(row.type).startswith(("AES", "DES", "SHA", "BLAKE2B"))
    ),
    *(CKM.MD5_HMAC, CKM.MD5_HMAC_GENERAL, CKM.CHACHA20_KEY_GEN),
    *(row.type for row in ROWS.values() if row.flags & CKF.DERIVE and CKK.GENERIC_SECRET in row.key_types),
    *(row.type for row in ROWS.values() if CKM.name(row.type).startswith(("HKDF", "PKCS5", "TLS", "ML_", "HASH_ML"))),
} - {row.type for row in ROWS.values() if row.family == "rsa"}
SINGLE = ("rsa", "rsa-raw", "ec", "edwards", "dsa", "dh", "mlkem", "mldsa")  # these sign the message itself, or a hash
PROMISED = """
AES_KEY_GEN AES_ECB AES_CBC AES_CBC_PAD AES_CTR AES_OFB AES_CFB8 AES_CFB128 AES_CTS AES_XTS_KEY_GEN AES_XTS AES_GCM
AES_CCM AES_MAC AES_MAC_GENERAL AES_CMAC AES_CMAC_GENERAL AES_GMAC AES_KEY_WRAP AES_KEY_WRAP_PAD AES_KEY_WRAP_PKCS7
AES_KEY_WRAP_KWP DES2_KEY_GEN DES3_KEY_GEN DES3_ECB DES3_CBC DES3_CBC_PAD DES3_MAC DES3_MAC_GENERAL DES3_CMAC
DES3_CMAC_GENERAL CHACHA20_KEY_GEN CHACHA20 CHACHA20_POLY1305 POLY1305_KEY_GEN POLY1305 GENERIC_SECRET_KEY_GEN
SHA_1 SHA_1_HMAC SHA_1_HMAC_GENERAL SHA_1_KEY_GEN SHA224 SHA224_HMAC SHA224_HMAC_GENERAL SHA224_KEY_GEN
SHA256 SHA256_HMAC SHA256_HMAC_GENERAL SHA256_KEY_GEN SHA384 SHA384_HMAC SHA384_HMAC_GENERAL SHA384_KEY_GEN
SHA512 SHA512_HMAC SHA512_HMAC_GENERAL SHA512_KEY_GEN
SHA512_224 SHA512_224_HMAC SHA512_224_HMAC_GENERAL SHA512_224_KEY_GEN
SHA512_256 SHA512_256_HMAC SHA512_256_HMAC_GENERAL SHA512_256_KEY_GEN
SHA3_224 SHA3_224_HMAC SHA3_224_HMAC_GENERAL SHA3_224_KEY_GEN
SHA3_256 SHA3_256_HMAC SHA3_256_HMAC_GENERAL SHA3_256_KEY_GEN
SHA3_384 SHA3_384_HMAC SHA3_384_HMAC_GENERAL SHA3_384_KEY_GEN
SHA3_512 SHA3_512_HMAC SHA3_512_HMAC_GENERAL SHA3_512_KEY_GEN
MD5 MD5_HMAC MD5_HMAC_GENERAL
BLAKE2B_160 BLAKE2B_160_HMAC BLAKE2B_160_HMAC_GENERAL BLAKE2B_160_KEY_GEN
BLAKE2B_256 BLAKE2B_256_HMAC BLAKE2B_256_HMAC_GENERAL BLAKE2B_256_KEY_GEN
BLAKE2B_384 BLAKE2B_384_HMAC BLAKE2B_384_HMAC_GENERAL BLAKE2B_384_KEY_GEN
BLAKE2B_512 BLAKE2B_512_HMAC BLAKE2B_512_HMAC_GENERAL BLAKE2B_512_KEY_GEN
SHA3_224_RSA_PKCS SHA3_256_RSA_PKCS SHA3_384_RSA_PKCS SHA3_512_RSA_PKCS SHA3_224_RSA_PKCS_PSS SHA3_256_RSA_PKCS_PSS
SHA3_384_RSA_PKCS_PSS SHA3_512_RSA_PKCS_PSS RSA_X_509 RSA_AES_KEY_WRAP
RSA_PKCS_KEY_PAIR_GEN RSA_PKCS RSA_PKCS_OAEP RSA_PKCS_PSS SHA1_RSA_PKCS SHA224_RSA_PKCS
SHA256_RSA_PKCS SHA384_RSA_PKCS SHA512_RSA_PKCS SHA1_RSA_PKCS_PSS SHA224_RSA_PKCS_PSS SHA256_RSA_PKCS_PSS
SHA384_RSA_PKCS_PSS SHA512_RSA_PKCS_PSS EC_KEY_PAIR_GEN ECDSA ECDSA_SHA1 ECDSA_SHA224 ECDSA_SHA256 ECDSA_SHA384
ECDSA_SHA512 ECDSA_SHA3_224 ECDSA_SHA3_256 ECDSA_SHA3_384 ECDSA_SHA3_512
EC_EDWARDS_KEY_PAIR_GEN EDDSA EC_MONTGOMERY_KEY_PAIR_GEN
DSA_PARAMETER_GEN DSA_KEY_PAIR_GEN DSA DSA_SHA1 DSA_SHA224 DSA_SHA256 DSA_SHA384 DSA_SHA512
DSA_SHA3_224 DSA_SHA3_256 DSA_SHA3_384 DSA_SHA3_512 DH_PKCS_PARAMETER_GEN DH_PKCS_KEY_PAIR_GEN
ML_KEM_KEY_PAIR_GEN ML_KEM ML_DSA_KEY_PAIR_GEN ML_DSA HASH_ML_DSA HASH_ML_DSA_SHA224 HASH_ML_DSA_SHA256
HASH_ML_DSA_SHA384 HASH_ML_DSA_SHA512 HASH_ML_DSA_SHA3_224 HASH_ML_DSA_SHA3_256 HASH_ML_DSA_SHA3_384
HASH_ML_DSA_SHA3_512
CONCATENATE_BASE_AND_KEY CONCATENATE_BASE_AND_DATA CONCATENATE_DATA_AND_BASE XOR_BASE_AND_DATA EXTRACT_KEY_FROM_KEY
SHA1_KEY_DERIVATION SHA224_KEY_DERIVATION SHA256_KEY_DERIVATION SHA384_KEY_DERIVATION SHA512_KEY_DERIVATION
SHA512_224_KEY_DERIVATION SHA512_256_KEY_DERIVATION SHA3_224_KEY_DERIVE SHA3_256_KEY_DERIVE SHA3_384_KEY_DERIVE
SHA3_512_KEY_DERIVE AES_ECB_ENCRYPT_DATA AES_CBC_ENCRYPT_DATA DES3_ECB_ENCRYPT_DATA
DES3_CBC_ENCRYPT_DATA HKDF_DERIVE HKDF_DATA SP800_108_COUNTER_KDF
SP800_108_FEEDBACK_KDF SP800_108_DOUBLE_PIPELINE_KDF ECDH1_DERIVE ECDH1_COFACTOR_DERIVE DH_PKCS_DERIVE PKCS5_PBKD2
HKDF_KEY_GEN TLS_PRE_MASTER_KEY_GEN TLS12_MASTER_KEY_DERIVE TLS12_MASTER_KEY_DERIVE_DH TLS12_EXTENDED_MASTER_KEY_DERIVE
TLS12_EXTENDED_MASTER_KEY_DERIVE_DH TLS12_KEY_AND_MAC_DERIVE TLS12_KEY_SAFE_DERIVE TLS12_KDF TLS_KDF
TLS_MASTER_KEY_DERIVE TLS_MASTER_KEY_DERIVE_DH TLS_KEY_AND_MAC_DERIVE TLS_PRF TLS_MAC TLS12_MAC
"""


def test_the_list_is_exactly_what_is_promised() -> None:
    assert set(ROWS) == {getattr(CKM, name) for name in PROMISED.split()}
    assert len(ROWS) == len(PROMISED.split())


@rows
def test_each_use_has_a_family_that_does_it(row: MechanismRow) -> None:
    used = [flag for flag in USES if row.flags & flag]
    assert used
    assert all(row.family in USES[flag] for flag in used)
    known = sum(USES) | CKF.EC_F_P | CKF.EC_OID | CKF.EC_CURVENAME | CKF.EC_UNCOMPRESS | CKF.EC_COMPRESS
    assert not row.flags & ~known


@rows
def test_uses_come_in_pairs(row: MechanismRow) -> None:
    pairs = ((CKF.ENCRYPT, CKF.DECRYPT), (CKF.WRAP, CKF.UNWRAP), (CKF.SIGN, CKF.VERIFY))
    for there, back in (*pairs, (CKF.SIGN_RECOVER, CKF.VERIFY_RECOVER)):
        assert bool(row.flags & there) == bool(row.flags & back)


@rows
def test_messages_go_with_what_is_done_to_one(row: MechanismRow) -> None:
    assert bool(row.flags & CKF.MESSAGE_SIGN) == bool(row.flags & CKF.SIGN) == bool(row.flags & CKF.MESSAGE_VERIFY)
    assert bool(row.flags & CKF.MESSAGE_ENCRYPT) == bool(row.flags & CKF.MESSAGE_DECRYPT)
    assert bool(row.flags & CKF.MESSAGE_ENCRYPT) == (row.message_parameter is not None)
    assert row.told_flags & ~CKF.MULTI_MESSAGE == row.flags


@rows
def test_keys_have_types_and_sizes_or_there_is_no_key(row: MechanismRow) -> None:
    if row.family == "digest":
        assert (row.key_types, row.min_key, row.max_key) == ((), 0, 0)
    else:
        assert row.key_types
        assert 0 < row.min_key <= row.max_key
    assert (row.key_unit_bits == 8) == (row.type in IN_BYTES)


@rows
def test_hash_named_by_the_mechanism_is_the_rows(row: MechanismRow) -> None:
    name = CKM.name(row.type).lower().replace("sha_1", "sha1")
    named = [] if row.family == "random" else [each for each in digests.SIZES if each in name]
    assert max(named, key=len, default=None) == row.hash


def test_a_parameter_names_the_hashes_of_the_sha_family() -> None:
    assert {ROWS[digest].hash: name for digest, name in HASHES.items()} == {name: name for name in HASHES.values()}
    assert set(digests.SIZES) - set(HASHES.values()) == {
        *("md5", "blake2b_160", "blake2b_256", "blake2b_384", "blake2b_512"),
    }


@rows
def test_single_part_only_where_the_message_is_not_hashed(row: MechanismRow) -> None:
    assert row.multipart == (row.family not in SINGLE or row.hash is not None or row.mode in ("pure", "eddsa"))


@pytest.mark.parametrize("row", [*symmetric.ROWS, *digest_rows.ROWS], ids=lambda row: CKM.name(row.type))
def test_des_and_md5_are_legacy(row: MechanismRow) -> None:
    assert row.legacy == CKM.name(row.type).startswith(("DES", "MD5"))


def test_every_parameter_class_is_some_mechanisms() -> None:
    classes = {cls for cls in Parameter.__subclasses__() if cls.__module__.startswith("mrhsm_p11.")}
    nested = {member.shape for cls in classes for member in cls.members.values()} - {None}
    rows = ROWS.values()
    used = {each for row in rows for each in (row.parameter, row.message_parameter, row.wrap_parameter)} - {None, bytes}
    assert classes - nested == used - nested


def test_sizes_are_told_in_the_standards_unit() -> None:
    info = {CKM.name(row.type): (row.min_key, row.max_key) for row in ROWS.values()}
    assert info["AES_CBC"] == (16, 32)  # bytes
    assert info["GENERIC_SECRET_KEY_GEN"] == (8, 32768)  # bits
    assert info["RSA_PKCS_KEY_PAIR_GEN"] == (1024, 8192)  # bits
    assert info["ECDSA"] == (192, 521)  # bits
    assert info["AES_XTS"] == (32, 64)  # bytes
    assert info["DES3_CBC"] == (16, 24)  # bytes
    assert info["CHACHA20"] == info["POLY1305"] == (256, 256)  # bits
    assert [bits for bits in range(300) if ROWS[CKM.AES_GCM].allows(bits)] == [128, 192, 256]
    assert [bits for bits in range(600) if ROWS[CKM.AES_XTS].allows(bits)] == [256, 512]
    assert [bits for bits in range(300) if ROWS[CKM.DES3_ECB].allows(bits)] == [128, 192]
    assert info["CHACHA20_KEY_GEN"] == (32, 32)  # bytes
    assert not ROWS[CKM.RSA_PKCS].allows(511)
    assert not ROWS[CKM.RSA_PKCS].allows(8193)
    assert ROWS[CKM.RSA_PKCS].allows(2049)
