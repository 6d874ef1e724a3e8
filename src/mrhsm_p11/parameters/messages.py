"""Parameters of single messages: read before, and partly written back after, each C_EncryptMessage and its kin."""

from __future__ import annotations

from typing import ClassVar

from mrhsm_p11.parameters import Parameter, member


class GCMMessageParams(Parameter):
    """A message under CKM_AES_GCM: `generator` is a CKG, which keeps the first `fixed_bits` of `iv`."""

    struct: ClassVar[str] = "CK_GCM_MESSAGE_PARAMS"
    places: ClassVar[dict[str, str]] = {"iv": "pIv", "tag": "pTag"}

    iv: bytes = member("pIv", "ulIvLen")
    fixed_bits: int = member("ulIvFixedBits")
    generator: int = member("ivGenerator")
    tag_bits: int = member("ulTagBits")

    @property
    def tag_len(self) -> int:
        """Bytes of the tag, which is not part of the ciphertext."""
        return self.tag_bits // 8


class CCMMessageParams(Parameter):
    """A message of `data_len` bytes under CKM_AES_CCM."""

    struct: ClassVar[str] = "CK_CCM_MESSAGE_PARAMS"
    places: ClassVar[dict[str, str]] = {"iv": "pNonce", "tag": "pMAC"}

    data_len: int = member("ulDataLen")
    iv: bytes = member("pNonce", "ulNonceLen")
    fixed_bits: int = member("ulNonceFixedBits")
    generator: int = member("nonceGenerator")
    tag_len: int = member("ulMACLen")


class ChaCha20Poly1305MessageParams(Parameter):
    """A message under CKM_CHACHA20_POLY1305: the nonce is the caller's own, the tag has 16 bytes."""

    struct: ClassVar[str] = "CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS"
    places: ClassVar[dict[str, str]] = {"iv": "pNonce", "tag": "pTag"}
    tag_len: ClassVar[int] = 16

    iv: bytes = member("pNonce", "ulNonceLen")
