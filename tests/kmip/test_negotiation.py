"""Which version is spoken where the settings leave it open."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fix_appliance import Appliance, Server, StockAppliance
from fix_faults import CannedServer

from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import negotiation
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed, ProtocolError
from mrhsm_p11.kmip.pool import Pool
from mrhsm_p11.kmip.transport import Endpoint, Identity
from mrhsm_p11.kmip.vocabulary import VERSIONS, QueryFunction, Version
from mrhsm_p11.secret import Secret

MakeAppliance = Callable[..., Appliance]


@pytest.fixture
def deadline() -> Deadline:
    return Deadline(60)


@pytest.fixture
def group() -> Iterator[Callable[..., Client]]:
    """Return a client of several servers, in the version that they agree on."""
    made: list[Client] = []

    def make(*servers: Server) -> Client:
        certificates = servers[0].certificates
        identity = Identity(
            certificates.ca.read_bytes(),
            certificates.certificate("client").read_bytes(),
            Secret(certificates.key("client").read_bytes()),
        )
        made.append(Client(Pool([Endpoint(server.host, server.port) for server in servers], identity, None)))
        return made[-1]

    yield make
    for client in made:
        client.pool.close()


@pytest.mark.parametrize(
    ("spoken", "agreed"),
    [
        (("1.0",), (1, 0)),
        (("1.0", "1.2"), (1, 2)),
        (("1.1", "2.0"), (2, 0)),
        (("2.1",), (2, 1)),
    ],
    ids=lambda value: ",".join(value) if isinstance(value[0], str) else "",
)
def test_the_highest_version_of_a_server(
    make_appliance: MakeAppliance,
    group: Callable[..., Client],
    deadline: Deadline,
    spoken: tuple[str, ...],
    agreed: Version,
) -> None:
    client = group(make_appliance(versions=spoken))
    assert client.locate(maximum_items=1, deadline=deadline) == ()
    assert client.version(deadline=deadline) == agreed


def test_it_is_asked_once(appliance: Appliance, group: Callable[..., Client], deadline: Deadline) -> None:
    client = group(appliance)
    for _ in range(3):
        client.locate(maximum_items=1, deadline=deadline)
    assert client.pool.statistics.messages == 4
    assert client.pool.statistics.connects == 1


def test_every_version_is_asked_in() -> None:
    assert {*negotiation.ASKED_IN, negotiation.OLDEST} == set(VERSIONS)


def test_unmodified_pykmip(stock_appliance: StockAppliance, group: Callable[..., Client], deadline: Deadline) -> None:
    client = group(stock_appliance)
    assert client.version(deadline=deadline) == (2, 0)


def test_a_server_that_does_not_tell(
    make_appliance: MakeAppliance, group: Callable[..., Client], deadline: Deadline
) -> None:
    """It understood the question, so it understands the version."""
    client = group(make_appliance(versions=("1.2", "1.3"), refuse_operations=("DISCOVER_VERSIONS",)))
    assert client.version(deadline=deadline) == (1, 3)


def test_servers_of_different_age(
    make_appliance: MakeAppliance, group: Callable[..., Client], deadline: Deadline
) -> None:
    """What the first would speak the second refuses: the message is asked again, in what both speak."""
    new, old = make_appliance(), make_appliance(versions=("1.0", "1.1", "1.2"))
    client = group(new, old)
    assert client.at(client.pool.endpoints[0]).version(deadline=deadline) == (2, 1)
    assert client.at(client.pool.endpoints[1]).locate(maximum_items=1, deadline=deadline) == ()
    assert client.version(deadline=deadline) == (1, 2)
    assert client.at(client.pool.endpoints[0]).locate(maximum_items=1, deadline=deadline) == ()


def test_servers_with_nothing_in_common(
    make_appliance: MakeAppliance, group: Callable[..., Client], deadline: Deadline
) -> None:
    client = group(make_appliance(versions=("2.1",)), make_appliance(versions=("1.1",)))
    first, second = (client.at(endpoint) for endpoint in client.pool.endpoints)
    first.version(deadline=deadline)
    with pytest.raises(OperationFailed):
        second.locate(maximum_items=1, deadline=deadline)
    with pytest.raises(ProtocolError, match=r"speaks KMIP 1\.1: none of these is ours"):
        negotiation.agree(second, deadline)
    assert first.locate(maximum_items=1, deadline=deadline) == ()


def test_a_refusal_that_is_for_something_else(
    stock_appliance: StockAppliance, group: Callable[..., Client], deadline: Deadline
) -> None:
    """A server that said what it speaks is believed: it is not asked at each of its refusals."""
    client = group(stock_appliance)
    client.version(deadline=deadline)
    before = client.pool.statistics.messages
    with pytest.raises(OperationFailed):
        client.get_attributes("none such", ["Comment"], deadline=deadline)
    assert client.pool.statistics.messages == before + 1


def test_no_server(
    canned_server: Callable[..., CannedServer], appliance: Appliance, group: Callable[..., Client]
) -> None:
    """What is no KMIP server at all is not taken for an old one."""
    liar = canned_server(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4)
    client = group(appliance)
    nobody = Client(Pool([Endpoint("127.0.0.1", liar.port)], client.pool._transport._identity, None))
    with pytest.raises(KMIPError):
        nobody.query([QueryFunction.QUERY_OPERATIONS], deadline=Deadline(2))
    assert nobody.pool.version is None
    nobody.pool.close()
