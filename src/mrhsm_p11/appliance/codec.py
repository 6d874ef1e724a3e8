"""Mend PyKMIP's codec for this process: linear, UTF-8, attributes and operations that it cannot read.

PyKMIP 0.11.0 reads and writes strings byte by byte through a stream that copies the rest at each step, takes text for
ASCII, and drops a whole message over one attribute or operation that it has no class for. This is the only module that
changes PyKMIP in place; the appliance's process calls apply() once, nothing else does.
"""

from __future__ import annotations

import struct
from typing import Any

from kmip.core import enums, exceptions, primitives
from kmip.core.factories import attribute_values
from kmip.core.factories.payloads import request
from kmip.core.messages import payloads
from kmip.core.messages.payloads import base

# Standard attributes that PyKMIP knows by name but neither reads nor keeps.
UNREAD = frozenset(
    {
        "Activation Date",
        "Contact Information",
        "Cryptographic Parameters",
        "Deactivation Date",
        "Extractable",
        "Link",
        "Process Start Date",
        "Protect Stop Date",
        "Usage Limits",
    }
)


def is_custom(name: str) -> bool:
    return name.startswith(("x-", "y-"))


class Verbatim(primitives.Base):  # type: ignore[misc]  # PyKMIP is untyped
    """An attribute value of any type, kept as the TTLV item it came in."""

    def __init__(self, encoded: bytes = b"") -> None:
        super().__init__(enums.Tags.ATTRIBUTE_VALUE)
        self.encoded = encoded

    def read(self, stream: Any, kmip_version: Any = None) -> None:
        size = struct.unpack_from("!I", stream.peek(8), 4)[0]
        self.encoded = bytes(stream.read(8 + size + -size % 8))

    def write(self, stream: Any, kmip_version: Any = None) -> None:
        stream.write(self.encoded)


class AddAttributeRequest(payloads.ModifyAttributeRequestPayload):  # type: ignore[misc]
    """In KMIP 1.x of the same shape as Modify Attribute."""


class AddAttributeResponse(payloads.ModifyAttributeResponsePayload):  # type: ignore[misc]
    """In KMIP 1.x of the same shape as Modify Attribute."""


class UnreadRequest(base.RequestPayload):  # type: ignore[misc]
    """The payload of an operation without a class: skipped, so that the operation can be refused by name."""

    def read(self, stream: Any, kmip_version: Any = None) -> None:
        super().read(stream, kmip_version=kmip_version)
        stream.read(self.length)


def _padding(length: int) -> bytes:
    return bytes(-length % 8)


def _take(item: Any, stream: Any) -> bytes:
    """Read the item's bytes and its padding, which must be zero."""
    content: bytes = bytes(stream.read(item.length))
    padding = stream.read(-item.length % 8)
    if len(content) != item.length or padding != _padding(item.length):
        raise exceptions.ReadValueError(type(item).__name__, "value", item.length, len(content))
    return content


def _read_bytes(self: Any, stream: Any, kmip_version: Any = None) -> None:
    self.value = _take(self, stream)
    self.padding_length = -self.length % 8


def _write_bytes(self: Any, stream: Any, kmip_version: Any = None) -> None:
    stream.write(self.value + _padding(len(self.value)))


def _read_text(self: Any, stream: Any, kmip_version: Any = None) -> None:
    self.value = _take(self, stream).decode()
    self.padding_length = -self.length % 8


def _write_text(self: Any, stream: Any, kmip_version: Any = None) -> None:
    content = self.value.encode()
    stream.write(content + _padding(len(content)))


def _make_text(self: Any, value: str | None = None, tag: Any = enums.Tags.DEFAULT) -> None:
    primitives.Base.__init__(self, tag, type=enums.Types.TEXT_STRING)
    self.value = "" if value is None else value
    self.validate()
    self.length = len(self.value.encode())
    self.padding_length = -self.length % 8


_stock_value = attribute_values.AttributeValueFactory.create_attribute_value
_stock_payload = request.RequestPayloadFactory.create


def _make_value(self: Any, name: Any, value: Any) -> Any:
    text = name if isinstance(name, str) else name.value
    if value is None and (text in UNREAD or is_custom(text)):
        return Verbatim()
    return _stock_value(self, name, value)


def _make_payload(self: Any, operation: Any) -> Any:
    if operation is enums.Operation.ADD_ATTRIBUTE:
        return AddAttributeRequest()
    try:
        return _stock_payload(self, operation)
    except (NotImplementedError, ValueError):
        return UnreadRequest()


def apply() -> None:
    """Put the mended parts in place; doing it again changes nothing."""
    primitives.ByteString.read_value = _read_bytes
    primitives.ByteString.write_value = _write_bytes
    primitives.TextString.__init__ = _make_text
    primitives.TextString.read_value = _read_text
    primitives.TextString.write_value = _write_text
    attribute_values.AttributeValueFactory.create_attribute_value = _make_value
    request.RequestPayloadFactory.create = _make_payload
