"""Which attributes an object of a class and key type has: the table of attribute_rows, read by kind of object."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from mrhsm_p11.constants import CKA, CKC, CKF, CKK, CKO
from mrhsm_p11.mapping.attribute_rows import ROWS, AttributeRow, AttributeUse, decode, encode
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import ROWS as MECHANISMS

__all__ = [
    "ROWS",
    "AttributeRow",
    "AttributeUse",
    "decode",
    "encode",
    "for_class",
    "from_material",
    "kinds",
    "supported",
]

# A usage attribute that the template leaves open is true when some mechanism here gives the key that use, as consumers
# of other tokens expect. Wrapping is not among them: a key that may both decrypt and wrap gives away what it wraps.
_USAGES = {
    CKA.ENCRYPT: CKF.ENCRYPT,
    CKA.DECRYPT: CKF.DECRYPT,
    CKA.SIGN: CKF.SIGN,
    CKA.VERIFY: CKF.VERIFY,
    CKA.SIGN_RECOVER: CKF.SIGN_RECOVER,
    CKA.VERIFY_RECOVER: CKF.VERIFY_RECOVER,
    CKA.ENCAPSULATE: CKF.ENCAPSULATE,
    CKA.DECAPSULATE: CKF.DECAPSULATE,
}

_STORED_CLASSES = {
    CKO.DATA: "data",
    CKO.CERTIFICATE: "certificate",
    CKO.PUBLIC_KEY: "public",
    CKO.PRIVATE_KEY: "private",
    CKO.SECRET_KEY: "secret",
    CKO.DOMAIN_PARAMETERS: "domain",
    CKO.TRUST: "trust",
}
OWNERS_DATES = (CKA.START_DATE, CKA.END_DATE)
UNTYPED_CLASSES = (CKO.DATA, CKO.TRUST)  # whose objects have neither key nor certificate type
# Key types that objects can have, by what their attributes are; a public "ec" is an "ec-public".
_SECRET_KINDS = {
    CKK.AES: "secret-value",
    CKK.AES_XTS: "secret-value",
    CKK.DES2: "secret-fixed",
    CKK.DES3: "secret-fixed",
    CKK.CHACHA20: "secret-fixed",
    CKK.POLY1305: "secret-fixed",
    CKK.GENERIC_SECRET: "secret-value",
    CKK.HKDF: "secret-value",
    CKK.SHA_1_HMAC: "secret-value",
    CKK.SHA224_HMAC: "secret-value",
    CKK.SHA256_HMAC: "secret-value",
    CKK.SHA384_HMAC: "secret-value",
    CKK.SHA512_HMAC: "secret-value",
    CKK.SHA512_224_HMAC: "secret-value",
    CKK.SHA512_256_HMAC: "secret-value",
    CKK.SHA3_224_HMAC: "secret-value",
    CKK.SHA3_256_HMAC: "secret-value",
    CKK.SHA3_384_HMAC: "secret-value",
    CKK.SHA3_512_HMAC: "secret-value",
    CKK.MD5_HMAC: "secret-value",
    CKK.BLAKE2B_160_HMAC: "secret-value",
    CKK.BLAKE2B_256_HMAC: "secret-value",
    CKK.BLAKE2B_384_HMAC: "secret-value",
    CKK.BLAKE2B_512_HMAC: "secret-value",
}
_PAIR_KINDS = {
    CKK.RSA: "rsa",
    CKK.EC: "ec",
    CKK.EC_EDWARDS: "ec",
    CKK.EC_MONTGOMERY: "ec",
    CKK.DSA: "dsa",
    CKK.DH: "dh",
    CKK.ML_KEM: "pq",
    CKK.ML_DSA: "pq",
}
_DOMAIN_KINDS = {CKK.DSA: "dsa", CKK.DH: "dh"}
_KEY_KINDS = {
    **{(CKO.SECRET_KEY, key_type): (kind,) for key_type, kind in _SECRET_KINDS.items()},
    **{(CKO.PUBLIC_KEY, key_type): (f"{kind}-public",) for key_type, kind in _PAIR_KINDS.items()},
    **{(CKO.PRIVATE_KEY, key_type): (f"{kind}-private",) for key_type, kind in _PAIR_KINDS.items()},
    **{(CKO.DOMAIN_PARAMETERS, key_type): (f"{kind}-domain",) for key_type, kind in _DOMAIN_KINDS.items()},
    (CKO.CERTIFICATE, CKC.X_509): ("x509",),
}


def supported(cls: int, key_type: int | None) -> bool:
    """Tell whether objects of this class and key type (certificate type, None where neither applies) can be stored."""
    return (cls, key_type) in _KEY_KINDS or (cls in UNTYPED_CLASSES and key_type is None)


def kinds(cls: int, key_type: int | None) -> tuple[str, ...]:
    """Return every kind that an object of this class and key type is; an unknown class is only "object"."""
    if cls == CKO.CERTIFICATE and key_type is None:
        key_type = CKC.X_509  # the only one there is
    if cls == CKO.PROFILE:
        return ("object", "storage", "profile")
    if cls == CKO.MECHANISM:
        return ("object", "mechanism")
    if cls not in _STORED_CLASSES:
        return ("object",)
    found = ["object", "storage", _STORED_CLASSES[cls]]
    if cls in (CKO.PUBLIC_KEY, CKO.PRIVATE_KEY, CKO.SECRET_KEY):
        found.append("key")
    if key_type is not None and (cls, key_type) in _KEY_KINDS:
        found += _KEY_KINDS[cls, key_type]
    return tuple(found)


def from_material(use: AttributeUse, attributes: Mapping[int, Value]) -> bool:
    """Tell whether an object's value of an attribute comes from its material, so that no record keeps it.

    A certificate that is only a CKA_URL has no material to say the rest; an empty CKA_CHECK_VALUE says there is none;
    the dates of a certificate are its own only where nobody gives others.
    """
    if use.type == CKA.CHECK_VALUE and attributes.get(CKA.CHECK_VALUE) == b"":
        return False
    if use.type in OWNERS_DATES and attributes.get(use.type):
        return False
    return use.material and (use.type == CKA.VALUE or not attributes.get(CKA.URL))


@cache
def for_class(cls: int, key_type: int | None = None) -> Mapping[int, AttributeUse]:
    """Return the attributes of an object of this class and key type (for certificates: certificate type)."""
    mine = frozenset(kinds(cls, key_type))
    uses = {use.type: use for row in ROWS.values() for use in row.uses if not mine.isdisjoint(use.kinds)}
    for usage, flag in _USAGES.items():
        if usage in uses and any(key_type in row.key_types and row.flags & flag for row in MECHANISMS.values()):
            use = uses[usage]
            uses[usage] = AttributeUse(use.type, use.codec, use.kinds, use.notes, True, use.material)
    return uses
