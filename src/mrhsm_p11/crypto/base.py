"""The operations that every mechanism family offers, whatever computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from mrhsm_p11.errors import KeyFunctionNotPermitted
from mrhsm_p11.secret import Secret

if TYPE_CHECKING:
    from mrhsm_p11.crypto.checks import AnyParameter
    from mrhsm_p11.mapping.mechanisms import MechanismRow

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


class KeptKey(ABC):
    """A key whose bytes stay where it is kept: what would be computed from them is asked of its keeper.

    The operations are those of crypto.engine, and raise what they raise; KeyFunctionNotPermitted for what the keeper
    does not do. `size` is the key's length in bytes, 0 where that is not known.
    """

    __slots__ = ("size",)

    size: int

    @abstractmethod
    def cipher(self, row: MechanismRow, parameter: AnyParameter, *, encrypt: bool) -> Cipher: ...

    @abstractmethod
    def signer(self, row: MechanismRow, parameter: AnyParameter) -> Signer: ...

    @abstractmethod
    def verifier(self, row: MechanismRow, parameter: AnyParameter) -> Verifier: ...

    @abstractmethod
    def wrap(self, row: MechanismRow, parameter: AnyParameter, key: KeptKey) -> bytes:
        """Return another kept key, encrypted under this one."""

    def __len__(self) -> int:
        return self.size


Key = Secret | KeptKey


def lent(key: Key) -> Secret:
    """Return the bytes of a key, for what only they can serve. Raises KeyFunctionNotPermitted for a kept one."""
    if isinstance(key, KeptKey):
        raise KeyFunctionNotPermitted("the key's bytes do not leave the key manager, which does not do this with them")
    return key
