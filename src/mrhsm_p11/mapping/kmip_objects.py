"""PKCS #11 objects in KMIP's words: object types, algorithms, usage masks, formats, states. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.kmip.vocabulary import (
    CryptographicAlgorithm,
    CryptographicUsageMask,
    KeyFormatType,
    ObjectType,
)

# Classes that have an object type of their own; every other class travels as an Opaque Object with a blob.
OBJECT_TYPES: dict[int, ObjectType] = {
    CKO.CERTIFICATE: ObjectType.CERTIFICATE,
    CKO.PUBLIC_KEY: ObjectType.PUBLIC_KEY,
    CKO.PRIVATE_KEY: ObjectType.PRIVATE_KEY,
    CKO.SECRET_KEY: ObjectType.SYMMETRIC_KEY,
    CKO.DATA: ObjectType.OPAQUE_DATA,
}

# How an object without a blob is shown. Secret Data is a key of no known kind: shown as data, anyone could read it.
CLASSES: dict[ObjectType, int] = {
    ObjectType.CERTIFICATE: CKO.CERTIFICATE,
    ObjectType.PUBLIC_KEY: CKO.PUBLIC_KEY,
    ObjectType.PRIVATE_KEY: CKO.PRIVATE_KEY,
    ObjectType.SYMMETRIC_KEY: CKO.SECRET_KEY,
    ObjectType.SECRET_DATA: CKO.SECRET_KEY,
    ObjectType.OPAQUE_DATA: CKO.DATA,
}

# KMIP objects that PKCS #11 has no class for.
HIDDEN_TYPES = frozenset(
    {ObjectType.SPLIT_KEY, ObjectType.TEMPLATE, ObjectType.PGP_KEY, ObjectType.CERTIFICATE_REQUEST}
)

# Both algorithms of a row read as its key type; the first is sent. KMIP 1.x has no generic secret: HMAC-SHA-256 is
# what servers accept any length for, and the blob says that the key is generic.
ALGORITHMS: dict[int, tuple[CryptographicAlgorithm, ...]] = {
    CKK.AES: (CryptographicAlgorithm.AES,),
    CKK.DES: (CryptographicAlgorithm.DES,),
    CKK.DES2: (CryptographicAlgorithm.TRIPLE_DES,),
    CKK.DES3: (CryptographicAlgorithm.TRIPLE_DES,),
    CKK.RC2: (CryptographicAlgorithm.RC2,),
    CKK.RC4: (CryptographicAlgorithm.RC4,),
    CKK.RC5: (CryptographicAlgorithm.RC5,),
    CKK.IDEA: (CryptographicAlgorithm.IDEA,),
    CKK.SKIPJACK: (CryptographicAlgorithm.SKIPJACK,),
    CKK.CAST5: (CryptographicAlgorithm.CAST5,),
    CKK.BLOWFISH: (CryptographicAlgorithm.BLOWFISH,),
    CKK.TWOFISH: (CryptographicAlgorithm.TWOFISH,),
    CKK.CAMELLIA: (CryptographicAlgorithm.CAMELLIA,),
    CKK.ARIA: (CryptographicAlgorithm.ARIA,),
    CKK.SEED: (CryptographicAlgorithm.SEED,),
    CKK.CHACHA20: (CryptographicAlgorithm.CHACHA20, CryptographicAlgorithm.CHACHA20_POLY1305),
    CKK.POLY1305: (CryptographicAlgorithm.POLY1305,),
    CKK.GENERIC_SECRET: (CryptographicAlgorithm.HMAC_SHA256, CryptographicAlgorithm.ONE_TIME_PAD),
    CKK.HKDF: (CryptographicAlgorithm.HMAC_SHA256,),  # as a generic secret
    CKK.MD5_HMAC: (CryptographicAlgorithm.HMAC_MD5,),
    CKK.SHA_1_HMAC: (CryptographicAlgorithm.HMAC_SHA1,),
    CKK.SHA224_HMAC: (CryptographicAlgorithm.HMAC_SHA224,),
    CKK.SHA256_HMAC: (CryptographicAlgorithm.HMAC_SHA256,),
    CKK.SHA384_HMAC: (CryptographicAlgorithm.HMAC_SHA384,),
    CKK.SHA512_HMAC: (CryptographicAlgorithm.HMAC_SHA512,),
    CKK.SHA3_224_HMAC: (CryptographicAlgorithm.HMAC_SHA3_224,),
    CKK.SHA3_256_HMAC: (CryptographicAlgorithm.HMAC_SHA3_256,),
    CKK.SHA3_384_HMAC: (CryptographicAlgorithm.HMAC_SHA3_384,),
    CKK.SHA3_512_HMAC: (CryptographicAlgorithm.HMAC_SHA3_512,),
    CKK.RSA: (CryptographicAlgorithm.RSA,),
    CKK.DSA: (CryptographicAlgorithm.DSA,),
    CKK.DH: (CryptographicAlgorithm.DH,),
    CKK.EC: (
        CryptographicAlgorithm.ECDSA,
        CryptographicAlgorithm.EC,
        CryptographicAlgorithm.ECDH,
        CryptographicAlgorithm.ECMQV,
    ),
}

# Algorithms of managed objects that PKCS #11 2.40 to 3.2 has no key type for: such an object is a generic secret.
UNTYPED_ALGORITHMS = frozenset(
    {
        CryptographicAlgorithm.MARS,
        CryptographicAlgorithm.SHA3_224,
        CryptographicAlgorithm.SHA3_256,
        CryptographicAlgorithm.SHA3_384,
        CryptographicAlgorithm.SHA3_512,
        CryptographicAlgorithm.SHAKE_128,
        CryptographicAlgorithm.SHAKE_256,
        CryptographicAlgorithm.SM2,
        CryptographicAlgorithm.SM3,
        CryptographicAlgorithm.SM4,
        CryptographicAlgorithm.GOST_R_34_10_2012,
        CryptographicAlgorithm.GOST_R_34_11_2012,
        CryptographicAlgorithm.GOST_R_34_13_2015,
        CryptographicAlgorithm.GOST_28147_89,
        CryptographicAlgorithm.XMSS,
        CryptographicAlgorithm.SPHINCS_256,
        CryptographicAlgorithm.MCELIECE,
        CryptographicAlgorithm.MCELIECE_6960119,
        CryptographicAlgorithm.MCELIECE_8192128,
    }
)


def _key_types() -> dict[CryptographicAlgorithm, int]:
    types: dict[CryptographicAlgorithm, int] = {
        CryptographicAlgorithm.ED25519: CKK.EC_EDWARDS,
        CryptographicAlgorithm.ED448: CKK.EC_EDWARDS,
    }
    for key_type, algorithms in ALGORITHMS.items():
        for algorithm in algorithms:
            types[algorithm] = key_type  # rows further down are the more particular ones
    return types


# Bits of a Triple DES key, with its parity or without -> its key type, its bits with parity.
TRIPLE_DES: dict[int, tuple[int, int]] = {
    112: (CKK.DES2, 128),
    128: (CKK.DES2, 128),
    168: (CKK.DES3, 192),
    192: (CKK.DES3, 192),
}

# What a managed object of this algorithm is when no blob says more.
KEY_TYPES: dict[CryptographicAlgorithm, int] = _key_types()


@dataclass(frozen=True, slots=True)
class Usage:
    """One usage flag of PKCS #11 and the mask bits that grant it, for secret keys and for asymmetric ones."""

    secret: CryptographicUsageMask | None
    asymmetric: CryptographicUsageMask | None
    classes: tuple[int, ...]


_MASK = CryptographicUsageMask
USAGE: dict[int, Usage] = {
    CKA.ENCRYPT: Usage(_MASK.ENCRYPT, _MASK.ENCRYPT, (CKO.SECRET_KEY, CKO.PUBLIC_KEY)),
    CKA.DECRYPT: Usage(_MASK.DECRYPT, _MASK.DECRYPT, (CKO.SECRET_KEY, CKO.PRIVATE_KEY)),
    CKA.SIGN: Usage(_MASK.MAC_GENERATE, _MASK.SIGN, (CKO.SECRET_KEY, CKO.PRIVATE_KEY)),
    CKA.VERIFY: Usage(_MASK.MAC_VERIFY, _MASK.VERIFY, (CKO.SECRET_KEY, CKO.PUBLIC_KEY)),
    CKA.SIGN_RECOVER: Usage(None, _MASK.SIGN, (CKO.PRIVATE_KEY,)),
    CKA.VERIFY_RECOVER: Usage(None, _MASK.VERIFY, (CKO.PUBLIC_KEY,)),
    CKA.WRAP: Usage(_MASK.WRAP_KEY, _MASK.WRAP_KEY, (CKO.SECRET_KEY, CKO.PUBLIC_KEY)),
    CKA.UNWRAP: Usage(_MASK.UNWRAP_KEY, _MASK.UNWRAP_KEY, (CKO.SECRET_KEY, CKO.PRIVATE_KEY)),
    CKA.DERIVE: Usage(_MASK.DERIVE_KEY, _MASK.KEY_AGREEMENT, (CKO.SECRET_KEY, CKO.PUBLIC_KEY, CKO.PRIVATE_KEY)),
}

# Registered in the first format that the server takes; read in whichever it answers.
FORMATS: dict[tuple[int, int], tuple[KeyFormatType, ...]] = {
    (CKO.PRIVATE_KEY, CKK.RSA): (KeyFormatType.PKCS_1, KeyFormatType.PKCS_8),
    (CKO.PRIVATE_KEY, CKK.EC): (KeyFormatType.EC_PRIVATE_KEY, KeyFormatType.PKCS_8),
    (CKO.PRIVATE_KEY, CKK.DSA): (KeyFormatType.PKCS_8,),
    (CKO.PRIVATE_KEY, CKK.DH): (KeyFormatType.PKCS_8,),
    (CKO.PUBLIC_KEY, CKK.RSA): (KeyFormatType.X_509, KeyFormatType.PKCS_1),
    (CKO.PUBLIC_KEY, CKK.EC): (KeyFormatType.X_509,),
    (CKO.PUBLIC_KEY, CKK.DSA): (KeyFormatType.X_509,),
    (CKO.PUBLIC_KEY, CKK.DH): (KeyFormatType.X_509,),
}


def usage_mask(cls: int, attributes: dict[int, object]) -> int:
    """Return the union of the mask bits that these attributes allow."""
    mask = 0
    for attribute, usage in USAGE.items():
        bit = usage.secret if cls == CKO.SECRET_KEY else usage.asymmetric
        if attributes.get(attribute) is True and bit is not None:
            mask |= bit.value
    return mask


def usage_flags(cls: int, mask: int) -> dict[int, bool]:
    """Return every usage attribute that an object of this class has, as its mask grants it."""
    flags: dict[int, bool] = {}
    for attribute, usage in USAGE.items():
        bit = usage.secret if cls == CKO.SECRET_KEY else usage.asymmetric
        if cls in usage.classes:
            flags[attribute] = bit is not None and bool(mask & bit.value)
    return flags
