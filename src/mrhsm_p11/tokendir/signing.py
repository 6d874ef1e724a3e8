"""The SO's signature on what a token is configured with (Ed25519); imported only where it is used."""

from __future__ import annotations

import os

from mrhsm_p11.secret import Secret

SEED_BYTES = 32


def new_seed() -> Secret:
    """Make a private key, as its 32-byte seed."""
    return Secret(os.urandom(SEED_BYTES))


def public_key(seed: Secret) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed.view()).public_key().public_bytes_raw()


def sign(seed: Secret, message: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed.view()).sign(message)


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
