"""Hash functions, their HMACs, and the keys of those."""

from __future__ import annotations

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.mapping.mechanisms.row import SIGNS, MechanismRow

# How the constants of a hash begin -> hashlib's name. CKM_x is the digest, CKM_x_HMAC, CKM_x_HMAC_GENERAL (of chosen
# length) and CKM_x_KEY_GEN belong to it, CKK_x_HMAC are keys for that HMAC alone.
_SHA = {
    "SHA_1": "sha1",
    "SHA224": "sha224",
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
    "SHA512_224": "sha512_224",
    "SHA512_256": "sha512_256",
    "SHA3_224": "sha3_224",
    "SHA3_256": "sha3_256",
    "SHA3_384": "sha3_384",
    "SHA3_512": "sha3_512",
}
# hashlib has one BLAKE2b: what follows is the digest's size in bits.
_OTHERS = {
    "MD5": "md5",
    "BLAKE2B_160": "blake2b_160",
    "BLAKE2B_256": "blake2b_256",
    "BLAKE2B_384": "blake2b_384",
    "BLAKE2B_512": "blake2b_512",
}
# CKM of a digest -> hashlib's name: the hashes that a parameter of another mechanism may name.
HASHES: dict[int, str] = {getattr(CKM, name): called for name, called in _SHA.items()}
_KEY_BYTES = (1, 4096, 8)


def _rows(name: str, hash: str) -> tuple[MechanismRow, ...]:
    key_type: int = getattr(CKK, f"{name}_HMAC")
    digest, hmac, general = (getattr(CKM, name + what) for what in ("", "_HMAC", "_HMAC_GENERAL"))
    key_gen: int | None = getattr(CKM, f"{name}_KEY_GEN", None)
    keys, legacy = (CKK.GENERIC_SECRET, key_type), hash == "md5"
    rows = (
        MechanismRow(digest, "digest", "", CKF.DIGEST, hash=hash, legacy=legacy),
        MechanismRow(hmac, "mac", "hmac", SIGNS, keys, *_KEY_BYTES, None, hash, legacy=legacy),
        MechanismRow(general, "mac", "hmac-general", SIGNS, keys, *_KEY_BYTES, bytes, hash, legacy=legacy),
    )
    if key_gen is None:  # of MD5, for which the standard has none
        return rows
    return *rows, MechanismRow(key_gen, "random", "hmac", CKF.GENERATE, (key_type,), *_KEY_BYTES)


ROWS = tuple(row for names in (_SHA | _OTHERS).items() for row in _rows(*names))
