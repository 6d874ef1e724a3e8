"""Parameters of RSA mechanisms."""

from __future__ import annotations

from typing import ClassVar

from mrhsm_p11.constants import CKM
from mrhsm_p11.parameters import Parameter, member, nested


class PSSParams(Parameter):
    """CKM_RSA_PKCS_PSS and its relatives: `hash` is a CKM, `mgf` a CKG, `salt_len` in bytes."""

    struct: ClassVar[str] = "CK_RSA_PKCS_PSS_PARAMS"
    legacy: ClassVar[dict[str, tuple[int, ...]]] = {"hash": (CKM.SHA_1,)}

    hash: int = member("hashAlg")
    mgf: int = member("mgf")
    salt_len: int = member("sLen")


class OAEPParams(Parameter):
    """CKM_RSA_PKCS_OAEP: `hash` is a CKM, `mgf` a CKG, `source` a CKZ, `label` the encoding parameter."""

    struct: ClassVar[str] = "CK_RSA_PKCS_OAEP_PARAMS"

    hash: int = member("hashAlg")
    mgf: int = member("mgf")
    source: int = member("source")
    label: bytes = member("pSourceData", "ulSourceDataLen")


class RSAAESKeyWrapParams(Parameter):
    """CKM_RSA_AES_KEY_WRAP: the size of the passing AES key, and how it is encrypted."""

    struct: ClassVar[str] = "CK_RSA_AES_KEY_WRAP_PARAMS"

    aes_bits: int = member("ulAESKeyBits")
    oaep: OAEPParams | None = nested(OAEPParams, "pOAEPParams")
