"""Parameters of signatures other than RSA's."""

from __future__ import annotations

from typing import ClassVar

from mrhsm_p11.parameters import Parameter, member


class EdDSAParams(Parameter):
    """CKM_EDDSA."""

    struct: ClassVar[str] = "CK_EDDSA_PARAMS"

    prehash: int = member("phFlag")
    context: bytes = member("pContextData", "ulContextDataLen")


class SignContext(Parameter):
    """CKM_ML_DSA and the HashML-DSA mechanisms that hash themselves: `hedge` is a CKH."""

    struct: ClassVar[str] = "CK_SIGN_ADDITIONAL_CONTEXT"

    hedge: int = member("hedgeVariant")
    context: bytes = member("pContext", "ulContextLen")


class HashSignContext(Parameter):
    """CKM_HASH_ML_DSA: `hedge` is a CKH, `hash` the CKM of what the caller hashed with."""

    struct: ClassVar[str] = "CK_HASH_SIGN_ADDITIONAL_CONTEXT"

    hedge: int = member("hedgeVariant")
    context: bytes = member("pContext", "ulContextLen")
    hash: int = member("hash")
