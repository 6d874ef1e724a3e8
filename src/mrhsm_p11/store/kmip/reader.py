"""Objects read from servers that answer Get Attributes: as few messages as the questions allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mrhsm_p11 import deadline, log
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import ApplicationSpecificInformation, Attribute, attribute, name_attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload
from mrhsm_p11.kmip.vocabulary import BatchErrorContinuationOption, ResultReason
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip import found, materials, records
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.found import ID_NAMESPACE, LABEL_NAMESPACE, WANTED, Found
from mrhsm_p11.store.kmip.learned import Learned
from mrhsm_p11.store.kmip.records import Entry
from mrhsm_p11.store.kmip.sidecar import Sidecar

MOST_IN_A_MESSAGE = 50
PAGE = 1000  # identifiers of a Locate, where not all come at once
GONE = {ResultReason.ITEM_NOT_FOUND.value, ResultReason.OBJECT_NOT_FOUND.value, ResultReason.OBJECT_DESTROYED.value}
HIDDEN = {ResultReason.PERMISSION_DENIED.value, ResultReason.NOT_AUTHORISED.value}
UNSUPPORTED = {ResultReason.OPERATION_NOT_SUPPORTED.value, ResultReason.FEATURE_NOT_SUPPORTED.value}
_CONTINUE = BatchErrorContinuationOption.CONTINUE


class NoGetAttributes(Exception):
    """The server does not support Get Attributes."""


def information(namespace: str, text: str, index: int | None = None) -> Attribute:
    """Return an Application Specific Information."""
    value = ApplicationSpecificInformation(application_namespace=namespace, application_data=text)
    return attribute("Application Specific Information", value, index)


def searchable(value: str | bytes) -> str:
    """Return how a search entry spells a label or an ID; KMIP has no empty text that every server keeps."""
    return (value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value).hex() or "-"


def label_filters(label: str) -> list[list[Attribute]]:
    """Return the searches that together find every object of this label."""
    searches = [[information(LABEL_NAMESPACE, searchable(label))]]
    if label.isprintable():
        searches.append([name_attribute(label)])
    return searches


def id_filter(cka_id: bytes) -> list[Attribute]:
    return [information(ID_NAMESPACE, searchable(cka_id))]


def answers(client: Client, requests: Sequence[RequestPayload]) -> list[ResponsePayload | OperationFailed]:
    """Ask each request, MOST_IN_A_MESSAGE to a message; one that fails does not stop the others."""
    got: list[ResponsePayload | OperationFailed] = []
    for start in range(0, len(requests), MOST_IN_A_MESSAGE):
        got += _answers(client, requests[start : start + MOST_IN_A_MESSAGE])
    return got


def _answers(client: Client, requests: Sequence[RequestPayload]) -> list[ResponsePayload | OperationFailed]:
    got = client.batch(requests, on_error=_CONTINUE, deadline=deadline.current())
    too_large = ResultReason.RESPONSE_TOO_LARGE.value
    if len(requests) > 1 and all(isinstance(one, OperationFailed) and one.reason == too_large for one in got):
        half = len(requests) // 2
        return _answers(client, requests[:half]) + _answers(client, requests[half:])
    return list(got)


def _all_of(client: Client, request: payloads.LocateRequest, answer: payloads.LocateResponse) -> list[str]:
    """Return what was located, page by page where the server counts more than it names (Located Items, KMIP 1.3).

    Pages move when objects come or go meanwhile: one may be named twice.
    """
    uids = list(answer.unique_identifier)
    while len(uids) < (answer.located_items or 0):
        page = client.locate(request.attribute, maximum_items=PAGE, offset_items=len(uids), deadline=deadline.current())
        if not page:
            break
        uids += page
    return uids


class Reader:
    """Reads entries and materials; raises KMIPError, and NoGetAttributes where another way must be taken."""

    def __init__(self, servers: Servers, learned: Learned, sidecar: Sidecar, group: str | None) -> None:
        self._servers = servers
        self._learned = learned
        self._sidecar = sidecar
        self._group = group

    @property
    def group_filter(self) -> list[Attribute]:
        return [attribute("Object Group", self._group)] if self._group else []

    def locate(self, searches: Sequence[Iterable[Attribute]]) -> list[str]:
        """Return the identifiers that any of the searches finds, in one message."""
        requests = [payloads.LocateRequest(attribute=(*search, *self.group_filter)) for search in searches]
        client = self._servers.client
        uids: dict[str, None] = {}
        for request, answer in zip(requests, answers(client, requests), strict=True):
            if isinstance(answer, OperationFailed):
                raise answer
            assert isinstance(answer, payloads.LocateResponse)
            uids.update(dict.fromkeys(_all_of(client, request, answer)))
        return list(uids)

    def entries(self, uids: Sequence[str]) -> list[Entry]:
        """Return what is to be shown of these objects; one that went meanwhile is left out."""
        got = answers(self._servers.client, [self._ask(uid) for uid in uids])
        self._note_support(got)
        listed = []
        for uid, answer in zip(uids, got, strict=True):
            if isinstance(answer, OperationFailed):
                if answer.reason not in GONE | HIDDEN:
                    raise answer
                log.debug(f"object {uid} is left out: {answer}")
            elif entry := self._entry(uid, answer):
                listed.append(entry)
        return listed

    def look(self, uid: str, *, material: bool) -> tuple[Entry | None, Secret | None]:
        """Return an object and, if asked for, its bytes, in one message; (None, None) if it is not listed any more."""
        requests: list[RequestPayload] = [self._ask(uid)]
        if material:
            requests.append(payloads.GetRequest(unique_identifier=uid))
        got = answers(self._servers.client, requests)
        self._note_support(got[:1])
        if isinstance(got[0], OperationFailed) and got[0].reason in GONE:
            got = self._ask_the_others(requests, got)
        if isinstance(got[0], OperationFailed):
            raise got[0]
        entry = self._entry(uid, got[0])
        if entry is None or not material:
            return entry, None
        if isinstance(got[1], OperationFailed):
            raise got[1]
        assert isinstance(got[1], payloads.GetResponse)
        return entry, materials.unpack(got[1].managed_object)

    def get(self, uid: str) -> Secret:
        """Return an object's bytes alone."""
        requests = [payloads.GetRequest(unique_identifier=uid)]
        got = answers(self._servers.client, requests)
        if isinstance(got[0], OperationFailed) and got[0].reason in GONE:
            got = self._ask_the_others(requests, got)
        if isinstance(got[0], OperationFailed):
            raise got[0]
        assert isinstance(got[0], payloads.GetResponse)
        return materials.unpack(got[0].managed_object)

    def _ask(self, uid: str) -> payloads.GetAttributesRequest:
        facts = self._learned.facts
        # Not every server takes the name of a custom attribute that it has not; asking for all is always right.
        names = WANTED if facts.information is True else ()
        return payloads.GetAttributesRequest(unique_identifier=uid, attribute_name=names)

    def _ask_the_others(
        self, requests: Sequence[RequestPayload], got: list[ResponsePayload | OperationFailed]
    ) -> list[ResponsePayload | OperationFailed]:
        """Ask every server that answers, because replicas lag: an object is gone when all say so."""
        each = self._servers.each()
        for client in each if len(each) > 1 else ():
            try:
                other = answers(client, requests)
            except KMIPError as error:
                log.debug(f"a server could not be asked whether an object is gone: {error}")
                continue
            if not isinstance(other[0], OperationFailed):
                return other
        return got

    def _note_support(self, got: Sequence[ResponsePayload | OperationFailed]) -> None:
        if any(isinstance(answer, payloads.GetAttributesResponse) for answer in got):
            self._learned.note(get_attributes=True)
        elif got and all(isinstance(answer, OperationFailed) and answer.reason in UNSUPPORTED for answer in got):
            self._learned.note(get_attributes=False)
            raise NoGetAttributes

    def _entry(self, uid: str, answer: ResponsePayload) -> Entry | None:
        assert isinstance(answer, payloads.GetAttributesResponse)
        told = found.read(uid, answer.attribute)
        if not self._in_group(told):
            return None
        blob = records.blob_of(told)
        note = self._sidecar.read(uid) if blob is None or blob.rest else None
        entry = records.entry(told, note)
        if entry is not None and entry.blob is not None and not told.custom:
            self._learned.note(information=True)
        return entry

    def _in_group(self, told: Found) -> bool:
        return self._group is None or self._group in told.groups
