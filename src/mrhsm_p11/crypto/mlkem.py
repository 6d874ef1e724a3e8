"""ML-KEM (FIPS 203): a secret that only a private key's owner can tell from its encapsulation."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)

from mrhsm_p11.crypto import checks, keys
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.containers import open_public
from mrhsm_p11.crypto.lattices import BY_OID
from mrhsm_p11.errors import KeyTypeInconsistent, UnwrappingKeyTypeInconsistent, WrappedKeyLenRange
from mrhsm_p11.secret import Secret


def size(parameter: AnyParameter, public: Secret) -> int:
    """Return how long an encapsulation for this public key is. Raises MechanismParamInvalid."""
    checks.no_parameter(parameter)
    return BY_OID[open_public(public.reveal())[0][0]].made


def encapsulate(parameter: AnyParameter, public: Secret) -> tuple[Secret, bytes]:
    """Make a secret of 32 bytes; return it and its encapsulation. Raises MechanismParamInvalid, KeyTypeInconsistent."""
    checks.no_parameter(parameter)
    key = keys.public(public)
    if not isinstance(key, MLKEM768PublicKey | MLKEM1024PublicKey):
        raise KeyTypeInconsistent("not an ML-KEM public key")
    secret, encapsulated = key.encapsulate()
    return Secret(secret), encapsulated


def decapsulate(parameter: AnyParameter, private: Secret, encapsulated: bytes | memoryview) -> Secret:
    """Return the secret of an encapsulation; of one that is forged, FIPS 203 says, a random-looking other.

    Raises MechanismParamInvalid, UnwrappingKeyTypeInconsistent, WrappedKeyLenRange.
    """
    checks.no_parameter(parameter)
    key = keys.private(private)
    if not isinstance(key, MLKEM768PrivateKey | MLKEM1024PrivateKey):
        raise UnwrappingKeyTypeInconsistent("not an ML-KEM private key")
    try:
        return Secret(key.decapsulate(bytes(encapsulated)))
    except ValueError:
        raise WrappedKeyLenRange(f"an encapsulation for this key has not {len(encapsulated)} bytes") from None
