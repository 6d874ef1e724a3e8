"""Parameters of single messages: read before, and partly written back after, each C_EncryptMessage and its kin.

Their `places` are the IV and the tag, which is no part of the output.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

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


MessageParameter = GCMMessageParams
