"""Parameters of TLS's derivations, and of messages that are sealed one by one: structures that point to more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from p11 import Cryptoki

from mrhsm_p11.constants import CKG, CKM
from mrhsm_p11.mapping.mechanisms import MechanismRow

IV_BYTES, TAG_BYTES = 12, 16


def _kept(p11: Cryptoki, kind: str, value: Any) -> Any:
    place = p11.new(kind, value)
    p11._keep(place)
    return place


def _randoms(p11: Cryptoki) -> list[Any]:
    return [_kept(p11, "CK_BYTE[]", bytes(32)), 32, _kept(p11, "CK_BYTE[]", bytes(32)), 32]


def _version(p11: Cryptoki) -> Any:
    return _kept(p11, "CK_VERSION *", (0, 0))


def _block(p11: Cryptoki) -> list[Any]:
    """Return the members that key blocks of all versions begin with: no keys to speak of, and where they go."""
    places = [_kept(p11, "CK_BYTE[]", 16), _kept(p11, "CK_BYTE[]", 16)]
    return [160, 128, 128, 0, _randoms(p11), _kept(p11, "CK_SSL3_KEY_MAT_OUT *", [0, 0, 0, 0, *places])]


def _prf(p11: Cryptoki, row: MechanismRow) -> Any:
    seed, label = _kept(p11, "CK_BYTE[]", bytes(32)), _kept(p11, "CK_BYTE[]", b"label")
    output, room = _kept(p11, "CK_BYTE[]", 20), _kept(p11, "CK_ULONG *", 20)
    return p11.new("CK_TLS_PRF_PARAMS *", [seed, 32, label, 5, output, room])


def _master(p11: Cryptoki, row: MechanismRow) -> Any:
    version = p11.ffi.NULL if row.type in AGREED else _version(p11)
    return p11.new("CK_TLS12_MASTER_KEY_DERIVE_PARAMS *", [_randoms(p11), version, CKM.SHA256])


def _former_master(p11: Cryptoki, row: MechanismRow) -> Any:
    version = p11.ffi.NULL if row.type in AGREED else _version(p11)
    return p11.new("CK_SSL3_MASTER_KEY_DERIVE_PARAMS *", [_randoms(p11), version])


def _extended_master(p11: Cryptoki, row: MechanismRow) -> Any:
    version = p11.ffi.NULL if row.type in AGREED else _version(p11)
    hashed = _kept(p11, "CK_BYTE[]", bytes(32))
    return p11.new("CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS *", [CKM.SHA256, hashed, 32, version])


# After a Diffie-Hellman agreement there is no version in the premaster secret.
AGREED = (CKM.TLS12_MASTER_KEY_DERIVE_DH, CKM.TLS_MASTER_KEY_DERIVE_DH, CKM.TLS12_EXTENDED_MASTER_KEY_DERIVE_DH)
TLS_SAMPLES: dict[str, Callable[[Cryptoki, MechanismRow], Any]] = {
    "CK_TLS12_MASTER_KEY_DERIVE_PARAMS": _master,
    "CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS": _extended_master,
    "CK_SSL3_MASTER_KEY_DERIVE_PARAMS": _former_master,
    "CK_TLS12_KEY_MAT_PARAMS": lambda p11, row: p11.new("CK_TLS12_KEY_MAT_PARAMS *", [*_block(p11), CKM.SHA256]),
    "CK_SSL3_KEY_MAT_PARAMS": lambda p11, row: p11.new("CK_SSL3_KEY_MAT_PARAMS *", _block(p11)),
    "CK_TLS_PRF_PARAMS": _prf,
}

# structure of a message's parameter -> its members, of an IV, a tag and the bytes of the whole text
MEMBERS: dict[str, Callable[[Any, Any, int], list[Any]]] = {
    "CK_GCM_MESSAGE_PARAMS": lambda iv, tag, size: [iv, IV_BYTES, 0, CKG.NO_GENERATE, tag, TAG_BYTES * 8],
    "CK_CCM_MESSAGE_PARAMS": lambda iv, tag, size: [size, iv, IV_BYTES, 0, CKG.NO_GENERATE, tag, TAG_BYTES],
    "CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS": lambda iv, tag, size: [iv, IV_BYTES * 8, tag],
}


class MessageGiven:
    """A message's parameter, with an IV of zeros and room for the tag."""

    def __init__(self, p11: Cryptoki, row: MechanismRow, size: int, tag: bytes = bytes(TAG_BYTES)) -> None:
        assert row.message_parameter is not None
        name = row.message_parameter.struct
        self._iv, self._tag = p11.new("CK_BYTE[]", bytes(IV_BYTES)), p11.new("CK_BYTE[]", tag)
        self.struct = p11.new(f"{name} *", MEMBERS[name](self._iv, self._tag, size))
        self.size = p11.ffi.sizeof(name)
        self.arguments = p11.ffi.cast("void *", self.struct), self.size

    @property
    def tag(self) -> bytes:
        return bytes(self._tag)[:TAG_BYTES]
