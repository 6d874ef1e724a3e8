"""Key agreement: what two key pairs have in common, before any derivation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from cryptography.hazmat.primitives.asymmetric.ec import ECDH, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mrhsm_p11.constants import CKA, CKK
from mrhsm_p11.crypto import finite_keys, keys
from mrhsm_p11.crypto.containers import open_private
from mrhsm_p11.crypto.curves import bare_point
from mrhsm_p11.errors import KeyTypeInconsistent, MechanismParamInvalid
from mrhsm_p11.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.dh import DHPrivateKey, DHPublicKey


def shared_secret(key_type: int, private: Secret, peer: bytes) -> Secret:
    """Return the shared secret of a private key (PKCS #8) and the peer's public one, as a mechanism's parameter has it.

    `peer`: CKK_EC an X9.62 point, uncompressed or compressed, CKK_EC_MONTGOMERY the key of RFC 7748, either of them
    bare or in an OCTET STRING; CKK_DH the public value, big-endian. The secret is as long as a coordinate, the key, or
    the prime. The cofactor of all curves here is 1 or part of their function: ECDH with and without are the same.
    Raises MechanismParamInvalid for a peer that is no key of this group, KeyTypeInconsistent.
    """
    if key_type not in _EXCHANGES:
        raise KeyTypeInconsistent("the key is none that agrees with another")
    try:
        return Secret(_EXCHANGES[key_type](private, peer))
    except ValueError:
        raise MechanismParamInvalid("the other party's public key is none of this group") from None


def _ec(private: Secret, peer: bytes) -> bytes:
    key = keys.private(private)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise KeyTypeInconsistent("not an EC private key")
    width = (key.curve.key_size + 7) // 8
    point = bare_point(peer, width + 1, 2 * width + 1)
    return key.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(key.curve, point))


def _montgomery(private: Secret, peer: bytes) -> bytes:
    key = keys.private(private)
    if isinstance(key, X25519PrivateKey):
        return key.exchange(X25519PublicKey.from_public_bytes(bare_point(peer, 32)))
    if isinstance(key, X448PrivateKey):
        return key.exchange(X448PublicKey.from_public_bytes(bare_point(peer, 56)))
    raise KeyTypeInconsistent("not a private key on a Montgomery curve")


def _dh(private: Secret, peer: bytes) -> bytes:
    plain = private.reveal()
    algorithm, _ = open_private(plain)
    prime = int.from_bytes(finite_keys.DH.parameters(algorithm)[CKA.PRIME], "big")
    if not 1 < int.from_bytes(peer, "big") < prime - 1:
        raise ValueError("a public value outside the group")
    # cast and not checked: the library warns of the class's very name
    key = cast("DHPrivateKey", keys.private(private))
    return key.exchange(cast("DHPublicKey", keys.parse_public(finite_keys.DH.public_key(algorithm, peer))))


_EXCHANGES: dict[int, Callable[[Secret, bytes], bytes]] = {
    CKK.EC: _ec,
    CKK.EC_MONTGOMERY: _montgomery,
    CKK.DH: _dh,
}
