"""The servers and faults that other tests build on do what they promise."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable

import pytest
from fix_appliance import STOP_S, Appliance, Certificates, Server, StockAppliance
from fix_faults import CannedServer, Fault, FaultProxy, Reply
from raw_kmip import Connection, name

MakeProxy = Callable[..., FaultProxy]


def ask(server: Server, port: int) -> str:
    with Connection(server, port=port) as client:
        return client.create()


def test_stock_appliance(stock_appliance: StockAppliance) -> None:
    with Connection(stock_appliance) as client:
        assert client.tls.version() == "TLSv1.2"
        assert client.create().isdigit()


def test_stock_appliance_restarts(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> None:
    server = StockAppliance(tmp_path_factory.mktemp("stock"), certificates)
    server.start()
    with Connection(server) as client:
        uid = client.create(name("kept"))
    group = server.process.pid if server.process else 0
    server.restart()
    try:
        with Connection(server) as client:
            assert client.locate(name("kept")) == [uid]
    finally:
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < STOP_S + 1
    with pytest.raises(OSError):
        socket.create_connection((server.host, server.port), 1)
    assert not _alive(group)


def _alive(group: int) -> bool:
    from pathlib import Path

    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return any(int(fields[2]) == group and fields[0] != "Z" for fields in stats)


def test_connection_settings(appliance: Appliance) -> None:
    connection = appliance.connection(kmip_version="1.2")
    assert connection.addresses == ("127.0.0.1",)
    assert connection.port == appliance.port
    assert connection.client_key is not None
    assert connection.client_key.reveal() == appliance.client_key_file.read_bytes()


def test_proxy_forwards(appliance: Appliance, fault_proxy: MakeProxy) -> None:
    proxy = fault_proxy(appliance)
    assert ask(appliance, proxy.port)
    assert ask(appliance, proxy.port)
    assert proxy.accepted == 2


def test_proxy_refuses(appliance: Appliance, fault_proxy: MakeProxy) -> None:
    proxy = fault_proxy(appliance)
    proxy.accept(False)
    with pytest.raises(ConnectionRefusedError):
        ask(appliance, proxy.port)
    proxy.accept(True)
    assert ask(appliance, proxy.port)


def test_proxy_black_hole(appliance: Appliance, fault_proxy: MakeProxy) -> None:
    proxy = fault_proxy(appliance)
    proxy.faults.append(Fault(black_hole=True))
    with socket.create_connection((proxy.host, proxy.port)) as hole:
        hole.settimeout(0.2)
        hole.sendall(b"hello")
        with pytest.raises(TimeoutError):
            hole.recv(1)
    assert ask(appliance, proxy.port)


@pytest.mark.parametrize("fault", [Fault(cut_after=100), Fault(cut_request_after=100)])
def test_proxy_cuts(appliance: Appliance, fault_proxy: MakeProxy, fault: Fault) -> None:
    proxy = fault_proxy(appliance)
    proxy.faults.append(fault)
    with pytest.raises(OSError):
        ask(appliance, proxy.port)
    assert ask(appliance, proxy.port)


def test_proxy_cuts_what_stands(appliance: Appliance, fault_proxy: MakeProxy) -> None:
    proxy = fault_proxy(appliance)
    with Connection(appliance, port=proxy.port) as client:
        assert client.create()
        proxy.cut()
        with pytest.raises(OSError):
            client.create()


def test_proxy_delays_and_drips(appliance: Appliance, fault_proxy: MakeProxy) -> None:
    proxy = fault_proxy(appliance)
    proxy.faults += [Fault(delay_s=0.2), Fault(drip_s=0.0002)]
    for _ in range(2):
        began = time.monotonic()
        assert ask(appliance, proxy.port)
        assert time.monotonic() - began > 0.2


def test_canned_server(appliance: Appliance, canned_server: Callable[..., CannedServer]) -> None:
    item = bytes.fromhex("42007b0100000000")
    server = canned_server(item, lambda request: Reply(request[:4], close=True), Reply(item, drip_s=0.01))
    with Connection(appliance, port=server.port) as client:
        assert client.exchange(item) == item
        assert client.exchange(item) == b""
    with Connection(appliance, port=server.port) as client:
        assert client.exchange(item) == item
        client.tls.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.exchange(item)
    assert server.requests == [item] * 4
    assert server.connections == 2


def test_canned_server_with_a_bad_certificate(appliance: Appliance, canned_server: Callable[..., CannedServer]) -> None:
    for bad in ("server-expired", "server-wrong-name", "server-other-ca"):
        with pytest.raises(ssl.SSLCertVerificationError):
            Connection(appliance, port=canned_server(name=bad).port)
