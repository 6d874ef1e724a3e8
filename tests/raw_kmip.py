"""KMIP without anybody's client: TTLV items as (tag, value) pairs, one request a call.

Tags and enumerations are PyKMIP's names. Types follow from the Python value: list is a structure, int an Integer,
Date a Date-Time, Interval an Interval, Enum members, str, bytes, bool what they look like.
"""

from __future__ import annotations

import enum
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

from kmip.core import enums

if TYPE_CHECKING:
    from fix_appliance import Server

Value = Any  # list[Pair] | int | str | bytes | bool | enum.Enum, which no test wants to tell apart at every step
Pair = tuple[str, Value]
Operation = enums.Operation


class Date(int):
    """Seconds since the epoch."""


class Interval(int):
    """Seconds."""


class Refused(Exception):
    """The server said no: `reason` is an enums.ResultReason."""

    def __init__(self, reason: enum.Enum, message: str) -> None:
        super().__init__(f"{reason.name}: {message}")
        self.reason = reason


def encode(tag: str, value: Value) -> bytes:
    match value:
        case list():
            kind, content = 1, b"".join(encode(*pair) for pair in value)
        case bool():
            kind, content = 6, struct.pack("!Q", value)
        case Date():
            kind, content = 9, struct.pack("!q", value)
        case Interval():
            kind, content = 10, struct.pack("!I", value)
        case int():
            kind, content = 2, struct.pack("!i", value)
        case enum.Enum():
            kind, content = 5, struct.pack("!I", value.value)
        case str():
            kind, content = 7, value.encode()
        case _:
            kind, content = 8, value
    return struct.pack("!II", enums.Tags[tag].value << 8 | kind, len(content)) + content + bytes(-len(content) % 8)


def decode(data: bytes) -> list[Pair]:
    """Return the items; enumerations come as int."""
    items: list[Pair] = []
    while data:
        header, size = struct.unpack_from("!II", data)
        content = data[8 : 8 + size]
        value: Value = content
        match header & 0xFF:
            case 1:
                value = decode(content)
            case 6:
                value = any(content)
            case 7:
                value = content.decode()
            case 2 | 3 | 5 | 9 | 10:
                value = int.from_bytes(content, signed=header & 0xFF != 5)
        items.append((enums.Tags(header >> 8).name, value))
        data = data[8 + size + -size % 8 :]
    return items


def get(items: Value, *path: str) -> Value:
    """Follow the first item of each name."""
    for tag in path:
        assert isinstance(items, list)
        items = next(value for name, value in items if name == tag)
    return items


def every(items: Value, tag: str) -> list[Value]:
    assert isinstance(items, list)
    return [value for name, value in items if name == tag]


def message(operation: enum.Enum, payload: list[Pair], version: str = "1.4") -> bytes:
    return batch((operation, payload), version=version)


def batch(*items: tuple[enum.Enum, list[Pair]], version: str = "1.4") -> bytes:
    major, minor = map(int, version.split("."))
    spoken: list[Pair] = [("PROTOCOL_VERSION_MAJOR", major), ("PROTOCOL_VERSION_MINOR", minor)]
    header: list[Pair] = [("PROTOCOL_VERSION", spoken), ("BATCH_COUNT", len(items))]
    message: list[Pair] = [("REQUEST_HEADER", header)]
    for number, (operation, payload) in enumerate(items):
        named: list[Pair] = [("UNIQUE_BATCH_ITEM_ID", bytes([number]))] if len(items) > 1 else []
        message.append(("BATCH_ITEM", [("OPERATION", operation), *named, ("REQUEST_PAYLOAD", payload)]))
    return encode("REQUEST_MESSAGE", message)


def attribute(name: str, value: Value, index: int | None = None) -> Pair:
    pairs: list[Pair] = [("ATTRIBUTE_NAME", name)]
    if index is not None:
        pairs.append(("ATTRIBUTE_INDEX", index))
    return ("ATTRIBUTE", [*pairs, ("ATTRIBUTE_VALUE", value)])


def name(text: str, index: int | None = None) -> Pair:
    kind = enums.NameType.UNINTERPRETED_TEXT_STRING
    return attribute("Name", [("NAME_VALUE", text), ("NAME_TYPE", kind)], index)


def aes_256(*attributes: Pair) -> list[Pair]:
    """The payload of a Create."""
    template = [
        attribute("Cryptographic Algorithm", enums.CryptographicAlgorithm.AES),
        attribute("Cryptographic Length", 256),
        attribute("Cryptographic Usage Mask", 12),
        *attributes,
    ]
    return [("OBJECT_TYPE", enums.ObjectType.SYMMETRIC_KEY), ("TEMPLATE_ATTRIBUTE", template)]


class Connection:
    """One TLS connection as a client of the given certificate."""

    def __init__(self, server: Server, client: str | None = "client", *, port: int | None = None) -> None:
        self.context = ssl.create_default_context(cafile=str(server.ca_file))
        if client is not None:
            files = server.certificates
            self.context.load_cert_chain(files.certificate(client), files.key(client))
        plain = socket.create_connection((server.host, port or server.port), 10)
        self.tls = self.context.wrap_socket(plain, server_hostname=server.host)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()

    def exchange(self, request: bytes) -> bytes:
        """Send bytes and return the answer; empty when the server closes."""
        self.tls.sendall(request)
        return self.receive()

    def receive(self) -> bytes:
        answer = b""
        while len(answer) < 8 or len(answer) < 8 + int.from_bytes(answer[4:8]):
            piece = self.tls.recv(65536)
            if not piece:
                return b""
            answer += piece
        return answer

    def call(self, operation: enum.Enum, *payload: Pair, version: str = "1.4") -> Value:
        """Return the response payload. Raises Refused."""
        answer = self.exchange(message(operation, list(payload), version))
        if not answer:
            raise ConnectionError("the server closed the connection")
        item = get(decode(answer), "RESPONSE_MESSAGE", "BATCH_ITEM")
        if get(item, "RESULT_STATUS") != enums.ResultStatus.SUCCESS.value:
            reason = enums.ResultReason(get(item, "RESULT_REASON"))
            raise Refused(reason, str(get(item, "RESULT_MESSAGE")))
        return get(item, "RESPONSE_PAYLOAD")

    def create(self, *attributes: Pair, version: str = "1.4") -> str:
        """Create an AES-256 key."""
        answer = self.call(Operation.CREATE, *aes_256(*attributes), version=version)
        return str(get(answer, "UNIQUE_IDENTIFIER"))

    def act(self, operation: enum.Enum, uid: str, *payload: Pair) -> Value:
        return self.call(operation, ("UNIQUE_IDENTIFIER", uid), *payload)

    def revoke(self, uid: str, code: enum.Enum = enums.RevocationReasonCode.CESSATION_OF_OPERATION) -> None:
        self.act(Operation.REVOKE, uid, ("REVOCATION_REASON", [("REVOCATION_REASON_CODE", code)]))

    def key(self, uid: str) -> bytes:
        found = get(self.act(Operation.GET, uid), "SYMMETRIC_KEY", "KEY_BLOCK", "KEY_VALUE", "KEY_MATERIAL")
        assert isinstance(found, bytes)
        return found

    def attributes(self, uid: str, *names: str) -> dict[str, list[Value]]:
        """Return the instances by name, all names where none is given."""
        wanted: list[Pair] = [("ATTRIBUTE_NAME", name) for name in names]
        found: dict[str, list[Value]] = {}
        for each in every(self.act(Operation.GET_ATTRIBUTES, uid, *wanted), "ATTRIBUTE"):
            found.setdefault(str(get(each, "ATTRIBUTE_NAME")), []).append(get(each, "ATTRIBUTE_VALUE"))
        return found

    def state(self, uid: str) -> enum.Enum:
        state: enum.Enum = enums.State(self.attributes(uid, "State")["State"][0])
        return state

    def locate(self, *attributes: Pair, version: str = "1.4") -> list[Value]:
        return every(self.call(Operation.LOCATE, *attributes, version=version), "UNIQUE_IDENTIFIER")
