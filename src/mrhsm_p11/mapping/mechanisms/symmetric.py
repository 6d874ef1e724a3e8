"""Mechanisms of secret keys: ciphers, MACs of block ciphers, key wrapping, and making such keys."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import (
    CRYPT,
    CRYPTS_MESSAGES,
    SIGNS,
    WRAPS,
    Family,
    MechanismRow,
    ParameterClass,
)
from mrhsm_p11.parameters import Parameter
from mrhsm_p11.parameters.messages import CCMMessageParams, ChaCha20Poly1305MessageParams, GCMMessageParams
from mrhsm_p11.parameters.symmetric import (
    CCMParams,
    CCMWrapParams,
    ChaCha20Params,
    ChaCha20Poly1305Params,
    CTRParams,
    GCMParams,
    GCMWrapParams,
)

SEALS = CRYPT | WRAPS | CRYPTS_MESSAGES


def _aes(
    type: int,
    family: Family,
    mode: str,
    flags: int,
    parameter: ParameterClass = None,
    *,
    private: bool = False,
    fills_to: int = 1,
    message: ParameterClass = None,
    wrap: type[Parameter] | None = None,
    bare_bytes: int = 0,
) -> MechanismRow:
    return MechanismRow(
        type,
        family,
        mode,
        flags,
        key_types=(CKK.AES,),
        min_key=16,
        max_key=32,
        key_step=8,
        key_unit_bits=8,
        parameter=parameter,
        wraps_private=private,
        fills_to=fills_to,
        message_parameter=message,
        wrap_parameter=wrap,
        bare_bytes=bare_bytes,
    )


def _xts(type: int, family: Family, mode: str, flags: int, parameter: ParameterClass = None) -> MechanismRow:
    return MechanismRow(type, family, mode, flags, (CKK.AES_XTS,), 32, 64, 8, parameter, key_step=32)


def _des(
    type: int,
    family: Family,
    mode: str,
    flags: int,
    parameter: ParameterClass = None,
    *,
    keys: tuple[int, ...] = (CKK.DES3, CKK.DES2),
    private: bool = False,
    fills_to: int = 1,
) -> MechanismRow:
    """DES2 keys serve wherever DES3 keys do: the third part is the first again."""
    sizes = [16 if key_type == CKK.DES2 else 24 for key_type in keys]
    return MechanismRow(
        type,
        family,
        mode,
        flags,
        keys,
        min(sizes),
        max(sizes),
        8,
        parameter,
        wraps_private=private,
        fills_to=fills_to,
        key_step=8,
        legacy=True,
    )


def _256(
    type: int,
    family: Family,
    mode: str,
    flags: int,
    key_type: int,
    parameter: ParameterClass = None,
    message: ParameterClass = None,
) -> MechanismRow:
    """ChaCha20 and Poly1305 have keys of 256 bits, which the standard counts in bits."""
    return MechanismRow(type, family, mode, flags, (key_type,), 256, 256, 1, parameter, message_parameter=message)


_AES = (
    _aes(CKM.AES_KEY_GEN, "random", "aes", CKF.GENERATE),
    _aes(CKM.AES_ECB, "block", "ecb", CRYPT | WRAPS, fills_to=16),
    _aes(CKM.AES_CBC, "block", "cbc", CRYPT | WRAPS, bytes, fills_to=16),
    _aes(CKM.AES_CBC_PAD, "block", "cbc-pad", CRYPT | WRAPS, bytes, private=True),
    _aes(CKM.AES_CTR, "block", "ctr", CRYPT | WRAPS, CTRParams),
    _aes(CKM.AES_OFB, "stream", "ofb", CRYPT | WRAPS, bytes),
    _aes(CKM.AES_CFB8, "stream", "cfb8", CRYPT | WRAPS, bytes),
    _aes(CKM.AES_CFB128, "stream", "cfb128", CRYPT | WRAPS, bytes),
    _aes(CKM.AES_CTS, "stealing", "cs1", CRYPT | WRAPS, bytes),
    _xts(CKM.AES_XTS_KEY_GEN, "random", "aes-xts", CKF.GENERATE),
    _xts(CKM.AES_XTS, "stealing", "xts", CRYPT, bytes),
    _aes(CKM.AES_GCM, "aead", "gcm", SEALS, GCMParams, private=True, message=GCMMessageParams, wrap=GCMWrapParams),
    _aes(CKM.AES_CCM, "sealing", "ccm", SEALS, CCMParams, private=True, message=CCMMessageParams, wrap=CCMWrapParams),
    _aes(CKM.AES_MAC, "cmac", "cbc-mac", SIGNS),
    _aes(CKM.AES_MAC_GENERAL, "cmac", "cbc-mac-general", SIGNS, bytes),
    _aes(CKM.AES_CMAC, "cmac", "cmac", SIGNS),
    _aes(CKM.AES_CMAC_GENERAL, "cmac", "cmac-general", SIGNS, bytes),
    # Up to 3.1 the parameter is an initialisation vector of 12 bytes, in 3.2 it is GCM's.
    _aes(CKM.AES_GMAC, "cmac", "gmac", SIGNS, GCMParams, bare_bytes=12),
    # The parameter, where given, is the initial value: the primitives know the standard's own only.
    _aes(CKM.AES_KEY_WRAP, "keywrap", "kw", CRYPT | WRAPS, bytes, private=True, fills_to=8),
    # Deprecated in 3.0 in favour of one or the other name: 2.40 gave it PKCS #7 padding, and SunPKCS11 relies on it.
    # RFC 5649 is CKM_AES_KEY_WRAP_KWP alone.
    _aes(CKM.AES_KEY_WRAP_PAD, "keywrap", "kw-pkcs7", CRYPT | WRAPS, bytes, private=True),
    _aes(CKM.AES_KEY_WRAP_PKCS7, "keywrap", "kw-pkcs7", CRYPT | WRAPS, bytes, private=True),
    _aes(CKM.AES_KEY_WRAP_KWP, "keywrap", "kwp", CRYPT | WRAPS, bytes, private=True),
)
_DES3 = (
    _des(CKM.DES2_KEY_GEN, "random", "des2", CKF.GENERATE, keys=(CKK.DES2,)),
    _des(CKM.DES3_KEY_GEN, "random", "des3", CKF.GENERATE, keys=(CKK.DES3,)),
    _des(CKM.DES3_ECB, "block", "ecb", CRYPT | WRAPS, fills_to=8),
    _des(CKM.DES3_CBC, "block", "cbc", CRYPT | WRAPS, bytes, fills_to=8),
    _des(CKM.DES3_CBC_PAD, "block", "cbc-pad", CRYPT | WRAPS, bytes, private=True),
    _des(CKM.DES3_MAC, "cmac", "cbc-mac", SIGNS),
    _des(CKM.DES3_MAC_GENERAL, "cmac", "cbc-mac-general", SIGNS, bytes),
    _des(CKM.DES3_CMAC, "cmac", "cmac", SIGNS),
    _des(CKM.DES3_CMAC_GENERAL, "cmac", "cmac-general", SIGNS, bytes),
)
_CHACHA20 = (
    # in bytes, as of AES: SunPKCS11 and NSS read it so
    MechanismRow(CKM.CHACHA20_KEY_GEN, "random", "chacha20", CKF.GENERATE, (CKK.CHACHA20,), 32, 32, 8),
    _256(CKM.CHACHA20, "stream", "chacha20", CRYPT | WRAPS, CKK.CHACHA20, ChaCha20Params),
    _256(
        CKM.CHACHA20_POLY1305,
        "sealing",
        "chacha20-poly1305",
        CRYPT | CRYPTS_MESSAGES,
        CKK.CHACHA20,
        ChaCha20Poly1305Params,
        ChaCha20Poly1305MessageParams,
    ),
    _256(CKM.POLY1305_KEY_GEN, "random", "poly1305", CKF.GENERATE, CKK.POLY1305),
    _256(CKM.POLY1305, "poly1305", "poly1305", SIGNS, CKK.POLY1305),
)
_GENERIC = MechanismRow(
    CKM.GENERIC_SECRET_KEY_GEN,
    "random",
    "generic",
    CKF.GENERATE,
    (CKK.GENERIC_SECRET,),
    min_key=8,
    max_key=32768,
    key_step=8,
)
ROWS = (*_AES, *_DES3, *_CHACHA20, _GENERIC)
