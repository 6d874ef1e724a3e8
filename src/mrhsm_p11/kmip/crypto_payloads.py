"""Payloads of the operations that use keys on the server, all of KMIP 1.2 and later.

The correlation value and its two indicators, which stream long inputs, came with 1.3.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, ClassVar

from mrhsm_p11.kmip.attributes import CryptographicParameters
from mrhsm_p11.kmip.objects import TemplateAttribute, template_in_two
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload
from mrhsm_p11.kmip.structure import V1_3, V1_4, Structure, structure
from mrhsm_p11.kmip.vocabulary import DerivationMethod, ObjectType, Operation, ValidityIndicator


@structure
class EncryptRequest(RequestPayload):
    operation: ClassVar = Operation.ENCRYPT
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    cryptographic_parameters: CryptographicParameters | None = None
    data: bytes | None = None
    iv_counter_nonce: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None
    init_indicator: Annotated[bool | None, V1_3] = None
    final_indicator: Annotated[bool | None, V1_3] = None
    authenticated_encryption_additional_data: Annotated[bytes | None, V1_4] = None


@structure
class EncryptResponse(ResponsePayload):
    unique_identifier: str
    data: bytes | None = None
    iv_counter_nonce: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None
    authenticated_encryption_tag: Annotated[bytes | None, V1_4] = None


@structure
class DecryptRequest(RequestPayload):
    operation: ClassVar = Operation.DECRYPT
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    cryptographic_parameters: CryptographicParameters | None = None
    data: bytes | None = None
    iv_counter_nonce: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None
    init_indicator: Annotated[bool | None, V1_3] = None
    final_indicator: Annotated[bool | None, V1_3] = None
    authenticated_encryption_additional_data: Annotated[bytes | None, V1_4] = None
    authenticated_encryption_tag: Annotated[bytes | None, V1_4] = None


@structure
class DecryptResponse(ResponsePayload):
    unique_identifier: str
    data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None


@structure
class SignRequest(RequestPayload):
    operation: ClassVar = Operation.SIGN
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    cryptographic_parameters: CryptographicParameters | None = None
    data: bytes | None = None
    digested_data: Annotated[bytes | None, V1_4] = None
    correlation_value: Annotated[bytes | None, V1_3] = None
    init_indicator: Annotated[bool | None, V1_3] = None
    final_indicator: Annotated[bool | None, V1_3] = None


@structure
class SignResponse(ResponsePayload):
    unique_identifier: str
    signature_data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None


@structure
class SignatureVerifyRequest(RequestPayload):
    operation: ClassVar = Operation.SIGNATURE_VERIFY
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    cryptographic_parameters: CryptographicParameters | None = None
    data: bytes | None = None
    digested_data: Annotated[bytes | None, V1_4] = None
    signature_data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None
    init_indicator: Annotated[bool | None, V1_3] = None
    final_indicator: Annotated[bool | None, V1_3] = None


@structure
class SignatureVerifyResponse(ResponsePayload):
    unique_identifier: str
    validity_indicator: ValidityIndicator | int | None = None
    data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None


@structure
class MACRequest(RequestPayload):
    operation: ClassVar = Operation.MAC
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    cryptographic_parameters: CryptographicParameters | None = None
    data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None
    init_indicator: Annotated[bool | None, V1_3] = None
    final_indicator: Annotated[bool | None, V1_3] = None


@structure
class MACResponse(ResponsePayload):
    unique_identifier: str
    mac_data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None


@structure
class MACVerifyRequest(RequestPayload):
    operation: ClassVar = Operation.MAC_VERIFY
    idempotent: ClassVar = True
    unique_identifier: str | None = None
    cryptographic_parameters: CryptographicParameters | None = None
    data: bytes | None = None
    mac_data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None
    init_indicator: Annotated[bool | None, V1_3] = None
    final_indicator: Annotated[bool | None, V1_3] = None


@structure
class MACVerifyResponse(ResponsePayload):
    unique_identifier: str
    validity_indicator: ValidityIndicator | int | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None


@structure
class RNGRetrieveRequest(RequestPayload):
    operation: ClassVar = Operation.RNG_RETRIEVE
    idempotent: ClassVar = True
    data_length: int


@structure
class RNGRetrieveResponse(ResponsePayload):
    data: bytes


@structure
class RNGSeedRequest(RequestPayload):
    operation: ClassVar = Operation.RNG_SEED
    data: bytes


@structure
class RNGSeedResponse(ResponsePayload):
    data_length: int


@structure
class HashRequest(RequestPayload):
    operation: ClassVar = Operation.HASH
    idempotent: ClassVar = True
    cryptographic_parameters: CryptographicParameters
    data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None
    init_indicator: Annotated[bool | None, V1_3] = None
    final_indicator: Annotated[bool | None, V1_3] = None


@structure
class HashResponse(ResponsePayload):
    data: bytes | None = None
    correlation_value: Annotated[bytes | None, V1_3] = None


@structure
class DerivationParameters(Structure):
    cryptographic_parameters: CryptographicParameters | None = None
    initialization_vector: bytes | None = None
    derivation_data: bytes | None = field(default=None, repr=False)
    salt: bytes | None = None
    iteration_count: int | None = None


@structure
class DeriveKeyRequest(RequestPayload):
    operation: ClassVar = Operation.DERIVE_KEY
    echoes_identifier: ClassVar = False  # the reply names the new object
    object_type: ObjectType | int
    unique_identifier: tuple[str, ...]
    derivation_method: DerivationMethod | int
    derivation_parameters: DerivationParameters
    template_attribute: Annotated[TemplateAttribute, template_in_two("attributes")]


@structure
class DeriveKeyResponse(ResponsePayload):
    unique_identifier: str
    template_attribute: Annotated[TemplateAttribute | None, template_in_two("attributes")] = None


OPERATIONS: tuple[tuple[type[RequestPayload], type[ResponsePayload]], ...] = (
    (EncryptRequest, EncryptResponse),
    (DecryptRequest, DecryptResponse),
    (SignRequest, SignResponse),
    (SignatureVerifyRequest, SignatureVerifyResponse),
    (MACRequest, MACResponse),
    (MACVerifyRequest, MACVerifyResponse),
    (RNGRetrieveRequest, RNGRetrieveResponse),
    (RNGSeedRequest, RNGSeedResponse),
    (HashRequest, HashResponse),
    (DeriveKeyRequest, DeriveKeyResponse),
)
