"""Hash functions and their HMACs."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import SIGNS, MechanismRow

# hashlib's name, digest, HMAC, HMAC of chosen length, key type of that HMAC alone
_DIGESTS = (
    ("sha1", CKM.SHA_1, CKM.SHA_1_HMAC, CKM.SHA_1_HMAC_GENERAL, CKK.SHA_1_HMAC),
    ("sha224", CKM.SHA224, CKM.SHA224_HMAC, CKM.SHA224_HMAC_GENERAL, CKK.SHA224_HMAC),
    ("sha256", CKM.SHA256, CKM.SHA256_HMAC, CKM.SHA256_HMAC_GENERAL, CKK.SHA256_HMAC),
    ("sha384", CKM.SHA384, CKM.SHA384_HMAC, CKM.SHA384_HMAC_GENERAL, CKK.SHA384_HMAC),
    ("sha512", CKM.SHA512, CKM.SHA512_HMAC, CKM.SHA512_HMAC_GENERAL, CKK.SHA512_HMAC),
)
HASHES = {digest: name for name, digest, *_ in _DIGESTS}  # CKM of a digest -> hashlib's name


def _digests(hash: str, digest: int, hmac: int, hmac_general: int, hmac_key: int) -> tuple[MechanismRow, ...]:
    keys = (CKK.GENERIC_SECRET, hmac_key)
    return (
        MechanismRow(digest, "digest", "", CKF.DIGEST, hash=hash),
        MechanismRow(hmac, "mac", "hmac", SIGNS, keys, 1, 4096, 8, None, hash),
        MechanismRow(hmac_general, "mac", "hmac-general", SIGNS, keys, 1, 4096, 8, bytes, hash),
    )


ROWS = tuple(row for digest in _DIGESTS for row in _digests(*digest))
