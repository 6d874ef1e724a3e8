"""The operations that every mechanism family offers, whatever computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

Input = bytes | bytearray | memoryview


class Cipher(ABC):
    """One encryption or decryption. After an exception, or finish, it is not used again.

    Input is taken in any chunks, the output is the same. Raises DataLenRange (encrypting), EncryptedDataLenRange and
    EncryptedDataInvalid (decrypting).
    """

    __slots__ = ()

    @abstractmethod
    def size(self, n: int, *, final: bool) -> int:
        """Return how many bytes update (or, final, finish) gives for `n` more bytes: never less, exact where known."""

    @abstractmethod
    def update(self, data: Input) -> bytes:
        """Take more input and return the output it completes."""

    @abstractmethod
    def finish(self, data: Input = b"") -> bytes:
        """Take the last input and return all output that is left."""


class Digest(ABC):
    """One hash computation; `size` is its output in bytes."""

    __slots__ = ("size",)

    size: int

    @abstractmethod
    def update(self, data: Input) -> None: ...

    @abstractmethod
    def finish(self) -> bytes: ...

    @abstractmethod
    def copy(self) -> Digest:
        """Return an independent computation in the same state."""


class Signer(ABC):
    """One signature or MAC; `size` is its exact output in bytes. Raises DataLenRange."""

    __slots__ = ("size",)

    size: int

    @abstractmethod
    def update(self, data: Input) -> None: ...

    @abstractmethod
    def finish(self) -> bytes: ...


class Verifier(ABC):
    """One verification. Raises SignatureInvalid, SignatureLenRange, DataLenRange."""

    __slots__ = ()

    @abstractmethod
    def update(self, data: Input) -> None: ...

    @abstractmethod
    def finish(self, signature: Input) -> None: ...


class OneShotCipher(Cipher):
    """A cipher whose primitive takes all input at once: nothing comes out before finish.

    For authenticated decryption that is a promise: no plaintext is released before all of it is verified.
    """

    __slots__ = ("_buffer", "_compute", "_output_size")

    def __init__(self, compute: Callable[[Input], bytes], output_size: Callable[[int], int]) -> None:
        self._compute = compute
        self._output_size = output_size
        self._buffer = bytearray()

    def size(self, n: int, *, final: bool) -> int:
        return self._output_size(len(self._buffer) + n) if final else 0

    def update(self, data: Input) -> bytes:
        self._buffer += data
        return b""

    def finish(self, data: Input = b"") -> bytes:
        if not self._buffer:
            return self._compute(data)
        self._buffer += data
        whole, self._buffer = self._buffer, bytearray()
        try:
            return self._compute(whole)
        finally:
            whole[:] = bytes(len(whole))
