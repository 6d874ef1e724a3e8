"""The listener: who is let in, how long messages may be, and what odd bytes do."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable

import pytest
from fix_appliance import Appliance
from kmip.core import enums
from kmip.core.enums import Operation
from raw_kmip import Connection, Pair, Refused, attribute, get, message, name

MakeAppliance = Callable[..., Appliance]


def register(client: Connection, value: bytes) -> str:
    block: list[Pair] = [("KEY_FORMAT_TYPE", enums.KeyFormatType.OPAQUE), ("KEY_VALUE", [("KEY_MATERIAL", value)])]
    secret: Pair = ("SECRET_DATA", [("SECRET_DATA_TYPE", enums.SecretDataType.PASSWORD), ("KEY_BLOCK", block)])
    template: Pair = ("TEMPLATE_ATTRIBUTE", [attribute("Cryptographic Usage Mask", 0)])
    kind: Pair = ("OBJECT_TYPE", enums.ObjectType.SECRET_DATA)
    return str(get(client.call(Operation.REGISTER, kind, template, secret), "UNIQUE_IDENTIFIER"))


@pytest.mark.parametrize(("options", "expected"), [({}, "TLSv1.3"), ({"tls12": True}, "TLSv1.2")])
def test_tls_versions(make_appliance: MakeAppliance, options: dict[str, bool], expected: str) -> None:
    with Connection(make_appliance(**options)) as client:
        assert client.tls.version() == expected
        assert client.create()


@pytest.mark.parametrize("client", ["client", "client-second", "client-ec"])
def test_lets_in(appliance: Appliance, client: str) -> None:
    with Connection(appliance, client) as connection:
        assert connection.create()


@pytest.mark.parametrize(
    "client", [None, "client-expired", "client-not-yet-valid", "client-other-ca", "client-server-usage"]
)
def test_keeps_out(appliance: Appliance, client: str | None) -> None:
    with pytest.raises(ssl.SSLError), Connection(appliance, client) as connection:
        connection.create()


@pytest.mark.parametrize("client", ["client-no-usage", "client-two-names", "client-no-name"])
def test_refuses_each_request(appliance: Appliance, client: str) -> None:
    with Connection(appliance, client) as connection:
        with pytest.raises(Refused) as refused:
            connection.create()
        assert refused.value.reason is enums.ResultReason.AUTHENTICATION_NOT_SUCCESSFUL


def test_ipv6(make_appliance: MakeAppliance) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6 loopback address")
    with Connection(make_appliance(host="::1")) as client:
        assert client.create()


def test_a_mebibyte_is_quick(appliance: Appliance) -> None:
    value = bytes(range(256)) * 4096
    with Connection(appliance) as client:
        began = time.monotonic()
        answer = client.act(Operation.GET, register(client, value))
        assert get(answer, "SECRET_DATA", "KEY_BLOCK", "KEY_VALUE", "KEY_MATERIAL") == value
        assert time.monotonic() - began < 2  # PyKMIP as it is: a minute


def test_text_is_utf8(appliance: Appliance) -> None:
    with Connection(appliance) as client:
        uid = client.create(name("Schlüssel 鍵"))
        assert uid in client.locate(name("Schlüssel 鍵"))
        assert get(client.attributes(uid, "Name")["Name"][0], "NAME_VALUE") == "Schlüssel 鍵"


def test_too_long_a_message_ends_the_connection(make_appliance: MakeAppliance) -> None:
    server = make_appliance(limit=4096)
    with Connection(server) as client:
        assert client.create()
        assert client.exchange(b"\x42\x00\x78\x01\x00\x00\x10\x01") == b""
    with Connection(server) as client:
        assert client.create()


def test_idle_connections_are_cut(make_appliance: MakeAppliance) -> None:
    with Connection(make_appliance(idle=0.2)) as client:
        assert client.create()
        assert client.receive() == b""


@pytest.mark.parametrize("content", [b"", b"\x00" * 16, b"\x42\x00\x77\x01\x00\x00\x00\x00"])
def test_nonsense_leaves_the_connection_usable(appliance: Appliance, content: bytes) -> None:
    with Connection(appliance) as client:
        assert client.exchange(b"\x42\x00\x78\x01" + len(content).to_bytes(4) + content)
        assert client.create()


def test_unfinished_handshake_blocks_nobody(appliance: Appliance) -> None:
    with socket.create_connection((appliance.host, appliance.port)), Connection(appliance) as client:
        assert client.create()


def test_many_connections_at_once(appliance: Appliance) -> None:
    clients = [Connection(appliance) for _ in range(20)]
    for client in clients:
        client.tls.sendall(message(Operation.DISCOVER_VERSIONS, []))
    assert all(client.receive() for client in clients)
    for client in clients:
        client.tls.close()


def test_clients_that_vanish_at_once_do_no_harm(make_appliance: MakeAppliance) -> None:
    server = make_appliance()
    for _ in range(50):
        plain = socket.create_connection((server.host, server.port), 5)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
        plain.close()
    with Connection(server) as client:
        assert client.create()
