"""Payloads of the operations on managed objects and their attributes.

KMIP 1.4 and 2.1, "Client-to-Server Operations".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from mrhsm_p11.kmip.attributes import Attribute, RevocationReason
from mrhsm_p11.kmip.objects import KeyWrappingSpecification, ManagedObject, TemplateAttribute, template_in_two
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload
from mrhsm_p11.kmip.structure import ONLY_1, V1_1, V1_3, V1_4, V2_0, DateTime, Interval, LongInteger, structure
from mrhsm_p11.kmip.typed import REFERENCE, REFERENCES, in_two, one_in_two
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
    template_attribute: Annotated[TemplateAttribute, template_in_two("attributes")]


@structure
class CreateResponse(ResponsePayload):
    object_type: ObjectType | int
    unique_identifier: str
    template_attribute: Annotated[TemplateAttribute | None, template_in_two("attributes")] = None


@structure
class CreateKeyPairRequest(RequestPayload):
    operation: ClassVar = Operation.CREATE_KEY_PAIR
    common_template_attribute: Annotated[TemplateAttribute | None, template_in_two("common_attributes")] = None
    private_key_template_attribute: Annotated[TemplateAttribute | None, template_in_two("private_key_attributes")] = (
        None
    )
    public_key_template_attribute: Annotated[TemplateAttribute | None, template_in_two("public_key_attributes")] = None


@structure
class CreateKeyPairResponse(ResponsePayload):
    private_key_unique_identifier: str
    public_key_unique_identifier: str
    private_key_template_attribute: Annotated[TemplateAttribute | None, template_in_two("private_key_attributes")] = (
        None
    )
    public_key_template_attribute: Annotated[TemplateAttribute | None, template_in_two("public_key_attributes")] = None


@structure
class RegisterRequest(RequestPayload):
    operation: ClassVar = Operation.REGISTER
    object_type: ObjectType | int
    template_attribute: Annotated[TemplateAttribute, template_in_two("attributes")]
    managed_object: ManagedObject | None = None


@structure
class RegisterResponse(ResponsePayload):
    unique_identifier: str
    template_attribute: Annotated[TemplateAttribute | None, template_in_two("attributes")] = None


@structure
class RekeyRequest(RequestPayload):
    operation: ClassVar = Operation.REKEY
    echoes_identifier: ClassVar = False  # the reply names the replacement
    unique_identifier: str | None = None
    offset: Interval | None = None
    template_attribute: Annotated[TemplateAttribute | None, template_in_two("attributes")] = None


@structure
class RekeyResponse(ResponsePayload):
    unique_identifier: str
    template_attribute: Annotated[TemplateAttribute | None, template_in_two("attributes")] = None


@structure
class LocateRequest(RequestPayload):
    operation: ClassVar = Operation.LOCATE
    idempotent: ClassVar = True
    traceless: ClassVar = True
    maximum_items: int | None = None
    offset_items: Annotated[int | None, V1_3] = None
    storage_status_mask: int | None = None
    object_group_member: Annotated[ObjectGroupMember | int | None, V1_1] = None
    attribute: Annotated[tuple[Attribute, ...], in_two("attributes")] = ()


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
    traceless: ClassVar = True
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
    traceless: ClassVar = True
    unique_identifier: str | None = None
    attribute_name: Annotated[tuple[str, ...], REFERENCES] = ()


@structure
class GetAttributesResponse(ResponsePayload):
    unique_identifier: str
    attribute: Annotated[tuple[Attribute, ...], in_two("attributes")] = ()


@structure
class GetAttributeListRequest(RequestPayload):
    operation: ClassVar = Operation.GET_ATTRIBUTE_LIST
    idempotent: ClassVar = True
    traceless: ClassVar = True
    unique_identifier: str | None = None


@structure
class GetAttributeListResponse(ResponsePayload):
    unique_identifier: str
    attribute_name: Annotated[tuple[str, ...], REFERENCES] = ()


@structure
class AddAttributeRequest(RequestPayload):
    operation: ClassVar = Operation.ADD_ATTRIBUTE
    unique_identifier: str | None = None
    attribute: Annotated[Attribute, one_in_two("new_attribute")]


@structure
class AddAttributeResponse(ResponsePayload):
    unique_identifier: str
    attribute: Annotated[Attribute | None, ONLY_1] = None


@structure
class SetAttributeRequest(RequestPayload):
    """Give an attribute that has one instance its value, whether or not it has one. Since KMIP 2.0."""

    operation: ClassVar = Operation.SET_ATTRIBUTE
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    attribute: Annotated[Attribute, V2_0, one_in_two("new_attribute")]


@structure
class SetAttributeResponse(ResponsePayload):
    unique_identifier: str


@structure
class ModifyAttributeRequest(RequestPayload):
    """Replace an instance: KMIP 1 finds it by the index, KMIP 2 by its current value where there may be several."""

    operation: ClassVar = Operation.MODIFY_ATTRIBUTE
    unique_identifier: str | None = None
    current_attribute: Annotated[Attribute | None, one_in_two("current_attribute", only=True)] = None
    attribute: Annotated[Attribute, one_in_two("new_attribute")]


@structure
class ModifyAttributeResponse(ResponsePayload):
    unique_identifier: str
    attribute: Annotated[Attribute | None, ONLY_1] = None


@structure
class DeleteAttributeRequest(RequestPayload):
    """Delete the instance of this index, in KMIP 2 of this value, or there by the name all."""

    operation: ClassVar = Operation.DELETE_ATTRIBUTE
    unique_identifier: str | None = None
    current_attribute: Annotated[Attribute | None, one_in_two("current_attribute", only=True)] = None
    attribute_name: Annotated[str | None, REFERENCE] = None
    attribute_index: Annotated[int | None, ONLY_1] = None


@structure
class DeleteAttributeResponse(ResponsePayload):
    unique_identifier: str
    attribute: Annotated[Attribute | None, ONLY_1] = None


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
    (SetAttributeRequest, SetAttributeResponse),
    (ModifyAttributeRequest, ModifyAttributeResponse),
    (DeleteAttributeRequest, DeleteAttributeResponse),
    (ActivateRequest, ActivateResponse),
    (RevokeRequest, RevokeResponse),
    (DestroyRequest, DestroyResponse),
)
