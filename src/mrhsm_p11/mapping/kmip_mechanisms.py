"""How a key manager is asked for what a mechanism does with a key that it keeps.

One row a mechanism: the ways to ask, best first. Which of them a server answers as PKCS #11 wants it is found out by
store.kmip.probing; what has no row here is never asked.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mrhsm_p11.constants import CKF, CKM
from mrhsm_p11.kmip.vocabulary import BlockCipherMode, CryptographicAlgorithm, HashingAlgorithm, PaddingMethod


class Kind(enum.Enum):
    """The KMIP operation; its value is the flags of the functions that it can serve."""

    CIPHER = (CKF.ENCRYPT, CKF.DECRYPT)  # Encrypt and Decrypt; C_WrapKey and C_UnwrapKey go along
    MAC = (CKF.SIGN, CKF.VERIFY)  # MAC; what is to be verified is compared here
    SIGN = (CKF.SIGN,)  # Sign; public keys verify here
    WRAP = (CKF.WRAP,)  # Get with a Key Wrapping Specification


@dataclass(frozen=True, slots=True)
class Way:
    """The Cryptographic Parameters of one way to ask.

    `surplus`: the server fills the last block up or adds one, though the mechanism does not; see store.kmip.remote.
    """

    kind: Kind
    algorithm: CryptographicAlgorithm
    mode: BlockCipherMode | None = None
    padding: PaddingMethod | None = None
    hash: HashingAlgorithm | None = None
    surplus: bool = False


_HASHES = {  # how constants of a hash begin: its HMAC, and the hash itself
    "MD5": (CryptographicAlgorithm.HMAC_MD5, HashingAlgorithm.MD5),
    "SHA_1": (CryptographicAlgorithm.HMAC_SHA1, HashingAlgorithm.SHA_1),
    "SHA224": (CryptographicAlgorithm.HMAC_SHA224, HashingAlgorithm.SHA_224),
    "SHA256": (CryptographicAlgorithm.HMAC_SHA256, HashingAlgorithm.SHA_256),
    "SHA384": (CryptographicAlgorithm.HMAC_SHA384, HashingAlgorithm.SHA_384),
    "SHA512": (CryptographicAlgorithm.HMAC_SHA512, HashingAlgorithm.SHA_512),
    "SHA3_224": (CryptographicAlgorithm.HMAC_SHA3_224, HashingAlgorithm.SHA3_224),
    "SHA3_256": (CryptographicAlgorithm.HMAC_SHA3_256, HashingAlgorithm.SHA3_256),
    "SHA3_384": (CryptographicAlgorithm.HMAC_SHA3_384, HashingAlgorithm.SHA3_384),
    "SHA3_512": (CryptographicAlgorithm.HMAC_SHA3_512, HashingAlgorithm.SHA3_512),
}
_RSA_HASHES = {  # those of CKM_<hash>_RSA_PKCS and CKM_<hash>_RSA_PKCS_PSS
    ("SHA1" if name == "SHA_1" else name): hashing for name, (_, hashing) in _HASHES.items() if name != "MD5"
}


def _blocks(name: str, algorithm: CryptographicAlgorithm) -> dict[int, tuple[Way, ...]]:
    """Return ECB, CBC and CBC with padding of a block cipher."""

    def ways(mode: BlockCipherMode) -> tuple[Way, ...]:
        return (
            Way(Kind.CIPHER, algorithm, mode, PaddingMethod.NONE),
            Way(Kind.CIPHER, algorithm, mode, PaddingMethod.PKCS5, surplus=True),
        )

    padded = Way(Kind.CIPHER, algorithm, BlockCipherMode.CBC, PaddingMethod.PKCS5)
    return {
        getattr(CKM, f"{name}_ECB"): ways(BlockCipherMode.ECB),
        getattr(CKM, f"{name}_CBC"): ways(BlockCipherMode.CBC),
        getattr(CKM, f"{name}_CBC_PAD"): (padded,),
    }


def _streams() -> dict[int, tuple[Way, ...]]:
    modes = {
        CKM.AES_CTR: BlockCipherMode.CTR,
        CKM.AES_OFB: BlockCipherMode.OFB,
        CKM.AES_CFB128: BlockCipherMode.CFB,
        CKM.AES_GCM: BlockCipherMode.GCM,
    }
    return {mechanism: (Way(Kind.CIPHER, CryptographicAlgorithm.AES, mode),) for mechanism, mode in modes.items()}


def _macs() -> dict[int, tuple[Way, ...]]:
    found: dict[int, tuple[Way, ...]] = {}
    for name, (algorithm, _) in _HASHES.items():
        for suffix in ("HMAC", "HMAC_GENERAL"):
            found[getattr(CKM, f"{name}_{suffix}")] = (Way(Kind.MAC, algorithm),)
    cmac = Way(Kind.MAC, CryptographicAlgorithm.AES, BlockCipherMode.CMAC)
    return found | {CKM.AES_CMAC: (cmac,), CKM.AES_CMAC_GENERAL: (cmac,)}


def _signatures() -> dict[int, tuple[Way, ...]]:
    found: dict[int, tuple[Way, ...]] = {}
    for name, hashing in _RSA_HASHES.items():
        for suffix, padding in (("RSA_PKCS", PaddingMethod.PKCS1v15), ("RSA_PKCS_PSS", PaddingMethod.PSS)):
            way = Way(Kind.SIGN, CryptographicAlgorithm.RSA, padding=padding, hash=hashing)
            found[getattr(CKM, f"{name}_{suffix}")] = (way,)
    return found


WAYS: dict[int, tuple[Way, ...]] = {
    **_blocks("AES", CryptographicAlgorithm.AES),
    **_blocks("DES3", CryptographicAlgorithm.TRIPLE_DES),
    **_streams(),
    **_macs(),
    **_signatures(),
    CKM.AES_KEY_WRAP: (Way(Kind.WRAP, CryptographicAlgorithm.AES, BlockCipherMode.NIST_KEY_WRAP),),
}
