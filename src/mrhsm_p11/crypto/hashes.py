"""Hash functions as the primitives library names them, for use inside other mechanisms."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512, HashAlgorithm

_ALGORITHMS: dict[str, type[HashAlgorithm]] = {
    "sha1": SHA1,
    "sha224": SHA224,
    "sha256": SHA256,
    "sha384": SHA384,
    "sha512": SHA512,
}


def algorithm(name: str | None) -> HashAlgorithm:
    """Return the hash function that hashlib calls `name`; a row that has a mode with a hash names one."""
    assert name is not None
    return _ALGORITHMS[name]()
