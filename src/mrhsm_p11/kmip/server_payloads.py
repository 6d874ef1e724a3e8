"""Payloads of the operations that ask about the server.

KMIP 1.4, "Query" and "Discover Versions".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from mrhsm_p11.kmip.attributes import RNGParameters
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload
from mrhsm_p11.kmip.structure import V1_1, V1_2, V1_3, Structure, structure
from mrhsm_p11.kmip.vocabulary import (
    AttestationType,
    ClientRegistrationMethod,
    DestroyAction,
    ObjectType,
    Operation,
    ProfileName,
    QueryFunction,
    RNGMode,
    ShreddingAlgorithm,
    UnwrapMode,
    ValidationAuthorityType,
    ValidationType,
    Version,
)


@structure
class ProtocolVersion(Structure):
    protocol_version_major: int
    protocol_version_minor: int

    @property
    def version(self) -> Version:
        return self.protocol_version_major, self.protocol_version_minor


def protocol_version(version: Version) -> ProtocolVersion:
    return ProtocolVersion(protocol_version_major=version[0], protocol_version_minor=version[1])


@structure
class ExtensionInformation(Structure):
    extension_name: str
    extension_tag: int | None = None
    extension_type: int | None = None


@structure
class ProfileInformation(Structure):
    profile_name: ProfileName | int
    server_uri: str | None = None
    server_port: int | None = None


@structure
class ValidationInformation(Structure):
    validation_authority_type: ValidationAuthorityType | int
    validation_authority_country: str | None = None
    validation_authority_uri: str | None = None
    validation_version_major: int
    validation_version_minor: int | None = None
    validation_type: ValidationType | int
    validation_level: int
    validation_certificate_identifier: str | None = None
    validation_certificate_uri: str | None = None
    validation_vendor_uri: str | None = None
    validation_profile: tuple[str, ...] = ()


@structure
class CapabilityInformation(Structure):
    streaming_capability: bool | None = None
    asynchronous_capability: bool | None = None
    attestation_capability: bool | None = None
    batch_undo_capability: bool | None = None
    batch_continue_capability: bool | None = None
    unwrap_mode: UnwrapMode | int | None = None
    destroy_action: DestroyAction | int | None = None
    shredding_algorithm: ShreddingAlgorithm | int | None = None
    rng_mode: RNGMode | int | None = None


@structure
class QueryRequest(RequestPayload):
    operation: ClassVar = Operation.QUERY
    idempotent: ClassVar = True
    traceless: ClassVar = True
    query_function: tuple[QueryFunction | int, ...]


@structure
class QueryResponse(ResponsePayload):
    operation: tuple[Operation | int, ...] = ()
    object_type: tuple[ObjectType | int, ...] = ()
    vendor_identification: str | None = None
    server_information: Structure | None = None  # the vendor's own
    application_namespace: tuple[str, ...] = ()
    extension_information: Annotated[tuple[ExtensionInformation, ...], V1_1] = ()
    attestation_type: Annotated[tuple[AttestationType | int, ...], V1_2] = ()
    rng_parameters: Annotated[tuple[RNGParameters, ...], V1_3] = ()
    profile_information: Annotated[tuple[ProfileInformation, ...], V1_3] = ()
    validation_information: Annotated[tuple[ValidationInformation, ...], V1_3] = ()
    capability_information: Annotated[tuple[CapabilityInformation, ...], V1_3] = ()
    client_registration_method: Annotated[tuple[ClientRegistrationMethod | int, ...], V1_3] = ()


@structure
class DiscoverVersionsRequest(RequestPayload):
    """Ask which of these versions the server speaks; none asks for all."""

    operation: ClassVar = Operation.DISCOVER_VERSIONS
    idempotent: ClassVar = True
    traceless: ClassVar = True
    protocol_version: tuple[ProtocolVersion, ...] = ()


@structure
class DiscoverVersionsResponse(ResponsePayload):
    protocol_version: tuple[ProtocolVersion, ...] = ()


OPERATIONS: tuple[tuple[type[RequestPayload], type[ResponsePayload]], ...] = (
    (QueryRequest, QueryResponse),
    (DiscoverVersionsRequest, DiscoverVersionsResponse),
)
