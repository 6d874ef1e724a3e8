"""The OASIS profile cases asked of a server by our client, and how its answers differ from what the cases expect.

A case passes when every answer is as it says: status, fields and attributes; not the order of attributes, nor fields
that a server may add, dates, digests and what Query says of the server. What it calls $NAME is taken from the answer.
"""

from __future__ import annotations

import enum
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import oasis

from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import codec
from mrhsm_p11.kmip.attributes import Attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.kmip.messages import RequestMessage, ResponseBatchItem, ResponseMessage
from mrhsm_p11.kmip.payload import RequestPayload
from mrhsm_p11.kmip.server_payloads import QueryResponse
from mrhsm_p11.kmip.structure import Structure
from mrhsm_p11.kmip.ttlv import TTLVError
from mrhsm_p11.kmip.vocabulary import BatchErrorContinuationOption, ResultStatus
from mrhsm_p11.secret import Secret

LIMIT_S = 60.0
# Attributes whose values are the server's own.
OWN = ("Date", "Digest", "Lease Time", "Random Number Generator", "Operation Policy Name")


class Outcome(enum.Enum):
    """What became of a case; REFUSED: the server, or our client, says that it does not do what is asked."""

    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True)
class Result:
    """`why` and the operation of the first answer that is not as expected."""

    case: str
    version: str
    outcome: Outcome
    operation: str = ""
    why: str = ""


class Differs(Exception):
    """An answer is not what the case expects."""


class Refused(Exception):
    """It was not done."""


class Variables(dict[str, str]):
    """What a case calls by a name, as XML writes it; and the keys that it gave the server."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Secret] = []

    def fill(self, element: ET.Element) -> None:
        """Put the values known so far in place of their names."""
        for one in element.iter():
            one.set("value", self.get(one.get("value", ""), one.get("value", "")))
        for one in element.iter("AttributeName"):  # some cases were set with more blanks between the words
            one.set("value", " ".join(one.get("value", "").split()))

    def compare(self, expected: object, actual: object, where: str) -> None:
        """Learn the names of the values that a case leaves open. Raises Differs."""
        name = _name(expected)
        if name:
            self.setdefault(name, _xml(actual))
        elif isinstance(expected, Secret) and isinstance(actual, Secret) and expected not in self.given:
            if len(expected) != len(actual):  # the server's own choice
                raise Differs(f"{where}: {len(actual)} bytes where {len(expected)} are expected")
        elif isinstance(expected, Structure):
            self._structures(expected, actual, where)
        elif isinstance(expected, tuple):
            self._several(expected, actual, where)
        elif expected is not None and expected != actual:
            raise Differs(f"{where}: {_shown(actual)} where {_shown(expected)} is expected")

    def _structures(self, expected: Structure, actual: object, where: str) -> None:
        if type(expected) is not type(actual):
            raise Differs(f"{where}: {type(actual).__name__} where {type(expected).__name__} is expected")
        if isinstance(expected, QueryResponse):
            return
        for f in fields(expected):
            if f.name not in {"unknown", "order"}:
                self.compare(getattr(expected, f.name), getattr(actual, f.name), f.name)

    def _several(self, expected: tuple[object, ...], actual: object, where: str) -> None:
        held = list(actual) if isinstance(actual, tuple) else []
        if where == "attribute_name":
            if absent := [one for one in expected if one not in held]:
                raise Differs(f"{absent[0]} is not among the attributes")
        elif expected and isinstance(expected[0], Attribute):
            self._attributes(expected, held)
        elif len(expected) > len(held):
            raise Differs(f"{where}: {len(held)} where {len(expected)} are expected")
        else:
            for one, other in zip(expected, held, strict=False):
                self.compare(one, other, where)

    def _attributes(self, expected: tuple[object, ...], actual: list[object]) -> None:
        for one in expected:
            assert isinstance(one, Attribute)
            same = [two for two in actual if isinstance(two, Attribute) and two.attribute_name == one.attribute_name]
            if not same:
                raise Differs(f"{one.attribute_name} is not among the attributes")
            if not one.attribute_name.endswith(OWN):
                found = next((two for two in same if two.attribute_index == one.attribute_index), same[0])
                self.compare(one.attribute_value, found.attribute_value, one.attribute_name)


def _plain(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else value


def _name(value: object) -> str:
    plain = _plain(value)
    text = plain.decode("latin-1") if isinstance(plain, bytes) else plain
    return text if isinstance(text, str) and text.startswith("$") else ""


def _xml(value: object) -> str:
    plain = _plain(value)
    return plain.hex() if isinstance(plain, bytes) else str(plain)


def _shown(value: object) -> str:
    text = value.name if isinstance(value, enum.Enum) else repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def _secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from _secrets(one)
    elif isinstance(value, Structure):
        for f in fields(value):
            yield from _secrets(getattr(value, f.name))


def replay(file: Path, client: Client) -> Result:
    """Play one case."""
    version = f"{file.stem[-2]}.{file.stem[-1]}"
    variables, asked = Variables(), ""
    elements = list(oasis.messages(file))
    try:
        if file.stem.startswith("MSGENC"):
            raise Refused("another encoding than TTLV, over HTTPS")
        for request, response in zip(elements[::2], elements[1::2], strict=True):
            asked = "+".join(one.get("value", "") for one in request.iter("Operation"))
            variables.fill(request)
            variables.fill(response)
            _exchange(request, response, client, variables)
    except Differs as difference:
        return Result(file.stem, version, Outcome.FAILED, asked, str(difference))
    except (Refused, KMIPError, TTLVError) as refusal:
        return Result(file.stem, version, Outcome.REFUSED, asked, str(refusal))
    return Result(file.stem, version, Outcome.PASSED)


def _exchange(request: ET.Element, response: ET.Element, client: Client, variables: Variables) -> None:
    """Have our client ask what a message of a case asks, and compare the answers."""
    said = codec.decode(RequestMessage, oasis.ttlv(request))
    expected = codec.decode(ResponseMessage, oasis.ttlv(response))
    payloads = [item.request_payload for item in said.batch_item]
    ours = [one for one in payloads if isinstance(one, RequestPayload)]
    if len(ours) != len(payloads):
        raise Refused("our client has no such operation")
    variables.given += _secrets(said)
    option = said.request_header.batch_error_continuation_option
    on_error = option if isinstance(option, BatchErrorContinuationOption) else None
    spoken = client.speaking(said.request_header.protocol_version.version)
    answers = spoken.batch(ours, on_error=on_error, deadline=Deadline(LIMIT_S))
    for item, answer in zip(expected.batch_item, answers, strict=False):
        _compare(item, answer, variables)


def _compare(item: ResponseBatchItem, answer: object, variables: Variables) -> None:
    wants = item.result_status is ResultStatus.SUCCESS
    if isinstance(answer, OperationFailed):
        if wants:
            raise Refused(answer.message or str(answer))
        reason = getattr(item.result_reason, "value", item.result_reason)
        if reason is not None and reason != answer.reason:
            raise Differs(f"refused for another reason than {_shown(item.result_reason)}: {answer.message}")
    elif not wants:
        raise Differs("done where a refusal is expected")
    else:
        variables.compare(item.response_payload, answer, "payload")


def replay_all(files: list[Path], client: Client) -> Iterator[Result]:
    for file in files:
        yield replay(file, client)
