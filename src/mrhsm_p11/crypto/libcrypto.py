"""The system's libcrypto, for what the primitives library does not offer: RSA without padding.

Bound when it is first needed. In the module the C front has loaded the library already, private and with its own
symbols first: the same copy is found here. All work goes through a library context of our own, so that the host's
OpenSSL configuration and providers (one of which may be this very module) have no part in it, and the calling thread's
queue of errors is left as it was.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from mrhsm_p11 import log
from mrhsm_p11.errors import FunctionFailed, MechanismInvalid
from mrhsm_p11.secret import Secret

_NAME = "libcrypto.so.3"
_NO_PADDING = 3  # RSA_NO_PADDING of <openssl/rsa.h>
_pointer, _int, _long, _size, _text = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_size_t, ctypes.c_char_p
# name -> result, arguments: of <openssl/{crypto,err,evp,rsa,x509}.h>, all there since 3.0
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "OSSL_LIB_CTX_new": (_pointer, ()),
    "ERR_set_mark": (_int, ()),
    "ERR_pop_to_mark": (_int, ()),
    "d2i_AutoPrivateKey_ex": (_pointer, (_pointer, _pointer, _long, _pointer, _text)),
    "d2i_PUBKEY_ex": (_pointer, (_pointer, _pointer, _long, _pointer, _text)),
    "EVP_PKEY_free": (None, (_pointer,)),
    "EVP_PKEY_CTX_new_from_pkey": (_pointer, (_pointer, _pointer, _text)),
    "EVP_PKEY_CTX_free": (None, (_pointer,)),
    "EVP_PKEY_CTX_set_rsa_padding": (_int, (_pointer, _int)),
    "EVP_PKEY_encrypt_init": (_int, (_pointer,)),
    "EVP_PKEY_encrypt": (_int, (_pointer, _pointer, _pointer, _pointer, _size)),
    "EVP_PKEY_decrypt_init": (_int, (_pointer,)),
    "EVP_PKEY_decrypt": (_int, (_pointer, _pointer, _pointer, _pointer, _size)),
}


class Libcrypto:
    """The bound functions, and the library context that they work in."""

    def __init__(self) -> None:
        library = ctypes.CDLL(_NAME, mode=os.RTLD_NOW | os.RTLD_LOCAL)
        self._functions: dict[str, Any] = {}
        for name, (result, arguments) in _PROTOTYPES.items():
            function = self._functions[name] = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._context = self._functions["OSSL_LIB_CTX_new"]()
        if not self._context:
            raise OSError(f"{_NAME} gives no library context")

    def rsa(self, key: Secret, block: bytes | memoryview, *, private: bool) -> Secret:
        """Return `block`, as long as the modulus and smaller, to the power of the key's exponent, as long.

        `key` is PKCS #8 or SubjectPublicKeyInfo. Private powers are blinded. Raises ValueError for a larger block.
        """
        step = "decrypt" if private else "encrypt"
        with self._unnoticed(), self._key(key, "d2i_AutoPrivateKey_ex" if private else "d2i_PUBKEY_ex") as loaded:
            call = self._functions
            context = call["EVP_PKEY_CTX_new_from_pkey"](self._context, loaded, None)
            try:
                if (
                    not context
                    or call[f"EVP_PKEY_{step}_init"](context) <= 0
                    or call["EVP_PKEY_CTX_set_rsa_padding"](context, _NO_PADDING) <= 0
                ):
                    raise FunctionFailed(f"{_NAME} begins no RSA {step}ion")
                return self._power(call[f"EVP_PKEY_{step}"], context, block)
            finally:
                call["EVP_PKEY_CTX_free"](context)

    def _power(self, function: Any, context: int, block: bytes | memoryview) -> Secret:
        with _lent(block) as given, _lent(bytes(len(block))) as taken:
            length = _size(len(block))
            if function(context, taken, ctypes.byref(length), given, len(block)) <= 0:
                raise ValueError("the number is not smaller than the modulus")
            return Secret(memoryview(taken).cast("B")[: length.value])

    @contextmanager
    def _key(self, key: Secret, load: str) -> Iterator[int]:
        with _lent(key.view()) as der:
            place = ctypes.cast(der, _pointer)
            loaded = self._functions[load](None, ctypes.byref(place), len(key), self._context, None)
        if not loaded:
            raise FunctionFailed(f"{_NAME} does not read a key that the primitives library reads")
        try:
            yield loaded
        finally:
            self._functions["EVP_PKEY_free"](loaded)

    @contextmanager
    def _unnoticed(self) -> Iterator[None]:
        """Keep errors of ours out of the queue that the host may read in this thread."""
        self._functions["ERR_set_mark"]()
        try:
            yield
        finally:
            self._functions["ERR_pop_to_mark"]()


@contextmanager
def _lent(value: bytes | memoryview) -> Iterator[Any]:
    """Lend C a copy that is wiped afterwards."""
    copy = (ctypes.c_ubyte * len(value)).from_buffer_copy(value)
    try:
        yield copy
    finally:
        ctypes.memset(copy, 0, len(value))


@cache
def bound() -> Libcrypto | None:
    """Return the library, None (and say so in the log, once) where this system has none that serves."""
    try:
        return Libcrypto()
    except (OSError, AttributeError) as error:
        log.warning(f"no raw RSA: {error}")
        return None


def require() -> Libcrypto:
    """Return the library. Raises MechanismInvalid."""
    library = bound()
    if library is None:
        raise MechanismInvalid(f"this system has no {_NAME}")
    return library
