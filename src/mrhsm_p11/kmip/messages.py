"""The envelope: request and response messages, their headers and batch items.

KMIP 1.4, "Message Format".
"""

from __future__ import annotations

from typing import Annotated

from mrhsm_p11.kmip.payload import payload_kinds
from mrhsm_p11.kmip.server_payloads import ProtocolVersion
from mrhsm_p11.kmip.structure import V1_2, V1_4, Chosen, DateTime, Get, Kind, SecretText, Structure, structure
from mrhsm_p11.kmip.vocabulary import (
    AttestationType,
    BatchErrorContinuationOption,
    CredentialType,
    Operation,
    ResultReason,
    ResultStatus,
)
from mrhsm_p11.secret import Secret


@structure
class Nonce(Structure):
    nonce_id: bytes
    nonce_value: bytes


@structure
class CredentialValue(Structure):
    """Who asks: which of these there are follows from the Credential Type."""

    device_serial_number: str | None = None
    username: str | None = None
    password: SecretText | None = None
    device_identifier: str | None = None
    network_identifier: str | None = None
    machine_identifier: str | None = None
    media_identifier: str | None = None
    nonce: Nonce | None = None
    attestation_type: AttestationType | int | None = None
    attestation_measurement: bytes | None = None
    attestation_assertion: bytes | None = None


@structure
class Credential(Structure):
    credential_type: CredentialType | int
    credential_value: CredentialValue


@structure
class Authentication(Structure):
    credential: tuple[Credential, ...]

    @classmethod
    def of_user(cls, username: str, password: Secret | None) -> Authentication:
        """Return what says who asks, beside the certificate of the connection."""
        value = CredentialValue(username=username, password=password)
        credential = Credential(credential_type=CredentialType.USERNAME_AND_PASSWORD, credential_value=value)
        return cls(credential=(credential,))

    @property
    def username(self) -> str:
        """The name of the first user, "" where none is named."""
        return next((one.credential_value.username or "" for one in self.credential), "")


@structure
class MessageExtension(Structure):
    vendor_identification: str
    criticality_indicator: bool
    vendor_extension: Structure


@structure
class RequestHeader(Structure):
    protocol_version: ProtocolVersion
    maximum_response_size: int | None = None
    client_correlation_value: Annotated[str | None, V1_4] = None
    server_correlation_value: Annotated[str | None, V1_4] = None
    asynchronous_indicator: bool | None = None
    attestation_capable_indicator: Annotated[bool | None, V1_2] = None
    attestation_type: Annotated[tuple[AttestationType | int, ...], V1_2] = ()
    authentication: Authentication | None = None
    batch_error_continuation_option: BatchErrorContinuationOption | int | None = None
    batch_order_option: bool | None = None
    time_stamp: DateTime | None = None
    batch_count: int


@structure
class ResponseHeader(Structure):
    protocol_version: ProtocolVersion
    time_stamp: DateTime | None = None  # required, but a reply is no worse without
    nonce: Annotated[Nonce | None, V1_2] = None
    attestation_type: Annotated[tuple[AttestationType | int, ...], V1_2] = ()
    client_correlation_value: Annotated[str | None, V1_4] = None
    server_correlation_value: Annotated[str | None, V1_4] = None
    batch_count: int


def _request_payload(get: Get) -> Kind | None:
    operation = get("operation")
    return payload_kinds(operation)[0] if isinstance(operation, Operation) else None


def _response_payload(get: Get) -> Kind | None:
    operation = get("operation")
    return payload_kinds(operation)[1] if isinstance(operation, Operation) else None


@structure
class RequestBatchItem(Structure):
    operation: Operation | int
    unique_batch_item_id: bytes | None = None
    request_payload: Annotated[Structure, Chosen(_request_payload)]
    message_extension: MessageExtension | None = None


@structure
class ResponseBatchItem(Structure):
    operation: Operation | int | None = None
    unique_batch_item_id: bytes | None = None
    result_status: ResultStatus | int
    result_reason: ResultReason | int | None = None
    result_message: str | None = None
    asynchronous_correlation_value: bytes | None = None
    response_payload: Annotated[Structure | None, Chosen(_response_payload)] = None
    message_extension: MessageExtension | None = None


@structure
class RequestMessage(Structure):
    request_header: RequestHeader
    batch_item: tuple[RequestBatchItem, ...] = ()


@structure
class ResponseMessage(Structure):
    response_header: ResponseHeader
    batch_item: tuple[ResponseBatchItem, ...] = ()
