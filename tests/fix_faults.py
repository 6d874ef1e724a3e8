"""Networks and servers that misbehave on demand: a TCP proxy with faults, and a TLS server with canned replies."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from fix_appliance import Certificates

HOST = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one connection through the proxy; bytes are those on the wire, TLS handshake included."""

    black_hole: bool = False  # accepted, then nothing ever happens
    cut_after: int | None = None  # reset after so many bytes from the server
    cut_request_after: int | None = None  # reset after so many bytes from the client
    delay_s: float = 0.0  # before each piece from the server
    drip_s: float = 0.0  # between single bytes from the server
    hang_up: bool = (
        False  # closed in good order with the server's first piece, then reset: what is sent next has no reader
    )


class FaultProxy:
    """Forwards to a server; each new connection meets the next of `faults`, then `default`.

    accept(False) makes new connections be refused, cut() resets those that stand, `accepted` counts them.
    """

    def __init__(self, host: str, port: int) -> None:
        self.upstream = (host, port)
        self.faults: list[Fault] = []
        self.default = Fault()
        self.accepted = 0
        self.cuts = 0  # by cut_after, cut_request_after and hang_up
        self.host, self.port = HOST, 0
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.accept(True)

    def accept(self, willing: bool) -> None:
        if willing and self._listener is None:
            self._listener = socket.create_server((self.host, self.port))
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()
        elif not willing and self._listener is not None:
            listener, self._listener = self._listener, None
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def cut(self) -> None:
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            reset(end)

    def close(self) -> None:
        self._over.set()
        self.accept(False)
        self.cut()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            fault = self.faults.pop(0) if self.faults else self.default
            self._keep(client)
            if fault.black_hole:
                continue
            try:
                server = socket.create_connection(self.upstream, 5)
            except OSError:
                reset(client)
                continue
            server.settimeout(None)
            self._keep(server)
            for source, sink, cut, down in (
                (client, server, fault.cut_request_after, None),
                (server, client, fault.cut_after, fault),
            ):
                threading.Thread(target=self._pump, args=(source, sink, cut, down), daemon=True).start()

    def _keep(self, end: socket.socket) -> None:
        with self._lock:
            self._open.add(end)

    def _pump(self, source: socket.socket, sink: socket.socket, cut: int | None, fault: Fault | None) -> None:
        left = cut
        try:
            while piece := source.recv(65536 if left is None else max(1, min(left, 65536))):
                if fault is not None and self._over.wait(fault.delay_s):
                    return
                if fault is not None and fault.hang_up:
                    sink.send(piece, socket.MSG_MORE)  # so that the end comes in the same segment
                    sink.shutdown(socket.SHUT_WR)
                    self.cuts += 1
                    reset(sink)
                    reset(source)
                    return
                step = 1 if fault is not None and fault.drip_s else len(piece)
                for start in range(0, len(piece), step):
                    if start and fault is not None and self._over.wait(fault.drip_s):
                        return
                    sink.sendall(piece[start : start + step])
                if left is not None:
                    left -= len(piece)
                    if left <= 0:
                        break
            if left is not None and left <= 0:
                self.cuts += 1
                reset(sink)
                reset(source)
            else:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
    end.close()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a canned server sends for one request, and whether it then closes."""

    content: bytes = b""
    delay_s: float = 0.0
    drip_s: float = 0.0  # between single bytes
    close: bool = False


Answer = Reply | bytes | Callable[[bytes], "Reply | bytes"]


@dataclass
class CannedServer:
    """A TLS server that answers each TTLV message with the next of `replies`, and falls silent after the last.

    A reply may be a function of the request. What came is in `requests`.
    """

    certificates: Certificates
    name: str = "server"
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    replies: list[Answer] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    resumed: int = 0  # of these, those that went on with an earlier TLS session

    def __post_init__(self) -> None:
        self.host = HOST
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.maximum_version = self.maximum
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(self.certificates.certificate(self.name), self.certificates.key(self.name))
        self._context.load_verify_locations(self.certificates.ca)
        self._over = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        client.settimeout(30)
        with contextlib.suppress(OSError), client, self._context.wrap_socket(client, server_side=True) as connection:
            self.resumed += bool(connection.session_reused)
            while request := message_of(connection):
                self.requests.append(request)
                if not self.replies:
                    self._over.wait(30)
                    return
                answer = self.replies.pop(0)
                given = answer(request) if callable(answer) else answer
                reply = given if isinstance(given, Reply) else Reply(given)
                if self._over.wait(reply.delay_s):
                    return
                step = 1 if reply.drip_s else max(1, len(reply.content))
                for start in range(0, len(reply.content), step):
                    connection.sendall(reply.content[start : start + step])
                    if reply.drip_s and self._over.wait(reply.drip_s):
                        return
                if reply.close:
                    return


def message_of(connection: ssl.SSLSocket) -> bytes:
    """Read one TTLV item; empty at the end of the stream."""
    data = b""
    wanted = 8
    while len(data) < wanted:
        piece = connection.recv(wanted - len(data))
        if not piece:
            return b""
        data += piece
        if len(data) == 8:
            wanted = 8 + int.from_bytes(data[4:8])
    return data


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Put a proxy before a server: fault_proxy(appliance)."""
    proxies: list[FaultProxy] = []

    def make(server: object | None = None, *, host: str = HOST, port: int = 0) -> FaultProxy:
        proxies.append(FaultProxy(getattr(server, "host", host), getattr(server, "port", port)))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def canned_server(certificates: Certificates) -> Iterator[Callable[..., CannedServer]]:
    """Make a server with canned replies: canned_server(reply, ..., name="server-expired")."""
    servers: list[CannedServer] = []

    def make(*replies: Answer, name: str = "server", maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> CannedServer:
        servers.append(CannedServer(certificates, name, maximum, list(replies)))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port whose queue is full: the kernel drops what knocks there, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(8):
            knocking = waiting.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def http_server() -> Iterator[int]:
    """A captive portal: it answers anything with plain HTTP."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)
