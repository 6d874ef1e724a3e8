"""The attributes of managed objects: their structures, and `Attributes`, the table of all that have a meaning.

In KMIP 1.x an attribute travels as Attribute(name, index, value); what its value is follows from its name.
KMIP 1.4, "Attributes".
"""

from __future__ import annotations

import enum
from functools import cache
from typing import Annotated

from mrhsm_p11.kmip.structure import (
    V1_1,
    V1_2,
    V1_3,
    V1_4,
    Chosen,
    DateTime,
    Get,
    Interval,
    Kind,
    LongInteger,
    Structure,
    kinds_of,
    structure,
)
from mrhsm_p11.kmip.ttlv import Item
from mrhsm_p11.kmip.vocabulary import (
    AlternativeNameType,
    BlockCipherMode,
    CertificateType,
    CryptographicAlgorithm,
    DigitalSignatureAlgorithm,
    DRBGAlgorithm,
    FIPS186Variation,
    HashingAlgorithm,
    KeyFormatType,
    KeyRoleType,
    KeyValueLocationType,
    LinkType,
    MaskGenerator,
    NameType,
    ObjectType,
    PaddingMethod,
    RecommendedCurve,
    RevocationReasonCode,
    RNGAlgorithm,
    State,
    UsageLimitsUnit,
    Version,
    attribute_name,
)


@structure
class Name(Structure):
    name_value: str
    name_type: NameType | int


@structure
class CryptographicParameters(Structure):
    block_cipher_mode: BlockCipherMode | int | None = None
    padding_method: PaddingMethod | int | None = None
    hashing_algorithm: HashingAlgorithm | int | None = None
    key_role_type: KeyRoleType | int | None = None
    digital_signature_algorithm: Annotated[DigitalSignatureAlgorithm | int | None, V1_2] = None
    cryptographic_algorithm: Annotated[CryptographicAlgorithm | int | None, V1_2] = None
    random_iv: Annotated[bool | None, V1_2] = None
    iv_length: Annotated[int | None, V1_2] = None
    tag_length: Annotated[int | None, V1_2] = None
    fixed_field_length: Annotated[int | None, V1_2] = None
    invocation_field_length: Annotated[int | None, V1_2] = None
    counter_length: Annotated[int | None, V1_2] = None
    initial_counter_value: Annotated[int | None, V1_2] = None
    salt_length: Annotated[int | None, V1_4] = None
    mask_generator: Annotated[MaskGenerator | int | None, V1_4] = None
    mask_generator_hashing_algorithm: Annotated[HashingAlgorithm | int | None, V1_4] = None
    p_source: Annotated[bytes | None, V1_4] = None
    trailer_field: Annotated[int | None, V1_4] = None


@structure
class CryptographicDomainParameters(Structure):
    qlength: int | None = None
    recommended_curve: RecommendedCurve | int | None = None


@structure
class X509CertificateIdentifier(Structure):
    issuer_distinguished_name: bytes
    certificate_serial_number: bytes


@structure
class X509CertificateSubject(Structure):
    subject_distinguished_name: bytes
    subject_alternative_name: tuple[bytes, ...] = ()


@structure
class X509CertificateIssuer(Structure):
    issuer_distinguished_name: bytes
    issuer_alternative_name: tuple[bytes, ...] = ()


@structure
class CertificateIdentifier(Structure):
    issuer: str
    serial_number: str | None = None


@structure
class CertificateSubject(Structure):
    certificate_subject_distinguished_name: str
    certificate_subject_alternative_name: tuple[str, ...] = ()


@structure
class CertificateIssuer(Structure):
    certificate_issuer_distinguished_name: str
    certificate_issuer_alternative_name: tuple[str, ...] = ()


@structure
class Digest(Structure):
    hashing_algorithm: HashingAlgorithm | int
    digest_value: bytes | None = None
    key_format_type: Annotated[KeyFormatType | int | None, V1_1] = None


@structure
class UsageLimits(Structure):
    usage_limits_total: LongInteger
    usage_limits_count: LongInteger | None = None
    usage_limits_unit: UsageLimitsUnit | int


@structure
class RevocationReason(Structure):
    revocation_reason_code: RevocationReasonCode | int
    revocation_message: str | None = None


@structure
class Link(Structure):
    link_type: LinkType | int
    linked_object_identifier: str


@structure
class ApplicationSpecificInformation(Structure):
    application_namespace: str
    application_data: str | None = None


@structure
class AlternativeName(Structure):
    alternative_name_value: str
    alternative_name_type: AlternativeNameType | int


@structure
class KeyValueLocation(Structure):
    key_value_location_value: str
    key_value_location_type: KeyValueLocationType | int


@structure
class RNGParameters(Structure):
    rng_algorithm: RNGAlgorithm | int
    cryptographic_algorithm: CryptographicAlgorithm | int | None = None
    cryptographic_length: int | None = None
    hashing_algorithm: HashingAlgorithm | int | None = None
    drbg_algorithm: DRBGAlgorithm | int | None = None
    recommended_curve: RecommendedCurve | int | None = None
    fips186_variation: FIPS186Variation | int | None = None
    prediction_resistance: bool | None = None


class Attributes:
    """Every attribute of KMIP 1.x: a row is the tag, what the value is, and the version that brought it."""

    unique_identifier: str
    name: Name
    object_type: ObjectType | int
    cryptographic_algorithm: CryptographicAlgorithm | int
    cryptographic_length: int
    cryptographic_parameters: CryptographicParameters
    cryptographic_domain_parameters: CryptographicDomainParameters
    certificate_type: CertificateType | int
    certificate_length: Annotated[int, V1_1]
    x_509_certificate_identifier: Annotated[X509CertificateIdentifier, V1_1]
    x_509_certificate_subject: Annotated[X509CertificateSubject, V1_1]
    x_509_certificate_issuer: Annotated[X509CertificateIssuer, V1_1]
    certificate_identifier: CertificateIdentifier
    certificate_subject: CertificateSubject
    certificate_issuer: CertificateIssuer
    digital_signature_algorithm: Annotated[DigitalSignatureAlgorithm | int, V1_1]
    digest: Digest
    operation_policy_name: str
    cryptographic_usage_mask: int
    lease_time: Interval
    usage_limits: UsageLimits
    state: State | int
    initial_date: DateTime
    activation_date: DateTime
    process_start_date: DateTime
    protect_stop_date: DateTime
    deactivation_date: DateTime
    destroy_date: DateTime
    compromise_occurrence_date: DateTime
    compromise_date: DateTime
    revocation_reason: RevocationReason
    archive_date: DateTime
    object_group: str
    fresh: Annotated[bool, V1_1]
    link: Link
    application_specific_information: ApplicationSpecificInformation
    contact_information: str
    last_change_date: DateTime
    alternative_name: Annotated[AlternativeName, V1_2]
    key_value_present: Annotated[bool, V1_2]
    key_value_location: Annotated[KeyValueLocation, V1_2]
    original_creation_date: Annotated[DateTime, V1_2]
    random_number_generator: Annotated[RNGParameters, V1_3]
    pkcs12_friendly_name: Annotated[str, V1_4]
    description: Annotated[str, V1_4]
    comment: Annotated[str, V1_4]
    sensitive: Annotated[bool, V1_4]
    always_sensitive: Annotated[bool, V1_4]
    extractable: Annotated[bool, V1_4]
    never_extractable: Annotated[bool, V1_4]


# A value of an attribute that KMIP does not define is a str, bytes, bool or int; of any other type, or where the type
# is not the one that the table says, it is the item as it came.
AttributeValue = int | str | bytes | enum.Enum | Structure | Item


@cache
def attribute_rows() -> dict[str, tuple[Kind, Version | None]]:
    """Return the kind and first version of every attribute, by its 1.x name."""
    return {attribute_name(tag_name): row for tag_name, row in kinds_of(Attributes).items()}


def _kind(get: Get) -> Kind | None:
    return attribute_rows().get(str(get("attribute_name")), (None, None))[0]


def _since(get: Get) -> Version | None:
    return attribute_rows().get(str(get("attribute_name")), (None, None))[1]


@structure
class Attribute(Structure):
    """One instance of an attribute: index None is that of single-valued ones, and 0."""

    attribute_name: str
    attribute_index: int | None = None
    attribute_value: Annotated[AttributeValue | None, Chosen(_kind, _since)] = None


def attribute(name: str, value: AttributeValue, index: int | None = None) -> Attribute:
    """Return the attribute of this 1.x name, such as "Object Group" or "x-anything"."""
    return Attribute(attribute_name=name, attribute_index=index, attribute_value=value)


def name_attribute(text: str, index: int | None = None) -> Attribute:
    """Return a Name that is an uninterpreted text string."""
    value = Name(name_value=text, name_type=NameType.UNINTERPRETED_TEXT_STRING)
    return attribute("Name", value, index)
