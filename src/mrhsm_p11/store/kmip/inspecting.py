"""What can be said of each configured server: how far a connection comes, and what this certificate may do there.

Nothing is changed at a server: operations on an object name one that cannot exist, and those that would make one ask
for what cannot be made, so that the server's refusal tells whether it would have listened.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mrhsm_p11 import log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.kmip import codec, protocol
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import RevocationReason, attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.kmip.messages import ResponseMessage
from mrhsm_p11.kmip.negotiation import OLDEST
from mrhsm_p11.kmip.objects import KeyBlock, KeyValue, SymmetricKey, TemplateAttribute
from mrhsm_p11.kmip.payload import RequestPayload
from mrhsm_p11.kmip.pool import Pool
from mrhsm_p11.kmip.server_payloads import (
    DiscoverVersionsRequest,
    DiscoverVersionsResponse,
    QueryRequest,
    QueryResponse,
)
from mrhsm_p11.kmip.transport import Endpoint, Peer, Transport
from mrhsm_p11.kmip.vocabulary import (
    CryptographicAlgorithm,
    KeyFormatType,
    ObjectType,
    QueryFunction,
    RevocationReasonCode,
    version_text,
)
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip.connection import endpoints_of, identity_of, make_pool, version_of
from mrhsm_p11.store.kmip.pinging import ping
from mrhsm_p11.store.kmip.reader import HIDDEN, UNSUPPORTED

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.tokendir.settings import Connection


class Stage(enum.IntEnum):
    """How far a server let us come."""

    CONFIGURED = 0  # the settings do not even allow a try
    NAME = 1
    TCP = 2
    TLS = 3
    KMIP = 4


class Outcome(enum.Enum):
    """What a probe of one operation showed."""

    WORKS = "works"
    MISSING = "is not offered by the server"
    REFUSED = "is refused to this certificate"
    UNCLEAR = "could not be told apart from a missing right"


@dataclass(frozen=True, slots=True)
class Probe:
    """One row an operation: who needs it, and the request that shows whether it is there; `uid` names no object."""

    operation: str
    needed_by: str
    required: bool
    request: Callable[[str], RequestPayload]
    on_object: bool = True


def _nothing() -> TemplateAttribute:
    return TemplateAttribute(attribute=())


def _contradictory_register() -> payloads.RegisterRequest:
    """Return a Register that parses and that no server may take: key block and attributes name two lengths."""
    block = KeyBlock(
        key_format_type=KeyFormatType.RAW,
        key_value=KeyValue(key_material=Secret(os.urandom(32))),
        cryptographic_algorithm=CryptographicAlgorithm.AES,
        cryptographic_length=256,
    )
    return payloads.RegisterRequest(
        object_type=ObjectType.SYMMETRIC_KEY,
        template_attribute=TemplateAttribute(attribute=(attribute("Cryptographic Length", 128),)),
        managed_object=SymmetricKey(key_block=block),
    )


def _revocation() -> RevocationReason:
    return RevocationReason(revocation_reason_code=RevocationReasonCode.CESSATION_OF_OPERATION)


PROBES: tuple[Probe, ...] = (
    Probe("Locate", "enable and every search", True, lambda _: payloads.LocateRequest(maximum_items=1), False),
    Probe("Get", "every use of a key", True, lambda uid: payloads.GetRequest(unique_identifier=uid)),
    Probe(
        "Create",
        "enable and rekey",
        True,
        lambda _: payloads.CreateRequest(object_type=ObjectType.SYMMETRIC_KEY, template_attribute=_nothing()),
        False,
    ),
    Probe(
        "Register",
        "enable, which imports keys",
        True,
        lambda _: _contradictory_register(),
        False,
    ),
    Probe("Activate", "enable and rekey", True, lambda uid: payloads.ActivateRequest(unique_identifier=uid)),
    Probe(
        "Revoke",
        "rekey -retire",
        True,
        lambda uid: payloads.RevokeRequest(unique_identifier=uid, revocation_reason=_revocation()),
    ),
    Probe("Destroy", "programs that destroy objects", True, lambda uid: payloads.DestroyRequest(unique_identifier=uid)),
    Probe("Re-key", "rekey, which else uses Create", False, lambda uid: payloads.RekeyRequest(unique_identifier=uid)),
    Probe(
        "Get Attributes",
        "attributes and states in one message",
        False,
        lambda uid: payloads.GetAttributesRequest(unique_identifier=uid),
    ),
    Probe(
        "Query",
        "the server's name and abilities",
        False,
        lambda _: QueryRequest(query_function=(QueryFunction.QUERY_SERVER_INFORMATION,)),
        False,
    ),
)


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe showed; `said` is the server's own word."""

    probe: Probe
    outcome: Outcome
    said: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of one server; `fault` says why `reached` is not KMIP, or why KMIP does not serve."""

    address: str
    reached: Stage
    fault: str = ""
    peer: Peer | None = None
    versions: tuple[str, ...] = ()  # as the server offers them; empty where it does not tell
    vendor: str = ""
    latency_ms: float | None = None
    clock_offset_s: float | None = None  # the server's time less ours
    probed: tuple[Probed, ...] = ()


def inspect(connection: Connection, config: Config, *, probe: bool = True) -> list[Inspection]:
    """Return what is found of each configured server, in their order; `probe`: try the operations too."""
    try:
        identity_of(connection)
        version_of(connection)
        endpoints = endpoints_of(connection)
    except MrhsmError as error:
        return [Inspection(address, Stage.CONFIGURED, str(error)) for address in connection.addresses]

    def look(place: int) -> Inspection:
        alone = _alone(connection, place)
        pool = make_pool(alone, config)
        try:
            return _look(alone, config, endpoints[place], pool, probe)
        finally:
            pool.close()

    with ThreadPoolExecutor(max_workers=len(endpoints)) as threads:
        return list(threads.map(look, range(len(endpoints))))


def _alone(connection: Connection, place: int) -> Connection:
    names = connection.server_names
    own = (names[place % len(names)],) if names else ()
    return replace(connection, addresses=(connection.addresses[place],), server_names=own)


def _look(alone: Connection, config: Config, endpoint: Endpoint, pool: Pool, probe: bool) -> Inspection:
    deadline, peer = Deadline(config.deadline_s), None
    found = Inspection(alone.addresses[0], Stage.KMIP)
    try:
        peer = _handshake(alone, config, endpoint, deadline)
        found = _first_words(replace(found, peer=peer), pool, deadline)
    except KMIPError as error:
        return replace(found, peer=peer, reached=_stage(error), fault=str(error))
    fault = ping(alone, config)[0][1]
    if fault is not None:
        return replace(found, fault=fault)
    client = Client(pool)
    return replace(
        found,
        vendor=_vendor(client, deadline),
        probed=tuple(_probed(client, each, Deadline(config.deadline_s)) for each in PROBES) if probe else (),
    )


def _stage(error: KMIPError) -> Stage:
    return {"name": Stage.NAME, "tcp": Stage.TCP, "tls": Stage.TLS}.get(error.stage, Stage.KMIP)


def _handshake(alone: Connection, config: Config, endpoint: Endpoint, deadline: Deadline) -> Peer:
    transport = Transport(identity_of(alone), connect_s=config.connect_s, response_limit=config.response_limit)
    connection = transport.connect(endpoint, deadline)
    try:
        return connection.peer()
    finally:
        connection.close()


def _first_words(found: Inspection, pool: Pool, deadline: Deadline) -> Inspection:
    """Add versions, latency and clock from two equal messages: the first also opens the connection."""
    request: RequestPayload = DiscoverVersionsRequest()
    if Client(pool).version(deadline=deadline) == OLDEST:
        request = payloads.LocateRequest(maximum_items=1)
    _timed(pool, request, deadline)
    began = time.monotonic()
    message = _timed(pool, request, deadline)
    latency_ms = (time.monotonic() - began) * 1e3
    said = [item.response_payload for item in message.batch_item]
    offered = [one for one in said if isinstance(one, DiscoverVersionsResponse)]
    stamp = message.response_header.time_stamp
    return replace(
        found,
        versions=tuple(version_text(each.version) for one in offered for each in one.protocol_version),
        latency_ms=latency_ms,
        clock_offset_s=None if stamp is None else float(stamp) - time.time(),
    )


def _timed(pool: Pool, payload: RequestPayload, deadline: Deadline) -> ResponseMessage:
    """Exchange one message and return all of the reply: the header tells the server's time."""
    request = protocol.build([payload], Client(pool).version(deadline=deadline), authentication=pool.authentication)

    def read(reply: memoryview, server: str) -> ResponseMessage:
        protocol.parse(request, reply, server)
        return codec.decode(ResponseMessage, reply)

    return pool.exchange(request.encoding, read, deadline, idempotent=True)


def _vendor(client: Client, deadline: Deadline) -> str:
    try:
        return client.query([QueryFunction.QUERY_SERVER_INFORMATION], deadline=deadline).vendor_identification or ""
    except KMIPError as error:
        log.debug(f"the server does not tell who it is: {error}")
        return ""


def _probed(client: Client, probe: Probe, deadline: Deadline) -> Probed:
    request = probe.request(f"mrhsm-doctor-{os.urandom(8).hex()}")
    try:
        answer = client.batch([request], deadline=deadline)[0]
    except KMIPError as error:
        return Probed(probe, Outcome.REFUSED, str(error))
    if isinstance(answer, OperationFailed):
        return Probed(probe, _outcome(probe, answer), str(answer))
    if isinstance(answer, payloads.CreateResponse | payloads.RegisterResponse):
        _take_back(client, answer.unique_identifier, deadline)
    vendor = answer.vendor_identification if isinstance(answer, QueryResponse) else None
    return Probed(probe, Outcome.WORKS, vendor or "")


def _outcome(probe: Probe, answer: OperationFailed) -> Outcome:
    if answer.reason in UNSUPPORTED:
        return Outcome.MISSING
    if answer.reason in HIDDEN:
        return Outcome.UNCLEAR if probe.on_object else Outcome.REFUSED
    return Outcome.WORKS  # it looked at what was asked, and found the fault that is in it


def _take_back(client: Client, uid: str, deadline: Deadline) -> None:
    """Destroy what a server made of a request that it should have refused."""
    try:
        client.destroy(uid, deadline=deadline)
    except KMIPError as error:
        log.warning(f"a probe made the object {uid}, which cannot be destroyed: {error}")
