"""Connections: who is trusted, what each failure is called, and that the deadline holds."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates
from fix_faults import CannedServer, Fault, FaultProxy, Reply

from mrhsm_p11 import hostcalls
from mrhsm_p11.appliance import certificates as issue
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import dialing
from mrhsm_p11.kmip.errors import (
    AuthenticationRefused,
    KMIPError,
    ProtocolError,
    TimedOut,
    TLSRefused,
    Unreachable,
)
from mrhsm_p11.kmip.transport import Connection, Endpoint, Identity, Transport, make_context
from mrhsm_p11.secret import Secret

Canned = Callable[..., CannedServer]
REPLY = bytes.fromhex("42007B0100000008") + bytes.fromhex("42000D0100000000")
REQUEST = bytes.fromhex("4200780100000008") + bytes.fromhex("42000D0100000000")


def identity(certificates: Certificates, client: str = "client") -> Identity:
    return Identity(
        certificates.ca.read_bytes(),
        certificates.certificate(client).read_bytes(),
        Secret(certificates.key(client).read_bytes()),
    )


def transport(
    certificates: Certificates, client: str = "client", *, limit: int = 1 << 16, connect_s: float = 5
) -> Transport:
    return Transport(identity(certificates, client), connect_s=connect_s, response_limit=limit)


def endpoint(server: object, host: str = "127.0.0.1", name: str | None = None) -> Endpoint:
    return Endpoint(host, getattr(server, "port", 0), name)


@contextlib.contextmanager
def failing(kind: type[KMIPError], text: str, server: object) -> Iterator[pytest.ExceptionInfo[KMIPError]]:
    """Expect exactly this class, and one sentence that names the server and the cause."""
    with pytest.raises(kind, match=text) as raised:
        yield raised
    assert type(raised.value) is kind
    assert raised.value.server == str(server)
    assert "\n" not in str(raised.value)


def test_an_exchange(certificates: Certificates, canned_server: Canned) -> None:
    server = canned_server(REPLY, REPLY)
    connection = transport(certificates).connect(endpoint(server), Deadline(5))
    assert connection.exchange(REQUEST, Deadline(5)) == REPLY
    assert connection.exchange(bytearray(REQUEST), Deadline(5)) == REPLY
    assert server.requests == [REQUEST, REQUEST]
    assert not connection.stale()
    connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_large_messages_both_ways(certificates: Certificates, canned_server: Canned, version: ssl.TLSVersion) -> None:
    body = bytes(1 << 20)
    head = (8 + len(body)).to_bytes(4, "big") + bytes.fromhex("42004308") + len(body).to_bytes(4, "big")
    server = canned_server(bytes.fromhex("42007B01") + head + body, maximum=version)
    connection = transport(certificates, limit=2 << 20).connect(endpoint(server), Deadline(5))
    request = bytes.fromhex("42007801") + head + body
    assert connection.exchange(request, Deadline(5))[16:] == body
    assert server.requests == [request]
    connection.close()


def test_settings_of_the_socket(certificates: Certificates, canned_server: Canned) -> None:
    connection = transport(certificates).connect(endpoint(canned_server()), Deadline(5))
    secured = connection._secured
    assert secured.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert secured.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert not secured.get_inheritable()
    connection.close()


def test_verification_cannot_be_switched_off(certificates: Certificates) -> None:
    context = make_context(identity(certificates))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


SERVER_CERTIFICATES = {
    "server-expired": "certificate of {} has expired",
    "server-other-ca": "certificate of {} was not issued by the configured CA",
    "server-wrong-name": "certificate of {} is not for 127.0.0.1",
}


@pytest.mark.parametrize(("name", "text"), SERVER_CERTIFICATES.items())
def test_a_server_certificate_is_refused(
    certificates: Certificates, canned_server: Canned, name: str, text: str
) -> None:
    where = endpoint(canned_server(REPLY, name=name))
    with failing(TLSRefused, text.format(where), where):
        transport(certificates).connect(where, Deadline(5))


def test_a_server_certificate_that_is_not_valid_yet(tmp_path: Path, certificates: Certificates) -> None:
    issue.make(
        tmp_path,
        issue.GOOD | {"server": issue.Kind("localhost", issue.GOOD["server"].uses, issue.LOOPBACK_NAMES, from_days=2)},
    )
    early = Certificates.__new__(Certificates)
    early.folder, early.ca = tmp_path, tmp_path / "ca.pem"
    server = CannedServer(early)
    where = endpoint(server)
    with failing(TLSRefused, "is not valid yet", where):
        transport(early).connect(where, Deadline(5))
    server.close()


def test_a_name_that_is_expected_instead_of_the_address(certificates: Certificates, canned_server: Canned) -> None:
    server = canned_server(REPLY, name="server-wrong-name")
    transport(certificates).connect(endpoint(server, name="kms.example.net"), Deadline(5)).close()
    where = endpoint(server, name="other.example.net")
    with failing(TLSRefused, r"is not for other\.example\.net", where):
        transport(certificates).connect(where, Deadline(5))


def test_the_common_name_is_no_name(certificates: Certificates, canned_server: Canned) -> None:
    # A client's certificate has one and no alternative name; hosts are matched against the latter only.
    where = endpoint(canned_server(name="client"), name="kmipclient")
    with pytest.raises(TLSRefused):
        transport(certificates).connect(where, Deadline(5))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_names_and_addresses(certificates: Certificates, canned_server: Canned, host: str) -> None:
    connection = transport(certificates).connect(endpoint(canned_server(REPLY), host), Deadline(5))
    assert connection.exchange(REQUEST, Deadline(5)) == REPLY
    connection.close()


def test_ipv6(certificates: Certificates, make_appliance: Callable[..., Appliance]) -> None:
    appliance = make_appliance(host="::1")
    where = endpoint(appliance, "::1")
    assert str(where) == f"[::1]:{appliance.port}"
    transport(certificates).connect(where, Deadline(5)).close()


CLIENTS = {
    "client-other-ca": "our certificate was issued by a CA that it does not trust",
    "client-expired": "our certificate has expired",
    "client-server-usage": "our certificate is not one for a client",
}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("client", "text"), CLIENTS.items())
def test_our_certificate_is_refused(
    certificates: Certificates, canned_server: Canned, client: str, text: str, version: ssl.TLSVersion
) -> None:
    where = endpoint(canned_server(REPLY, maximum=version))
    with failing(AuthenticationRefused, f"{where} refuses us: {text}", where):
        # TLS 1.3 tells at the first read, 1.2 in the handshake
        connect(certificates, where, client).exchange(REQUEST, Deadline(5))


def connect(certificates: Certificates, where: Endpoint, client: str = "client") -> Connection:
    return transport(certificates, client).connect(where, Deadline(5))


UNUSABLE = {
    "client-mismatch": "client certificate and the private key do not belong together",
    "client-encrypted": "private key is encrypted",
}


@pytest.mark.parametrize(("client", "text"), UNUSABLE.items())
def test_our_key_cannot_be_used(certificates: Certificates, client: str, text: str) -> None:
    with failing(TLSRefused, text, "kms1:5696"):
        connect(certificates, Endpoint("kms1"), client)


def test_an_identity_that_is_not_pem(certificates: Certificates) -> None:
    good = identity(certificates)
    for bad, text in (
        (Identity(b"", good.certificate_pem, good.key_pem), "the CA certificate is not"),
        (Identity(b"\xff", good.certificate_pem, good.key_pem), "the CA certificate is not"),
        (Identity(good.ca_pem, b"junk", good.key_pem), "the client certificate is not"),
        (Identity(good.ca_pem, good.certificate_pem), "the client's private key, or"),
        (Identity(good.ca_pem, good.certificate_pem, Secret(b"junk")), "the client's private key, or"),
    ):
        with pytest.raises(TLSRefused, match=text):
            make_context(bad)


def test_certificate_and_key_in_one(certificates: Certificates) -> None:
    good = identity(certificates)
    assert good.key_pem is not None
    make_context(Identity(good.ca_pem, good.certificate_pem + good.key_pem.reveal()))


def test_nobody_listens(certificates: Certificates, canned_server: Canned) -> None:
    server = canned_server()
    where = endpoint(server)
    server.close()
    with failing(Unreachable, f"{where} refused the connection", where):
        connect(certificates, where)


def test_a_name_that_does_not_exist(certificates: Certificates) -> None:
    where = Endpoint("no-such-host.invalid")
    with failing(Unreachable, r"the name no-such-host\.invalid of the server .* cannot be resolved", where):
        connect(certificates, where)


def test_a_look_up_that_never_ends(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    real = socket.getaddrinfo

    def slow(*arguments: object, **options: object) -> object:
        if not int(str(options["flags"] or 0).split(".")[-1] or 0):
            over.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    with failing(TimedOut, "did not answer the connection in time", "kms1:5696"):
        transport(certificates).connect(Endpoint("kms1"), Deadline(0.3))
    assert time.monotonic() - started < 2
    over.set()


@pytest.mark.parametrize("connect_s", [0.3, 30.0])
def test_a_black_hole(
    certificates: Certificates, canned_server: Canned, fault_proxy: Callable[..., FaultProxy], connect_s: float
) -> None:
    proxy = fault_proxy(canned_server(REPLY))
    proxy.default = Fault(black_hole=True)
    where = endpoint(proxy)
    started = time.monotonic()
    with failing(TimedOut, "did not finish the TLS handshake in time", where):
        transport(certificates, connect_s=connect_s).connect(where, Deadline(0.3 if connect_s > 1 else 30))
    assert time.monotonic() - started < 2


def test_another_address_of_the_name_is_tried_beside_one_that_is_silent(
    certificates: Certificates,
    canned_server: Canned,
    fault_proxy: Callable[..., FaultProxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, hole = canned_server(REPLY), fault_proxy(canned_server())
    hole.default = Fault(black_hole=True)
    found = [(socket.AF_INET, ("127.0.0.1", port)) for port in (hole.port, server.port)]
    monkeypatch.setattr(dialing, "_look_up", lambda endpoint, flags: found)
    started = time.monotonic()
    connection = transport(certificates, connect_s=30).connect(Endpoint("kms1", 1, "127.0.0.1"), Deadline(30))
    assert time.monotonic() - started < 15
    assert connection.exchange(REQUEST, Deadline(5)) == REPLY
    assert hole.accepted == 1
    connection.close()


def test_who_fails_gives_up_its_head_start(
    certificates: Certificates, canned_server: Canned, fault_proxy: Callable[..., FaultProxy]
) -> None:
    hole, dead, good = fault_proxy(canned_server()), canned_server(), canned_server()
    hole.default = Fault(black_hole=True)
    dead.close()
    servers = list(zip(map(endpoint, (hole, dead, good)), (0.05, 60.0, 60.0), strict=True))
    started = time.monotonic()
    arrival = transport(certificates, connect_s=90).connect_any(servers, Deadline(90))
    assert time.monotonic() - started < 30
    assert arrival.connection is not None
    assert arrival.connection.endpoint == endpoint(good)
    assert arrival.failures.keys() == {endpoint(dead)}
    assert arrival.beaten == (endpoint(hole),)
    arrival.connection.close()


def test_families_alternate() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    addresses = [(six, ("a", 1)), (six, ("b", 1)), (four, ("c", 1)), (four, ("d", 1)), (four, ("e", 1))]
    assert [host for _, (host, _) in dialing._alternated(addresses)] == ["a", "c", "b", "d", "e"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_sessions_are_resumed(certificates: Certificates, canned_server: Canned, version: ssl.TLSVersion) -> None:
    """Each with the session of the one whole handshake: every reading of a session costs memory for good."""
    server = canned_server(*[REPLY] * 4, maximum=version)
    ours = transport(certificates)
    sessions = []
    for resumed in range(4):
        connection = ours.connect(endpoint(server), Deadline(60))
        assert connection.exchange(REQUEST, Deadline(60)) == REPLY
        assert server.resumed == resumed
        sessions.append(ours.sessions.get(endpoint(server)))
        connection.close()
    assert sessions[0] is not None
    assert all(session is sessions[0] for session in sessions)


def test_threads_that_connect_at_once_share_their_sessions(
    certificates: Certificates, canned_server: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = canned_server(*[REPLY] * 16)
    ours = transport(certificates)
    together = threading.Barrier(4)

    def slowly(*arguments: object) -> ssl.SSLContext:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.2)  # as long as the others may come here too
        return make_context(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("mrhsm_p11.kmip.transport.make_context", slowly)

    def talk(_: int) -> None:
        connection = ours.connect(endpoint(server), Deadline(10))
        assert connection.exchange(REQUEST, Deadline(10)) == REPLY
        connection.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(talk, range(4)))
        list(threads.map(talk, range(4)))
    assert server.resumed >= 4


def test_a_server_that_cannot_resume_its_session_is_met_anew(
    certificates: Certificates, canned_server: Canned, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(canned_server(REPLY, REPLY))
    ours = transport(certificates)
    ours.connect(endpoint(proxy), Deadline(5)).exchange(REQUEST, Deadline(5))
    proxy.faults.append(Fault(cut_after=1))  # the handshake that offers the session fails
    connection = ours.connect(endpoint(proxy), Deadline(5))
    assert connection.exchange(REQUEST, Deadline(5)) == REPLY
    assert proxy.accepted == 3
    connection.close()


def test_a_certificate_that_changed_is_looked_at_again(certificates: Certificates, canned_server: Canned) -> None:
    """A session of another server's is no proof: its ticket does not open there."""
    server = canned_server(REPLY)
    ours = transport(certificates)
    ours.connect(endpoint(server), Deadline(5)).exchange(REQUEST, Deadline(5))
    impostor = canned_server(REPLY, name="server-expired")
    ours.sessions.keep(endpoint(impostor), ours.sessions.get(endpoint(server)))
    with failing(TLSRefused, "has expired", endpoint(impostor)):
        ours.connect(endpoint(impostor), Deadline(5))


@contextlib.contextmanager
def plain_server(answer: bytes) -> Iterator[Endpoint]:
    """Listen without TLS, and answer anything with these bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield Endpoint("127.0.0.1", listener.getsockname()[1])
    listener.close()
    thread.join(5)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail ESMTP\r\n", bytes(64), b"\x15" * 64]
)
def test_a_server_without_tls(certificates: Certificates, answer: bytes) -> None:
    with plain_server(answer) as where, failing(ProtocolError, f"{where} does not speak TLS", where):
        connect(certificates, where)


@pytest.mark.parametrize(
    ("alert", "kind", "text"),
    [
        (40, TLSRefused, "refused the TLS handshake"),
        (49, AuthenticationRefused, "our certificate has no access"),
        (70, TLSRefused, "does not offer TLS 1.2"),
        (80, Unreachable, "ALERT_INTERNAL_ERROR"),
    ],
)
def test_an_alert_at_the_first_message(
    certificates: Certificates, alert: int, kind: type[KMIPError], text: str
) -> None:
    with plain_server(b"\x15\x03\x03\x00\x02\x02" + bytes([alert])) as where, failing(kind, text, where):
        connect(certificates, where)


def test_a_server_that_hangs_up(certificates: Certificates) -> None:
    with plain_server(b"") as where, failing(Unreachable, "closed the connection during the TLS handshake", where):
        connect(certificates, where)


REPLIES: dict[str, tuple[Reply, type[KMIPError], str]] = {
    "closed mid reply": (Reply(REPLY[:12], close=True), Unreachable, "in the middle of a reply"),
    "closed mid header": (Reply(REPLY[:3], close=True), Unreachable, "in the middle of a reply"),
    "closed without reply": (Reply(b"", close=True), Unreachable, "without a reply: it may refuse our certificate"),
    "HTTP": (Reply(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ProtocolError, "no KMIP message"),
    "garbage": (Reply(bytes(range(64))), ProtocolError, "no KMIP message"),
    "oversize": (Reply(bytes.fromhex("42007B01FFFFFFF8") + bytes(64)), ProtocolError, "the limit is 65536"),
    "hangs": (Reply(REPLY, delay_s=20), TimedOut, "did not answer in time"),
    "drips": (Reply(REPLY, drip_s=0.1), TimedOut, "did not answer in time"),
}


@pytest.mark.parametrize(("reply", "kind", "text"), REPLIES.values(), ids=REPLIES.keys())
def test_a_bad_reply(
    certificates: Certificates, canned_server: Canned, reply: Reply, kind: type[KMIPError], text: str
) -> None:
    where = endpoint(canned_server(reply))
    connection = connect(certificates, where)
    started = time.monotonic()
    with failing(kind, text, where) as raised:
        connection.exchange(REQUEST, Deadline(0.5))
    assert time.monotonic() - started < 1.5
    assert raised.value.sent
    connection.close()


def test_a_server_that_does_not_read(certificates: Certificates, fault_proxy: Callable[..., FaultProxy]) -> None:
    """A request larger than the buffers in between: sending has the same deadline as receiving."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate("server"), certificates.key("server"))
    over = threading.Event()

    def serve() -> None:
        client, _ = listener.accept()
        with context.wrap_socket(client, server_side=True):
            over.wait(20)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    where = Endpoint("127.0.0.1", listener.getsockname()[1])
    connection = connect(certificates, where)
    started = time.monotonic()
    with failing(TimedOut, "did not answer in time", where):
        connection.exchange(bytes(32 << 20), Deadline(0.4))
    assert time.monotonic() - started < 2
    over.set()
    connection.close()
    thread.join(5)
    listener.close()


def test_a_reset_is_unreachable(
    certificates: Certificates, canned_server: Canned, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(canned_server(REPLY, Reply(REPLY, delay_s=5)))
    where = endpoint(proxy)
    connection = connect(certificates, where)
    connection.exchange(REQUEST, Deadline(5))
    threading.Timer(0.2, proxy.cut).start()
    with failing(Unreachable, "closed the connection without a reply$", where):
        connection.exchange(REQUEST, Deadline(5))
    assert connection.stale()
    connection.close()


def test_an_idle_connection_with_unasked_bytes_is_stale(certificates: Certificates, canned_server: Canned) -> None:
    connection = connect(certificates, endpoint(canned_server(REPLY + REPLY)))
    connection.exchange(REQUEST, Deadline(5))
    assert connection.stale()
    connection.close()


def test_every_wait_lets_the_host_fork(
    certificates: Certificates, canned_server: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[str] = []
    calls: list[tuple[str, ...]] = []

    @contextlib.contextmanager
    def around(name: str) -> Iterator[None]:
        inside.append(name)
        calls.append(tuple(inside))
        yield
        inside.pop()

    monkeypatch.setattr(hostcalls, "_around_wait", lambda: around("wait"))
    monkeypatch.setattr(hostcalls, "_around_io", lambda: around("io"))
    connection = connect(certificates, endpoint(canned_server(Reply(REPLY, delay_s=0.1))))
    before = len(calls)
    assert ("io", "wait") in calls
    connection.exchange(REQUEST, Deadline(5))
    assert ("io", "wait") in calls[before:]
    assert not inside
    connection.close()
