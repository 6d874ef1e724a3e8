"""Sealing at rest: the token key, what PINs open, and one subkey of it for each purpose.

A token key is 32 random bytes, stored wrapped once for each role under a key that only that role's PIN gives.
Everything else is sealed with AES-256-GCM under an HKDF subkey, bound to the format, the token's serial and what it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mrhsm_p11.errors import PinIncorrect, PinLenRange, UserNotLoggedIn
from mrhsm_p11.secret import Secret, SecretWiped

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = 1
KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
PIN_MIN_BYTES = 4
PIN_MAX_BYTES = 255
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 1
SCRYPT_MOST_BYTES, SCRYPT_P_MAX = 2**28, 16  # a damaged record must not take all memory, nor an hour

Role = Literal["so", "user"]


class SealBroken(Exception):
    """Sealed bytes do not open: damaged, moved from elsewhere, or sealed under another key."""


@dataclass(frozen=True, slots=True)
class PinRecord:
    """The token key wrapped under one PIN."""

    kdf: str  # "scrypt", or "hkdf" for a PIN with 256 random bits that we made
    salt: bytes
    n: int
    r: int
    p: int
    generation: int  # raised by each change of this PIN; user.pin carries it
    wrapped: bytes

    @property
    def ours(self) -> bool:
        """We made the PIN: guessing is hopeless, so it is neither slowed nor counted."""
        return self.kdf == "hkdf"

    @property
    def sound(self) -> bool:
        """The parameters are ones that we could have written."""
        if self.kdf == "hkdf":
            return (self.n, self.r, self.p) == (0, 0, 0)
        if self.kdf != "scrypt" or min(self.n - 1, self.r, self.p) < 1 or self.n & (self.n - 1):
            return False
        return 128 * self.n * self.r <= SCRYPT_MOST_BYTES and self.p <= SCRYPT_P_MAX


@dataclass(frozen=True, slots=True)
class Opened:
    """What the right PIN gives."""

    token_key: Secret
    pin_key: Secret  # opens what only this role may open


def new_token_key() -> Secret:
    return Secret(os.urandom(KEY_BYTES))


def random_pin() -> Secret:
    """Make a PIN of 256 random bits, 64 hexadecimal digits."""
    return Secret(os.urandom(32).hex().encode())


def check_pin(pin: Secret) -> None:
    """Raise PinLenRange unless a new PIN has 4 to 255 bytes."""
    if not PIN_MIN_BYTES <= len(pin) <= PIN_MAX_BYTES:
        raise PinLenRange(f"a PIN has {PIN_MIN_BYTES} to {PIN_MAX_BYTES} bytes")


def seal_pin(
    token_key: Secret, pin: Secret, *, serial: str, role: Role, generation: int, ours: bool = False
) -> tuple[PinRecord, Secret]:
    """Wrap the token key under a new PIN; return the record and the role's own key. Raises PinLenRange."""
    check_pin(pin)
    kdf, n, r, p = ("hkdf", 0, 0, 0) if ours else ("scrypt", SCRYPT_N, SCRYPT_R, SCRYPT_P)
    bare = PinRecord(kdf, os.urandom(SALT_BYTES), n, r, p, generation, b"")
    pin_key = _pin_key(bare, pin)
    wrapped = seal(pin_key, "token key", serial, token_key.view(), _pin_data(bare, role))
    return PinRecord(kdf, bare.salt, n, r, p, generation, wrapped), pin_key


def open_pin(record: PinRecord, pin: Secret, serial: str, role: Role) -> Opened:
    """Open a PIN record. Raises PinIncorrect."""
    pin_key = _pin_key(record, pin)
    try:
        return Opened(
            Secret(open_sealed(pin_key, "token key", serial, record.wrapped, _pin_data(record, role))), pin_key
        )
    except SealBroken:
        raise PinIncorrect(f"wrong {role} PIN for token {serial}") from None


def subkey(key: Secret, purpose: str, serial: str) -> bytes:
    """Derive the 32-byte key for one purpose (HKDF-SHA-256 without extraction: `key` is uniform).

    Raises UserNotLoggedIn where a logout has wiped the key: nothing is ever sealed under what it left.
    """
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    info = f"mrhsm-p11/{FORMAT}/{serial}/{purpose}".encode()
    try:
        lent = key.copy()
    except SecretWiped:
        raise UserNotLoggedIn(f"token {serial} was logged out of meanwhile") from None
    try:
        return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info).derive(lent.view())
    finally:
        lent.wipe()


def seal(key: Secret, purpose: str, serial: str, plain: bytes | memoryview, bound: bytes = b"") -> bytes:
    """Seal for one purpose; `bound` must be given again to open. Returns nonce, ciphertext, tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _aead(key, purpose, serial).encrypt(nonce, plain, _associated(serial, bound))


def open_sealed(key: Secret, purpose: str, serial: str, sealed: bytes | memoryview, bound: bytes = b"") -> bytes:
    """Open what `seal` made. Raises SealBroken."""
    from cryptography.exceptions import InvalidTag

    try:
        aead = _aead(key, purpose, serial)
        return aead.decrypt(bytes(sealed[:NONCE_BYTES]), sealed[NONCE_BYTES:], _associated(serial, bound))
    except (InvalidTag, ValueError):
        raise SealBroken from None


def _aead(key: Secret, purpose: str, serial: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(subkey(key, purpose, serial))


def _associated(serial: str, bound: bytes) -> bytes:
    return f"{FORMAT}/{serial}/".encode() + bound


def _pin_key(record: PinRecord, pin: Secret) -> Secret:
    if record.ours:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=record.salt, info=b"mrhsm-p11 pin")
        return Secret(kdf.derive(pin.view()))
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    # its own thread state is released meanwhile: a login does not stop a host's other threads
    return Secret(Scrypt(salt=record.salt, length=KEY_BYTES, n=record.n, r=record.r, p=record.p).derive(pin.view()))


def _pin_data(record: PinRecord, role: Role) -> bytes:
    return f"{role}/{record.generation}/{record.kdf}/{record.n}/{record.r}/{record.p}/".encode() + record.salt
