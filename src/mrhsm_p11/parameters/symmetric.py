"""Parameters of ciphers and MACs with secret keys."""

from __future__ import annotations

from typing import ClassVar

from mrhsm_p11.parameters import Parameter, member


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
