"""Managed objects: keys, certificates, secrets, and the blocks that hold their bytes.

KMIP 1.4, "Objects".
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, TypeAlias

from mrhsm_p11.kmip.attributes import Attribute, Attributes, CryptographicParameters, Name
from mrhsm_p11.kmip.structure import ONLY_1, V1_1, BigInteger, InTwo, Structure, structure
from mrhsm_p11.kmip.ttlv import TTLVError
from mrhsm_p11.kmip.typed import gather, in_two, spread
from mrhsm_p11.kmip.vocabulary import (
    CertificateType,
    CryptographicAlgorithm,
    EncodingOption,
    KeyCompressionType,
    KeyFormatType,
    ObjectType,
    OpaqueDataType,
    RecommendedCurve,
    SecretDataType,
    SplitKeyMethod,
    WrappingMethod,
)
from mrhsm_p11.secret import Secret


@structure
class TemplateAttribute(Structure):
    """The attributes of a new object; templates, which `name` names, ended with KMIP 1."""

    name: Annotated[tuple[Name, ...], ONLY_1] = ()
    attribute: tuple[Attribute, ...] = ()


def template_in_two(name: str) -> InTwo:
    """Mark a field that KMIP 2 writes as this set of attributes."""
    return InTwo(name, tuple[Attributes, ...], _gathered, _template)


def _gathered(template: TemplateAttribute) -> tuple[Attributes]:
    if template.name:
        raise TTLVError("KMIP 2 has no templates")
    return (gather(template.attribute),)


def _template(sets: tuple[Attributes, ...]) -> TemplateAttribute:
    return TemplateAttribute(attribute=tuple(one for each in sets for one in spread(each)))


@structure
class KeyMaterial(Structure):
    """The numbers of a transparent key: which of them there are follows from the Key Format Type."""

    recommended_curve: RecommendedCurve | int | None = None
    key: Secret | None = None
    modulus: BigInteger | None = None
    private_exponent: BigInteger | None = field(default=None, repr=False)
    public_exponent: BigInteger | None = None
    p: BigInteger | None = field(default=None, repr=False)
    q: BigInteger | None = field(default=None, repr=False)
    g: BigInteger | None = None
    j: BigInteger | None = None
    x: BigInteger | None = field(default=None, repr=False)
    y: BigInteger | None = None
    d: BigInteger | None = field(default=None, repr=False)
    q_string: bytes | None = None
    prime_exponent_p: BigInteger | None = field(default=None, repr=False)
    prime_exponent_q: BigInteger | None = field(default=None, repr=False)
    crt_coefficient: BigInteger | None = field(default=None, repr=False)


@structure
class KeyValue(Structure):
    key_material: Secret | KeyMaterial
    attribute: Annotated[tuple[Attribute, ...], in_two("attributes", empty=False)] = ()


@structure
class EncryptionKeyInformation(Structure):
    unique_identifier: str
    cryptographic_parameters: CryptographicParameters | None = None


@structure
class MACSignatureKeyInformation(Structure):
    unique_identifier: str
    cryptographic_parameters: CryptographicParameters | None = None


@structure
class KeyWrappingData(Structure):
    wrapping_method: WrappingMethod | int
    encryption_key_information: EncryptionKeyInformation | None = None
    mac_signature_key_information: MACSignatureKeyInformation | None = None
    mac_signature: bytes | None = None
    iv_counter_nonce: bytes | None = None
    encoding_option: Annotated[EncodingOption | int | None, V1_1] = None


@structure
class KeyWrappingSpecification(Structure):
    wrapping_method: WrappingMethod | int
    encryption_key_information: EncryptionKeyInformation | None = None
    mac_signature_key_information: MACSignatureKeyInformation | None = None
    attribute_name: tuple[str, ...] = ()
    encoding_option: Annotated[EncodingOption | int | None, V1_1] = None


@structure
class KeyBlock(Structure):
    """A key; where it is wrapped with its encoding, the value is the ciphertext."""

    key_format_type: KeyFormatType | int
    key_compression_type: KeyCompressionType | int | None = None
    key_value: bytes | KeyValue | None = None
    cryptographic_algorithm: CryptographicAlgorithm | int | None = None
    cryptographic_length: int | None = None
    key_wrapping_data: KeyWrappingData | None = None


@structure
class Certificate(Structure):
    certificate_type: CertificateType | int
    certificate_value: bytes


@structure
class SymmetricKey(Structure):
    key_block: KeyBlock


@structure
class PublicKey(Structure):
    key_block: KeyBlock


@structure
class PrivateKey(Structure):
    key_block: KeyBlock


@structure
class SplitKey(Structure):
    split_key_parts: int
    key_part_identifier: int
    split_key_threshold: int
    split_key_method: SplitKeyMethod | int
    prime_field_size: BigInteger | None = None
    key_block: KeyBlock


@structure
class Template(Structure):
    attribute: tuple[Attribute, ...] = ()


@structure
class SecretData(Structure):
    secret_data_type: SecretDataType | int
    key_block: KeyBlock


@structure
class OpaqueObject(Structure):
    opaque_data_type: OpaqueDataType | int
    opaque_data_value: Secret


@structure
class PGPKey(Structure):
    pgp_key_version: int
    key_block: KeyBlock


ManagedObject: TypeAlias = (
    Certificate | SymmetricKey | PublicKey | PrivateKey | SplitKey | Template | SecretData | OpaqueObject | PGPKey
)

# PyKMIP calls the Object Type of an Opaque Object OPAQUE_DATA.
OBJECT_TYPES: dict[type[ManagedObject], ObjectType] = {
    Certificate: ObjectType.CERTIFICATE,
    SymmetricKey: ObjectType.SYMMETRIC_KEY,
    PublicKey: ObjectType.PUBLIC_KEY,
    PrivateKey: ObjectType.PRIVATE_KEY,
    SplitKey: ObjectType.SPLIT_KEY,
    Template: ObjectType.TEMPLATE,
    SecretData: ObjectType.SECRET_DATA,
    OpaqueObject: ObjectType.OPAQUE_DATA,
    PGPKey: ObjectType.PGP_KEY,
}


def key_block(
    material: Secret,
    format_: KeyFormatType,
    algorithm: CryptographicAlgorithm | int | None = None,
    length_bits: int | None = None,
) -> KeyBlock:
    """Return the block of a key that is not wrapped; a secret's algorithm and length may be left out."""
    return KeyBlock(
        key_format_type=format_,
        key_value=KeyValue(key_material=material),
        cryptographic_algorithm=algorithm,
        cryptographic_length=length_bits,
    )
