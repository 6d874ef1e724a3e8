"""Parameters of signatures other than RSA's."""

from __future__ import annotations

from typing import ClassVar

from mrhsm_p11.parameters import Parameter, member


class EdDSAParams(Parameter):
    """CKM_EDDSA."""

    struct: ClassVar[str] = "CK_EDDSA_PARAMS"

    prehash: int = member("phFlag")
    context: bytes = member("pContextData", "ulContextDataLen")
