"""Hash functions. hashlib's start faster than the primitives library's, and digests are asked for by the thousand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Union

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.base import Digest, Input
from mrhsm_p11.crypto.checks import AnyParameter

Hash = Union["hashlib._Hash", "hashlib.blake2b"]
# The names are the rows'. SHA-1 and MD5 are for callers who ask for them by name.
_NEW: dict[str, Callable[..., Hash]] = {
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
    "md5": hashlib.md5,
    "blake2b_160": partial(hashlib.blake2b, digest_size=20),
    "blake2b_256": partial(hashlib.blake2b, digest_size=32),
    "blake2b_384": partial(hashlib.blake2b, digest_size=48),
    "blake2b_512": hashlib.blake2b,
}
SIZES = {name: new(usedforsecurity=False).digest_size for name, new in _NEW.items()}


class HashDigest(Digest):
    """A hashlib computation."""

    __slots__ = ("_hash",)

    def __init__(self, hash: Hash) -> None:
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


def constructor(name: str) -> Callable[..., Hash]:
    """Return what hashlib makes such digests with."""
    return _NEW[name]


def digest(name: str, parameter: AnyParameter) -> Digest:
    """Start a digest mechanism. Raises MechanismParamInvalid."""
    checks.no_parameter(parameter)
    return named(name)
