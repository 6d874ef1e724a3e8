"""The data path of the C front (cdef/datapath.c) as the house knows it, and operations that are taken over from it."""

from __future__ import annotations

from typing import Any

from mrhsm_p11 import datapath, log
from mrhsm_p11.constants import CKR
from mrhsm_p11.crypto.base import Cipher, Digest, Input, Signer, Verifier
from mrhsm_p11.datapath import DataPath, Grant, UnderWay, Wrapped
from mrhsm_p11.errors import (
    CryptokiError,
    DataLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    FunctionFailed,
    HostMemory,
    SignatureInvalid,
    SignatureLenRange,
)
from mrhsm_p11.secret import Secret

MOST_LEASE_S = 86_400.0
_ERRORS: dict[int, type[CryptokiError]] = {
    error.ckr: error
    for error in (
        *(DataLenRange, EncryptedDataInvalid, EncryptedDataLenRange),
        *(HostMemory, SignatureInvalid, SignatureLenRange),
    )
}
_NUMBERS = {family: number for number, family in enumerate(datapath.FAMILIES)}


class NativePath(DataPath):
    """Serves calls in C."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self._ffi, self._lib = ffi, lib
        self._nothing = ffi.new("struct parameter *")
        self._untold = {
            lib.GRANT_WITHOUT_OPENSSL: "no data path: this system has no libcrypto.so.3 of 3.0.3 or later",
            lib.GRANT_WITHOUT_LOCKED_MEMORY: "no data path for keys: the limit of locked memory is reached (ulimit -l)",
        }

    def start(self) -> bool:
        return bool(self._lib.datapath_start())

    def stop(self) -> None:
        self._lib.datapath_stop()

    def open(self, session: int, token: int) -> None:
        self._lib.datapath_open(session, token)

    def cancel(self, session: int) -> None:
        self._lib.datapath_cancel(session, 0)

    def close(self, session: int) -> None:
        self._lib.datapath_cancel(session, 1)

    def changes(self) -> int:
        return int(self._lib.datapath_changes())

    def grant(self, seen: int, grant: Grant, key: memoryview) -> bool:
        return self._granted(self._lib.datapath_grant(seen, self._terms(grant), self._ffi.from_buffer(key), len(key)))

    def grant_wrap(self, seen: int, grant: Grant, wrapping: memoryview, wrapped: Wrapped, plain: memoryview) -> bool:
        keys = self._ffi.from_buffer(wrapping), len(wrapping), *wrapped, self._ffi.from_buffer(plain), len(plain)
        return self._granted(self._lib.datapath_grant_wrap(seen, self._terms(grant), *keys))

    def unwrap(
        self, session: int, key: int, mechanism: int, parameter: tuple[bytes, bytes, int], wrapped: bytes | memoryview
    ) -> Secret | None:
        from_buffer, size = self._ffi.from_buffer, len(wrapped)
        if size > self._lib.WRAPPED_BYTES:
            return None
        plain = bytearray(size)
        given, _held = self._parameter(parameter)
        there = from_buffer(wrapped), size, from_buffer(plain)
        count = self._lib.datapath_unwrap(session, key, mechanism, given, *there)
        if count < 0:
            return None  # C has wiped what it wrote
        secret = Secret(memoryview(plain)[:count])
        plain[:] = bytes(size)
        return secret

    def _terms(self, grant: Grant) -> Any:
        return self._ffi.new(
            "struct terms *",
            {
                "token": grant.token,
                "key": grant.key,
                "mechanism": grant.mechanism,
                "family": getattr(self._lib, f"FAMILY_{grant.family.upper()}"),
                "method": getattr(self._lib, f"METHOD_{grant.method}"),
                "shape": getattr(self._lib, f"SHAPE_{grant.shape}"),
                "size": grant.size,
                "mark": grant.mark,
                "lease_ms": int(min(grant.lease_s, MOST_LEASE_S) * 1000),
                "algorithm": grant.algorithm.encode(),
                "spared": grant.spared,
                "mask": grant.mask.encode(),
                "salt_bytes": grant.salt_bytes,
                "asked": grant.asked,
                "asked_bytes": len(grant.asked),
                "hashes": grant.hashes,
                "one_part": grant.one_part,
            },
        )

    def _granted(self, made: int) -> bool:
        if made in self._untold:
            log.warning(self._untold.pop(made))
        return bool(made == self._lib.GRANTED)

    def begin(self, family: str, session: int, key: int, mechanism: int, parameter: tuple[bytes, bytes, int]) -> bool:
        given, _held = self._parameter(parameter)
        return bool(self._lib.datapath_begin(_NUMBERS[family], session, key, mechanism, given))

    def _parameter(self, parameter: tuple[bytes, bytes, int]) -> tuple[Any, Any]:
        """Return C's form of a parameter, and what it points to, which the caller holds as long."""
        vector, beside, number = parameter
        if not vector and not beside and not number:
            return self._nothing, None
        held = self._ffi.from_buffer(vector), self._ffi.from_buffer(beside)
        return self._ffi.new("struct parameter *", (held[0], len(vector), held[1], len(beside), number)), held

    def claim(self, family: str, session: int) -> bool:
        number = _NUMBERS.get(family)
        return number is None or bool(self._lib.datapath_claim(number, session))

    def take(self, family: str, session: int) -> UnderWay | None:
        number = _NUMBERS.get(family)
        context = self._ffi.NULL if number is None else self._lib.datapath_take(number, session)
        if not context:
            return None
        taken = _Taken(self._ffi, self._lib, context)
        return UnderWay(_ENGINES[family](taken), taken.streaming, taken.multipart)

    def end_key(self, uid: str) -> None:
        self._lib.datapath_end_key(datapath.mark_of(uid))

    def end_all(self) -> None:
        self._lib.datapath_end_all()

    def served(self) -> int:
        return int(self._lib.datapath_served())


class _Taken:
    """A context of the C front that is Python's from here on."""

    __slots__ = ("_context", "_ffi", "_lib")

    def __init__(self, ffi: Any, lib: Any, context: Any) -> None:
        self._ffi, self._lib = ffi, lib
        self._context = ffi.gc(context, lib.context_free)

    @property
    def streaming(self) -> bool:
        return bool(self._lib.context_streams(self._context))

    @property
    def multipart(self) -> bool:
        return not self._lib.context_is_one_part(self._context)

    def size(self, n: int, *, final: bool) -> int:
        return int(self._lib.context_size(self._context, n, final))

    def crypt(self, data: Input, *, final: bool) -> bytes:
        step = self._lib.STEP_FINAL if final else self._lib.STEP_UPDATE
        room = self._ffi.new("CK_ULONG *", self.size(len(data), final=final))
        output = self._ffi.new("CK_BYTE[]", room[0] or 1)
        given = self._ffi.from_buffer(data)
        _require(self._lib.cipher_make(self._context, step, given, len(data), output, room))
        return bytes(self._ffi.buffer(output, room[0]))

    def absorb(self, data: Input) -> None:
        _require(self._lib.mac_update(self._context, self._ffi.from_buffer(data), len(data)))

    def squeeze(self) -> bytes:
        room = self._ffi.new("CK_ULONG *", self.size(0, final=True))
        output = self._ffi.new("CK_BYTE[]", room[0])
        _require(self._lib.mac_call(self._context, self._ffi.NULL, 0, output, room))
        return bytes(self._ffi.buffer(output, room[0]))

    def check(self, signature: Input) -> None:
        _require(
            self._lib.mac_verify(self._context, self._ffi.NULL, 0, self._ffi.from_buffer(signature), len(signature))
        )

    def restart(self) -> None:
        if not self._lib.context_restart(self._context):
            raise FunctionFailed("the operation cannot begin anew")

    def copy(self) -> _Taken:
        context = self._lib.context_copy(self._context)
        if not context:
            raise HostMemory("no memory for another digest")
        return _Taken(self._ffi, self._lib, context)


class _Cipher(Cipher):
    __slots__ = ("_taken",)

    def __init__(self, taken: _Taken) -> None:
        self._taken = taken

    def size(self, n: int, *, final: bool) -> int:
        return self._taken.size(n, final=final)

    def update(self, data: Input) -> bytes:
        return self._taken.crypt(data, final=False)

    def finish(self, data: Input = b"") -> bytes:
        return self._taken.crypt(data, final=True)

    def restarted(self) -> _Cipher:
        self._taken.restart()
        return self


class _Digest(Digest):
    __slots__ = ("_taken",)

    def __init__(self, taken: _Taken) -> None:
        self._taken = taken
        self.size = taken.size(0, final=True)

    def update(self, data: Input) -> None:
        self._taken.absorb(data)

    def finish(self) -> bytes:
        return self._taken.squeeze()

    def copy(self) -> Digest:
        return _Digest(self._taken.copy())


class _Signer(Signer):
    __slots__ = ("_taken",)

    def __init__(self, taken: _Taken) -> None:
        self._taken = taken
        self.size = taken.size(0, final=True)

    def update(self, data: Input) -> None:
        self._taken.absorb(data)

    def finish(self) -> bytes:
        return self._taken.squeeze()


class _Verifier(Verifier):
    __slots__ = ("_taken",)

    def __init__(self, taken: _Taken) -> None:
        self._taken = taken

    def update(self, data: Input) -> None:
        self._taken.absorb(data)

    def finish(self, signature: Input) -> None:
        self._taken.check(signature)


_ENGINES: dict[str, type[_Cipher] | type[_Digest] | type[_Signer] | type[_Verifier]] = {
    "encrypt": _Cipher,
    "decrypt": _Cipher,
    "digest": _Digest,
    "sign": _Signer,
    "verify": _Verifier,
}


def _require(rv: int) -> None:
    if rv != CKR.OK:
        raise _ERRORS.get(rv, FunctionFailed)
