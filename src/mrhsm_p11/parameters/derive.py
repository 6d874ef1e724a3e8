"""Parameters of key derivation, and of making a key from a password."""

from __future__ import annotations

import sys
from typing import ClassVar

from mrhsm_p11.constants import CK, CKD, CKF, CKM
from mrhsm_p11.parameters import Parameter, Place, attributes, member, nested, place, secret
from mrhsm_p11.secret import Secret


class ECDH1Params(Parameter):
    """CKM_ECDH1_DERIVE and its cofactor form: `kdf` is a CKD, `shared_data` what both sides put into it."""

    struct: ClassVar[str] = "CK_ECDH1_DERIVE_PARAMS"
    legacy: ClassVar[dict[str, tuple[int, ...]]] = {"kdf": (CKD.SHA1_KDF,)}

    kdf: int = member("kdf")
    shared_data: bytes = member("pSharedData", "ulSharedDataLen")
    public_data: bytes = member("pPublicData", "ulPublicDataLen")


class StringData(Parameter):
    """CKM_CONCATENATE_*, CKM_XOR_BASE_AND_DATA, CKM_AES_ECB_ENCRYPT_DATA: public bytes."""

    struct: ClassVar[str] = "CK_KEY_DERIVATION_STRING_DATA"

    data: bytes = member("pData", "ulLen")


class AESCBCData(Parameter):
    """CKM_AES_CBC_ENCRYPT_DATA."""

    struct: ClassVar[str] = "CK_AES_CBC_ENCRYPT_DATA_PARAMS"

    iv: bytes = member("iv")
    data: bytes = member("pData", "length")


class DESCBCData(Parameter):
    """CKM_DES3_CBC_ENCRYPT_DATA."""

    struct: ClassVar[str] = "CK_DES_CBC_ENCRYPT_DATA_PARAMS"

    iv: bytes = member("iv")
    data: bytes = member("pData", "length")


class HKDFParams(Parameter):
    """CKM_HKDF_DERIVE and CKM_HKDF_DATA: `hash` is a CKM, `salt_type` a CKF_HKDF_SALT."""

    struct: ClassVar[str] = "CK_HKDF_PARAMS"

    extract: int = member("bExtract")
    expand: int = member("bExpand")
    hash: int = member("prfHashMechanism")
    salt_type: int = member("ulSaltType")
    salt: bytes = member("pSalt", "ulSaltLen")
    salt_key: int = member("hSaltKey")
    info: bytes = member("pInfo", "ulInfoLen")

    def named_keys(self) -> tuple[int, ...]:
        return (self.salt_key,) if self.extract and self.salt_type == CKF.HKDF_SALT_KEY else ()


class PBKD2Params(Parameter):
    """CKM_PKCS5_PBKD2: `salt_source` is a CKZ, `prf` a CKP."""

    struct: ClassVar[str] = "CK_PKCS5_PBKD2_PARAMS2"

    salt_source: int = member("saltSource")
    salt: bytes = member("pSaltSourceData", "ulSaltSourceDataLen")
    iterations: int = member("iterations")
    prf: int = member("prf")
    prf_data: bytes = member("pPrfData", "ulPrfDataLen")
    password: Secret = secret("pPassword", "ulPasswordLen")


class PRFPart(Parameter):
    """One piece of what SP 800-108 feeds its PRF: `type` is a CK_SP800_108, `value` its bytes or a structure's."""

    struct: ClassVar[str] = "CK_PRF_DATA_PARAM"

    type: int = member("type")
    value: bytes = member("pValue", "ulValueLen")

    @property
    def key(self) -> int:
        """The handle that a CK_SP800_108_KEY_HANDLE holds."""
        return int.from_bytes(self.value, sys.byteorder)


def _handles(parts: tuple[PRFPart, ...]) -> tuple[int, ...]:
    return tuple(part.key for part in parts if part.type == CK.SP800_108_KEY_HANDLE)


class DerivedKey(Parameter):
    """One key more that the same derivation gives."""

    struct: ClassVar[str] = "CK_DERIVED_KEY"

    template: dict[int, bytes] = attributes("pTemplate", "ulAttributeCount")
    handle: Place = place("phKey")


class CounterParams(Parameter):
    """CKM_SP800_108_COUNTER_KDF and _DOUBLE_PIPELINE_KDF: `prf` is a CKM of an HMAC or CMAC."""

    struct: ClassVar[str] = "CK_SP800_108_KDF_PARAMS"
    legacy: ClassVar[dict[str, tuple[int, ...]]] = {"prf": (CKM.MD5_HMAC,)}

    prf: int = member("prfType")
    parts: tuple[PRFPart, ...] = nested(PRFPart, "pDataParams", "ulNumberOfDataParams")
    additional: tuple[DerivedKey, ...] = nested(DerivedKey, "pAdditionalDerivedKeys", "ulAdditionalDerivedKeys")

    def named_keys(self) -> tuple[int, ...]:
        return _handles(self.parts)


class FeedbackParams(Parameter):
    """CKM_SP800_108_FEEDBACK_KDF."""

    struct: ClassVar[str] = "CK_SP800_108_FEEDBACK_KDF_PARAMS"
    legacy: ClassVar[dict[str, tuple[int, ...]]] = {"prf": (CKM.MD5_HMAC,)}

    prf: int = member("prfType")
    parts: tuple[PRFPart, ...] = nested(PRFPart, "pDataParams", "ulNumberOfDataParams")
    iv: bytes = member("pIV", "ulIVLen")
    additional: tuple[DerivedKey, ...] = nested(DerivedKey, "pAdditionalDerivedKeys", "ulAdditionalDerivedKeys")

    def named_keys(self) -> tuple[int, ...]:
        return _handles(self.parts)
