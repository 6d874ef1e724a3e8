"""The words of KMIP: PyKMIP's enumerations, and the few that they lack.

`kmip.core.enums` is run on its own, from its file and under a private name: the package's `__init__` would load
SQLAlchemy (300 ms instead of 12), and nothing is left in `sys.modules` that a later or earlier `import kmip` could
trip over. A private copy has its price: its members are not those of an imported `kmip.core.enums`; compare values.
"""

# ruff: noqa: PLC0414  (an alias of the same name is how a module says that it exports what it imported)

from __future__ import annotations

import enum
import importlib.util
from typing import TYPE_CHECKING

from mrhsm_p11._namespace import Namespace

if TYPE_CHECKING:
    from types import ModuleType

    from kmip.core.enums import (
        AlternativeNameType as AlternativeNameType,
    )
    from kmip.core.enums import (
        AttestationType as AttestationType,
    )
    from kmip.core.enums import (
        AttributeType as AttributeType,
    )
    from kmip.core.enums import (
        BatchErrorContinuationOption as BatchErrorContinuationOption,
    )
    from kmip.core.enums import (
        BlockCipherMode as BlockCipherMode,
    )
    from kmip.core.enums import (
        CertificateType as CertificateType,
    )
    from kmip.core.enums import (
        ClientRegistrationMethod as ClientRegistrationMethod,
    )
    from kmip.core.enums import (
        CredentialType as CredentialType,
    )
    from kmip.core.enums import (
        CryptographicAlgorithm as CryptographicAlgorithm,
    )
    from kmip.core.enums import (
        CryptographicUsageMask as CryptographicUsageMask,
    )
    from kmip.core.enums import (
        DerivationMethod as DerivationMethod,
    )
    from kmip.core.enums import (
        DestroyAction as DestroyAction,
    )
    from kmip.core.enums import (
        DigitalSignatureAlgorithm as DigitalSignatureAlgorithm,
    )
    from kmip.core.enums import (
        DRBGAlgorithm as DRBGAlgorithm,
    )
    from kmip.core.enums import (
        EncodingOption as EncodingOption,
    )
    from kmip.core.enums import (
        FIPS186Variation as FIPS186Variation,
    )
    from kmip.core.enums import (
        HashingAlgorithm as HashingAlgorithm,
    )
    from kmip.core.enums import (
        KeyCompressionType as KeyCompressionType,
    )
    from kmip.core.enums import (
        KeyFormatType as KeyFormatType,
    )
    from kmip.core.enums import (
        KeyRoleType as KeyRoleType,
    )
    from kmip.core.enums import (
        KeyValueLocationType as KeyValueLocationType,
    )
    from kmip.core.enums import (
        KeyWrapType as KeyWrapType,
    )
    from kmip.core.enums import (
        LinkType as LinkType,
    )
    from kmip.core.enums import (
        MaskGenerator as MaskGenerator,
    )
    from kmip.core.enums import (
        NameType as NameType,
    )
    from kmip.core.enums import (
        NISTKeyType as NISTKeyType,
    )
    from kmip.core.enums import (
        ObjectGroupMember as ObjectGroupMember,
    )
    from kmip.core.enums import (
        ObjectType as ObjectType,
    )
    from kmip.core.enums import (
        OpaqueDataType as OpaqueDataType,
    )
    from kmip.core.enums import (
        Operation as Operation,
    )
    from kmip.core.enums import (
        PaddingMethod as PaddingMethod,
    )
    from kmip.core.enums import (
        ProfileName as ProfileName,
    )
    from kmip.core.enums import (
        ProtectionLevel as ProtectionLevel,
    )
    from kmip.core.enums import (
        QueryFunction as QueryFunction,
    )
    from kmip.core.enums import (
        RecommendedCurve as RecommendedCurve,
    )
    from kmip.core.enums import (
        ResultReason as ResultReason,
    )
    from kmip.core.enums import (
        ResultStatus as ResultStatus,
    )
    from kmip.core.enums import (
        RevocationReasonCode as RevocationReasonCode,
    )
    from kmip.core.enums import (
        RNGAlgorithm as RNGAlgorithm,
    )
    from kmip.core.enums import (
        RNGMode as RNGMode,
    )
    from kmip.core.enums import (
        SecretDataType as SecretDataType,
    )
    from kmip.core.enums import (
        ShreddingAlgorithm as ShreddingAlgorithm,
    )
    from kmip.core.enums import (
        SplitKeyMethod as SplitKeyMethod,
    )
    from kmip.core.enums import (
        State as State,
    )
    from kmip.core.enums import (
        Tags as Tags,
    )
    from kmip.core.enums import (
        UnwrapMode as UnwrapMode,
    )
    from kmip.core.enums import (
        UsageLimitsUnit as UsageLimitsUnit,
    )
    from kmip.core.enums import (
        ValidationAuthorityType as ValidationAuthorityType,
    )
    from kmip.core.enums import (
        ValidationType as ValidationType,
    )
    from kmip.core.enums import (
        ValidityIndicator as ValidityIndicator,
    )
    from kmip.core.enums import (
        WrappingMethod as WrappingMethod,
    )


def _load_enumerations() -> ModuleType:
    package = importlib.util.find_spec("kmip")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("PyKMIP is not installed: its enumerations are the vocabulary of the KMIP client")
    path = f"{package.submodule_search_locations[0]}/core/enums.py"
    spec = importlib.util.spec_from_file_location(f"{__name__}._enumerations", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"PyKMIP has no {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_enumerations = _load_enumerations()
if not TYPE_CHECKING:
    globals().update({n: c for n, c in vars(_enumerations).items() if isinstance(c, enum.EnumMeta)})


Version = tuple[int, int]
VERSIONS: tuple[Version, ...] = ((1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0), (2, 1))
KMIP_2: Version = (2, 0)  # from which on attributes travel in another form


def version_text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


class ItemType(Namespace):
    """The type byte of a TTLV item, as plain ints: the codec compares them for every item."""

    STRUCTURE = 0x01
    INTEGER = 0x02
    LONG_INTEGER = 0x03
    BIG_INTEGER = 0x04
    ENUMERATION = 0x05
    BOOLEAN = 0x06
    TEXT_STRING = 0x07
    BYTE_STRING = 0x08
    DATE_TIME = 0x09
    INTERVAL = 0x0A
    DATE_TIME_EXTENDED = 0x0B


# Words of attribute names that are no words, and names that follow from their tag's in no other way.
ACRONYMS = frozenset({"c", "cn", "dc", "dn", "l", "nist", "o", "ou", "st", "uid"})
ATTRIBUTE_NAMES = {
    "x_509_certificate_identifier": "X.509 Certificate Identifier",
    "x_509_certificate_subject": "X.509 Certificate Subject",
    "x_509_certificate_issuer": "X.509 Certificate Issuer",
    "pkcs12_friendly_name": "PKCS#12 Friendly Name",
}


def attribute_name(tag_name: str) -> str:
    """Return the 1.x name of the attribute with this tag: `object_group` is "Object Group"."""
    words = (word.upper() if word in ACRONYMS else word.title() for word in tag_name.split("_"))
    return ATTRIBUTE_NAMES.get(tag_name) or " ".join(words)


def tag_of(name: str) -> int:
    """Return the tag of a structure or field: `KeyBlock` and `key_block` are 0x420040."""
    value: int = _tags[name.replace("_", "").upper()]
    return value


def tag_name(tag: int) -> str:
    """Return a tag's name for people, its hexadecimal form where it has none."""
    return _tag_names.get(tag) or f"0x{tag:06X}"


def mask(*bits: CryptographicUsageMask) -> int:
    """Return the Cryptographic Usage Mask with these bits."""
    return sum({int(bit.value) for bit in bits})


def reason_name(reason: int) -> str:
    """Return a Result Reason's name, its hexadecimal form where it is a vendor's."""
    return _reasons.get(reason) or f"0x{reason:08X}"


_tags: dict[str, int] = {name.replace("_", ""): tag.value for name, tag in Tags.__members__.items()}
_tag_names: dict[int, str] = {tag.value: tag.name for tag in Tags}
_reasons: dict[int, str] = {reason.value: reason.name for reason in ResultReason}
