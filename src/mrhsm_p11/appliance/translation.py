"""KMIP 2.0 and 2.1 in terms of 1.4: PyKMIP's own 2.0 can do too little to stand in for a server that speaks it.

Attributes, references to them and vendor attributes are turned into Attribute Name, Index and Value, and back. Client
Correlation Values, which PyKMIP refuses in every version, are kept from it and answered. The names and tags are those
of PyKMIP's table. This is an emulation made from the standard's text, not a product.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from kmip.core import enums

Tags = enums.Tags
Operation = enums.Operation
SPOKEN = (1, 4)
TRANSLATED = ((2, 0), (2, 1))
STRUCTURE, ENUMERATION, TEXT = 1, 5, 7
VENDORS = ("x", "y")  # of custom attributes
NO_INSTANCE = 0x7FFFFFFF  # an index that no attribute has
_TWO = struct.pack("!i", 2)  # as the major version, which stands at a fixed place
_CORRELATION = (Tags.CLIENT_CORRELATION_VALUE.value << 8 | TEXT).to_bytes(4)

# Sets of attributes that are templates in KMIP 1.
TEMPLATES = {
    Tags.ATTRIBUTES: Tags.TEMPLATE_ATTRIBUTE,
    Tags.COMMON_ATTRIBUTES: Tags.COMMON_TEMPLATE_ATTRIBUTE,
    Tags.PRIVATE_KEY_ATTRIBUTES: Tags.PRIVATE_KEY_TEMPLATE_ATTRIBUTE,
    Tags.PUBLIC_KEY_ATTRIBUTES: Tags.PUBLIC_KEY_TEMPLATE_ATTRIBUTE,
}
SINGLE = {Operation.ADD_ATTRIBUTE, Operation.MODIFY_ATTRIBUTE, Operation.SET_ATTRIBUTE, Operation.DELETE_ATTRIBUTE}

# Finds the index of the instance of an object's attribute that has this value.
IndexOf: TypeAlias = Callable[[str, str, bytes], int | None]


@dataclass
class Node:
    """An item: the value of a structure is the list of its items, any other is its bytes."""

    tag: int
    type: int
    value: bytes | list[Node]

    def inside(self, tag: enums.Tags) -> list[Node]:
        """Return the items of this tag."""
        return [node for node in self.items if node.tag == tag.value]

    @property
    def items(self) -> list[Node]:
        return self.value if isinstance(self.value, list) else []

    @property
    def text(self) -> str:
        return self.value.decode() if isinstance(self.value, bytes) else ""

    @property
    def number(self) -> int:
        return int.from_bytes(self.value) if isinstance(self.value, bytes) else 0


def parse(data: bytes) -> list[Node]:
    """Return the items. Raises ValueError for what is none."""
    nodes = []
    while data:
        if len(data) < 8:
            raise ValueError("an item is cut short")
        head, size = struct.unpack_from("!II", data)
        if len(data) < 8 + size:
            raise ValueError("an item is longer than what it is in")
        content = data[8 : 8 + size]
        nodes.append(Node(head >> 8, head & 0xFF, parse(content) if head & 0xFF == STRUCTURE else content))
        data = data[8 + size + -size % 8 :]
    return nodes


def dump(node: Node, tag: int | None = None) -> bytes:
    content = b"".join(map(dump, node.value)) if isinstance(node.value, list) else node.value
    head = (node.tag if tag is None else tag) << 8 | node.type
    return struct.pack("!II", head, len(content)) + content + bytes(-len(content) % 8)


def _text(tag: enums.Tags, value: str) -> Node:
    return Node(tag.value, TEXT, value.encode())


def _structure(tag: enums.Tags, *items: Node) -> Node:
    return Node(tag.value, STRUCTURE, list(items))


def _untyped(typed: Node) -> tuple[str, Node]:
    """Return the 1.x name and the value of an attribute of KMIP 2. Raises ValueError for one that PyKMIP has not."""
    if typed.tag == Tags.ATTRIBUTE.value:
        (vendor,), (name,) = typed.inside(Tags.VENDOR_IDENTIFICATION), typed.inside(Tags.ATTRIBUTE_NAME)
        (value,) = typed.inside(Tags.ATTRIBUTE_VALUE)
        return f"{vendor.text}-{name.text}", value
    return enums.convert_attribute_tag_to_name(Tags(typed.tag)), Node(
        Tags.ATTRIBUTE_VALUE.value, typed.type, typed.value
    )


def _attribute(name: str, value: Node, index: int | None) -> Node:
    items = [_text(Tags.ATTRIBUTE_NAME, name)]
    if index is not None:
        items.append(Node(Tags.ATTRIBUTE_INDEX.value, 2, struct.pack("!i", index)))
    return _structure(Tags.ATTRIBUTE, *items, value)


def _typed(attribute: Node) -> Node | None:
    """Return an attribute of KMIP 1 in its other form; None for one that ended with it."""
    name, value = attribute.inside(Tags.ATTRIBUTE_NAME)[0].text, attribute.inside(Tags.ATTRIBUTE_VALUE)[0]
    if name[:1] in VENDORS and name[1:2] == "-":
        own = _text(Tags.ATTRIBUTE_NAME, name[2:])
        return _structure(Tags.ATTRIBUTE, _text(Tags.VENDOR_IDENTIFICATION, name[0]), own, value)
    tag = _tag(name)
    return None if tag is None else Node(tag, value.type, value.value)


def _tag(name: str) -> int | None:
    """Return an attribute's tag, None for one that ended with KMIP 1."""
    tag = enums.convert_attribute_name_to_tag(name)
    return int(tag.value) if enums.is_attribute(tag, kmip_version=enums.KMIPVersion.KMIP_2_0) else None


def _reference(name: str) -> Node | None:
    if name[:1] in VENDORS and name[1:2] == "-":
        parts = _text(Tags.VENDOR_IDENTIFICATION, name[0]), _text(Tags.ATTRIBUTE_NAME, name[2:])
        return _structure(Tags.ATTRIBUTE_REFERENCE, *parts)
    tag = _tag(name)
    return None if tag is None else Node(Tags.ATTRIBUTE_REFERENCE.value, ENUMERATION, struct.pack("!I", tag))


def _referred(reference: Node) -> str:
    if reference.type == STRUCTURE:
        (vendor,), (name,) = reference.inside(Tags.VENDOR_IDENTIFICATION), reference.inside(Tags.ATTRIBUTE_NAME)
        return f"{vendor.text}-{name.text}"
    return str(enums.convert_attribute_tag_to_name(Tags(reference.number)))


@dataclass
class Translation:
    """One message and its answer."""

    multivalued: Callable[[str], bool]
    index_of: IndexOf
    versions: Collection[tuple[int, int]]  # that are spoken, the others too
    version: tuple[int, int] | None = None  # that the client speaks, where it is translated
    correlation: Node | None = None
    _operations: list[int] = field(default_factory=list)

    def request(self, data: bytes) -> bytes:
        """Return the request as PyKMIP can read it; unchanged where it needs no change or cannot be understood."""
        if data[28:32] < _TWO and _CORRELATION not in data:
            return data
        try:
            (message,) = parse(data)
            header, *items = message.items
            self.correlation = next(iter(header.inside(Tags.CLIENT_CORRELATION_VALUE)), None)
            header.value = [node for node in header.items if node is not self.correlation]
            spoken = _version(header)
            if spoken in self.versions and spoken in TRANSLATED:
                _set_version(header, SPOKEN)
                for item in items:
                    self._request_item(item)
                self.version = spoken
            return dump(message)
        except (ValueError, IndexError):
            return data

    def response(self, data: bytes) -> bytes:
        """Return PyKMIP's response to that request in the client's terms; one that is in 1.0 stays so."""
        if self.version is None and self.correlation is None:
            return data
        (message,) = parse(data)
        header, *items = message.items
        if self.version is not None and _version(header) == SPOKEN:
            _set_version(header, self.version)
            for item, operation in zip(items, self._operations, strict=False):
                _response_item(item, operation)
        if self.correlation is not None and _version(header) >= SPOKEN:
            header.value = [*header.items[:-1], self.correlation, header.items[-1]]
        return dump(message)

    def _request_item(self, item: Node) -> None:
        operation, payload = item.inside(Tags.OPERATION)[0], item.inside(Tags.REQUEST_PAYLOAD)[0]
        self._operations.append(operation.number)
        if operation.number == Operation.SET_ATTRIBUTE.value:
            operation.value = struct.pack("!I", Operation.MODIFY_ATTRIBUTE.value)
        if operation.number in {each.value for each in SINGLE}:
            payload.value = list(self._single(payload, adds=operation.number == Operation.ADD_ATTRIBUTE.value))
        else:
            spreads = operation.number == Operation.LOCATE.value
            payload.value = [one for node in payload.items for one in self._plain(node, spreads=spreads)]

    def _plain(self, node: Node, *, spreads: bool) -> Iterator[Node]:
        """Yield what an item of a request is in KMIP 1; `spreads`: attributes stand without a template."""
        if node.tag == Tags.ATTRIBUTE_REFERENCE.value:
            yield _text(Tags.ATTRIBUTE_NAME, _referred(node))
        elif node.tag in {tag.value for tag in TEMPLATES}:
            attributes = self._numbered(node.items)
            if spreads:
                yield from attributes
            else:
                yield _structure(TEMPLATES[Tags(node.tag)], *attributes)
        else:
            if node.type == STRUCTURE:  # a key value has attributes too
                in_value = node.tag == Tags.KEY_VALUE.value
                node.value = [one for inner in node.items for one in self._plain(inner, spreads=in_value)]
            yield node

    def _numbered(self, typed: Iterable[Node]) -> Iterator[Node]:
        counts: dict[str, int] = {}
        for node in typed:
            name, value = _untyped(node)
            yield _attribute(name, value, counts.get(name, 0) if self.multivalued(name) else None)
            counts[name] = counts.get(name, 0) + 1

    def _single(self, payload: Node, *, adds: bool) -> Iterator[Node]:
        """Yield the payload of an operation on one attribute: the instance meant is that with the current value."""
        uid = "".join(node.text for node in payload.inside(Tags.UNIQUE_IDENTIFIER))
        yield from payload.inside(Tags.UNIQUE_IDENTIFIER)
        index: int | None = None
        current = payload.inside(Tags.CURRENT_ATTRIBUTE)
        if current:
            name, value = _untyped(current[0].items[0])
            if self.multivalued(name):
                found = self.index_of(uid, name, dump(value))
                index = NO_INSTANCE if found is None else found
        for new in payload.inside(Tags.NEW_ATTRIBUTE):
            name, value = _untyped(new.items[0])
            yield _attribute(name, value, index if adds or current or not self.multivalued(name) else NO_INSTANCE)
            return
        name = _referred(payload.inside(Tags.ATTRIBUTE_REFERENCE)[0]) if not current else name
        yield _text(Tags.ATTRIBUTE_NAME, name)
        if index is not None:
            yield Node(Tags.ATTRIBUTE_INDEX.value, 2, struct.pack("!i", index))


def _response_item(item: Node, operation: int) -> None:
    for node in item.inside(Tags.OPERATION):
        node.value = struct.pack("!I", operation)
    for payload in item.inside(Tags.RESPONSE_PAYLOAD):
        _type(payload, gathers=operation == Operation.GET_ATTRIBUTES.value)


def _type(node: Node, *, gathers: bool = False) -> None:
    """Turn what is in an item of a response into KMIP 2; `gathers`: attributes are what was asked for."""
    items = []
    for one in node.items:
        if one.tag == Tags.ATTRIBUTE_NAME.value:
            items += [made for made in [_reference(one.text)] if made is not None]
        elif one.tag not in {Tags.ATTRIBUTE.value, Tags.TEMPLATE_ATTRIBUTE.value}:
            _type(one, gathers=one.tag == Tags.KEY_VALUE.value and bool(one.inside(Tags.ATTRIBUTE)))
            items.append(one)
    if node.type != STRUCTURE:
        return
    if gathers:
        typed = [made for one in node.inside(Tags.ATTRIBUTE) if (made := _typed(one)) is not None]
        items.append(_structure(Tags.ATTRIBUTES, *typed))
    node.value = items


def _version(header: Node) -> tuple[int, int]:
    major, minor = header.items[0].items
    return major.number, minor.number


def _set_version(header: Node, version: tuple[int, int]) -> None:
    for node, number in zip(header.items[0].items, version, strict=True):
        node.value = struct.pack("!i", number)
