"""mrhsm.conf: one entry a token, the public part of what the token directory holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mrhsm_p11.errors import UserNotLoggedIn
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import codec
from mrhsm_p11.tokendir.files import DirectoryError, DirectoryMissing, FileMissing, TokenDirectory
from mrhsm_p11.tokendir.sealing import FORMAT, PinRecord

CONFIGURATION = "mrhsm.conf"
SERIAL = re.compile(r"[0-9a-f]{16}\Z")
LABEL_BYTES = 32
PUBLIC_KEY_BYTES = 32


class ConfigurationDamaged(DirectoryError):
    """mrhsm.conf cannot be read as what it should be; it is left untouched."""


class LabelInvalid(DirectoryError):
    """A token label is not 1 to 32 bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One token as mrhsm.conf holds it; nothing in it is secret."""

    serial: str  # 16 lower-case hex digits
    label: str
    store: str
    generation: int  # raised by each change that the SO signs
    so_pin: PinRecord
    user_pin: PinRecord | None  # outside the signature: the user may change it
    public_key: bytes  # Ed25519, 32 bytes
    sealed_private_key: bytes
    sealed_settings: bytes
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        """Return what the SO's key signs: all but the user PIN's record and the signature itself."""
        document = codec.to_json(replace(self, user_pin=None, signature=b""))
        return codec.canonical({"format": FORMAT, "entry": document})

    def fingerprint(self) -> str:
        """Return SHA-256 of the public key in hexadecimal: what `settings_key` in maprhsm.conf names."""
        from hashlib import sha256

        return sha256(self.public_key).hexdigest()


def slot_id(serial: str) -> int:
    """Return the slot of a token: the last 8 hex digits of its serial, masked to 31 bits (Java's int)."""
    return int(serial[-8:], 16) & 0x7FFFFFFF


def check_label(label: str) -> None:
    """Raise LabelInvalid unless CK_TOKEN_INFO can show the label whole."""
    try:
        size = len(label.encode())
    except UnicodeEncodeError:
        raise LabelInvalid("the label is not UTF-8") from None
    if not 1 <= size <= LABEL_BYTES:
        raise LabelInvalid(f"the label has {size} bytes of UTF-8: it must have 1 to {LABEL_BYTES}, it is never cut")


def load(directory: TokenDirectory) -> tuple[TokenEntry, ...]:
    """Return the tokens in order of creation; none where directory or mrhsm.conf is missing.

    Raises ConfigurationDamaged, and DirectoryUnsafe or FileUnreadable.
    """
    try:
        content = directory.read(CONFIGURATION)
    except (DirectoryMissing, FileMissing):
        return ()
    try:
        return _parse(content)
    except codec.Malformed as error:
        raise damaged(directory, str(error)) from None


def save(directory: TokenDirectory, tokens: tuple[TokenEntry, ...]) -> None:
    """Replace mrhsm.conf. The caller holds the directory's lock since it read what it changes."""
    from hashlib import sha256

    body = [codec.to_json(token) for token in tokens]
    document: codec.Json = {
        "format": f"mrhsm-tokens/{FORMAT}",
        "tokens": list(body),
        "sha256": sha256(codec.canonical(list(body))).hexdigest(),
    }
    import json

    directory.write(CONFIGURATION, json.dumps(document, indent=1).encode() + b"\n")


def find(directory: TokenDirectory, serial: str) -> TokenEntry:
    """Return one token's present entry. Raises ConfigurationDamaged when it is no longer there."""
    for token in load(directory):
        if token.serial == serial:
            return token
    raise damaged(directory, f"token {serial} is no longer in it")


def put(directory: TokenDirectory, token: TokenEntry) -> None:
    """Replace one token's entry, or append it, under the lock."""
    with directory.lock():
        tokens = load(directory)
        if any(one.serial == token.serial for one in tokens):
            save(directory, tuple(token if one.serial == token.serial else one for one in tokens))
        else:
            save(directory, (*tokens, token))


def require_key(directory: TokenDirectory, serial: str, token_key: Secret) -> None:
    """Raise UserNotLoggedIn unless this is the token's present key: C_InitToken elsewhere gives it another."""
    from mrhsm_p11.tokendir import sealing

    for token in load(directory):
        if token.serial == serial:
            try:
                sealing.open_sealed(
                    token_key, "settings", serial, token.sealed_settings, str(token.generation).encode()
                )
            except sealing.SealBroken:
                break
            return
    raise UserNotLoggedIn(f"token {serial} was initialised again since this process logged in")


def damaged(directory: TokenDirectory, what: str) -> ConfigurationDamaged:
    path = f"{directory.path}/{CONFIGURATION}"
    return ConfigurationDamaged(f"{path} is damaged and was left untouched: {what}; restore it from another node")


def _parse(content: bytes) -> tuple[TokenEntry, ...]:
    from hashlib import sha256

    document = codec.parse(content)
    if not isinstance(document, dict) or not isinstance(document.get("tokens"), list):
        raise codec.Malformed("it holds no list of tokens")
    if document.get("format") != f"mrhsm-tokens/{FORMAT}":
        raise codec.Malformed("its format is not known to this version")
    body = document["tokens"]
    if document.get("sha256") != sha256(codec.canonical(body)).hexdigest() or len(document) != 3:
        raise codec.Malformed("it was changed by something else than mrhsm")
    tokens = tuple(codec.from_json(TokenEntry, one, f"token {index + 1}") for index, one in enumerate(body))
    for token in tokens:
        _check(token)
    if len({slot_id(token.serial) for token in tokens}) != len(tokens):
        raise codec.Malformed("two tokens have one slot")
    return tokens


def _check(token: TokenEntry) -> None:
    pins_sound = token.so_pin.sound and (token.user_pin is None or token.user_pin.sound)
    if not SERIAL.match(token.serial) or slot_id(token.serial) == 0 or len(token.public_key) != PUBLIC_KEY_BYTES:
        raise codec.Malformed("a token's serial or key is not one that mrhsm makes")
    if not pins_sound or token.so_pin.ours:
        raise codec.Malformed(f"token {token.serial} has a PIN record that mrhsm does not make")
    try:
        check_label(token.label)
    except LabelInvalid as error:
        raise codec.Malformed(f"token {token.serial}: {error}") from None
