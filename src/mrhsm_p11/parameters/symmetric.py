"""Parameters of ciphers and MACs with secret keys."""

from __future__ import annotations

from typing import ClassVar

from mrhsm_p11.parameters import EVERY, Parameter, Place, member, place


class GCMParams(Parameter):
    """CKM_AES_GCM; ulIvBits is left unread, as the standard tells applications not to use it."""

    struct: ClassVar[str] = "CK_GCM_PARAMS"

    iv: bytes = member("pIv", "ulIvLen")
    aad: bytes = member("pAAD", "ulAADLen")
    tag_bits: int = member("ulTagBits")


class CTRParams(Parameter):
    """CKM_AES_CTR: the low `counter_bits` of the 16-byte `counter` block count, the rest is a nonce."""

    struct: ClassVar[str] = "CK_AES_CTR_PARAMS"

    counter_bits: int = member("ulCounterBits")
    counter: bytes = member("cb")


class CCMParams(Parameter):
    """CKM_AES_CCM: `data_len` is that of the plaintext, both lengths in bytes."""

    struct: ClassVar[str] = "CK_CCM_PARAMS"

    data_len: int = member("ulDataLen")
    nonce: bytes = member("pNonce", "ulNonceLen")
    aad: bytes = member("pAAD", "ulAADLen")
    mac_len: int = member("ulMACLen")


class GCMWrapParams(Parameter):
    """CKM_AES_GCM in C_WrapKey, which makes the IV as `generator`, a CKG, says, and in C_UnwrapKey (3.2)."""

    struct: ClassVar[str] = "CK_GCM_WRAP_PARAMS"

    made: Place = place("pIv")
    iv: bytes = member("pIv", "ulIvLen")
    fixed_bits: int = member("ulIvFixedBits")
    generator: int = member("ivGenerator")
    aad: bytes = member("pAAD", "ulAADLen")
    tag_bits: int = member("ulTagBits")

    def plain(self, iv: bytes) -> GCMParams:
        """Return the parameter without a generator."""
        return GCMParams(iv, self.aad, self.tag_bits)


class CCMWrapParams(Parameter):
    """CKM_AES_CCM in C_WrapKey and C_UnwrapKey, as GCMWrapParams; `data_len` is that of the key."""

    struct: ClassVar[str] = "CK_CCM_WRAP_PARAMS"

    data_len: int = member("ulDataLen")
    made: Place = place("pNonce")
    iv: bytes = member("pNonce", "ulNonceLen")
    fixed_bits: int = member("ulNonceFixedBits")
    generator: int = member("nonceGenerator")
    aad: bytes = member("pAAD", "ulAADLen")
    mac_len: int = member("ulMACLen")

    def plain(self, iv: bytes) -> CCMParams:
        """Return the parameter without a generator."""
        return CCMParams(self.data_len, iv, self.aad, self.mac_len)


class ChaCha20Params(Parameter):
    """CKM_CHACHA20: the counter is little-endian, as in the cipher's own block."""

    struct: ClassVar[str] = "CK_CHACHA20_PARAMS"

    counter: bytes = member("pBlockCounter", "blockCounterBits", bits=EVERY)
    nonce: bytes = member("pNonce", "ulNonceBits", bits=EVERY)


class ChaCha20Poly1305Params(Parameter):
    """CKM_CHACHA20_POLY1305.

    The standard says in its text that ulNonceLen counts bits, its name and its implementers that it counts bytes: what
    can only be bits is read so.
    """

    struct: ClassVar[str] = "CK_SALSA20_CHACHA20_POLY1305_PARAMS"

    nonce: bytes = member("pNonce", "ulNonceLen", bits=(64, 96, 192))
    aad: bytes = member("pAAD", "ulAADLen")
