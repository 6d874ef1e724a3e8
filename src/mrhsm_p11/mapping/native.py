"""Which mechanisms have a context in the C front, and how it goes about them."""

from __future__ import annotations

from typing import NamedTuple

from mrhsm_p11.constants import CKK
from mrhsm_p11.mapping.mechanisms import MechanismRow


class Native(NamedTuple):
    """A row: `enum method` and `enum shape` of cdef/datapath.h; OpenSSL's name, where {} is the key's bits.

    `without`: a family of functions that it does not serve.
    """

    method: str
    shape: str
    algorithm: str = ""
    without: str = ""


# (family, mode) of the table of mechanisms
_AES = {
    ("block", "ecb"): Native("BLOCKS", "NONE", "AES-{}-ECB"),
    ("block", "cbc"): Native("BLOCKS", "VECTOR", "AES-{}-CBC"),
    ("block", "cbc-pad"): Native("PADDED", "VECTOR", "AES-{}-CBC"),
    ("block", "ctr"): Native("STREAM", "COUNTER", "AES-{}-CTR"),
    ("stream", "ofb"): Native("STREAM", "VECTOR", "AES-{}-OFB"),
    ("stream", "cfb8"): Native("STREAM", "VECTOR", "AES-{}-CFB8"),
    ("stream", "cfb128"): Native("STREAM", "VECTOR", "AES-{}-CFB"),
    ("aead", "gcm"): Native("AEAD", "GCM", "AES-{}-GCM"),
    ("cmac", "cmac"): Native("CMAC", "NONE", "AES-{}-CBC"),
    ("cmac", "cmac-general"): Native("CMAC", "LENGTH", "AES-{}-CBC"),
}
_AES_WRAPS = {
    **{each: _AES[each] for each in (("block", "ecb"), ("block", "cbc"), ("block", "cbc-pad"))},
    ("keywrap", "kw"): Native("KEYWRAP", "NONE", "AES-{}-ECB"),
    ("keywrap", "kw-pkcs7"): Native("KEYWRAP_PADDED", "NONE", "AES-{}-ECB"),
    ("keywrap", "kwp"): Native("KEYWRAP_KWP", "NONE", "AES-{}-WRAP-PAD"),
}
_HASHED = {
    ("digest", ""): Native("DIGEST", "NONE"),
    ("mac", "hmac"): Native("HMAC", "NONE"),
    ("mac", "hmac-general"): Native("HMAC", "LENGTH"),
}
_PAIRS = {
    # decrypting: not every libcrypto.so.3 hides bad padding, see docs/adr/0010
    ("rsa", "pkcs1"): Native("RSA_PKCS", "NONE", without="decrypt"),
    ("rsa", "pss"): Native("RSA_PSS", "PSS"),
    ("rsa", "oaep"): Native("RSA_OAEP", "OAEP"),
    ("ec", "ecdsa"): Native("ECDSA", "NONE"),
    ("edwards", "eddsa"): Native("EDDSA", "NONE"),
}
# hashlib's name -> OpenSSL's, bytes of the digest
_HASHES = {
    "sha1": ("SHA1", 20),
    "sha224": ("SHA2-224", 28),
    "sha256": ("SHA2-256", 32),
    "sha384": ("SHA2-384", 48),
    "sha512": ("SHA2-512", 64),
    "sha512_224": ("SHA2-512/224", 28),
    "sha512_256": ("SHA2-512/256", 32),
    "sha3_224": ("SHA3-224", 28),
    "sha3_256": ("SHA3-256", 32),
    "sha3_384": ("SHA3-384", 48),
    "sha3_512": ("SHA3-512", 64),
    "md5": ("MD5", 16),
}
AES_BLOCK = 16


def native(row: MechanismRow, key_bits: int = 0) -> tuple[Native, int] | None:
    """Return how C does a mechanism, with the size of its whole digest or MAC; None where it does not."""
    if row.hash in _HASHES and (found := _HASHED.get((row.family, row.mode))) is not None:
        algorithm, size = _HASHES[row.hash]
        return found._replace(algorithm=algorithm), size
    if row.key_types == (CKK.AES,) and (found := _AES.get((row.family, row.mode))) is not None:
        return found._replace(algorithm=found.algorithm.format(key_bits)), AES_BLOCK
    return None


def native_wrap(row: MechanismRow, key_bits: int) -> Native | None:
    """Return how C wraps secret keys with a mechanism; None where it does not."""
    found = _AES_WRAPS.get((row.family, row.mode)) if row.key_types == (CKK.AES,) else None
    return found and found._replace(algorithm=found.algorithm.format(key_bits))


def native_pair(row: MechanismRow, family: str) -> Native | None:
    """Return how C does a mechanism of key pairs in a family of functions; None where it does not."""
    found = _PAIRS.get((row.family, row.mode))
    return found if found is not None and found.without != family else None


def hash_of(name: str | None) -> tuple[str, int]:
    """Return OpenSSL's name of a hash, and its bytes; nothing for none."""
    return _HASHES[name] if name is not None else ("", 0)
