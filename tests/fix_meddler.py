"""A man in the middle with the right certificates: passes messages on, and spoils those that a test says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from fix_appliance import Certificates, Server
from fix_faults import HOST, message_of, reset

from mrhsm_p11.kmip import codec
from mrhsm_p11.kmip.messages import ResponseBatchItem, ResponseMessage

LIMIT_S = 30.0


class _Over(Exception):
    """The connection has ended."""


@dataclass(slots=True)
class Exchange:
    """One request on its way: what a fault may do with it."""

    request: bytes
    previous: bytes  # the last reply on this connection
    client: ssl.SSLSocket
    raw: socket.socket
    upstream: ssl.SSLSocket
    over: threading.Event

    def forward(self) -> bytes:
        """Have the server do it; return its reply."""
        self.upstream.sendall(self.request)
        return message_of(self.upstream)

    def send(self, content: bytes) -> None:
        self.client.sendall(content)

    def pause(self, seconds: float) -> None:
        if self.over.wait(seconds):
            raise _Over

    def reset(self) -> None:
        reset(self.raw)
        raise _Over

    def close(self) -> None:
        raise _Over


def _item(reply: bytes, change: Callable[[ResponseBatchItem], ResponseBatchItem]) -> bytes:
    """Return the reply with its first answer changed."""
    message = codec.decode(ResponseMessage, reply)
    first, *rest = message.batch_item
    changed = replace(message, batch_item=(change(first), *rest))
    return bytes(codec.encode(changed, message.response_header.protocol_version.version))


def _delay(it: Exchange) -> None:
    reply = it.forward()
    it.pause(0.2)
    it.send(reply)


def _drip(it: Exchange) -> None:
    for byte in it.forward():
        it.send(bytes([byte]))


def _reset_before(it: Exchange) -> None:
    it.reset()


def _reset_after(it: Exchange) -> None:
    it.forward()
    it.reset()


def _half(it: Exchange) -> None:
    reply = it.forward()
    it.send(reply[: len(reply) // 2])
    it.close()


def _garbage(it: Exchange) -> None:
    it.send(bytes(reversed(it.forward())))


def _http(it: Exchange) -> None:
    it.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def _hang(it: Exchange) -> None:
    it.forward()
    it.pause(LIMIT_S)


def _late(it: Exchange) -> None:
    """Answer when nobody waits any more."""
    reply = it.forward()
    it.pause(1.2)
    it.send(reply)


def _huge(it: Exchange) -> None:
    it.send(it.forward()[:4] + b"\xff\xff\xff\xf8" + bytes(64))


def _twice(it: Exchange) -> None:
    reply = it.forward()
    it.send(reply + reply)


def _stale(it: Exchange) -> None:
    it.forward()
    it.send(it.previous)


def _other_identifier(it: Exchange) -> None:
    reply = it.forward()
    place = reply.index(b"\x42\x00\x94\x07") + 8
    it.send(reply[:place] + bytes([reply[place] ^ 1]) + reply[place + 1 :])


def _other_batch_id(it: Exchange) -> None:
    it.send(_item(it.forward(), lambda item: replace(item, unique_batch_item_id=b"another!")))


def _other_count(it: Exchange) -> None:
    message = codec.decode(ResponseMessage, it.forward())
    header = replace(message.response_header, batch_count=7)
    it.send(bytes(codec.encode(replace(message, response_header=header), header.protocol_version.version)))


def _close_notify(it: Exchange) -> None:
    it.forward()
    with contextlib.suppress(OSError):
        it.client.unwrap()
    it.close()


def _alert(it: Exchange) -> None:
    """A fatal alert in the place of the reply; it is not sealed, as from something that lost the session."""
    it.forward()
    it.raw.sendall(b"\x15\x03\x03\x00\x02\x02\x28")
    it.close()


# What may befall one message.
FAULTS: dict[str, Callable[[Exchange], None]] = {
    "delay": _delay,
    "drip": _drip,
    "reset before": _reset_before,
    "reset after": _reset_after,
    "half a frame": _half,
    "garbage": _garbage,
    "HTTP": _http,
    "hang": _hang,
    "late": _late,
    "huge length": _huge,
    "reply twice": _twice,
    "stale reply": _stale,
    "another identifier": _other_identifier,
    "another batch id": _other_batch_id,
    "another count": _other_count,
    "close notify": _close_notify,
    "alert": _alert,
}


@dataclass
class Meddler:
    """A server for clients, a client for the server. The next message with `operation` meets the next of `faults`."""

    certificates: Certificates
    server: Server
    operation: bytes = b""
    faults: list[str] = field(default_factory=list)
    identity: str = "server"  # whose certificate new connections see
    met: int = 0

    def __post_init__(self) -> None:
        self.host = HOST
        self._over = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._outward = ssl.create_default_context(cafile=str(self.certificates.ca))
        self._outward.load_cert_chain(self.certificates.certificate(), self.certificates.key())
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
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, raw: socket.socket) -> None:
        raw.settimeout(LIMIT_S)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificates.certificate(self.identity), self.certificates.key(self.identity))
        context.load_verify_locations(self.certificates.ca)
        double = raw.dup()  # what TLS knows nothing of
        with contextlib.suppress(OSError, _Over), double, context.wrap_socket(raw, server_side=True) as client:
            plain = socket.create_connection((self.server.host, self.server.port), LIMIT_S)
            with self._outward.wrap_socket(plain, server_hostname=HOST) as upstream:
                self._pass(client, double, upstream)

    def _pass(self, client: ssl.SSLSocket, raw: socket.socket, upstream: ssl.SSLSocket) -> None:
        previous = b""
        while request := message_of(client):
            exchange = Exchange(request, previous, client, raw, upstream, self._over)
            if self.faults and self.operation in request:
                self.met += 1
                FAULTS[self.faults.pop(0)](exchange)
            else:
                previous = exchange.forward()
                exchange.send(previous)


@pytest.fixture
def meddler(certificates: Certificates) -> Iterator[Callable[[Server], Meddler]]:
    """Put a meddler before a server: meddler(appliance)."""
    made: list[Meddler] = []

    def make(server: Server) -> Meddler:
        made.append(Meddler(certificates, server))
        return made[-1]

    yield make
    for each in made:
        each.close()
