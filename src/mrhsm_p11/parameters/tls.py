"""Parameters of the mechanisms of TLS 1.2 and before."""

from __future__ import annotations

from typing import ClassVar

from mrhsm_p11.constants import CKM
from mrhsm_p11.parameters import Parameter, Place, member, nested, place


class Randoms(Parameter):
    """What client and server said in their hellos."""

    struct: ClassVar[str] = "CK_SSL3_RANDOM_DATA"

    client: bytes = member("pClientRandom", "ulClientRandomLen")
    server: bytes = member("pServerRandom", "ulServerRandomLen")


class MasterKeyParams(Parameter):
    """CKM_TLS_MASTER_KEY_DERIVE(_DH), of TLS 1.0 and 1.1."""

    struct: ClassVar[str] = "CK_SSL3_MASTER_KEY_DERIVE_PARAMS"

    randoms: Randoms = nested(Randoms, "RandomInfo")
    version: Place = place("pVersion")


class TLS12MasterKeyParams(Parameter):
    """CKM_TLS12_MASTER_KEY_DERIVE(_DH): `hash` is a CKM."""

    struct: ClassVar[str] = "CK_TLS12_MASTER_KEY_DERIVE_PARAMS"

    randoms: Randoms = nested(Randoms, "RandomInfo")
    version: Place = place("pVersion")
    hash: int = member("prfHashMechanism")


class ExtendedMasterKeyParams(Parameter):
    """CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE(_DH): `hash` is a CKM."""

    struct: ClassVar[str] = "CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS"

    hash: int = member("prfHashMechanism")
    session_hash: bytes = member("pSessionHash", "ulSessionHashLen")
    version: Place = place("pVersion")


class KeyMaterial(Parameter):
    """Where the keys and initialisation vectors of a connection go."""

    struct: ClassVar[str] = "CK_SSL3_KEY_MAT_OUT"

    client_mac: Place = place("hClientMacSecret")
    server_mac: Place = place("hServerMacSecret")
    client_key: Place = place("hClientKey")
    server_key: Place = place("hServerKey")
    client_iv: Place = place("pIVClient")
    server_iv: Place = place("pIVServer")


class KeyMaterialParams(Parameter):
    """CKM_TLS_KEY_AND_MAC_DERIVE, of TLS 1.0 and 1.1."""

    struct: ClassVar[str] = "CK_SSL3_KEY_MAT_PARAMS"

    mac_bits: int = member("ulMacSizeInBits")
    key_bits: int = member("ulKeySizeInBits")
    iv_bits: int = member("ulIVSizeInBits")
    is_export: int = member("bIsExport")
    randoms: Randoms = nested(Randoms, "RandomInfo")
    returned: KeyMaterial | None = nested(KeyMaterial, "pReturnedKeyMaterial")


class TLS12KeyMaterialParams(Parameter):
    """CKM_TLS12_KEY_AND_MAC_DERIVE and CKM_TLS12_KEY_SAFE_DERIVE: `hash` is a CKM."""

    struct: ClassVar[str] = "CK_TLS12_KEY_MAT_PARAMS"

    mac_bits: int = member("ulMacSizeInBits")
    key_bits: int = member("ulKeySizeInBits")
    iv_bits: int = member("ulIVSizeInBits")
    is_export: int = member("bIsExport")
    randoms: Randoms = nested(Randoms, "RandomInfo")
    returned: KeyMaterial | None = nested(KeyMaterial, "pReturnedKeyMaterial")
    hash: int = member("prfHashMechanism")


class TLSKDFParams(Parameter):
    """CKM_TLS_KDF and CKM_TLS12_KDF, the exporters of RFC 5705: `prf` is a hash's CKM or CKM_TLS_PRF."""

    struct: ClassVar[str] = "CK_TLS_KDF_PARAMS"
    legacy: ClassVar[dict[str, tuple[int, ...]]] = {"prf": (CKM.TLS_PRF,)}

    prf: int = member("prfMechanism")
    label: bytes = member("pLabel", "ulLabelLength")
    randoms: Randoms = nested(Randoms, "RandomInfo")
    context: bytes = member("pContextData", "ulContextDataLength")


class TLSPRFParams(Parameter):
    """CKM_TLS_PRF: `output_len` holds the room, then what was written."""

    struct: ClassVar[str] = "CK_TLS_PRF_PARAMS"

    seed: bytes = member("pSeed", "ulSeedLen")
    label: bytes = member("pLabel", "ulLabelLen")
    output: Place = place("pOutput")
    output_len: Place = place("pulOutputLen")


class TLSMACParams(Parameter):
    """CKM_TLS_MAC and CKM_TLS12_MAC, of Finished messages: `hash` is a CKM or CKM_TLS_PRF, `side` 1 the server's."""

    struct: ClassVar[str] = "CK_TLS_MAC_PARAMS"
    legacy: ClassVar[dict[str, tuple[int, ...]]] = {"hash": (CKM.TLS_PRF,)}

    hash: int = member("prfHashMechanism")
    mac_len: int = member("ulMacLength")
    side: int = member("ulServerOrClient")
