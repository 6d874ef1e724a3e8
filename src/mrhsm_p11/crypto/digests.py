"""Hash functions. hashlib's start faster than the primitives library's, and digests are asked for by the thousand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.base import Digest, Input
from mrhsm_p11.crypto.checks import AnyParameter

# The names are the rows'; SHA-1 is here for what needs it (fingerprints, HMAC), as the caller asked.
_NEW: dict[str, Callable[..., hashlib._Hash]] = {
    "sha1": hashlib.sha1,
    "sha224": hashlib.sha224,
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
    "sha512_224": partial(hashlib.new, "sha512_224"),
    "sha512_256": partial(hashlib.new, "sha512_256"),
    "sha3_224": hashlib.sha3_224,
    "sha3_256": hashlib.sha3_256,
    "sha3_384": hashlib.sha3_384,
    "sha3_512": hashlib.sha3_512,
}
SIZES = {name: new(usedforsecurity=False).digest_size for name, new in _NEW.items()}


class HashDigest(Digest):
    """A hashlib computation."""

    __slots__ = ("_hash",)

    def __init__(self, hash: hashlib._Hash) -> None:
        self._hash = hash
        self.size = hash.digest_size

    def update(self, data: Input) -> None:
        self._hash.update(data)

    def finish(self) -> bytes:
        return self._hash.digest()

    def copy(self) -> Digest:
        return HashDigest(self._hash.copy())


def named(name: str) -> Digest:
    """Start a digest by hashlib's name."""
    return HashDigest(_NEW[name](usedforsecurity=False))


def digest(name: str, parameter: AnyParameter) -> Digest:
    """Start a digest mechanism. Raises MechanismParamInvalid."""
    checks.no_parameter(parameter)
    return named(name)
