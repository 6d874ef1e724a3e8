"""Requests to bytes, and bytes to the answers of exactly those requests; no I/O."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count

from mrhsm_p11.kmip import codec, ttlv
from mrhsm_p11.kmip.errors import AuthenticationRefused, OperationFailed, ProtocolError
from mrhsm_p11.kmip.messages import (
    Authentication,
    RequestBatchItem,
    RequestHeader,
    RequestMessage,
    ResponseBatchItem,
    ResponseMessage,
)
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload
from mrhsm_p11.kmip.server_payloads import protocol_version
from mrhsm_p11.kmip.ttlv import TTLVError
from mrhsm_p11.kmip.vocabulary import (
    BatchErrorContinuationOption,
    Operation,
    ResultReason,
    ResultStatus,
    Version,
    tag_of,
)

CORRELATION_SINCE: Version = (1, 4)
_SERVER_CORRELATION = tag_of("server_correlation_value")
_NOT_AUTHENTICATED = {ResultReason.AUTHENTICATION_NOT_SUCCESSFUL.value, ResultReason.BAD_PASSWORD.value}

# What tells methods apart, of Cryptographic Parameters.
METHOD = (
    "cryptographic_algorithm",
    "digital_signature_algorithm",
    "block_cipher_mode",
    "padding_method",
    "hashing_algorithm",
)

Answer = ResponsePayload | OperationFailed

_STOPPED = "not attempted, because an earlier operation of the batch failed"


@dataclass(frozen=True, slots=True)
class Request:
    """A message, ready to send once, and what its reply must match."""

    payloads: tuple[RequestPayload, ...]
    batch_ids: tuple[bytes, ...]  # empty where there is one payload: its reply is the only one
    version: Version
    name: str  # of the message, for logs: no other of this host has it
    correlates: bool  # and it is sent, as Client Correlation Value
    username: str  # of who asks, "" where the certificate alone tells
    encoding: bytearray

    @property
    def idempotent(self) -> bool:
        return all(payload.idempotent for payload in self.payloads)

    @property
    def traceless(self) -> bool:
        return all(payload.traceless for payload in self.payloads)

    @property
    def method(self) -> str:
        """Say by which Cryptographic Parameters something is computed, in KMIP's words; empty where nothing is."""
        parameters = [getattr(payload, "cryptographic_parameters", None) for payload in self.payloads]
        values = [getattr(one, name, None) for one in parameters for name in METHOD]
        return " ".join(dict.fromkeys(value.name for value in values if isinstance(value, Enum)))

    @property
    def operations(self) -> str:
        """Say in a few words what is asked, for the log."""
        names = [payload.operation.name for payload in self.payloads]
        return ", ".join(f"{n}x {name}" if (n := names.count(name)) > 1 else name for name in dict.fromkeys(names))


def build(
    payloads: Sequence[RequestPayload],
    version: Version,
    *,
    correlates: bool = False,
    on_error: BatchErrorContinuationOption | None = None,
    authentication: Authentication | None = None,
) -> Request:
    """Return the request that asks for these operations, in this order.

    `correlates` sends its name, where the version has a place for it. Raises TTLVError where a payload needs another.
    """
    several = len(payloads) > 1
    correlates = correlates and version >= CORRELATION_SINCE
    first = next(_serial)
    name = f"{os.getpid()}-{first}"
    batch_ids = tuple((first << 16 | i).to_bytes(8, "big") for i in range(len(payloads))) if several else ()
    header = RequestHeader(
        protocol_version=protocol_version(version),
        client_correlation_value=name if correlates else None,
        authentication=authentication,
        batch_error_continuation_option=on_error if several else None,
        batch_order_option=True if several else None,
        batch_count=len(payloads),
    )
    items = tuple(
        RequestBatchItem(
            operation=payload.operation,
            unique_batch_item_id=batch_ids[i] if several else None,
            request_payload=payload,
        )
        for i, payload in enumerate(payloads)
    )
    encoding = codec.encode(RequestMessage(request_header=header, batch_item=items), version)
    username = authentication.username if authentication is not None else ""
    return Request(tuple(payloads), batch_ids, version, name, correlates, username, encoding)


# Different in every message of this process, so that a late reply cannot pass for another's.
_serial = count(1)


def parse(request: Request, reply: bytes | bytearray | memoryview, server: str = "") -> list[Answer]:
    """Return the answer to each payload of the request, in its order.

    Raises ProtocolError if the reply is not one to this request, AuthenticationRefused if the server does not accept
    who asks.
    """
    try:
        message = codec.decode(ResponseMessage, reply)
    except TTLVError as error:
        raise ProtocolError(f"{server} sent a reply that is no KMIP message: {error}", server, sent=True) from None
    items = message.batch_item
    if message.response_header.batch_count != len(items) or not items:
        announced = message.response_header.batch_count
        raise _nonsense(server, f"announces {announced} answers and has {len(items)}")
    answers = _match(request, items, server)
    if any(not isinstance(answer, OperationFailed) for answer in answers):
        _check_header(request, message, server)
    for answer in answers:
        if isinstance(answer, OperationFailed) and answer.reason in _NOT_AUTHENTICATED:
            said = f": {answer.message}" if answer.message else ""
            what = f"the password of user {request.username!r}, or that name with our" if request.username else "our"
            raise AuthenticationRefused(f"{server} does not accept {what} certificate{said}", server, sent=True)
    return answers


def _nonsense(server: str, what: str) -> ProtocolError:
    return ProtocolError(f"{server} sent a reply that {what}", server, sent=True)


def _check_header(request: Request, message: ResponseMessage, server: str) -> None:
    # A server that could not read a request answers in version 1.0, but it then has done nothing.
    spoken = message.response_header.protocol_version.version
    if spoken != request.version:
        asked = ".".join(map(str, request.version))
        raise _nonsense(server, f"is KMIP {spoken[0]}.{spoken[1]} where {asked} was asked")
    correlation = message.response_header.client_correlation_value
    if request.correlates and correlation not in (None, request.name):
        raise _nonsense(server, f"is one to the message {correlation!r}")


def server_correlation(reply: memoryview) -> str:
    """Return the Server Correlation Value of a message that need not be one, empty where it has none."""
    try:
        *_, start, end = next(ttlv.headers(reply, 0, len(reply)))
        *_, start, end = next(ttlv.headers(reply, start, end))
        inside = {tag: (kind, first, last) for tag, kind, first, last in ttlv.headers(reply, start, end)}
        kind, first, last = inside[_SERVER_CORRELATION]
        return repr(str(ttlv.READERS[kind](reply, first, last)))
    except (TTLVError, KeyError, StopIteration):
        return ""


def _match(request: Request, items: tuple[ResponseBatchItem, ...], server: str) -> list[Answer]:
    """Give each payload its answer, or the failure of the whole message, or of the batch that stopped before it."""
    wanted = len(request.payloads)
    lone = items[0]
    if len(items) == 1 and lone.operation is None and _failed(lone):
        return [_failure(payload, lone, server) for payload in request.payloads]
    if not request.batch_ids:
        if len(items) > 1 or lone.unique_batch_item_id is not None:
            raise _nonsense(server, "answers a batch where one operation was asked")
        return [_answer(request.payloads[0], lone, server)]
    by_id = {item.unique_batch_item_id: item for item in items}
    if len(by_id) != len(items) or not by_id.keys() <= set(request.batch_ids):
        raise _nonsense(server, "answers a request that was not made")
    stopped = wanted != len(items)
    if stopped and not any(_failed(item) for item in items):
        raise _nonsense(server, f"answers {len(items)} of {wanted} operations and tells of no failure")
    answers: list[Answer] = []
    for batch_id, payload in zip(request.batch_ids, request.payloads, strict=True):
        item = by_id.get(batch_id)
        answers.append(_answer(payload, item, server) if item else not_attempted(payload, server))
    return answers


def _failed(item: ResponseBatchItem) -> bool:
    return item.result_status is not ResultStatus.SUCCESS


def _number(value: object) -> int:
    return value if isinstance(value, int) else int(getattr(value, "value", 0))


def _failure(payload: RequestPayload, item: ResponseBatchItem, server: str) -> OperationFailed:
    status, reason = _number(item.result_status), _number(item.result_reason)
    return OperationFailed(payload.operation, status, reason, item.result_message or "", server)


def not_attempted(payload: RequestPayload, server: str) -> OperationFailed:
    """Return the failure of an operation that stands behind one that failed."""
    return OperationFailed(payload.operation, ResultStatus.OPERATION_FAILED.value, 0, _STOPPED, server)


def _answer(payload: RequestPayload, item: ResponseBatchItem, server: str) -> Answer:
    asked: Operation = payload.operation
    if item.operation is not asked and not (item.operation is None and _failed(item)):
        got = getattr(item.operation, "name", item.operation)
        raise _nonsense(server, f"answers {got} where {asked.name} was asked")
    if _failed(item):
        return _failure(payload, item, server)
    answer = item.response_payload
    if not isinstance(answer, ResponsePayload):
        raise _nonsense(server, f"says that {asked.name} succeeded and has no answer")
    if payload.echoes_identifier:
        named, got = getattr(payload, "unique_identifier", None), getattr(answer, "unique_identifier", None)
        if isinstance(named, str) and named != got:
            raise _nonsense(server, f"answers {asked.name} of {got!r} where {named!r} was named")
    return answer
