"""What the table of mechanisms says of one."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mrhsm_p11.constants import CKF
from mrhsm_p11.parameters import Parameter

Family = Literal[
    "block",
    "stream",
    "stealing",
    "aead",
    "sealing",
    "keywrap",
    "digest",
    "mac",
    "cmac",
    "poly1305",
    "rsa",
    "rsa-raw",
    "ec",
    "edwards",
    "montgomery",
    "dsa",
    "dh",
    "mlkem",
    "mldsa",
    "slhdsa",
    "random",
    "agreement",
    "simple-kdf",
    "encrypting-kdf",
    "hkdf",
    "sp800-108",
    "password",
    "tls",
    "tls-mac",
]
ParameterClass = type[Parameter] | type[bytes] | None
StructureClass = type[Parameter] | None


class MechanismRow(NamedTuple):
    """What C_GetMechanismInfo tells of a mechanism, and what the engine needs to know of it.

    `parameter`: None where there must be none, bytes for a raw one, else its structure. `min_key` and `max_key` are in
    the mechanism's own unit of `key_unit_bits` bits (0 where it takes no key). `mode` tells apart what one family does.
    """

    type: int
    family: Family
    mode: str
    flags: int
    key_types: tuple[int, ...] = ()
    min_key: int = 0
    max_key: int = 0
    key_unit_bits: int = 1
    parameter: ParameterClass = None
    hash: str | None = None  # as hashlib names it
    multipart: bool = True
    wraps_private: bool = False  # C_WrapKey takes private keys (PKCS #8) too
    fills_to: int = 1  # C_WrapKey fills the key up with zero bytes to a multiple of this
    fills_before: bool = False  # what C_UnwrapKey gets has zero bytes before the key
    key_step: int = 1  # sizes between min_key and max_key, in the same unit
    legacy: bool = False  # off with `legacy = false`
    libcrypto: bool = False  # computed by the system's, offered where there is one
    bare_bytes: int = 0  # so many bytes, an initialisation vector, may stand for the structure
    optional_parameter: bool = False  # NULL stands for the structure's defaults
    message_parameter: ParameterClass = None  # of the message functions of 3.0
    wrap_parameter: StructureClass = None  # that C_WrapKey and C_UnwrapKey take too, told by its size

    @property
    def told_flags(self) -> int:
        """What C_GetMechanismInfo tells: `flags`, and whether messages are taken in parts."""
        return self.flags | (CKF.MULTI_MESSAGE if self.multipart and self.flags & MESSAGES else 0)

    def allows(self, key_bits: int) -> bool:
        """Tell whether a key of this size may be used or made."""
        over, rest = divmod(key_bits - self.min_key * self.key_unit_bits, self.key_step * self.key_unit_bits)
        return not rest and over >= 0 and key_bits <= self.max_key * self.key_unit_bits


CRYPT = CKF.ENCRYPT | CKF.DECRYPT
WRAPS = CKF.WRAP | CKF.UNWRAP
CRYPTS_MESSAGES = CKF.MESSAGE_ENCRYPT | CKF.MESSAGE_DECRYPT
SIGNS_MESSAGES = CKF.MESSAGE_SIGN | CKF.MESSAGE_VERIFY
MESSAGES = CRYPTS_MESSAGES | SIGNS_MESSAGES
SIGNS = CKF.SIGN | CKF.VERIFY | SIGNS_MESSAGES  # what signs one message signs many
RECOVERS = CKF.SIGN_RECOVER | CKF.VERIFY_RECOVER
