"""What an inspection finds of real servers, and that it changes nothing there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from fix_appliance import Appliance, Certificates, Server, StockAppliance
from fix_faults import CannedServer, Fault, FaultProxy

from mrhsm_p11.config import Config
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip.inspecting import PROBES, Inspection, Outcome, Stage, inspect
from mrhsm_p11.tokendir.settings import Connection

CONFIG = Config(deadline_s=4, connect_s=0.5)
Make = Callable[..., Appliance]


def alone(connection: Connection) -> Inspection:
    (found,) = inspect(connection, CONFIG)
    return found


def outcomes(found: Inspection) -> dict[str, Outcome]:
    return {one.probe.operation: one.outcome for one in found.probed}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.4"])
def test_healthy(make_appliance: Make, version: str) -> None:
    server = make_appliance()
    found = alone(server.connection(kmip_version=version))
    assert (found.reached, found.fault) == (Stage.KMIP, "")
    assert set(outcomes(found).values()) == {Outcome.WORKS}
    assert [one.probe for one in found.probed] == list(PROBES)
    assert found.peer is not None
    assert found.peer.tls_version == "TLSv1.3"
    assert found.peer.chain
    assert found.latency_ms is not None
    assert found.clock_offset_s is not None
    assert abs(found.clock_offset_s) < 5
    assert bool(found.versions) == (version != "1.0")
    assert found.vendor == "mrhsm trial appliance"


def test_nothing_is_left_behind(make_appliance: Make) -> None:
    server = make_appliance()
    inspect(server.connection(), CONFIG)
    asked = " ".join(server.requests())
    assert "CREATE" in asked
    assert asked.count("DESTROY") == 1  # the probe itself: nothing was made that had to be taken back


def test_the_stock_server(stock_appliance: StockAppliance) -> None:
    found = alone(stock_appliance.connection())
    assert found.fault == ""
    assert found.peer is not None
    assert found.peer.tls_version == "TLSv1.2"
    said = outcomes(found)
    assert said.pop("Re-key") is Outcome.MISSING
    assert set(said.values()) == {Outcome.WORKS}


def test_operations_that_a_server_does_not_offer(make_appliance: Make) -> None:
    found = alone(make_appliance(nine=True, refuse_operations=("REVOKE",)).connection())
    missing = {name for name, outcome in outcomes(found).items() if outcome is Outcome.MISSING}
    assert missing == {"Get Attributes", "Query", "Revoke"}
    assert found.vendor == ""


@pytest.mark.parametrize(
    ("server", "client", "reached"),
    [
        ("server-expired", "client", Stage.TLS),
        ("server-wrong-name", "client", Stage.TLS),
        ("server-other-ca", "client", Stage.TLS),
        ("server", "client-other-ca", Stage.TLS),
        ("server", "client-expired", Stage.TLS),
    ],
)
def test_certificates(make_appliance: Make, server: str, client: str, reached: Stage) -> None:
    found = alone(make_appliance(server=server).connection(client=client))
    assert (found.reached, found.probed) == (reached, ())
    assert found.fault


def test_how_far_a_connection_comes(appliance: Server, fault_proxy: Callable[..., FaultProxy]) -> None:
    def through(**changes: object) -> tuple[Stage, str]:
        found = alone(dataclasses.replace(appliance.connection(), **changes))  # type: ignore[arg-type]
        return found.reached, found.fault

    stage, fault = through(addresses=("no-such-host.invalid",))
    assert stage is Stage.NAME
    assert "cannot be resolved" in fault
    proxy = fault_proxy(appliance)
    proxy.default = Fault(black_hole=True)
    stage, fault = through(port=proxy.port)
    assert stage is Stage.TLS
    assert "did not finish the TLS handshake in time" in fault
    proxy.accept(False)
    stage, fault = through(port=proxy.port)
    assert stage is Stage.TCP
    assert "refused the connection" in fault
    assert through(client_key=None)[0] is Stage.CONFIGURED


def test_no_kmip_behind_tls(canned_server: Callable[..., CannedServer], certificates: Certificates) -> None:
    server = canned_server(b"HTTP/1.1 302 Found\r\n\r\n")
    here = Connection(
        addresses=("127.0.0.1",),
        port=server.port,
        kmip_version="1.4",
        ca_certificate=certificates.ca.read_bytes(),
        client_certificate=certificates.certificate().read_bytes(),
        client_key=Secret(certificates.key().read_bytes()),
    )
    found = alone(here)
    assert found.reached is Stage.KMIP
    assert "is this the KMIP port?" in found.fault
    assert found.peer is not None


def test_servers_are_told_apart(make_appliance: Make) -> None:
    server = make_appliance()
    both = dataclasses.replace(server.connection(), addresses=("127.0.0.1", "127.0.0.1:1"))
    first, second = inspect(both, CONFIG, probe=False)
    assert (first.fault, first.probed, second.reached) == ("", (), Stage.TCP)
