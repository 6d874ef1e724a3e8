"""The attributes of managed objects: their structures, and `Attributes`, the table of all that have a meaning.

In KMIP 1.x an attribute travels as Attribute(name, index, value); what its value is follows from its name. In 2.x the
value travels alone, under the tag of its attribute. KMIP 1.4, "Attributes"; KMIP 2.1, "Object Attributes".
"""

from __future__ import annotations

import enum
from functools import cache
from typing import Annotated, ClassVar

from mrhsm_p11.kmip.structure import (
    ONLY_1,
    V1_1,
    V1_2,
    V1_3,
    V1_4,
    V2_0,
    Chosen,
    DateTime,
    Field,
    Get,
    Interval,
    Kind,
    LongInteger,
    Structure,
    schema,
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
    NISTKeyType,
    ObjectType,
    OpaqueDataType,
    PaddingMethod,
    ProtectionLevel,
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


# A value of an attribute that KMIP does not define is a str, bytes, bool or int; of any other type, or where the value
# is not what the table says, it is the item as it came.
AttributeValue = int | str | bytes | enum.Enum | Structure | Item


@structure
class VendorAttribute(Structure):
    """In KMIP 2 an attribute that the standard does not define; "x" is every client's vendor, "y" the server."""

    tolerant: ClassVar[bool] = True
    vendor_identification: str
    attribute_name: str
    attribute_value: Annotated[AttributeValue, Chosen(lambda get: None)]


@structure
class Attributes(Structure):
    """Every attribute: a row is the tag, what the value is, and the versions that have it.

    This is also how KMIP 2 writes them: one item for each instance. In KMIP 1 it is what the values of `Attribute` are.
    """

    tolerant: ClassVar[bool] = True
    unique_identifier: tuple[str, ...] = ()
    name: tuple[Name, ...] = ()
    object_type: tuple[ObjectType | int, ...] = ()
    cryptographic_algorithm: tuple[CryptographicAlgorithm | int, ...] = ()
    cryptographic_length: tuple[int, ...] = ()
    cryptographic_parameters: tuple[CryptographicParameters, ...] = ()
    cryptographic_domain_parameters: tuple[CryptographicDomainParameters, ...] = ()
    certificate_type: tuple[CertificateType | int, ...] = ()
    certificate_length: Annotated[tuple[int, ...], V1_1] = ()
    x_509_certificate_identifier: Annotated[tuple[X509CertificateIdentifier, ...], V1_1] = ()
    x_509_certificate_subject: Annotated[tuple[X509CertificateSubject, ...], V1_1] = ()
    x_509_certificate_issuer: Annotated[tuple[X509CertificateIssuer, ...], V1_1] = ()
    certificate_identifier: Annotated[tuple[CertificateIdentifier, ...], ONLY_1] = ()
    certificate_subject: Annotated[tuple[CertificateSubject, ...], ONLY_1] = ()
    certificate_issuer: Annotated[tuple[CertificateIssuer, ...], ONLY_1] = ()
    digital_signature_algorithm: Annotated[tuple[DigitalSignatureAlgorithm | int, ...], V1_1] = ()
    digest: tuple[Digest, ...] = ()
    operation_policy_name: Annotated[tuple[str, ...], ONLY_1] = ()
    cryptographic_usage_mask: tuple[int, ...] = ()
    lease_time: tuple[Interval, ...] = ()
    usage_limits: tuple[UsageLimits, ...] = ()
    state: tuple[State | int, ...] = ()
    initial_date: tuple[DateTime, ...] = ()
    activation_date: tuple[DateTime, ...] = ()
    process_start_date: tuple[DateTime, ...] = ()
    protect_stop_date: tuple[DateTime, ...] = ()
    deactivation_date: tuple[DateTime, ...] = ()
    destroy_date: tuple[DateTime, ...] = ()
    compromise_occurrence_date: tuple[DateTime, ...] = ()
    compromise_date: tuple[DateTime, ...] = ()
    revocation_reason: tuple[RevocationReason, ...] = ()
    archive_date: tuple[DateTime, ...] = ()
    object_group: tuple[str, ...] = ()
    fresh: Annotated[tuple[bool, ...], V1_1] = ()
    link: tuple[Link, ...] = ()
    application_specific_information: tuple[ApplicationSpecificInformation, ...] = ()
    contact_information: tuple[str, ...] = ()
    last_change_date: tuple[DateTime, ...] = ()
    alternative_name: Annotated[tuple[AlternativeName, ...], V1_2] = ()
    key_value_present: Annotated[tuple[bool, ...], V1_2] = ()
    key_value_location: Annotated[tuple[KeyValueLocation, ...], V1_2] = ()
    original_creation_date: Annotated[tuple[DateTime, ...], V1_2] = ()
    random_number_generator: Annotated[tuple[RNGParameters, ...], V1_3] = ()
    pkcs12_friendly_name: Annotated[tuple[str, ...], V1_4] = ()
    description: Annotated[tuple[str, ...], V1_4] = ()
    comment: Annotated[tuple[str, ...], V1_4] = ()
    sensitive: Annotated[tuple[bool, ...], V1_4] = ()
    always_sensitive: Annotated[tuple[bool, ...], V1_4] = ()
    extractable: Annotated[tuple[bool, ...], V1_4] = ()
    never_extractable: Annotated[tuple[bool, ...], V1_4] = ()
    key_format_type: Annotated[tuple[KeyFormatType | int, ...], V2_0] = ()
    nist_key_type: Annotated[tuple[NISTKeyType | int, ...], V2_0] = ()
    opaque_data_type: Annotated[tuple[OpaqueDataType | int, ...], V2_0] = ()
    protection_level: Annotated[tuple[ProtectionLevel | int, ...], V2_0] = ()
    protection_period: Annotated[tuple[Interval, ...], V2_0] = ()
    protection_storage_mask: Annotated[tuple[int, ...], V2_0] = ()
    quantum_safe: Annotated[tuple[bool, ...], V2_0] = ()
    short_unique_identifier: Annotated[tuple[bytes, ...], V2_0] = ()
    certificate_subject_cn: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_o: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_ou: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_email: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_c: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_st: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_l: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_uid: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_serial_number: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_title: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_dc: Annotated[tuple[str, ...], V2_0] = ()
    certificate_subject_dn_qualifier: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_cn: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_o: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_ou: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_email: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_c: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_st: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_l: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_uid: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_serial_number: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_title: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_dc: Annotated[tuple[str, ...], V2_0] = ()
    certificate_issuer_dn_qualifier: Annotated[tuple[str, ...], V2_0] = ()
    attribute: Annotated[tuple[VendorAttribute, ...], V2_0] = ()  # all that are not in this table


@cache
def attribute_rows() -> dict[str, Field]:
    """Return the row of every attribute, by its 1.x name."""
    return {attribute_name(row.name): row for row in schema(Attributes).fields if row.name != "attribute"}


def _row(get: Get) -> Field | None:
    return attribute_rows().get(str(get("attribute_name")))


def _kind(get: Get) -> Kind | None:
    row = _row(get)
    return row.kinds[0][1] if row else None


def _since(get: Get) -> Version | None:
    row = _row(get)
    return row.since if row else None


@structure
class Attribute(Structure):
    """One instance of an attribute: index None is that of single-valued ones, and 0; KMIP 2 has none.

    A name that the table lacks is "x-" or "y-" and the name of a vendor attribute, or its vendor, ":" and the name.
    """

    tolerant: ClassVar[bool] = True
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
