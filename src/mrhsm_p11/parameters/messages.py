"""Parameters of single messages: read before, and partly written back after, each C_EncryptMessage and its kin.

Their `places` are the IV and the tag, which is no part of the output.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

from mrhsm_p11.constants import CKG
from mrhsm_p11.parameters import Parameter, member


class Lent(Protocol):
    """A structure in the caller's memory, of a kind that only the function asked knows."""

    @property
    def given(self) -> bool:
        """Tell whether there is any."""

    def require(self, shape: type[Parameter], *places: str) -> None:
        """Raise MechanismParamInvalid unless it has this shape's size and all these places."""

    def read(self, shape: type[Parameter]) -> Parameter:
        """Return its present value. Raises MechanismParamInvalid."""

    def take(self, shape: type[Parameter], place: str, length: int) -> bytes:
        """Return the bytes at one of its places."""

    def give(self, shape: type[Parameter], place: str, value: bytes) -> None:
        """Write to one of its places, which has room."""


class LentMechanism(NamedTuple):
    """A mechanism whose parameter is a message's."""

    type: int
    parameter: Lent


class GCMMessageParams(Parameter):
    """A message under CKM_AES_GCM: `generator` is a CKG, which keeps the first `fixed_bits` of `iv`."""

    struct: ClassVar[str] = "CK_GCM_MESSAGE_PARAMS"
    places: ClassVar[dict[str, str]] = {"iv": "pIv", "tag": "pTag"}

    iv: bytes = member("pIv", "ulIvLen")
    fixed_bits: int = member("ulIvFixedBits")
    generator: int = member("ivGenerator")
    tag_bits: int = member("ulTagBits")

    @property
    def tag_bytes(self) -> int:
        return self.tag_bits // 8

    def beside(self, iv: bytes, aad: bytes) -> dict[str, object]:
        """Return the fields of the parameter with which the mechanism makes one such message."""
        return {"iv": iv, "aad": aad, "tag_bits": self.tag_bits}


class CCMMessageParams(Parameter):
    """A message of `data_len` bytes under CKM_AES_CCM."""

    struct: ClassVar[str] = "CK_CCM_MESSAGE_PARAMS"
    places: ClassVar[dict[str, str]] = {"iv": "pNonce", "tag": "pMAC"}

    data_len: int = member("ulDataLen")
    iv: bytes = member("pNonce", "ulNonceLen")
    fixed_bits: int = member("ulNonceFixedBits")
    generator: int = member("nonceGenerator")
    mac_len: int = member("ulMACLen")

    @property
    def tag_bytes(self) -> int:
        return self.mac_len

    def beside(self, iv: bytes, aad: bytes) -> dict[str, object]:
        """Return the fields of the parameter with which the mechanism makes one such message."""
        return {"data_len": self.data_len, "nonce": iv, "aad": aad, "mac_len": self.mac_len}


class ChaCha20Poly1305MessageParams(Parameter):
    """A message under CKM_CHACHA20_POLY1305: the nonce is the caller's own, its length as in ChaCha20Poly1305Params."""

    struct: ClassVar[str] = "CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS"
    places: ClassVar[dict[str, str]] = {"iv": "pNonce", "tag": "pTag"}
    fixed_bits: ClassVar[int] = 0
    generator: ClassVar[int] = CKG.NO_GENERATE
    tag_bytes: ClassVar[int] = 16

    iv: bytes = member("pNonce", "ulNonceLen", bits=(64, 96, 192))

    def beside(self, iv: bytes, aad: bytes) -> dict[str, object]:
        """Return the fields of the parameter with which the mechanism makes one such message."""
        return {"nonce": iv, "aad": aad}


MessageParameter = GCMMessageParams | CCMMessageParams | ChaCha20Poly1305MessageParams
