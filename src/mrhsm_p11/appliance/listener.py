"""The TLS listener and its sessions: one daemon thread a connection."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

from kmip.core import exceptions, utils
from kmip.services.server import session

from mrhsm_p11.appliance.options import Options
from mrhsm_p11.appliance.users import Users, names_of
from mrhsm_p11.errors import MrhsmError

HANDSHAKE_S = 10.0
_log = logging.getLogger("mrhsm-appliance")


class Session(session.KmipSession):  # type: ignore[misc]  # PyKMIP is untyped
    """PyKMIP's message loop over a connection whose messages are bounded and never formatted for a log."""

    def __init__(
        self,
        engine: Any,
        plain: socket.socket,
        address: Any,
        context: ssl.SSLContext,
        options: Options,
        users: Users | None,
    ) -> None:
        super().__init__(engine, plain, address, name=f"{address[0]}:{address[1]}")
        self._users = users
        self.daemon = True
        self._plain = plain
        self._context = context
        self._options = options
        self._max_response_size = options.limit
        self._translation = engine.translation()

    def run(self) -> None:
        try:
            with self._plain, self._secured() as self._connection:
                self._connection.settimeout(self._options.idle or None)
                while True:
                    self._handle_message_loop()
        except exceptions.ConnectionClosed:
            return
        except (OSError, ValueError) as problem:  # ValueError: a message that is too long
            _log.warning("%s: %s", self.name, problem)

    def authenticate(self, certificate: Any, request: Any) -> Any:
        """Return who asks; a user's name and password are demanded beside the certificate where there are users."""
        identity = super().authenticate(certificate, request)
        if self._users is not None and not self._users.have(request.request_header.authentication):
            raise exceptions.PermissionDenied("A user name and its password are needed.")
        if self._options.same_name and names_of(request.request_header.authentication) - {identity[0]}:
            self._connection.close()
            raise exceptions.PermissionDenied("The user name is not that of the certificate.")
        return identity

    def _secured(self) -> ssl.SSLSocket:
        """Shake hands; on this thread, where a client that is gone already fails nobody but itself."""
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._plain.settimeout(HANDSHAKE_S)
        return self._context.wrap_socket(self._plain, server_side=True)

    def _receive_request(self) -> Any:
        header = self._receive_bytes(8)
        size = struct.unpack_from("!I", header, 4)[0]
        if size > self._options.limit:
            raise ValueError(f"a message of {size} bytes is over the limit of {self._options.limit}")
        self._translation = self._engine.translation()
        return utils.BytearrayStream(self._translation.request(header + self._receive_bytes(size)))

    def _receive_bytes(self, message_size: int) -> bytes:
        message = bytearray(message_size)
        view = memoryview(message)
        while view:
            received = self._connection.recv_into(view)
            if not received:
                raise exceptions.ConnectionClosed
            view = view[received:]
        return bytes(message)

    def _send_response(self, data: Any) -> None:
        self._connection.sendall(self._translation.response(bytes(data)))


class Listener:
    """Bound and listening once made; serve() accepts for as long as the process lives."""

    def __init__(self, engine: Any, options: Options, certs: Path) -> None:
        self._engine = engine
        self._options = options
        self._context = _context(options, certs)
        self._users = Users.read(options.users) if options.users is not None else None
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        try:
            self._socket = socket.create_server((options.host, options.port), family=family, backlog=128)
        except OSError as problem:
            raise MrhsmError(f"cannot listen on {options.host} port {options.port}: {problem.strerror}") from problem
        self.host, self.port = self._socket.getsockname()[:2]

    def serve(self) -> None:
        while True:
            try:
                plain, address = self._socket.accept()
            except ConnectionAbortedError:
                continue  # gone before it was accepted
            Session(self._engine, plain, address, self._context, self._options, self._users).start()


def _context(options: Options, certs: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certs / f"{options.server}.pem", certs / f"{options.server}.key")
    context.load_verify_locations(certs / "ca.pem")
    return context
