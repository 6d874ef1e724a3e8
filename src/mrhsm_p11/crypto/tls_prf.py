"""The pseudo-random functions of TLS 1.2 (RFC 5246, section 5) and of TLS 1.0 and 1.1 (RFC 2246, section 5)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import MD5, SHA1

from mrhsm_p11.constants import CKM
from mrhsm_p11.crypto import prf
from mrhsm_p11.crypto.derivation import xor
from mrhsm_p11.secret import Secret


def expand(function: int, secret: Secret, label: bytes, seed: bytes, length: int) -> bytearray:
    """Return `length` bytes; `function` is the CKM of a hash, or CKM_TLS_PRF for that of TLS 1.0.

    Raises MechanismParamInvalid.
    """
    key = secret.view()
    if function != CKM.TLS_PRF:
        return _expanded(prf.hmac(prf.hash_of(function), key), label + seed, length)
    half = (len(key) + 1) // 2
    first = _expanded(prf.hmac(MD5(), key[:half]), label + seed, length)  # noqa: S303 - as the RFC has it
    return xor(first, _expanded(prf.hmac(SHA1(), key[len(key) - half :]), label + seed, length))  # noqa: S303


def _expanded(function: prf.PRF, seed: bytes, length: int) -> bytearray:
    output, state = bytearray(), seed
    while len(output) < length:
        state = function(state)
        output += function(state, seed)
    return output[:length]
