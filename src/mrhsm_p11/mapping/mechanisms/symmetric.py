"""Mechanisms of secret keys: ciphers, key wrapping, and making such keys."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import CRYPT, CRYPTS_MESSAGES, WRAPS, Family, MechanismRow, ParameterClass
from mrhsm_p11.parameters.messages import GCMMessageParams
from mrhsm_p11.parameters.symmetric import CTRParams, GCMParams

SEALS = CRYPT | WRAPS | CRYPTS_MESSAGES


def _aes(
    type: int,
    family: Family,
    mode: str,
    flags: int,
    parameter: ParameterClass = None,
    *,
    private: bool,
    fills_to: int = 1,
    message: ParameterClass = None,
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
    )


ROWS = (
    _aes(CKM.AES_KEY_GEN, "random", "aes", CKF.GENERATE, private=False),
    _aes(CKM.AES_ECB, "block", "ecb", CRYPT | WRAPS, private=False, fills_to=16),
    _aes(CKM.AES_CBC, "block", "cbc", CRYPT | WRAPS, bytes, private=False, fills_to=16),
    _aes(CKM.AES_CBC_PAD, "block", "cbc-pad", CRYPT | WRAPS, bytes, private=True),
    _aes(CKM.AES_CTR, "block", "ctr", CRYPT | WRAPS, CTRParams, private=False),
    _aes(CKM.AES_GCM, "aead", "gcm", SEALS, GCMParams, private=True, message=GCMMessageParams),
    # The parameter, where given, is the initial value: the primitives know the standard's own only.
    _aes(CKM.AES_KEY_WRAP, "keywrap", "kw", CRYPT | WRAPS, bytes, private=True, fills_to=8),
    # Deprecated in 3.0 in favour of one or the other name: 2.40 gave it PKCS #7 padding, and SunPKCS11 relies on it.
    # RFC 5649 is CKM_AES_KEY_WRAP_KWP alone.
    _aes(CKM.AES_KEY_WRAP_PAD, "keywrap", "kw-pkcs7", CRYPT | WRAPS, bytes, private=True),
    _aes(CKM.AES_KEY_WRAP_PKCS7, "keywrap", "kw-pkcs7", CRYPT | WRAPS, bytes, private=True),
    _aes(CKM.AES_KEY_WRAP_KWP, "keywrap", "kwp", CRYPT | WRAPS, bytes, private=True),
    MechanismRow(
        CKM.GENERIC_SECRET_KEY_GEN,
        "random",
        "generic",
        CKF.GENERATE,
        (CKK.GENERIC_SECRET,),
        min_key=8,
        max_key=32768,
        key_step=8,
    ),
)
