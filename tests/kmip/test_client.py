"""Every operation against a real server, in every version; and what the log says of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fix_appliance import Appliance, Server, StockAppliance
from fix_faults import CannedServer

from mrhsm_p11 import log
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import protocol
from mrhsm_p11.kmip.attributes import ApplicationSpecificInformation, Attribute, Name, attribute, name_attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import AuthenticationRefused, OperationFailed, ProtocolError
from mrhsm_p11.kmip.object_payloads import (
    ActivateRequest,
    GetAttributesRequest,
    GetAttributesResponse,
    GetRequest,
    GetResponse,
)
from mrhsm_p11.kmip.objects import Certificate, KeyValue, OpaqueObject, PrivateKey, SymmetricKey, key_block
from mrhsm_p11.kmip.pool import Pool
from mrhsm_p11.kmip.transport import Endpoint, Identity
from mrhsm_p11.kmip.ttlv import TTLVError
from mrhsm_p11.kmip.vocabulary import (
    KMIP_2,
    VERSIONS,
    BatchErrorContinuationOption,
    CertificateType,
    CryptographicAlgorithm,
    CryptographicUsageMask,
    KeyFormatType,
    ObjectType,
    OpaqueDataType,
    QueryFunction,
    ResultReason,
    RevocationReasonCode,
    State,
    Version,
    mask,
)
from mrhsm_p11.secret import Secret

AES = (
    attribute("Cryptographic Algorithm", CryptographicAlgorithm.AES),
    attribute("Cryptographic Length", 256),
    attribute("Cryptographic Usage Mask", mask(CryptographicUsageMask.ENCRYPT, CryptographicUsageMask.DECRYPT)),
)


def client_of(server: Server, version: Version, client: str = "client", **options: object) -> Client:
    certificates = server.certificates
    identity = Identity(
        certificates.ca.read_bytes(),
        certificates.certificate(client).read_bytes(),
        Secret(certificates.key(client).read_bytes()),
    )
    return Client(Pool([Endpoint(server.host, server.port)], identity, version), **options)  # type: ignore[arg-type]


@pytest.fixture(params=VERSIONS, ids=lambda version: f"{version[0]}.{version[1]}")
def client(request: pytest.FixtureRequest, appliance: Appliance) -> Iterator[Client]:
    made = client_of(appliance, request.param)
    yield made
    made.pool.close()


@pytest.fixture
def deadline() -> Deadline:
    return Deadline(10)


def value(attributes: tuple[Attribute, ...], name: str) -> object:
    return next(each.attribute_value for each in attributes if each.attribute_name == name)


def test_a_key_from_cradle_to_grave(client: Client, deadline: Deadline) -> None:
    name = f"cradle {time.monotonic_ns()}"
    uid = client.create(ObjectType.SYMMETRIC_KEY, [*AES, name_attribute(name, 0)], deadline=deadline)
    assert client.locate([name_attribute(name)], deadline=deadline) == (uid,)
    assert client.locate([name_attribute(name + "?")], maximum_items=1, deadline=deadline) == ()
    assert value(client.get_attributes(uid, ["State"], deadline=deadline), "State") is State.PRE_ACTIVE
    client.activate(uid, deadline=deadline)
    shown = client.get_attributes(uid, deadline=deadline)
    assert value(shown, "State") is State.ACTIVE
    assert value(shown, "Cryptographic Length") == 256
    assert isinstance(value(shown, "Name"), Name)
    assert set(client.get_attribute_list(uid, deadline=deadline)) == {each.attribute_name for each in shown}
    key = client.get(uid, deadline=deadline)
    assert isinstance(key.managed_object, SymmetricKey)
    block = key.managed_object.key_block
    assert isinstance(block.key_value, KeyValue)
    assert isinstance(block.key_value.key_material, Secret)
    assert len(block.key_value.key_material) == 32
    client.revoke(uid, RevocationReasonCode.CESSATION_OF_OPERATION, "done", deadline=deadline)
    assert value(client.get_attributes(uid, ["State"], deadline=deadline), "State") is State.DEACTIVATED
    client.destroy(uid, deadline=deadline)
    with pytest.raises(OperationFailed) as raised:
        client.get(uid, deadline=deadline)
    assert raised.value.reason == ResultReason.ITEM_NOT_FOUND.value
    statistics = client.pool.statistics
    assert statistics.messages == statistics.round_trips == 12
    assert statistics.connects == 1


def test_revoked_for_compromise(client: Client, deadline: Deadline) -> None:
    uid = client.create(ObjectType.SYMMETRIC_KEY, AES, deadline=deadline)
    client.revoke(uid, RevocationReasonCode.KEY_COMPROMISE, compromise_occurrence_date=1_700_000_000, deadline=deadline)
    assert value(client.get_attributes(uid, ["State"], deadline=deadline), "State") is State.COMPROMISED


def test_objects_of_ours(client: Client, deadline: Deadline) -> None:
    key = SymmetricKey(key_block=key_block(Secret(b"k" * 32), KeyFormatType.RAW, CryptographicAlgorithm.AES, 256))
    usage = attribute("Cryptographic Usage Mask", mask(CryptographicUsageMask.ENCRYPT))
    certificate = Certificate(certificate_type=CertificateType.X_509, certificate_value=b"\x30\x00")
    opaque = OpaqueObject(opaque_data_type=OpaqueDataType.NONE, opaque_data_value=Secret(b"anything"))
    for managed, attributes in ((key, AES), (certificate, [usage]), (opaque, [])):
        uid = client.register(managed, attributes, deadline=deadline)
        assert client.get(uid, deadline=deadline).managed_object == managed


def test_texts_are_not_ascii_only(client: Client, deadline: Deadline) -> None:
    uid = client.create(ObjectType.SYMMETRIC_KEY, [*AES, name_attribute("Schlüssel ☂", 0)], deadline=deadline)
    name = value(client.get_attributes(uid, ["Name"], deadline=deadline), "Name")
    assert isinstance(name, Name)
    assert name.name_value == "Schlüssel ☂"


def test_key_pairs(client: Client, deadline: Deadline) -> None:
    common = [attribute("Cryptographic Algorithm", CryptographicAlgorithm.RSA), attribute("Cryptographic Length", 2048)]
    sign = attribute("Cryptographic Usage Mask", mask(CryptographicUsageMask.SIGN))
    verify = attribute("Cryptographic Usage Mask", mask(CryptographicUsageMask.VERIFY))
    private, public = client.create_key_pair(common, [sign], [verify], deadline=deadline)
    assert isinstance(client.get(private, deadline=deadline).managed_object, PrivateKey)
    assert client.get(public, deadline=deadline).object_type is ObjectType.PUBLIC_KEY


def test_attributes_change(client: Client, deadline: Deadline) -> None:
    def information(data: str) -> Attribute:
        content = ApplicationSpecificInformation(application_namespace="ours", application_data=data)
        return attribute("Application Specific Information", content, 0)

    two = client.pool.version >= KMIP_2  # it has no index, and does not answer the attribute
    before, after = information("before"), information("after")
    uid = client.create(ObjectType.SYMMETRIC_KEY, [*AES, before], deadline=deadline)
    assert client.modify_attribute(uid, after, current=before, deadline=deadline) == (None if two else after)
    (found,) = client.get_attributes(uid, ["Application Specific Information"], deadline=deadline)
    assert found.attribute_value == after.attribute_value
    added = client.add_attribute(uid, attribute("Object Group", "g"), deadline=deadline)
    assert (added and added.attribute_value) == (None if two else "g")
    client.delete_attribute(uid, "Object Group", None if two else 0, deadline=deadline)
    assert client.get_attributes(uid, ["Object Group"], deadline=deadline) == ()


def test_custom_attributes(client: Client, deadline: Deadline) -> None:
    own = f"own {time.monotonic_ns()}"
    first, second = attribute("x-test", own), attribute("x-test", own + "!")
    uid = client.create(ObjectType.SYMMETRIC_KEY, [*AES, first], deadline=deadline)
    assert client.locate([first], deadline=deadline) == (uid,)
    client.modify_attribute(uid, second, current=first, deadline=deadline)
    assert client.locate([first], deadline=deadline) == ()
    assert value(client.get_attributes(uid, ["x-test"], deadline=deadline), "x-test") == own + "!"
    assert "x-test" in client.get_attribute_list(uid, deadline=deadline)


def test_set_attribute(client: Client, deadline: Deadline) -> None:
    uid = client.create(ObjectType.SYMMETRIC_KEY, AES, deadline=deadline)
    sensitive = attribute("Sensitive", True)
    if client.pool.version < KMIP_2:
        with pytest.raises(TTLVError, match=r"needs KMIP 2\.0"):
            client.set_attribute(uid, sensitive, deadline=deadline)
        return
    client.set_attribute(uid, sensitive, deadline=deadline)
    assert value(client.get_attributes(uid, ["Sensitive"], deadline=deadline), "Sensitive") is True


def test_an_instance_that_is_not_there(client: Client, deadline: Deadline) -> None:
    uid = client.create(
        ObjectType.SYMMETRIC_KEY, [*AES, name_attribute(f"i {time.monotonic_ns()}", 0)], deadline=deadline
    )
    with pytest.raises(OperationFailed):
        client.modify_attribute(uid, name_attribute("n", 5), current=name_attribute("none such"), deadline=deadline)


def test_rekey(client: Client, deadline: Deadline) -> None:
    uid = client.create(
        ObjectType.SYMMETRIC_KEY, [*AES, name_attribute(f"r {time.monotonic_ns()}", 0)], deadline=deadline
    )
    client.activate(uid, deadline=deadline)
    replacement = client.rekey(uid, deadline=deadline)
    assert replacement != uid
    old, new = client.get(uid, deadline=deadline), client.get(replacement, deadline=deadline)
    assert old.managed_object != new.managed_object


def test_query(client: Client, deadline: Deadline) -> None:
    reply = client.query([QueryFunction.QUERY_OPERATIONS, QueryFunction.QUERY_SERVER_INFORMATION], deadline=deadline)
    assert len(reply.operation) > 9
    assert reply.vendor_identification


def test_versions(client: Client, deadline: Deadline) -> None:
    if client.pool.version == (1, 0):
        with pytest.raises(OperationFailed):
            client.discover_versions(deadline=deadline)
    else:
        assert set(client.discover_versions(deadline=deadline)) == set(VERSIONS)


def test_a_batch_is_one_round_trip(client: Client, deadline: Deadline) -> None:
    uids = [client.create(ObjectType.SYMMETRIC_KEY, AES, deadline=deadline) for _ in range(3)]
    before = client.pool.statistics.round_trips
    answers = client.batch([GetAttributesRequest(unique_identifier=uid) for uid in uids], deadline=deadline)
    assert [a.unique_identifier for a in answers if isinstance(a, GetAttributesResponse)] == uids
    assert client.pool.statistics.round_trips == before + 1
    assert client.batch([], deadline=deadline) == []


@pytest.mark.parametrize("option", [None, BatchErrorContinuationOption.CONTINUE])
def test_a_batch_with_a_failure(
    client: Client, deadline: Deadline, option: BatchErrorContinuationOption | None
) -> None:
    uid = client.create(ObjectType.SYMMETRIC_KEY, AES, deadline=deadline)
    requests = [GetRequest(unique_identifier="none such"), GetRequest(unique_identifier=uid)]
    failed, second = client.batch(requests, on_error=option, deadline=deadline)
    assert isinstance(failed, OperationFailed)
    assert failed.reason == ResultReason.ITEM_NOT_FOUND.value
    if option is None:
        assert isinstance(second, OperationFailed)
        assert second.reason == 0
    else:
        assert isinstance(second, GetResponse)


def test_what_the_version_lacks_is_not_sent(appliance: Appliance, deadline: Deadline) -> None:
    client = client_of(appliance, (1, 3))
    with pytest.raises(TTLVError, match=r"needs KMIP 1\.4"):
        client.create(ObjectType.SYMMETRIC_KEY, [*AES, attribute("Sensitive", True)], deadline=deadline)
    assert client.pool.statistics.messages == 0


def test_a_version_that_the_server_does_not_speak(make_appliance: Callable[..., Appliance], deadline: Deadline) -> None:
    client = client_of(make_appliance(versions=("1.0", "1.1")), (1, 4))
    with pytest.raises(OperationFailed) as raised:
        client.create(ObjectType.SYMMETRIC_KEY, AES, deadline=deadline)
    assert raised.value.reason == ResultReason.INVALID_MESSAGE.value


def test_an_operation_that_the_server_cannot_read(stock_appliance: StockAppliance, deadline: Deadline) -> None:
    """Unmodified PyKMIP answers one with an item without operation in a message of version 1.0."""
    client = client_of(stock_appliance, (1, 2))
    uid = client.create(ObjectType.SYMMETRIC_KEY, AES, deadline=deadline)
    with pytest.raises(OperationFailed) as raised:
        client.add_attribute(uid, attribute("Object Group", "g"), deadline=deadline)
    assert raised.value.reason == ResultReason.INVALID_MESSAGE.value
    client.activate(uid, deadline=deadline)
    assert client.pool.statistics.connects == 1


@pytest.mark.parametrize("name", ["client-no-usage", "client-two-names", "client-no-name"])
def test_who_asks_is_not_accepted(appliance: Appliance, deadline: Deadline, name: str) -> None:
    with pytest.raises(AuthenticationRefused, match=r"does not accept our certificate|refuses us: our certificate"):
        client_of(appliance, (1, 2), name).locate(deadline=deadline)


def test_the_servers_of_a_group_one_by_one(
    appliance: Appliance, make_appliance: Callable[..., Appliance], deadline: Deadline
) -> None:
    other = make_appliance()
    client = client_of(appliance, (1, 2))
    endpoints = [*client.pool.endpoints, Endpoint(other.host, other.port)]
    both = Client(Pool(endpoints, client.pool._transport._identity, (1, 2)))
    name = name_attribute(f"only {time.monotonic_ns()}")
    uid = both.at(endpoints[1]).create(ObjectType.SYMMETRIC_KEY, [*AES, name], deadline=deadline)
    assert both.locate([name], deadline=deadline) == (uid,)
    found = [both.at(endpoint).locate([name], deadline=deadline) for endpoint in both.pool.endpoints]
    assert found == [(), (uid,)]
    connects = both.pool.statistics.connects
    assert both.at(endpoints[1]).fresh().locate([name], deadline=deadline) == (uid,)
    assert both.pool.statistics.connects == connects + 1
    both.pool.close()


def test_an_answer_to_another_question_is_not_believed(
    appliance: Appliance, canned_server: Callable[..., CannedServer], deadline: Deadline
) -> None:
    """What a server once said of one key is not taken for what it says of another."""
    client = client_of(appliance, (1, 2))
    uid = client.create(ObjectType.SYMMETRIC_KEY, AES, deadline=deadline)
    heard: list[bytes] = []

    def listen(view: memoryview, server: str) -> None:
        heard.append(bytes(view))

    request = protocol.build([GetRequest(unique_identifier=uid)], (1, 2))
    client.pool.exchange(request.encoding, listen, deadline, idempotent=True)
    liar = canned_server(*heard * 2)
    lied_to = Client(Pool([Endpoint("127.0.0.1", liar.port)], client.pool._transport._identity, (1, 2)))
    assert lied_to.get(uid, deadline=deadline).unique_identifier == uid
    with pytest.raises(ProtocolError, match="'other' was named"):
        lied_to.get("other", deadline=deadline)


def test_the_log_tells_of_every_exchange_and_of_no_secret(
    appliance: Appliance, deadline: Deadline, tmp_path: Path
) -> None:
    file = tmp_path / "log"
    log.open_target(file, "debug")
    client = client_of(appliance, (1, 2))
    secret = b"SECRETsecretSECRETsecretSECRETse"
    key = SymmetricKey(key_block=key_block(Secret(secret), KeyFormatType.RAW, CryptographicAlgorithm.AES, 256))
    uid = client.register(key, AES, deadline=deadline)
    client.get(uid, deadline=deadline)
    client.batch([ActivateRequest(unique_identifier=uid), GetRequest(unique_identifier=uid)], deadline=deadline)
    with pytest.raises(OperationFailed):
        client.get("none such", deadline=deadline)
    log.close()
    where = re.escape(str(client.pool.endpoints[0]))
    lines = [line.split(" ", 3)[3] for line in file.read_text().splitlines() if " kmip " in line]
    for line, (operations, result) in zip(
        lines,
        [("REGISTER", "ok"), ("GET", "ok"), ("ACTIVATE, GET", "ok"), ("GET", ".* refused GET with ITEM_NOT_FOUND.*")],
        strict=True,
    ):
        assert re.fullmatch(rf"kmip {operations} at {where}: \d+\.\d ms, message \d+-\d+, {result}", line), line
    for form in (secret.decode(), secret.hex(), str(list(secret))):
        assert form not in file.read_text()


def test_messages_are_named_to_the_server(appliance: Appliance, deadline: Deadline, tmp_path: Path) -> None:
    """The trial appliance answers the name that it was sent; a reply with another would not be believed."""
    log.open_target(tmp_path / "log", "debug")
    client = client_of(appliance, (1, 4))
    client.pool.correlates = True
    sent: list[bytes] = []
    real = client.pool.exchange
    client.pool.exchange = lambda request, *rest, **more: (sent.append(bytes(request)), real(request, *rest, **more))[1]  # type: ignore[method-assign]
    client.locate(maximum_items=1, deadline=deadline)
    log.close()
    (name,) = re.findall(r"message (\d+-\d+),", (tmp_path / "log").read_text())
    assert name.encode() in sent[0]


def test_a_request_with_a_secret_is_wiped(
    appliance: Appliance, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes | bytearray] = []
    client = client_of(appliance, (1, 2))
    real = client.pool.exchange

    def exchange(request: bytes | bytearray, *arguments: object, **options: object) -> object:
        sent.append(request)
        return real(request, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(client.pool, "exchange", exchange)
    key = SymmetricKey(key_block=key_block(Secret(b"k" * 32), KeyFormatType.RAW, CryptographicAlgorithm.AES, 256))
    client.register(key, AES, deadline=deadline)
    assert sent
    assert not any(sent[0])
