"""CPU time and size of KMIP messages: our codec beside PyKMIP's.

    python bench/kmip_codec.py [ROUNDS]

For each message: microseconds to encode it from its fields and to decode it, the best of ROUNDS rounds (default 5),
then the same for a value of 1 MiB. PyKMIP's time grows with the square of the length: it is given 32 KiB instead.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

warnings.simplefilter("ignore")

from kmip.core import attributes as old_attributes  # noqa: E402
from kmip.core import enums  # noqa: E402
from kmip.core.factories.attributes import AttributeFactory  # noqa: E402
from kmip.core.messages import contents  # noqa: E402
from kmip.core.messages import messages as old_messages  # noqa: E402
from kmip.core.messages import payloads as old_payloads  # noqa: E402
from kmip.core.objects import TemplateAttribute as OldTemplateAttribute  # noqa: E402
from kmip.core.utils import BytearrayStream  # noqa: E402

from mrhsm_p11.kmip import codec, crypto_payloads, protocol  # noqa: E402
from mrhsm_p11.kmip import object_payloads as new_payloads  # noqa: E402
from mrhsm_p11.kmip.attributes import (  # noqa: E402
    Attribute,
    CryptographicParameters,
    attribute,
    name_attribute,
)
from mrhsm_p11.kmip.messages import ResponseBatchItem, ResponseHeader, ResponseMessage  # noqa: E402
from mrhsm_p11.kmip.objects import SymmetricKey, TemplateAttribute, key_block  # noqa: E402
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload  # noqa: E402
from mrhsm_p11.kmip.server_payloads import protocol_version  # noqa: E402
from mrhsm_p11.kmip.vocabulary import (  # noqa: E402
    BlockCipherMode,
    CryptographicAlgorithm,
    KeyFormatType,
    ObjectType,
    PaddingMethod,
    ResultStatus,
    State,
    Version,
)
from mrhsm_p11.secret import Secret  # noqa: E402

VERSION: Version = (1, 2)
SPOKEN = enums.KMIPVersion.KMIP_1_2
UID = "b18553e9-7bc3-4132-abc2-6ece3ef2de13"
KIB = 1024

AES: tuple[Attribute, ...] = (
    attribute("Cryptographic Algorithm", CryptographicAlgorithm.AES),
    attribute("Cryptographic Length", 256),
    attribute("Cryptographic Usage Mask", 12),
    name_attribute("mrhsm/cluster/core-kek"),
)
ALL = (
    *AES,
    attribute("Unique Identifier", UID),
    attribute("Object Type", ObjectType.SYMMETRIC_KEY),
    attribute("State", State.ACTIVE),
    attribute("Initial Date", 1_700_000_000),
    attribute("Operation Policy Name", "default"),
)


def old_attribute(kind: enums.AttributeType, value: object) -> object:
    return AttributeFactory().create_attribute(kind, value)


def old_key_attributes() -> list[object]:
    kinds = enums.AttributeType
    name = old_attributes.Name.create("mrhsm/cluster/core-kek", enums.NameType.UNINTERPRETED_TEXT_STRING)
    return [
        old_attribute(kinds.CRYPTOGRAPHIC_ALGORITHM, enums.CryptographicAlgorithm.AES),
        old_attribute(kinds.CRYPTOGRAPHIC_LENGTH, 256),
        old_attribute(kinds.CRYPTOGRAPHIC_USAGE_MASK, [enums.CryptographicUsageMask.ENCRYPT]),
        old_attribute(kinds.NAME, name),
    ]


def old_create() -> object:
    return old_payloads.CreateRequestPayload(
        object_type=enums.ObjectType.SYMMETRIC_KEY,
        template_attribute=OldTemplateAttribute(attributes=old_key_attributes()),
    )


CBC = CryptographicParameters(block_cipher_mode=BlockCipherMode.CBC, padding_method=PaddingMethod.PKCS5)


def old_encrypt() -> object:
    parameters = old_attributes.CryptographicParameters(
        block_cipher_mode=enums.BlockCipherMode.CBC, padding_method=enums.PaddingMethod.PKCS5
    )
    return old_payloads.EncryptRequestPayload(UID, parameters, bytes(32), bytes(16))


@dataclass(frozen=True)
class Case:
    """One operation: how both make its request, and what a server answers."""

    name: str
    new: Callable[[], RequestPayload]
    old: Callable[[], object]
    reply: ResponsePayload


def key(length: int) -> SymmetricKey:
    return SymmetricKey(key_block=key_block(Secret(bytes(length)), KeyFormatType.RAW, CryptographicAlgorithm.AES, 256))


def got(length: int) -> ResponsePayload:
    return new_payloads.GetResponse(
        object_type=ObjectType.SYMMETRIC_KEY, unique_identifier=UID, managed_object=key(length)
    )


CASES = (
    Case(
        "Get",
        lambda: new_payloads.GetRequest(unique_identifier=UID),
        lambda: old_payloads.GetRequestPayload(unique_identifier=UID),
        got(32),
    ),
    Case(
        "Create",
        lambda: new_payloads.CreateRequest(
            object_type=ObjectType.SYMMETRIC_KEY, template_attribute=TemplateAttribute(attribute=AES)
        ),
        old_create,
        new_payloads.CreateResponse(object_type=ObjectType.SYMMETRIC_KEY, unique_identifier=UID),
    ),
    Case(
        "Locate",
        lambda: new_payloads.LocateRequest(attribute=(AES[3],)),
        lambda: old_payloads.LocateRequestPayload(attributes=old_key_attributes()[3:]),
        new_payloads.LocateResponse(unique_identifier=(UID,) * 10),
    ),
    Case(
        "GetAttributes",
        lambda: new_payloads.GetAttributesRequest(unique_identifier=UID),
        lambda: old_payloads.GetAttributesRequestPayload(unique_identifier=UID),
        new_payloads.GetAttributesResponse(unique_identifier=UID, attribute=ALL),
    ),
    Case(
        "Encrypt of 32 bytes",
        lambda: crypto_payloads.EncryptRequest(
            unique_identifier=UID, cryptographic_parameters=CBC, data=bytes(32), iv_counter_nonce=bytes(16)
        ),
        old_encrypt,
        crypto_payloads.EncryptResponse(unique_identifier=UID, data=bytes(48)),
    ),
)


def response(case: Case) -> bytearray:
    header = ResponseHeader(protocol_version=protocol_version(VERSION), time_stamp=1_700_000_000, batch_count=1)
    item = ResponseBatchItem(
        operation=case.new().operation, result_status=ResultStatus.SUCCESS, response_payload=case.reply
    )
    return codec.encode(ResponseMessage(response_header=header, batch_item=(item,)), VERSION)


def old_encode(case: Case) -> bytes:
    payload = case.old()
    operation = enums.Operation[case.new().operation.name]
    header = old_messages.RequestHeader(
        protocol_version=contents.ProtocolVersion(*VERSION), batch_count=contents.BatchCount(1)
    )
    item = old_messages.RequestBatchItem(operation=contents.Operation(operation), request_payload=payload)
    stream = BytearrayStream()
    old_messages.RequestMessage(request_header=header, batch_items=[item]).write(stream, SPOKEN)
    return bytes(stream.buffer)


def old_decode(data: bytes) -> None:
    old_messages.ResponseMessage().read(BytearrayStream(data), SPOKEN)


def best_us(work: Callable[[], object], rounds: int, repeat: int = 200) -> float:
    """Return the microseconds of CPU that one call takes, in the best round."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(repeat):
            work()
        times.append((time.process_time() - start) / repeat)
    return min(times) * 1e6


def row(name: str, size: int, ours: float, theirs: float) -> str:
    return f"{name:<28} {size:>9,} {ours:>10.1f} {theirs:>12.1f} {theirs / ours:>8.1f}x"


def main(rounds: int) -> None:
    print(f"{'message':<28} {'bytes':>9} {'ours us':>10} {'PyKMIP us':>12} {'ratio':>9}")
    for case in CASES:
        request, reply = protocol.build([case.new()], VERSION).encoding, response(case)
        ours = best_us(lambda case=case: protocol.build([case.new()], VERSION), rounds)
        print(
            row(f"{case.name}, encode request", len(request), ours, best_us(lambda case=case: old_encode(case), rounds))
        )
        ours = best_us(lambda reply=reply: codec.decode(ResponseMessage, reply), rounds)
        theirs = best_us(lambda reply=bytes(reply): old_decode(reply), rounds)
        print(row(f"{case.name}, decode response", len(reply), ours, theirs))
    for length in (32 * KIB, KIB * KIB):
        case = Case("Get", CASES[0].new, CASES[0].old, got(length))
        reply = response(case)
        encode_us = best_us(lambda case=case: response(case), rounds, 5)
        decode_us = best_us(lambda reply=reply: codec.decode(ResponseMessage, reply), rounds, 5)
        label = f"Get of {length // KIB:,} KiB, decode"
        if length == 32 * KIB:
            print(row(label, len(reply), decode_us, best_us(lambda reply=bytes(reply): old_decode(reply), 1, 1)))
        else:
            print(f"{label:<28} {len(reply):>9,} {decode_us:>10.1f}")
        print(f"{f'Get of {length // KIB:,} KiB, encode':<28} {len(reply):>9,} {encode_us:>10.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
