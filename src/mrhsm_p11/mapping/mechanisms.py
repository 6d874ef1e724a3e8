"""One row a mechanism: keys, sizes, uses, parameter, and which local engine computes it.

Only what the primitives library can do is here: C_GetMechanismList is this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.parameters import CTRParams, GCMParams, OAEPParams, Parameter, PSSParams

Family = Literal["block", "aead", "keywrap", "digest", "mac", "rsa", "ec", "random"]
ParameterClass = type[Parameter] | type[bytes] | None


@dataclass(frozen=True, slots=True)
class MechanismRow:
    """What C_GetMechanismInfo tells of a mechanism, and what the engine needs to know of it.

    `parameter`: None where there must be none, bytes for a raw one, else its structure. `min_key` and `max_key` are in
    the mechanism's own unit of `key_unit_bits` bits (0 where it takes no key). `mode` tells apart what one family does.
    """

    type: int
    family: Family
    mode: str
    flags: int
    key_types: tuple[int, ...] = ()
    min_key: int = 0
    max_key: int = 0
    key_unit_bits: int = 1
    parameter: ParameterClass = None
    hash: str | None = None  # as hashlib names it
    multipart: bool = True
    wraps_private: bool = False  # C_WrapKey takes private keys (PKCS #8) too
    fills_to: int = 1  # C_WrapKey fills the key up with zero bytes to a multiple of this
    key_step: int = 1  # sizes between min_key and max_key, in the same unit

    def allows(self, key_bits: int) -> bool:
        """Tell whether a key of this size may be used or made."""
        over, rest = divmod(key_bits - self.min_key * self.key_unit_bits, self.key_step * self.key_unit_bits)
        return not rest and over >= 0 and key_bits <= self.max_key * self.key_unit_bits


_CRYPT = CKF.ENCRYPT | CKF.DECRYPT
_WRAP = CKF.WRAP | CKF.UNWRAP
_SIGN = CKF.SIGN | CKF.VERIFY
_EC = CKF.EC_F_P | CKF.EC_OID | CKF.EC_CURVENAME | CKF.EC_UNCOMPRESS

# hashlib's name, digest, HMAC, HMAC of chosen length, key type of that HMAC alone
_DIGESTS = (
    ("sha1", CKM.SHA_1, CKM.SHA_1_HMAC, CKM.SHA_1_HMAC_GENERAL, CKK.SHA_1_HMAC),
    ("sha224", CKM.SHA224, CKM.SHA224_HMAC, CKM.SHA224_HMAC_GENERAL, CKK.SHA224_HMAC),
    ("sha256", CKM.SHA256, CKM.SHA256_HMAC, CKM.SHA256_HMAC_GENERAL, CKK.SHA256_HMAC),
    ("sha384", CKM.SHA384, CKM.SHA384_HMAC, CKM.SHA384_HMAC_GENERAL, CKK.SHA384_HMAC),
    ("sha512", CKM.SHA512, CKM.SHA512_HMAC, CKM.SHA512_HMAC_GENERAL, CKK.SHA512_HMAC),
)
# hashlib's name, RSA PKCS #1 v1.5, RSA PSS, ECDSA
_SIGNATURES = (
    ("sha1", CKM.SHA1_RSA_PKCS, CKM.SHA1_RSA_PKCS_PSS, CKM.ECDSA_SHA1),
    ("sha224", CKM.SHA224_RSA_PKCS, CKM.SHA224_RSA_PKCS_PSS, CKM.ECDSA_SHA224),
    ("sha256", CKM.SHA256_RSA_PKCS, CKM.SHA256_RSA_PKCS_PSS, CKM.ECDSA_SHA256),
    ("sha384", CKM.SHA384_RSA_PKCS, CKM.SHA384_RSA_PKCS_PSS, CKM.ECDSA_SHA384),
    ("sha512", CKM.SHA512_RSA_PKCS, CKM.SHA512_RSA_PKCS_PSS, CKM.ECDSA_SHA512),
)
HASHES = {digest: name for name, digest, *_ in _DIGESTS}  # CKM of a digest -> hashlib's name


def _aes(
    type: int,
    family: Family,
    mode: str,
    flags: int,
    parameter: ParameterClass = None,
    *,
    private: bool,
    fills_to: int = 1,
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
    )


def _rsa(type: int, mode: str, flags: int, parameter: ParameterClass = None, hash: str | None = None) -> MechanismRow:
    # multi-part only where a hash stands before the padding
    return MechanismRow(type, "rsa", mode, flags, (CKK.RSA,), 1024, 8192, 1, parameter, hash, hash is not None)


def _ec(type: int, mode: str, flags: int, hash: str | None = None) -> MechanismRow:
    return MechanismRow(type, "ec", mode, flags | _EC, (CKK.EC,), 256, 521, hash=hash, multipart=hash is not None)


def _digests(hash: str, digest: int, hmac: int, hmac_general: int, hmac_key: int) -> tuple[MechanismRow, ...]:
    keys = (CKK.GENERIC_SECRET, hmac_key)
    return (
        MechanismRow(digest, "digest", "", CKF.DIGEST, hash=hash),
        MechanismRow(hmac, "mac", "hmac", _SIGN, keys, 1, 4096, 8, None, hash),
        MechanismRow(hmac_general, "mac", "hmac-general", _SIGN, keys, 1, 4096, 8, bytes, hash),
    )


def _signatures(hash: str, pkcs1: int, pss: int, ecdsa: int) -> tuple[MechanismRow, ...]:
    return (
        _rsa(pkcs1, "pkcs1", _SIGN, None, hash),
        _rsa(pss, "pss", _SIGN, PSSParams, hash),
        _ec(ecdsa, "ecdsa", _SIGN, hash),
    )


_ROWS = (
    _aes(CKM.AES_KEY_GEN, "random", "aes", CKF.GENERATE, private=False),
    _aes(CKM.AES_ECB, "block", "ecb", _CRYPT | _WRAP, private=False, fills_to=16),
    _aes(CKM.AES_CBC, "block", "cbc", _CRYPT | _WRAP, bytes, private=False, fills_to=16),
    _aes(CKM.AES_CBC_PAD, "block", "cbc-pad", _CRYPT | _WRAP, bytes, private=True),
    _aes(CKM.AES_CTR, "block", "ctr", _CRYPT | _WRAP, CTRParams, private=False),
    _aes(CKM.AES_GCM, "aead", "gcm", _CRYPT | _WRAP, GCMParams, private=True),
    # The parameter, where given, is the initial value: the primitives know the standard's own only.
    _aes(CKM.AES_KEY_WRAP, "keywrap", "kw", _CRYPT | _WRAP, bytes, private=True, fills_to=8),
    # Deprecated in 3.0 in favour of one or the other name: 2.40 gave it PKCS #7 padding, and SunPKCS11 relies on it.
    # RFC 5649 is CKM_AES_KEY_WRAP_KWP alone.
    _aes(CKM.AES_KEY_WRAP_PAD, "keywrap", "kw-pkcs7", _CRYPT | _WRAP, bytes, private=True),
    _aes(CKM.AES_KEY_WRAP_PKCS7, "keywrap", "kw-pkcs7", _CRYPT | _WRAP, bytes, private=True),
    _aes(CKM.AES_KEY_WRAP_KWP, "keywrap", "kwp", _CRYPT | _WRAP, bytes, private=True),
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
    _rsa(CKM.RSA_PKCS_KEY_PAIR_GEN, "generate", CKF.GENERATE_KEY_PAIR),
    _rsa(CKM.RSA_PKCS, "pkcs1", _CRYPT | _WRAP | _SIGN),
    _rsa(CKM.RSA_PKCS_OAEP, "oaep", _CRYPT | _WRAP, OAEPParams),
    _rsa(CKM.RSA_PKCS_PSS, "pss", _SIGN, PSSParams),
    _ec(CKM.EC_KEY_PAIR_GEN, "generate", CKF.GENERATE_KEY_PAIR),
    _ec(CKM.ECDSA, "ecdsa", _SIGN),
    *(row for digest in _DIGESTS for row in _digests(*digest)),
    *(row for signature in _SIGNATURES for row in _signatures(*signature)),
)

ROWS: dict[int, MechanismRow] = {row.type: row for row in _ROWS}
