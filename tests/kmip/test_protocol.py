"""Requests, and which replies are believed; no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mrhsm_p11.kmip import codec, protocol, ttlv
from mrhsm_p11.kmip.errors import AuthenticationRefused, OperationFailed, ProtocolError
from mrhsm_p11.kmip.messages import (
    Authentication,
    MessageExtension,
    RequestMessage,
    ResponseBatchItem,
    ResponseHeader,
    ResponseMessage,
)
from mrhsm_p11.kmip.object_payloads import (
    ActivateRequest,
    ActivateResponse,
    DestroyRequest,
    GetAttributesRequest,
    GetAttributesResponse,
    LocateRequest,
    RekeyRequest,
    RekeyResponse,
)
from mrhsm_p11.kmip.payload import RequestPayload
from mrhsm_p11.kmip.server_payloads import protocol_version
from mrhsm_p11.kmip.structure import Structure
from mrhsm_p11.kmip.ttlv import Item, TTLVError
from mrhsm_p11.kmip.vocabulary import (
    BatchErrorContinuationOption,
    ItemType,
    Operation,
    ResultReason,
    ResultStatus,
    Version,
    tag_of,
)
from mrhsm_p11.secret import Secret

V: Version = (1, 2)
SERVER = "kms1:5696"


def answered(request: protocol.Request, *items: ResponseBatchItem, version: Version = V, count: int = -1) -> bytes:
    header = ResponseHeader(
        protocol_version=protocol_version(version), time_stamp=0, batch_count=len(items) if count < 0 else count
    )
    return bytes(codec.encode(ResponseMessage(response_header=header, batch_item=items)))


def activated(uid: str, batch_id: bytes | None = None) -> ResponseBatchItem:
    return ResponseBatchItem(
        operation=Operation.ACTIVATE,
        unique_batch_item_id=batch_id,
        result_status=ResultStatus.SUCCESS,
        response_payload=ActivateResponse(unique_identifier=uid),
    )


def refused(
    operation: Operation | None = Operation.ACTIVATE,
    reason: ResultReason | int | None = ResultReason.ITEM_NOT_FOUND,
    batch_id: bytes | None = None,
) -> ResponseBatchItem:
    return ResponseBatchItem(
        operation=operation,
        unique_batch_item_id=batch_id,
        result_status=ResultStatus.OPERATION_FAILED,
        result_reason=reason,
        result_message="no such key",
    )


def one(uid: str = "7") -> protocol.Request:
    return protocol.build([ActivateRequest(unique_identifier=uid)], V)


def two() -> protocol.Request:
    return protocol.build([ActivateRequest(unique_identifier="7"), ActivateRequest(unique_identifier="8")], V)


def test_a_single_request_has_no_batch_fields() -> None:
    message = codec.decode(RequestMessage, one().encoding)
    header = message.request_header
    assert header.batch_count == 1
    assert (header.batch_order_option, header.batch_error_continuation_option) == (None, None)
    assert message.batch_item[0].unique_batch_item_id is None


def test_a_batch_has_ids_of_its_own() -> None:
    first, second = two(), two()
    message = codec.decode(RequestMessage, first.encoding)
    assert tuple(item.unique_batch_item_id for item in message.batch_item) == first.batch_ids
    assert len({*first.batch_ids, *second.batch_ids}) == 4
    assert message.request_header.batch_order_option is True


def test_on_error_is_sent() -> None:
    payloads = [ActivateRequest(unique_identifier="7")] * 2
    request = protocol.build(payloads, V, on_error=BatchErrorContinuationOption.CONTINUE)
    header = codec.decode(RequestMessage, request.encoding).request_header
    assert header.batch_error_continuation_option is BatchErrorContinuationOption.CONTINUE


@pytest.mark.parametrize(("version", "sent"), [((1, 3), False), ((1, 4), True), ((2, 1), True)])
def test_the_correlation_value_goes_where_the_version_has_one(version: Version, sent: bool) -> None:
    request = protocol.build([ActivateRequest(unique_identifier="7")], version, correlates=True)
    assert request.correlates is sent
    header = codec.decode(RequestMessage, request.encoding).request_header
    assert header.client_correlation_value == (request.name if sent else None)
    assert request.name != protocol.build([ActivateRequest(unique_identifier="7")], version).name


@pytest.mark.parametrize("echoed", ["own", None, "1-1 of another"])
def test_a_reply_is_not_one_to_another_message(echoed: str | None) -> None:
    """A server need not answer the value that it was sent."""
    request = protocol.build([ActivateRequest(unique_identifier="7")], (1, 4), correlates=True)
    header = ResponseHeader(
        protocol_version=protocol_version((1, 4)),
        client_correlation_value=request.name if echoed == "own" else echoed,
        server_correlation_value="srv 5",
        batch_count=1,
    )
    reply = codec.encode(ResponseMessage(response_header=header, batch_item=(activated("7"),)))
    assert protocol.server_correlation(memoryview(reply)) == "'srv 5'"
    if echoed in ("own", None):
        assert protocol.parse(request, reply) == [ActivateResponse(unique_identifier="7")]
    else:
        with pytest.raises(ProtocolError, match="to the message '1-1 of another'"):
            protocol.parse(request, reply)


def test_no_message_has_no_correlation_value() -> None:
    for nothing in (b"", b"garbage.", b"HTTP/1.1 400 Bad", answered(one(), activated("7"))):
        assert protocol.server_correlation(memoryview(nothing)) == ""


def test_a_payload_too_young_for_the_version_is_refused() -> None:
    with pytest.raises(TTLVError, match=r"offset_items needs KMIP 1\.3"):
        protocol.build([LocateRequest(offset_items=3)], V)


def test_only_requests_that_change_nothing_are_idempotent() -> None:
    get = GetAttributesRequest(unique_identifier="7")
    assert protocol.build([get, get], V).idempotent
    assert not protocol.build([get, ActivateRequest(unique_identifier="7")], V).idempotent


def test_an_answer_is_believed() -> None:
    request = one()
    assert protocol.parse(request, answered(request, activated("7")), SERVER) == [
        ActivateResponse(unique_identifier="7")
    ]


def test_answers_of_a_batch_come_in_the_order_of_the_request() -> None:
    request = two()
    a, b = request.batch_ids
    reply = answered(request, activated("8", b), activated("7", a))
    assert [answer.unique_identifier for answer in protocol.parse(request, reply)] == ["7", "8"]  # type: ignore[union-attr]


def test_a_batch_that_stopped() -> None:
    payloads: list[RequestPayload] = [ActivateRequest(unique_identifier=uid) for uid in "789"]
    request = protocol.build(payloads, V)
    reply = answered(request, activated("7", request.batch_ids[0]), refused(batch_id=request.batch_ids[1]))
    first, second, third = protocol.parse(request, reply, SERVER)
    assert isinstance(first, ActivateResponse)
    assert isinstance(second, OperationFailed)
    assert (second.operation, second.status, second.reason) == (Operation.ACTIVATE, 1, 1)
    assert str(second) == "kms1:5696 refused ACTIVATE with ITEM_NOT_FOUND: no such key"
    assert isinstance(third, OperationFailed)
    assert third.reason == 0
    assert "not attempted" in str(third)


def test_a_whole_message_that_was_refused_in_version_1_0() -> None:
    request = two()
    reply = answered(request, refused(None, ResultReason.INVALID_MESSAGE), version=(1, 0))
    answers = protocol.parse(request, reply, SERVER)
    assert [getattr(answer, "reason", None) for answer in answers] == [4, 4]


def test_a_vendors_reason_survives() -> None:
    request = one()
    (answer,) = protocol.parse(request, answered(request, refused(reason=0x80000007)), SERVER)
    assert isinstance(answer, OperationFailed)
    assert answer.reason == 0x80000007
    assert "0x80000007" in str(answer)


def test_a_refusal_without_a_reason() -> None:
    request = one()
    (answer,) = protocol.parse(request, answered(request, refused(reason=None)), SERVER)
    assert isinstance(answer, OperationFailed)
    assert answer.reason == 0


def test_who_asks_is_refused() -> None:
    request = one()
    reply = answered(request, refused(None, ResultReason.AUTHENTICATION_NOT_SUCCESSFUL), version=(1, 0))
    with pytest.raises(AuthenticationRefused, match="kms1:5696 does not accept our certificate: no such key"):
        protocol.parse(request, reply, SERVER)


def test_a_rekey_names_another_object() -> None:
    request = protocol.build([RekeyRequest(unique_identifier="7")], V)
    item = ResponseBatchItem(
        operation=Operation.REKEY,
        result_status=ResultStatus.SUCCESS,
        response_payload=RekeyResponse(unique_identifier="8"),
    )
    assert protocol.parse(request, answered(request, item)) == [RekeyResponse(unique_identifier="8")]


Reply = Callable[[protocol.Request], bytes]


def changed(**fields: object) -> Reply:
    """Answer a single Activate of 7 with something other than the right item."""
    return lambda request: answered(request, replace(activated("7"), **fields))  # type: ignore[arg-type]


def get_attributes_answer(request: protocol.Request) -> bytes:
    item = ResponseBatchItem(
        operation=Operation.GET_ATTRIBUTES,
        result_status=ResultStatus.SUCCESS,
        response_payload=GetAttributesResponse(unique_identifier="7"),
    )
    return answered(request, item)


NONSENSE: dict[str, tuple[Reply, str]] = {
    "garbage": (lambda request: b"garbage.", "no KMIP message"),
    "cut short": (lambda request: answered(request, activated("7"))[:-8], "no KMIP message"),
    "another object": (lambda request: answered(request, activated("8")), "'8' where '7' was named"),
    "another operation": (get_attributes_answer, "GET_ATTRIBUTES where ACTIVATE was asked"),
    "no operation": (changed(operation=None), "None where ACTIVATE"),
    "no payload": (changed(response_payload=None), "no answer"),
    "an id that was not sent": (changed(unique_batch_item_id=b"x"), "a batch where one"),
    "two answers": (lambda request: answered(request, activated("7"), activated("7")), "a batch where one"),
    "no answer": (answered, "announces 0"),
    "a wrong count": (lambda request: answered(request, activated("7"), count=2), "announces 2 answers and has 1"),
    "another version": (lambda request: answered(request, activated("7"), version=(1, 0)), "1.0 where 1.2"),
    "another operation that failed": (
        lambda request: answered(request, refused(Operation.DESTROY)),
        "DESTROY where ACTIVATE",
    ),
}


@pytest.mark.parametrize(("reply", "text"), NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_not_believed(reply: Reply, text: str) -> None:
    request = one()
    with pytest.raises(ProtocolError, match=text) as raised:
        protocol.parse(request, reply(request), SERVER)
    assert SERVER in str(raised.value)
    assert raised.value.server == SERVER
    assert raised.value.sent


BATCH_NONSENSE: dict[str, Reply] = {
    "ids of another request": lambda request: answered(
        request, *(activated(uid, batch_id) for uid, batch_id in zip("78", two().batch_ids, strict=True))
    ),
    "no ids": lambda request: answered(request, activated("7"), activated("8")),
    "one id twice": lambda request: answered(
        request, activated("7", request.batch_ids[0]), activated("8", request.batch_ids[0])
    ),
    "too few and no failure": lambda request: answered(request, activated("7", request.batch_ids[0])),
    "objects exchanged": lambda request: answered(
        request, activated("8", request.batch_ids[0]), activated("7", request.batch_ids[1])
    ),
}


@pytest.mark.parametrize("reply", BATCH_NONSENSE.values(), ids=BATCH_NONSENSE.keys())
def test_nonsense_for_a_batch_is_not_believed(reply: Reply) -> None:
    request = two()
    with pytest.raises(ProtocolError):
        protocol.parse(request, reply(request), SERVER)


def test_what_is_asked_in_words() -> None:
    destroy = DestroyRequest(unique_identifier="7")
    assert protocol.build([destroy, ActivateRequest(unique_identifier="7"), destroy], V).operations == (
        "2x DESTROY, ACTIVATE"
    )


def test_a_user_is_named_as_an_independent_reader_has_it() -> None:
    from kmip.core import utils
    from kmip.core.messages import messages

    authentication = Authentication.of_user("me", Secret(b"my password"))
    request = protocol.build([ActivateRequest(unique_identifier="7")], V, authentication=authentication)
    read = messages.RequestMessage()
    read.read(utils.BytearrayStream(bytes(request.encoding)))
    (credential,) = read.request_header.authentication.credentials
    assert credential.credential_type.name == "USERNAME_AND_PASSWORD"
    assert (credential.credential_value.username, credential.credential_value.password) == ("me", "my password")
    assert "my password" not in repr(codec.decode(RequestMessage, request.encoding))
    without = protocol.build(
        [ActivateRequest(unique_identifier="7")], V, authentication=Authentication.of_user("i", None)
    )
    sent = codec.decode(RequestMessage, without.encoding).request_header.authentication
    assert sent is not None
    assert sent.credential[0].credential_value.password is None


@pytest.mark.parametrize("reason", [ResultReason.AUTHENTICATION_NOT_SUCCESSFUL, ResultReason.BAD_PASSWORD])
def test_a_refused_user_and_a_refused_certificate_are_told_apart(reason: ResultReason) -> None:
    authentication = Authentication.of_user("me", Secret(b"my password"))
    request = protocol.build([ActivateRequest(unique_identifier="7")], V, authentication=authentication)
    with pytest.raises(AuthenticationRefused, match="does not accept the password of user 'me', or that name with"):
        protocol.parse(request, answered(request, refused(reason=reason)), SERVER)
    with pytest.raises(AuthenticationRefused, match="does not accept our certificate"):
        protocol.parse(one(), answered(one(), refused(reason=reason)), SERVER)


def test_what_a_vendor_adds_is_passed_over() -> None:
    """Items nobody knows, in every place of a reply, and a message extension: the answer is the same."""
    request = one()
    extra = Item(0x540001, ItemType.STRUCTURE, (Item(0x540002, ItemType.DATE_TIME_EXTENDED, 5),))

    def stuffed(item: Item) -> Item:
        inside = item.value
        if not isinstance(inside, tuple) or item.tag == tag_of("protocol_version"):
            return item
        return Item(item.tag, item.type, (extra, *map(stuffed, inside), extra))

    extension = MessageExtension(
        vendor_identification="Acme", criticality_indicator=False, vendor_extension=Structure(unknown=(extra,))
    )
    reply = answered(request, replace(activated("7"), message_extension=extension))
    header, *items = ttlv.decode(reply).value  # type: ignore[misc]
    message = Item(tag_of("response_message"), ItemType.STRUCTURE, (stuffed(header), *map(stuffed, items)))
    (answer,) = protocol.parse(request, ttlv.encode(message), SERVER)
    assert isinstance(answer, ActivateResponse)
    assert answer.unique_identifier == "7"
