"""For every mechanism of secret keys that encrypts or makes MACs: keys, parameters and lengths that it takes."""

from __future__ import annotations

import sys

from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.crypto import secret_keys
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.mapping.codecs import ULONG_BYTES
from mrhsm_p11.mapping.mechanisms import MechanismRow, digests, symmetric
from mrhsm_p11.parameters.symmetric import CCMParams, ChaCha20Params, ChaCha20Poly1305Params, CTRParams, GCMParams
from mrhsm_p11.secret import Secret

IV = bytes(range(16))
CIPHERS = [row for row in (*symmetric.ROWS, *digests.ROWS) if row.flags & CKF.ENCRYPT]
MACS = [row for row in (*symmetric.ROWS, *digests.ROWS) if row.flags & CKF.SIGN]
# what a mechanism takes, where that is not everything: a step between lengths, and the least length
LENGTHS = {
    CKM.AES_ECB: (16, 0),
    CKM.AES_CBC: (16, 0),
    CKM.DES3_ECB: (8, 0),
    CKM.DES3_CBC: (8, 0),
    CKM.AES_CTS: (1, 16),
    CKM.AES_XTS: (1, 16),
    CKM.AES_KEY_WRAP: (8, 16),
    CKM.AES_KEY_WRAP_KWP: (1, 1),
    CKM.AES_KEY_WRAP_PAD: (1, 8),
    CKM.AES_KEY_WRAP_PKCS7: (1, 8),
}
# whose output is longer than the input, and only the last block tells how much
PADDED = {CKM.AES_CBC_PAD, CKM.DES3_CBC_PAD, CKM.AES_KEY_WRAP_PAD, CKM.AES_KEY_WRAP_PKCS7, CKM.AES_KEY_WRAP_KWP}
# what no changed bit gets past
AUTHENTICATED = {CKM.AES_GCM, CKM.AES_CCM, CKM.CHACHA20_POLY1305, CKM.AES_KEY_WRAP, *PADDED} - {
    *(CKM.AES_CBC_PAD, CKM.DES3_CBC_PAD),
}


def ulong(value: int) -> bytes:
    return value.to_bytes(ULONG_BYTES, sys.byteorder)


def key_bytes(key_type: int) -> bytes:
    """Return the longest key of a type."""
    return secret_keys.shaped(key_type, bytes(range(max(secret_keys.LENGTHS.get(key_type, (32,))))))


def key(row: MechanismRow) -> Secret:
    return Secret(key_bytes(row.key_types[0]))


def parameter(row: MechanismRow, n: int = 0) -> AnyParameter:
    """Return a good parameter for `n` bytes of input."""
    if row.mode.endswith("-general"):
        return ulong(3)
    if row.mode in ("cbc", "cbc-pad"):
        return IV[:8] if CKK.DES3 in row.key_types else IV
    samples: dict[str, AnyParameter] = {
        **dict.fromkeys(("ofb", "cfb8", "cfb128", "cs1", "xts"), IV),
        "ctr": CTRParams(64, IV),
        "gcm": GCMParams(IV[:12], b"associated", 96),
        "gmac": GCMParams(IV[:12], b"", 96),
        "ccm": CCMParams(n, IV[:11], b"associated", 10),
        "chacha20": ChaCha20Params(bytes(4), IV[:12]),
        "chacha20-poly1305": ChaCha20Poly1305Params(IV[:12], b"associated"),
    }
    return samples.get(row.mode)


def plain(row: MechanismRow, n: int) -> bytes:
    """Return about `n` bytes of input, a length that the mechanism takes."""
    step, least = LENGTHS.get(row.type, (1, 0))
    return bytes(byte % 251 for byte in range(max(n - n % step, least)))


def name(value: object) -> str:
    return CKM.name(value.type) if isinstance(value, MechanismRow) else str(value)
