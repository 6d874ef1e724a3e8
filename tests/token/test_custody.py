"""Custody "appliance" through the library: what comes out is right, and no key byte is ever asked for."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from fix_custody import KeptToken
from p11 import Cryptoki, Mechanism, rv_of

from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO, CKR

IV = bytes(range(16))
USES = dict.fromkeys((CKA.ENCRYPT, CKA.DECRYPT, CKA.SIGN, CKA.VERIFY, CKA.WRAP, CKA.UNWRAP), True)
AES_VALUE, DES3_VALUE = bytes(range(100, 132)), bytes.fromhex("0123456789abcdeffedcba987654321089abcdef01234567")
GENERAL = (8).to_bytes(8, "little")

Make = Callable[[Cryptoki], Mechanism]
CIPHERS: dict[str, tuple[int, Make, tuple[int, ...], int]] = {  # key type, mechanism, lengths, round trips to decrypt
    "ECB": (CKK.AES, lambda p11: CKM.AES_ECB, (16, 48), 2),
    "CBC": (CKK.AES, lambda p11: (CKM.AES_CBC, IV), (16, 48), 2),
    "CBC_PAD": (CKK.AES, lambda p11: (CKM.AES_CBC_PAD, IV), (0, 15, 16, 100), 1),
    "CTR": (CKK.AES, lambda p11: (CKM.AES_CTR, p11.ctr(IV)), (1, 33), 1),
    "OFB": (CKK.AES, lambda p11: (CKM.AES_OFB, IV), (33,), 1),
    "CFB128": (CKK.AES, lambda p11: (CKM.AES_CFB128, IV), (33,), 1),
    "GCM": (CKK.AES, lambda p11: (CKM.AES_GCM, p11.gcm(IV[:12], b"aad")), (0, 1, 50), 1),
    "GCM short tag": (CKK.AES, lambda p11: (CKM.AES_GCM, p11.gcm(IV[:12], b"", 96)), (50,), 1),
    "DES3_ECB": (CKK.DES3, lambda p11: CKM.DES3_ECB, (24,), 2),
    "DES3_CBC": (CKK.DES3, lambda p11: (CKM.DES3_CBC, IV[:8]), (24,), 2),
    "DES3_CBC_PAD": (CKK.DES3, lambda p11: (CKM.DES3_CBC_PAD, IV[:8]), (0, 24, 25), 1),
}
HASHES = ("MD5", "SHA_1", "SHA224", "SHA256", "SHA384", "SHA512")
MACS: dict[str, tuple[int, Mechanism]] = {
    "AES_CMAC": (CKK.AES, CKM.AES_CMAC),
    "AES_CMAC_GENERAL": (CKK.AES, (CKM.AES_CMAC_GENERAL, GENERAL)),
    **{f"{name}_HMAC": (CKK.GENERIC_SECRET, getattr(CKM, f"{name}_HMAC")) for name in HASHES},
    **{
        f"{name}_HMAC_GENERAL": (CKK.GENERIC_SECRET, (getattr(CKM, f"{name}_HMAC_GENERAL"), GENERAL)) for name in HASHES
    },
}


def both(kept: KeptToken, key_type: int = CKK.AES) -> tuple[int, int]:
    """Return the handles of one key twice: as it is at the appliance, and as a session object."""
    value = DES3_VALUE if key_type == CKK.DES3 else AES_VALUE
    given = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: key_type, CKA.VALUE: value, CKA.EXTRACTABLE: True, **USES}
    there = kept.p11.create_object(kept.session, {**given, CKA.TOKEN: True})
    here = kept.p11.create_object(kept.session, {**given, CKA.TOKEN: False})
    kept.requests()
    return there, here


@pytest.mark.parametrize("name", CIPHERS)
def test_what_the_appliance_encrypts_is_what_the_engine_does(kept_token: KeptToken, name: str) -> None:
    p11, session = kept_token.p11, kept_token.session
    key_type, make, lengths, trips = CIPHERS[name]
    there, here = both(kept_token, key_type)
    for length in lengths:
        data = os.urandom(length)
        right = p11.encrypt(session, make(p11), here, data)
        assert p11.encrypt(session, make(p11), there, data) == right
        assert kept_token.requests() == ["ENCRYPT"]
        assert p11.decrypt(session, make(p11), there, right) == data
        assert len(kept_token.requests()) == trips
        halves = [data[: length // 2], data[length // 2 :]]
        assert p11.parts("Encrypt", session, make(p11), halves, there) == right
        assert kept_token.requests() == ["ENCRYPT"]


@pytest.mark.parametrize("name", MACS)
def test_macs_are_made_and_compared(kept_token: KeptToken, name: str) -> None:
    p11, session = kept_token.p11, kept_token.session
    key_type, mechanism = MACS[name]
    there, here = both(kept_token, key_type)
    right = p11.sign(session, mechanism, here, b"what is said")
    assert p11.sign(session, mechanism, there, b"what is said") == right
    p11.verify(session, mechanism, there, b"what is said", right)
    assert kept_token.requests() == ["MAC", "MAC"]
    assert rv_of(p11.verify, session, mechanism, there, b"what was said", right) == CKR.SIGNATURE_INVALID
    assert rv_of(p11.verify, session, mechanism, there, b"what is said", right[:-1]) == CKR.SIGNATURE_LEN_RANGE


def test_rsa_signs_there_and_is_verified_here(kept_token: KeptToken) -> None:
    p11, session = kept_token.p11, kept_token.session
    public, private = p11.generate_key_pair(
        session,
        CKM.RSA_PKCS_KEY_PAIR_GEN,
        {CKA.MODULUS_BITS: 2048, CKA.VERIFY: True, CKA.TOKEN: True},
        {CKA.SIGN: True, CKA.TOKEN: True},
    )
    assert p11.get(session, private, CKA.MODULUS) == p11.get(session, public, CKA.MODULUS)
    assert p11.get(session, private, CKA.ID) == p11.get(session, public, CKA.ID)
    kept_token.requests()
    for name in ("SHA1", "SHA224", "SHA256", "SHA384", "SHA512"):
        mechanism = getattr(CKM, f"{name}_RSA_PKCS")
        signature = p11.sign(session, mechanism, private, b"a contract")
        assert kept_token.requests() == ["SIGN"]
        p11.verify(session, mechanism, public, b"a contract", signature)
        assert kept_token.requests() == []
        assert rv_of(p11.verify, session, mechanism, public, b"contracts", signature) == CKR.SIGNATURE_INVALID
    for mechanism in (CKM.RSA_PKCS, (CKM.SHA256_RSA_PKCS_PSS, p11.pss())):
        refused = rv_of(p11.sign, session, mechanism, private, b"a contract")
        assert refused == CKR.KEY_FUNCTION_NOT_PERMITTED  # the appliance's salt is not the one asked for
    assert kept_token.requests() == []


def test_a_key_is_wrapped_without_coming_here(kept_token: KeptToken) -> None:
    p11, session = kept_token.p11, kept_token.session
    there, here = both(kept_token)
    other = {**USES, CKA.TOKEN: True, CKA.VALUE_LEN: 24, CKA.EXTRACTABLE: True}
    wanted = p11.generate_key(session, CKM.AES_KEY_GEN, other)
    kept_token.requests()
    wrapped = p11.wrap_key(session, CKM.AES_KEY_WRAP, there, wanted)
    assert kept_token.requests() == ["GET"]
    template = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, **USES}
    copy = p11.unwrap_key(session, CKM.AES_KEY_WRAP, here, wrapped, template)
    assert p11.encrypt(session, (CKM.AES_CBC_PAD, IV), copy, b"same") == p11.encrypt(
        session, (CKM.AES_CBC_PAD, IV), wanted, b"same"
    )
    for mechanism, kek in ((CKM.AES_KEY_WRAP, here), ((CKM.AES_CBC_PAD, IV), there)):
        assert rv_of(p11.wrap_key, session, mechanism, kek, wanted) == CKR.KEY_FUNCTION_NOT_PERMITTED


def test_a_kept_key_unwraps_into_the_session_only(kept_token: KeptToken) -> None:
    p11, session = kept_token.p11, kept_token.session
    there, here = both(kept_token)
    wrapped = p11.encrypt(session, (CKM.AES_CBC_PAD, IV), here, AES_VALUE)
    template = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.EXTRACTABLE: True, CKA.SENSITIVE: False}
    opened = p11.unwrap_key(session, (CKM.AES_CBC_PAD, IV), there, wrapped, template)
    assert kept_token.requests() == ["DECRYPT"]
    assert p11.get(session, opened, CKA.VALUE) == AES_VALUE
    assert p11.wrap_key(session, (CKM.AES_CBC_PAD, IV), there, opened) == wrapped
    refused = rv_of(p11.unwrap_key, session, (CKM.AES_CBC_PAD, IV), there, wrapped, {**template, CKA.TOKEN: True})
    assert refused == CKR.KEY_FUNCTION_NOT_PERMITTED


def test_nothing_tells_the_bytes(kept_token_alone: KeptToken) -> None:
    p11, session = kept_token_alone.p11, kept_token_alone.session
    there, _ = both(kept_token_alone)
    assert p11.get_bool(session, there, CKA.SENSITIVE)
    assert rv_of(p11.get, session, there, CKA.VALUE) == CKR.ATTRIBUTE_SENSITIVE
    assert p11.get_int(session, there, CKA.VALUE_LEN) == len(AES_VALUE)
    assert rv_of(p11.copy_object, session, there, {CKA.TOKEN: False}) == CKR.KEY_FUNCTION_NOT_PERMITTED
    assert p11.object_size(session, there) > 0
    p11.find(session, {CKA.CLASS: CKO.SECRET_KEY})
    for mechanism in (CKM.AES_CFB8, CKM.AES_KEY_WRAP_KWP):
        assert rv_of(p11.init, "Encrypt", session, mechanism, there) in (
            CKR.KEY_FUNCTION_NOT_PERMITTED,
            CKR.MECHANISM_PARAM_INVALID,
        )
    assert "GET" not in ",".join(kept_token_alone.requests()).split(",")


def test_bad_input_is_answered_as_in_the_other_custody(kept_token: KeptToken) -> None:
    p11, session = kept_token.p11, kept_token.session
    there, here = both(kept_token)
    encrypted = p11.encrypt(session, (CKM.AES_GCM, p11.gcm(IV[:12])), here, b"secret words")
    padded = p11.encrypt(session, (CKM.AES_CBC_PAD, IV), here, b"secret words")
    for key in (here, there):
        assert rv_of(p11.encrypt, session, (CKM.AES_CBC, IV), key, b"odd") == CKR.DATA_LEN_RANGE
        assert rv_of(p11.decrypt, session, (CKM.AES_CBC, IV), key, b"odd") == CKR.ENCRYPTED_DATA_LEN_RANGE
        assert rv_of(p11.decrypt, session, (CKM.AES_CBC_PAD, IV), key, b"") == CKR.ENCRYPTED_DATA_LEN_RANGE
        assert rv_of(p11.init, "Encrypt", session, (CKM.AES_CBC, IV[:8]), key) == CKR.MECHANISM_PARAM_INVALID
        assert rv_of(p11.init, "Encrypt", session, (CKM.AES_CTR, p11.ctr(IV, 0)), key) == CKR.MECHANISM_PARAM_INVALID
        gcm = (CKM.AES_GCM, p11.gcm(IV[:12]))
        assert rv_of(p11.decrypt, session, gcm, key, encrypted[:-1] + b"?") == CKR.ENCRYPTED_DATA_INVALID
        assert rv_of(p11.decrypt, session, gcm, key, b"short") == CKR.ENCRYPTED_DATA_LEN_RANGE
        broken = rv_of(p11.decrypt, session, (CKM.AES_CBC_PAD, IV[::-1]), key, padded)
        assert broken == CKR.ENCRYPTED_DATA_INVALID
        assert p11.decrypt(session, (CKM.AES_CBC_PAD, IV), key, padded) == b"secret words"


def test_the_list_is_what_the_probe_found(kept_token: KeptToken) -> None:
    p11, slot = kept_token.p11, kept_token.slot
    listed = p11.mechanisms(slot)
    assert {CKM.AES_CBC, CKM.AES_GCM, CKM.SHA256, CKM.SHA256_HMAC, CKM.AES_KEY_GEN, CKM.ECDSA} <= set(listed)
    assert not {CKM.AES_CFB8, CKM.AES_XTS, CKM.SHA3_256_HMAC, CKM.HKDF_DERIVE} & set(listed)

    def flags(mechanism: int) -> int:
        return int(p11.mechanism_info(slot, mechanism)["flags"])

    assert flags(CKM.AES_CBC) == CKF.ENCRYPT | CKF.DECRYPT | CKF.WRAP | CKF.UNWRAP
    assert flags(CKM.AES_KEY_WRAP) == CKF.WRAP
    assert flags(CKM.SHA256_RSA_PKCS) & (CKF.SIGN | CKF.VERIFY) == CKF.SIGN | CKF.VERIFY
    assert flags(CKM.ECDSA) & (CKF.SIGN | CKF.VERIFY) == CKF.VERIFY
    assert rv_of(p11.mechanism_info, slot, CKM.AES_XTS) == CKR.MECHANISM_INVALID
    assert all(flags(mechanism) for mechanism in listed)
    assert kept_token.requests() == []


def test_a_lost_connection_ends_only_the_operation(kept_token_alone: KeptToken) -> None:
    p11, session = kept_token_alone.p11, kept_token_alone.session
    there, _ = both(kept_token_alone)
    p11.init("Encrypt", session, (CKM.AES_CBC_PAD, IV), there)
    p11.update("Encrypt", session, b"the first part")
    kept_token_alone.appliance.kill()
    assert rv_of(p11.final, "Encrypt", session) == CKR.DEVICE_ERROR
    assert len(p11.mechanisms(kept_token_alone.slot)) > 50  # a fault takes nothing off the list
    kept_token_alone.appliance.start()
    assert (
        p11.decrypt(session, (CKM.AES_CBC_PAD, IV), there, p11.encrypt(session, (CKM.AES_CBC_PAD, IV), there, b"after"))
        == b"after"
    )
