"""Mutual TLS connections that carry one KMIP message at a time, each call within an absolute deadline.

The sockets do not block: OpenSSL is called, and where it has to wait the wait is for the bare descriptor, so that a
fork of the host never finds a lock of OpenSSL held. What waits is a generator of kmip.waiting, so that several can.
`socket` and `ssl` are imported with the first connection.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mrhsm_p11 import hostcalls
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip import faults
from mrhsm_p11.kmip.dialing import Race, Sessions
from mrhsm_p11.kmip.errors import AuthenticationRefused, KMIPError, TLSRefused, Unreachable
from mrhsm_p11.kmip.waiting import Awaited, Steps, run
from mrhsm_p11.secret import Secret

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

_RESPONSE_MESSAGE = b"\x42\x00\x7b\x01"
_EXPLANATION_S = 0.5


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens, and the name that its certificate must bear (the host's own where none is given)."""

    host: str
    port: int = 5696
    server_name: str | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def expected_name(self) -> str:
        return self.server_name or self.host


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom we trust and who we are, all PEM; without a key of its own, `certificate_pem` holds that too."""

    ca_pem: bytes
    certificate_pem: bytes
    key_pem: Secret | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """What the TLS handshake settled; certificates are DER, the server's own first."""

    tls_version: str
    cipher: str
    chain: tuple[bytes, ...]


class _PassphraseNeeded(Exception):
    """The private key is encrypted."""


def _refuse_passphrase() -> str:
    raise _PassphraseNeeded


def make_context(identity: Identity, server: str = "") -> ssl.SSLContext:
    """Return the TLS settings for an identity: always verifying. Raises TLSRefused if it is unusable."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=identity.ca_pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise TLSRefused("the CA certificate is not a certificate in PEM form", server) from None
    try:
        _load_certificate(context, identity)
    except _PassphraseNeeded:
        raise TLSRefused("the client's private key is encrypted: store it without a passphrase", server) from None
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            text = "the client certificate and the private key do not belong together"
        elif b"-----BEGIN CERTIFICATE-----" not in identity.certificate_pem:
            text = "the client certificate is not a certificate in PEM form"
        else:
            text = "the client's private key, or its certificate, cannot be read"
        raise TLSRefused(text, server) from None
    return context


def _load_certificate(context: ssl.SSLContext, identity: Identity) -> None:
    # OpenSSL takes them from a file only: this one has no name and is gone with its descriptor.
    descriptor = os.memfd_create("kmip-client", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, identity.certificate_pem + b"\n")
        if identity.key_pem is not None:
            os.write(descriptor, identity.key_pem.view())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_refuse_passphrase)
    finally:
        os.close(descriptor)


class Transport:
    """Opens connections for one identity."""

    def __init__(self, identity: Identity, *, connect_s: float, response_limit: int) -> None:
        self._identity = identity
        self._connect_s = connect_s
        self._response_limit = response_limit
        self._context: ssl.SSLContext | None = None
        self._making = threading.Lock()
        self.sessions = Sessions()

    def connect(self, endpoint: Endpoint, deadline: Deadline) -> Connection:
        """Return a new connection after name look-up, TCP and TLS handshake, all within the deadline."""
        return run(self._connecting(endpoint, deadline))

    def connect_any(self, servers: Sequence[tuple[Endpoint, float]], deadline: Deadline) -> Arrival:
        """Connect as `connecting` does, and wait for it."""
        return run(self.connecting(servers, deadline))

    def _connecting(self, endpoint: Endpoint, deadline: Deadline) -> Steps[Connection]:
        arrival = yield from self.connecting([(endpoint, 0.0)], deadline)
        if arrival.connection is None:
            raise arrival.failures[endpoint]
        return arrival.connection

    def connecting(self, servers: Sequence[tuple[Endpoint, float]], deadline: Deadline) -> Steps[Arrival]:
        """Connect to whichever server is there first; each has a head start of so many seconds over the next.

        Raises TLSRefused if the identity is of no use with any server.
        """
        with self._making:  # one for all threads: a session is of use in its own context only
            if self._context is None:
                self._context = make_context(self._identity, str(servers[0][0]))
        race = Race(self._context, self.sessions, self._connect_s)
        for endpoint, head_start_s in servers:
            race.add(endpoint, head_start_s)
        won = yield from race.steps(deadline)
        connection = Connection(*won, self._response_limit, self) if won else None
        return Arrival(connection, race.failures, race.beaten)

    def why_refused(self, endpoint: Endpoint, deadline: Deadline) -> Steps[KMIPError | None]:
        """Ask a server that hung up on a first request for its reason, which it gives to who sends nothing.

        In TLS 1.3 it tells that it refuses our certificate when we have already sent, and the bytes it did not read
        turn its words into a reset.
        """
        try:
            connection = yield from self._connecting(endpoint, deadline)
        except KMIPError as error:
            return error if isinstance(error, AuthenticationRefused) else None
        try:
            return (yield from connection.overhear(_earlier(deadline, _EXPLANATION_S)))
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Arrival:
    """How an attempt to connect to one of several servers ended."""

    connection: Connection | None
    failures: dict[Endpoint, KMIPError]  # of those that failed; of all, where there is no connection
    beaten: tuple[Endpoint, ...]  # still busy when another was there, in spite of their head start


def _earlier(deadline: Deadline, seconds: float) -> Deadline:
    return Deadline(min(deadline.remaining_s(), seconds))


def _wait(descriptor: int, events: int, deadline: Deadline) -> Steps[None]:
    """Wait until the descriptor is ready. Raises TimeoutError."""
    if deadline.passed or descriptor not in (yield Awaited(((descriptor, events),), deadline.at)):
        raise TimeoutError


def _finish(secured: ssl.SSLSocket, step: Callable[[], T], deadline: Deadline) -> Steps[T]:
    """Repeat an OpenSSL call until it has all that it waits for."""
    import ssl

    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            yield from _wait(secured.fileno(), select.POLLIN, deadline)
        except ssl.SSLWantWriteError:
            yield from _wait(secured.fileno(), select.POLLOUT, deadline)


class Connection:
    """A TLS connection. After any exception it must be closed: a late reply would pass for the next one."""

    def __init__(self, endpoint: Endpoint, secured: ssl.SSLSocket, response_limit: int, opener: Transport) -> None:
        self.endpoint = endpoint
        self.opened_at = self.used_at = time.monotonic()
        self._secured = secured
        self._response_limit = response_limit
        self._opener = opener
        self._heard = False  # the server has answered once: it accepts us
        self._known = False  # its TLS session has been kept

    def exchange(self, request: bytes | bytearray, deadline: Deadline) -> bytearray:
        """Send a message and wait for the reply."""
        return run(self.exchanging(request, deadline))

    def exchanging(self, request: bytes | bytearray, deadline: Deadline) -> Steps[bytearray]:
        """Send a message and return the reply, whole; the caller may wipe it."""
        try:
            yield from self._send(request, deadline)
            reply = yield from self._receive(deadline)
        except OSError as error:
            failure = faults.exchanging(error, str(self.endpoint), first=not self._heard)
        except Unreachable as error:
            failure = error
        else:
            self.used_at = time.monotonic()
            if not self._known:
                # TLS 1.3 gives its tickets after the handshake. Reading the session costs 0.1 ms, and CPython 3.11
                # loses 6 KB with it: once for each whole handshake is enough, for a ticket may be used again.
                self._known = True
                if not self._secured.session_reused:
                    self._opener.sessions.keep(self.endpoint, self._secured.session)
            return reply
        if isinstance(failure, Unreachable) and not self._heard:
            failure = (yield from self._opener.why_refused(self.endpoint, deadline)) or failure
        raise failure from None

    def overhear(self, deadline: Deadline) -> Steps[KMIPError | None]:
        """Return what the server says against us unasked, if anything."""
        try:
            yield from _finish(self._secured, lambda: self._secured.recv(1), deadline)
        except OSError as error:
            said = faults.exchanging(error, str(self.endpoint), first=True)
            return said if isinstance(said, AuthenticationRefused) else None
        return None

    def _send(self, request: bytes | bytearray, deadline: Deadline) -> Steps[None]:
        with memoryview(request) as view:
            sent = 0
            while sent < len(view):
                with view[sent:] as rest:
                    sent += yield from _finish(self._secured, lambda rest=rest: self._secured.send(rest), deadline)  # type: ignore[misc]

    def _receive(self, deadline: Deadline) -> Steps[bytearray]:
        server = str(self.endpoint)
        header = bytearray(8)
        yield from self._fill(header, 0, deadline)
        if header[:4] != _RESPONSE_MESSAGE:
            raise faults.not_kmip(server)
        length = 8 + int.from_bytes(header[4:], "big")
        if length > self._response_limit:
            raise faults.oversize(server, length, self._response_limit)
        reply = header + bytes(length - 8)
        yield from self._fill(reply, 8, deadline)
        return reply

    def _fill(self, buffer: bytearray, got: int, deadline: Deadline) -> Steps[None]:
        with memoryview(buffer) as view:
            while got < len(view):
                with view[got:] as rest:
                    count = yield from _finish(self._secured, lambda rest=rest: self._secured.recv_into(rest), deadline)  # type: ignore[misc]
                if count == 0:
                    raise faults.lost(str(self.endpoint), first=not self._heard, received=got)
                self._heard = True
                got += count

    def stale(self) -> bool:
        """Tell whether an idle connection is of no use: closed by the server, or with bytes nobody asked for."""
        import ssl

        try:
            with hostcalls.around_io():
                self._secured.recv(1)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
        return True

    def peer(self) -> Peer:
        """Return whom we talk to, and how."""
        leaf = self._secured.getpeercert(binary_form=True)
        chain: list[bytes] = getattr(self._secured, "get_verified_chain", list)()  # since Python 3.13
        cipher = self._secured.cipher()
        return Peer(
            self._secured.version() or "", cipher[0] if cipher else "", tuple(chain or ([leaf] if leaf else []))
        )

    def close(self) -> None:
        """Close the descriptor. No TLS shutdown is sent, so that a forked child may do it to its parent's."""
        self._secured.close()
