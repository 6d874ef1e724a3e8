"""Payloads of the operations on managed objects and their attributes.

KMIP 1.4, "Client-to-Server Operations".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from mrhsm_p11.kmip.attributes import Attribute, RevocationReason
from mrhsm_p11.kmip.objects import KeyWrappingSpecification, ManagedObject, TemplateAttribute
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload
from mrhsm_p11.kmip.structure import V1_1, V1_3, V1_4, DateTime, Interval, LongInteger, structure
from mrhsm_p11.kmip.vocabulary import (
    KeyCompressionType,
    KeyFormatType,
    KeyWrapType,
    ObjectGroupMember,
    ObjectType,
    Operation,
)


@structure
class CreateRequest(RequestPayload):
    operation: ClassVar = Operation.CREATE
    object_type: ObjectType | int
    template_attribute: TemplateAttribute


@structure
class CreateResponse(ResponsePayload):
    object_type: ObjectType | int
    unique_identifier: str
    template_attribute: TemplateAttribute | None = None


@structure
class CreateKeyPairRequest(RequestPayload):
    operation: ClassVar = Operation.CREATE_KEY_PAIR
    common_template_attribute: TemplateAttribute | None = None
    private_key_template_attribute: TemplateAttribute | None = None
    public_key_template_attribute: TemplateAttribute | None = None


@structure
class CreateKeyPairResponse(ResponsePayload):
    private_key_unique_identifier: str
    public_key_unique_identifier: str
    private_key_template_attribute: TemplateAttribute | None = None
    public_key_template_attribute: TemplateAttribute | None = None


@structure
class RegisterRequest(RequestPayload):
    operation: ClassVar = Operation.REGISTER
    object_type: ObjectType | int
    template_attribute: TemplateAttribute
    managed_object: ManagedObject | None = None


@structure
class RegisterResponse(ResponsePayload):
    unique_identifier: str
    template_attribute: TemplateAttribute | None = None


@structure
class RekeyRequest(RequestPayload):
    operation: ClassVar = Operation.REKEY
    echoes_identifier: ClassVar = False  # the reply names the replacement
    unique_identifier: str | None = None
    offset: Interval | None = None
    template_attribute: TemplateAttribute | None = None


@structure
class RekeyResponse(ResponsePayload):
    unique_identifier: str
    template_attribute: TemplateAttribute | None = None


@structure
class LocateRequest(RequestPayload):
    operation: ClassVar = Operation.LOCATE
    idempotent: ClassVar = True
    maximum_items: int | None = None
    offset_items: Annotated[int | None, V1_3] = None
    storage_status_mask: int | None = None
    object_group_member: Annotated[ObjectGroupMember | int | None, V1_1] = None
    attribute: tuple[Attribute, ...] = ()


@structure
class LocateResponse(ResponsePayload):
    located_items: Annotated[int | None, V1_3] = None
    unique_identifier: tuple[str, ...] = ()


@structure
class CheckRequest(RequestPayload):
    operation: ClassVar = Operation.CHECK
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    usage_limits_count: LongInteger | None = None
    cryptographic_usage_mask: int | None = None
    lease_time: Interval | None = None


@structure
class CheckResponse(ResponsePayload):
    unique_identifier: str
    usage_limits_count: LongInteger | None = None
    cryptographic_usage_mask: int | None = None
    lease_time: Interval | None = None


@structure
class GetRequest(RequestPayload):
    operation: ClassVar = Operation.GET
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    key_format_type: KeyFormatType | int | None = None
    key_wrap_type: Annotated[KeyWrapType | int | None, V1_4] = None
    key_compression_type: KeyCompressionType | int | None = None
    key_wrapping_specification: KeyWrappingSpecification | None = None


@structure
class GetResponse(ResponsePayload):
    object_type: ObjectType | int
    unique_identifier: str
    managed_object: ManagedObject


@structure
class GetAttributesRequest(RequestPayload):
    """Ask for attributes; no name asks for all."""

    operation: ClassVar = Operation.GET_ATTRIBUTES
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    attribute_name: tuple[str, ...] = ()


@structure
class GetAttributesResponse(ResponsePayload):
    unique_identifier: str
    attribute: tuple[Attribute, ...] = ()


@structure
class GetAttributeListRequest(RequestPayload):
    operation: ClassVar = Operation.GET_ATTRIBUTE_LIST
    idempotent: ClassVar = True
    unique_identifier: str | None = None


@structure
class GetAttributeListResponse(ResponsePayload):
    unique_identifier: str
    attribute_name: tuple[str, ...] = ()


@structure
class AddAttributeRequest(RequestPayload):
    operation: ClassVar = Operation.ADD_ATTRIBUTE
    unique_identifier: str | None = None
    attribute: Attribute


@structure
class AddAttributeResponse(ResponsePayload):
    unique_identifier: str
    attribute: Attribute


@structure
class ModifyAttributeRequest(RequestPayload):
    operation: ClassVar = Operation.MODIFY_ATTRIBUTE
    unique_identifier: str | None = None
    attribute: Attribute


@structure
class ModifyAttributeResponse(ResponsePayload):
    unique_identifier: str
    attribute: Attribute


@structure
class DeleteAttributeRequest(RequestPayload):
    operation: ClassVar = Operation.DELETE_ATTRIBUTE
    unique_identifier: str | None = None
    attribute_name: str
    attribute_index: int | None = None


@structure
class DeleteAttributeResponse(ResponsePayload):
    unique_identifier: str
    attribute: Attribute


@structure
class ActivateRequest(RequestPayload):
    operation: ClassVar = Operation.ACTIVATE
    unique_identifier: str | None = None


@structure
class ActivateResponse(ResponsePayload):
    unique_identifier: str


@structure
class RevokeRequest(RequestPayload):
    operation: ClassVar = Operation.REVOKE
    unique_identifier: str | None = None
    revocation_reason: RevocationReason
    compromise_occurrence_date: DateTime | None = None


@structure
class RevokeResponse(ResponsePayload):
    unique_identifier: str


@structure
class DestroyRequest(RequestPayload):
    operation: ClassVar = Operation.DESTROY
    unique_identifier: str | None = None


@structure
class DestroyResponse(ResponsePayload):
    unique_identifier: str


OPERATIONS: tuple[tuple[type[RequestPayload], type[ResponsePayload]], ...] = (
    (CreateRequest, CreateResponse),
    (CreateKeyPairRequest, CreateKeyPairResponse),
    (RegisterRequest, RegisterResponse),
    (RekeyRequest, RekeyResponse),
    (LocateRequest, LocateResponse),
    (CheckRequest, CheckResponse),
    (GetRequest, GetResponse),
    (GetAttributesRequest, GetAttributesResponse),
    (GetAttributeListRequest, GetAttributeListResponse),
    (AddAttributeRequest, AddAttributeResponse),
    (ModifyAttributeRequest, ModifyAttributeResponse),
    (DeleteAttributeRequest, DeleteAttributeResponse),
    (ActivateRequest, ActivateResponse),
    (RevokeRequest, RevokeResponse),
    (DestroyRequest, DestroyResponse),
)
