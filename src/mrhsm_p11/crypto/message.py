"""What a signature is made of: hashed as it comes, or kept where the mechanism takes the bytes as they are."""

from __future__ import annotations

from mrhsm_p11.crypto import digests
from mrhsm_p11.crypto.base import Input


class Message:
    """The input of one signature; `hash` is hashlib's name, None to keep the bytes."""

    __slots__ = ("_digest", "_raw")

    def __init__(self, hash: str | None) -> None:
        self._digest = digests.named(hash) if hash else None
        self._raw = bytearray()

    def update(self, data: Input) -> None:
        if self._digest is not None:
            self._digest.update(data)
        else:
            self._raw += data

    def finish(self) -> bytes:
        """Return the hash, or all bytes."""
        return self._digest.finish() if self._digest is not None else bytes(self._raw)
