"""Hash functions as the primitives library names them, for use inside other mechanisms."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import (
    MD5,
    SHA1,
    SHA3_224,
    SHA3_256,
    SHA3_384,
    SHA3_512,
    SHA224,
    SHA256,
    SHA384,
    SHA512,
    SHA512_224,
    SHA512_256,
    HashAlgorithm,
)

_ALGORITHMS: dict[str, type[HashAlgorithm]] = {
    "sha1": SHA1,
    "sha224": SHA224,
    "sha256": SHA256,
    "sha384": SHA384,
    "sha512": SHA512,
    "sha512_224": SHA512_224,
    "sha512_256": SHA512_256,
    "sha3_224": SHA3_224,
    "sha3_256": SHA3_256,
    "sha3_384": SHA3_384,
    "sha3_512": SHA3_512,
    "md5": MD5,
}


def known(name: str) -> bool:
    """Tell whether the primitives library has the hash function that hashlib calls `name`."""
    return name in _ALGORITHMS


def algorithm(name: str | None) -> HashAlgorithm:
    """Return the hash function that hashlib calls `name`; a row that has a mode with a hash names one."""
    assert name is not None
    return _ALGORITHMS[name]()
