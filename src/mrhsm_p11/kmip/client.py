"""The operations of KMIP as methods. Every one is one round trip within the caller's deadline.

Raises the classes of kmip.errors; a server's refusal is OperationFailed. After an error with `sent` set, the server
may have done what was asked: the caller finds out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

from mrhsm_p11 import log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import crypto_payloads, negotiation, protocol
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import Attribute, CryptographicParameters, RevocationReason
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed, ProtocolError
from mrhsm_p11.kmip.hedging import Reading
from mrhsm_p11.kmip.objects import OBJECT_TYPES, KeyWrappingSpecification, ManagedObject, TemplateAttribute
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload
from mrhsm_p11.kmip.pool import ANYWHERE, Pool, Route
from mrhsm_p11.kmip.server_payloads import (
    DiscoverVersionsRequest,
    DiscoverVersionsResponse,
    QueryRequest,
    QueryResponse,
)
from mrhsm_p11.kmip.transport import Endpoint
from mrhsm_p11.kmip.vocabulary import (
    BatchErrorContinuationOption,
    KeyFormatType,
    ObjectType,
    QueryFunction,
    ResultReason,
    RevocationReasonCode,
    Version,
)

R = TypeVar("R", bound=ResponsePayload)

# With which a server that takes no batches refuses one as a whole.
_NO_BATCHES = frozenset({ResultReason.INVALID_MESSAGE.value, ResultReason.FEATURE_NOT_SUPPORTED.value})


class Client:
    """One identity's view of a group of servers; safe from any thread."""

    def __init__(self, pool: Pool, *, route: Route = ANYWHERE, version: Version | None = None) -> None:
        self.pool = pool
        self._route = route
        self._version = version  # None: the pool's

    def at(self, endpoint: Endpoint) -> Client:
        """Return a client that asks this one of the pool's servers and no other."""
        return self._by(Route(endpoint, self._route.fresh))

    def fresh(self) -> Client:
        """Return a client that opens a new connection for each exchange."""
        return self._by(Route(self._route.endpoint, fresh=True))

    def speaking(self, version: Version) -> Client:
        """Return a client that speaks this version, whatever the pool speaks."""
        return Client(self.pool, route=self._route, version=version)

    def _by(self, route: Route) -> Client:
        return Client(self.pool, route=route, version=self._version)

    def version(self, *, deadline: Deadline) -> Version:
        """Return the version that is spoken; where the settings leave it open, the first one to ask agrees on it."""
        return self._version or self.pool.version or negotiation.agree(self, deadline)

    def discover_versions(self, *, deadline: Deadline) -> tuple[Version, ...]:
        """Return the versions that the server speaks, the one it likes best first. Needs KMIP 1.1."""
        return self.discover(deadline=deadline)[1]

    def discover(self, *, deadline: Deadline) -> tuple[str, tuple[Version, ...]]:
        """Return a server and the versions that it speaks."""
        request = self._request([DiscoverVersionsRequest()], self.version(deadline=deadline))
        (answer,), server = self._exchange(request, deadline)
        reply = _expected(answer, DiscoverVersionsRequest, DiscoverVersionsResponse)
        return server, tuple(each.version for each in reply.protocol_version)

    def query(self, functions: Sequence[QueryFunction], *, deadline: Deadline) -> QueryResponse:
        return self._ask(QueryRequest(query_function=tuple(functions)), QueryResponse, deadline)

    def create(self, object_type: ObjectType, attributes: Iterable[Attribute], *, deadline: Deadline) -> str:
        """Have the server make an object; return its identifier."""
        request = payloads.CreateRequest(object_type=object_type, template_attribute=_template(attributes))
        return self._ask(request, payloads.CreateResponse, deadline).unique_identifier

    def create_key_pair(
        self,
        common: Iterable[Attribute],
        private: Iterable[Attribute],
        public: Iterable[Attribute],
        *,
        deadline: Deadline,
    ) -> tuple[str, str]:
        """Have the server make a key pair; return the identifiers of its private and its public key."""
        request = payloads.CreateKeyPairRequest(
            common_template_attribute=_template(common),
            private_key_template_attribute=_template(private),
            public_key_template_attribute=_template(public),
        )
        reply = self._ask(request, payloads.CreateKeyPairResponse, deadline)
        return reply.private_key_unique_identifier, reply.public_key_unique_identifier

    def register(self, managed_object: ManagedObject, attributes: Iterable[Attribute], *, deadline: Deadline) -> str:
        """Store an object; return its identifier."""
        request = payloads.RegisterRequest(
            object_type=OBJECT_TYPES[type(managed_object)],
            template_attribute=_template(attributes),
            managed_object=managed_object,
        )
        return self._ask(request, payloads.RegisterResponse, deadline).unique_identifier

    def locate(
        self,
        attributes: Iterable[Attribute] = (),
        *,
        maximum_items: int | None = None,
        offset_items: int | None = None,
        deadline: Deadline,
    ) -> tuple[str, ...]:
        """Return the identifiers of the objects that the server says have these attributes."""
        request = payloads.LocateRequest(
            maximum_items=maximum_items, offset_items=offset_items, attribute=tuple(attributes)
        )
        return self._ask(request, payloads.LocateResponse, deadline).unique_identifier

    def get(
        self,
        uid: str,
        *,
        key_format_type: KeyFormatType | None = None,
        key_wrapping_specification: KeyWrappingSpecification | None = None,
        deadline: Deadline,
    ) -> payloads.GetResponse:
        request = payloads.GetRequest(
            unique_identifier=uid,
            key_format_type=key_format_type,
            key_wrapping_specification=key_wrapping_specification,
        )
        return self._ask(request, payloads.GetResponse, deadline)

    def get_attributes(self, uid: str, names: Iterable[str] = (), *, deadline: Deadline) -> tuple[Attribute, ...]:
        """Return the object's attributes of these names, of every name where none is given."""
        request = payloads.GetAttributesRequest(unique_identifier=uid, attribute_name=tuple(names))
        return self._ask(request, payloads.GetAttributesResponse, deadline).attribute

    def get_attribute_list(self, uid: str, *, deadline: Deadline) -> tuple[str, ...]:
        request = payloads.GetAttributeListRequest(unique_identifier=uid)
        return self._ask(request, payloads.GetAttributeListResponse, deadline).attribute_name

    def add_attribute(self, uid: str, attribute: Attribute, *, deadline: Deadline) -> Attribute | None:
        """Add an instance; return it with its index, which KMIP 2 has not."""
        request = payloads.AddAttributeRequest(unique_identifier=uid, attribute=attribute)
        return self._ask(request, payloads.AddAttributeResponse, deadline).attribute

    def set_attribute(self, uid: str, attribute: Attribute, *, deadline: Deadline) -> None:
        """Give an attribute that has one instance this value. Needs KMIP 2.0."""
        request = payloads.SetAttributeRequest(unique_identifier=uid, attribute=attribute)
        self._ask(request, payloads.SetAttributeResponse, deadline)

    def modify_attribute(
        self, uid: str, attribute: Attribute, *, current: Attribute | None = None, deadline: Deadline
    ) -> Attribute | None:
        """Replace the instance that the index names, or in KMIP 2 that is now `current`; return what KMIP 1 answers."""
        request = payloads.ModifyAttributeRequest(unique_identifier=uid, attribute=attribute, current_attribute=current)
        return self._ask(request, payloads.ModifyAttributeResponse, deadline).attribute

    def delete_attribute(
        self, uid: str, name: str, index: int | None = None, *, deadline: Deadline
    ) -> Attribute | None:
        """Delete an instance, all of them in KMIP 2, which has no index; return what KMIP 1 answers."""
        request = payloads.DeleteAttributeRequest(unique_identifier=uid, attribute_name=name, attribute_index=index)
        return self._ask(request, payloads.DeleteAttributeResponse, deadline).attribute

    def activate(self, uid: str, *, deadline: Deadline) -> None:
        self._ask(payloads.ActivateRequest(unique_identifier=uid), payloads.ActivateResponse, deadline)

    def revoke(
        self,
        uid: str,
        code: RevocationReasonCode,
        message: str | None = None,
        *,
        compromise_occurrence_date: int | None = None,
        deadline: Deadline,
    ) -> None:
        """Revoke; the date (seconds since the epoch) is required with the codes of a compromise."""
        request = payloads.RevokeRequest(
            unique_identifier=uid,
            revocation_reason=RevocationReason(revocation_reason_code=code, revocation_message=message),
            compromise_occurrence_date=compromise_occurrence_date,
        )
        self._ask(request, payloads.RevokeResponse, deadline)

    def destroy(self, uid: str, *, deadline: Deadline) -> None:
        self._ask(payloads.DestroyRequest(unique_identifier=uid), payloads.DestroyResponse, deadline)

    def rekey(
        self, uid: str, attributes: Iterable[Attribute] = (), *, offset_s: int | None = None, deadline: Deadline
    ) -> str:
        """Have the server make a replacement; return its identifier."""
        held = tuple(attributes)
        request = payloads.RekeyRequest(
            unique_identifier=uid, offset=offset_s, template_attribute=_template(held) if held else None
        )
        return self._ask(request, payloads.RekeyResponse, deadline).unique_identifier

    def encrypt(
        self,
        uid: str,
        data: bytes,
        parameters: CryptographicParameters,
        *,
        iv: bytes | None = None,
        aad: bytes | None = None,
        deadline: Deadline,
    ) -> crypto_payloads.EncryptResponse:
        """Have the server encrypt; `aad` needs KMIP 1.4, as the tag in the reply does. Needs KMIP 1.2."""
        request = crypto_payloads.EncryptRequest(
            unique_identifier=uid,
            cryptographic_parameters=parameters,
            data=data,
            iv_counter_nonce=iv,
            authenticated_encryption_additional_data=aad,
        )
        return self._ask(request, crypto_payloads.EncryptResponse, deadline)

    def decrypt(
        self,
        uid: str,
        data: bytes,
        parameters: CryptographicParameters,
        *,
        iv: bytes | None = None,
        aad: bytes | None = None,
        tag: bytes | None = None,
        deadline: Deadline,
    ) -> crypto_payloads.DecryptResponse:
        """Have the server decrypt; `aad` and `tag` need KMIP 1.4. Needs KMIP 1.2."""
        request = crypto_payloads.DecryptRequest(
            unique_identifier=uid,
            cryptographic_parameters=parameters,
            data=data,
            iv_counter_nonce=iv,
            authenticated_encryption_additional_data=aad,
            authenticated_encryption_tag=tag,
        )
        return self._ask(request, crypto_payloads.DecryptResponse, deadline)

    def sign(
        self, uid: str, data: bytes, parameters: CryptographicParameters, *, deadline: Deadline
    ) -> crypto_payloads.SignResponse:
        """Have the server hash and sign. Needs KMIP 1.2."""
        request = crypto_payloads.SignRequest(unique_identifier=uid, cryptographic_parameters=parameters, data=data)
        return self._ask(request, crypto_payloads.SignResponse, deadline)

    def mac(
        self, uid: str, data: bytes, parameters: CryptographicParameters, *, deadline: Deadline
    ) -> crypto_payloads.MACResponse:
        """Have the server compute a MAC. Needs KMIP 1.2."""
        request = crypto_payloads.MACRequest(unique_identifier=uid, cryptographic_parameters=parameters, data=data)
        return self._ask(request, crypto_payloads.MACResponse, deadline)

    def batch(
        self,
        requests: Sequence[RequestPayload],
        *,
        on_error: BatchErrorContinuationOption | None = None,
        deadline: Deadline,
    ) -> list[protocol.Answer]:
        """Ask several operations in one message; return each one's response payload, or its OperationFailed.

        Without `on_error` the server stops at the first that fails; those after it are OperationFailed too.
        """
        if not requests:
            return []
        if self.pool.refuses_batches:
            return self._one_by_one(requests, on_error, deadline)
        answers = self._converse(requests, deadline, on_error)
        undo = on_error is BatchErrorContinuationOption.UNDO  # which few servers do: the refusal may be for that
        refused = all(isinstance(one, OperationFailed) and one.reason in _NO_BATCHES for one in answers)
        if refused and len(requests) > 1 and not undo:
            # The message was refused, so nothing of it was done.
            self.pool.refuses_batches = True
            return self._one_by_one(requests, on_error, deadline)
        return answers

    def _one_by_one(
        self, requests: Sequence[RequestPayload], on_error: BatchErrorContinuationOption | None, deadline: Deadline
    ) -> list[protocol.Answer]:
        """Ask what a server takes in no batch, one message each, and stop where a batch would."""
        answers: list[protocol.Answer] = []
        for payload in requests:
            stopped = any(isinstance(one, OperationFailed) for one in answers)
            if stopped and on_error is not BatchErrorContinuationOption.CONTINUE:
                answers.append(protocol.not_attempted(payload, ""))
                continue
            answers += self._converse([payload], deadline)
        return answers

    def _ask(self, payload: RequestPayload, expected: type[R], deadline: Deadline) -> R:
        return _expected(self._converse([payload], deadline)[0], type(payload), expected)

    def _converse(
        self,
        requests: Sequence[RequestPayload],
        deadline: Deadline,
        on_error: BatchErrorContinuationOption | None = None,
    ) -> list[protocol.Answer]:
        """Exchange a message, twice where a server refuses the first for a version that others had agreed on."""
        version = self.version(deadline=deadline)
        answers, server = self._exchange(self._request(requests, version, on_error), deadline)
        refused = all(isinstance(one, OperationFailed) and negotiation.refuses(one) for one in answers)
        if refused and self.pool.negotiates and negotiation.agree_anew(self, server, version, deadline):
            version = self.version(deadline=deadline)
            answers, _ = self._exchange(self._request(requests, version, on_error), deadline)
        return answers

    def _request(
        self,
        requests: Sequence[RequestPayload],
        version: Version,
        on_error: BatchErrorContinuationOption | None = None,
    ) -> protocol.Request:
        return protocol.build(
            requests,
            version,
            correlates=self.pool.correlates,
            on_error=on_error,
            authentication=self.pool.authentication,
        )

    def _exchange(self, request: protocol.Request, deadline: Deadline) -> tuple[list[protocol.Answer], str]:
        """Return the answers and the server that gave them."""
        started, asked, result, known_as = time.monotonic(), "any server", "failed", ""

        def read(reply: memoryview, server: str) -> list[protocol.Answer]:
            nonlocal asked, known_as
            asked, known_as = server, protocol.server_correlation(reply)
            return protocol.parse(request, reply, server)

        try:
            answers = self.pool.exchange(
                request.encoding,
                read,
                deadline,
                self._route,
                idempotent=request.idempotent,
                reading=Reading(request.operations, _all_done) if request.traceless else None,
            )
            failures = [str(answer) for answer in answers if isinstance(answer, OperationFailed)]
            result = failures[0] if failures else "ok"
        except KMIPError as error:
            result = f"{type(error).__name__}: {error}"
            raise
        else:
            return answers, asked
        finally:
            request.encoding[:] = bytes(len(request.encoding))
            elapsed_s = time.monotonic() - started
            if (meters := self.pool.meters) is not None:
                operation = "+".join(dict.fromkeys(payload.operation.name for payload in request.payloads))
                meters.count(operation, asked, elapsed_s, good=result == "ok", method=request.method)
            named = f"message {request.name}" + (f", there {known_as}" if known_as else "")
            log.debug(f"kmip {request.operations} at {asked}: {elapsed_s * 1e3:.1f} ms, {named}, {result}")


def _expected(answer: protocol.Answer, asked: type[RequestPayload], expected: type[R]) -> R:
    """Return an answer that is what was asked for. Raises OperationFailed, ProtocolError."""
    if isinstance(answer, OperationFailed):
        raise answer
    if not isinstance(answer, expected):
        raise ProtocolError(f"a {type(answer).__name__} came for a {asked.__name__}", sent=True)
    return answer


def _all_done(answers: list[protocol.Answer]) -> bool:
    return not any(isinstance(answer, OperationFailed) for answer in answers)


def _template(attributes: Iterable[Attribute]) -> TemplateAttribute:
    return TemplateAttribute(attribute=tuple(attributes))
