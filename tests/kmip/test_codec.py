"""Structures to bytes and back: every one of ours, foreign ones, damaged ones, and PyKMIP as the judge."""

from __future__ import annotations

import enum
import typing
from dataclasses import fields, replace
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from kmip.core import enums as pykmip
from kmip.core import primitives
from kmip.core.messages import messages as pykmip_messages
from kmip.core.utils import BytearrayStream

from mrhsm_p11.kmip import (
    attributes,
    codec,
    crypto_payloads,
    messages,
    object_payloads,
    objects,
    server_payloads,
    ttlv,
    typed,
)
from mrhsm_p11.kmip.attributes import Attribute, VendorAttribute, attribute, attribute_rows, name_attribute
from mrhsm_p11.kmip.payload import RequestPayload
from mrhsm_p11.kmip.structure import Field, Kind, Structure, schema
from mrhsm_p11.kmip.ttlv import Item, TTLVError
from mrhsm_p11.kmip.vocabulary import (
    KMIP_2,
    CryptographicAlgorithm,
    CryptographicUsageMask,
    ItemType,
    KeyFormatType,
    ObjectType,
    Operation,
    ResultStatus,
    RevocationReasonCode,
    State,
    Version,
    mask,
    tag_of,
)
from mrhsm_p11.secret import Secret

MODULES = (attributes, typed, objects, object_payloads, server_payloads, crypto_payloads, messages)
STRUCTURES = sorted(
    {
        found
        for module in MODULES
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Structure) and schema(found).fields
    },
    key=lambda cls: cls.__name__,
)
OPERATIONS = object_payloads.OPERATIONS + server_payloads.OPERATIONS + crypto_payloads.OPERATIONS
PAYLOADS = {payload for row in OPERATIONS for payload in row}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = {
    ItemType.INTEGER: st.integers(-(2**31), 2**31 - 1),
    ItemType.LONG_INTEGER: st.integers(-(2**63), 2**63 - 1),
    ItemType.BIG_INTEGER: st.integers(),
    ItemType.DATE_TIME: st.integers(-(2**63), 2**63 - 1),
    ItemType.INTERVAL: st.integers(0, 2**32 - 1),
}
others = {bool: st.booleans(), str: texts, bytes: st.binary(max_size=20), Secret: st.binary(max_size=40).map(Secret)}
UNNAMED = 0xFFFFFFFF  # no enumeration has it
TWO = (2, 1)


def values(kind: Kind, version: Version) -> st.SearchStrategy[object]:
    if issubclass(kind.python, enum.Enum):
        return st.sampled_from([*kind.python, UNNAMED])
    if issubclass(kind.python, Structure):
        return st.deferred(lambda: instances(kind.python, version))
    return numbers[kind.item_type] if kind.python is int else others[kind.python]


anything = st.one_of(st.booleans(), numbers[ItemType.INTEGER], texts, others[bytes])


@st.composite
def attributes_of_1_x(draw: st.DrawFn) -> Attribute:
    name = draw(st.sampled_from([*attribute_rows(), "x-own", "y-foreign"]))
    row = attribute_rows().get(name)
    known = values(row.kinds[0][1], (1, 4)) if row else anything
    foreign = st.just(Item(tag_of("attribute_value"), ItemType.DATE_TIME_EXTENDED, 7))
    value = draw(st.one_of(known, foreign))
    return attribute(name, typing.cast(attributes.AttributeValue, value), draw(st.none() | st.integers(0, 9)))


NAMES_OF_2 = [name for name, row in attribute_rows().items() if row.until is None]
VENDOR_NAMES = ["x-own", "y-foreign", "Acme:thing", "urn:acme:thing"]


@st.composite
def attributes_of_2_x(draw: st.DrawFn) -> Attribute:
    name = draw(st.sampled_from([*NAMES_OF_2, *VENDOR_NAMES, "Log Message", "0x54FFFF"]))
    if name not in NAMES_OF_2 + VENDOR_NAMES:
        tag = 0x54FFFF if name.startswith("0x") else tag_of(name.replace(" ", "_"))
        return attribute(name, Item(tag, ItemType.DATE_TIME, 7))
    row = attribute_rows().get(name)
    value = draw(values(row.kinds[0][1], TWO) if row else anything)
    return attribute(name, typing.cast(attributes.AttributeValue, value))


@st.composite
def instances(draw: st.DrawFn, cls: type[Structure], version: Version = (1, 4)) -> Structure:
    """Make an instance with every required field and some of the others, at times with an item it does not know."""
    if cls is Structure:
        return Structure()
    if cls is Attribute:
        return draw(attributes_of_2_x() if version == TWO else attributes_of_1_x())
    if cls is VendorAttribute:
        return VendorAttribute(vendor_identification="v", attribute_name="n", attribute_value=draw(anything))
    plan = schema(cls)
    filled: dict[str, object] = {}
    for f, two in zip(plan.fields, (f for f in plan.fields_two if not only(f)), strict=True):
        if f.until is not None and version == TWO:
            continue
        if f.chosen:
            filled[f.name] = draw(payloads(filled.get("operation"), cls, version))
            continue
        one = st.one_of([values(kind, version) for _, kind in f.kinds])
        if two.two in (typed.REFERENCES, typed.REFERENCE):
            one = st.sampled_from([*NAMES_OF_2, *VENDOR_NAMES])
        if f.repeated:
            filled[f.name] = tuple(draw(st.lists(one, min_size=f.required, max_size=2)))
        elif f.required or draw(st.booleans()):
            filled[f.name] = draw(one)
    if version == TWO and any(map(only, plan.fields_two)) and draw(st.booleans()):
        filled["current_attribute"] = draw(attributes_of_2_x())
    return cls(**filled)  # type: ignore[arg-type]


def only(f: Field) -> bool:
    """Tell whether KMIP 1 has no such field."""
    return f.two is not None and f.two.only


@st.composite
def payloads(draw: st.DrawFn, operation: object, envelope: type[Structure], version: Version) -> Structure:
    for request, response in OPERATIONS:
        if request.operation is operation:
            return draw(instances(request if envelope is messages.RequestBatchItem else response, version))
    return Structure()


def encoded(value: Structure, version: Version | None = None) -> bytes:
    """Encode any structure: those that have no tag of their own as the payload of a request."""
    out = bytearray()
    codec._encode(out, tag_of("request_payload"), value, version)
    return bytes(out)


def decoded(cls: type[Structure], data: bytes) -> Structure:
    view = memoryview(data)
    ((_, _, first, last),) = ttlv.headers(view, 0, len(view))
    return codec._decode(cls, view, first, last, 0)


@pytest.mark.parametrize("cls", STRUCTURES)
def test_every_structure_has_tags_and_kinds_for_its_fields(cls: type[Structure]) -> None:
    declared = [f.name for f in fields(cls) if f.name not in {"unknown", "order"}]
    assert [f.name for f in schema(cls).fields_two] == declared
    if cls not in PAYLOADS | {messages.RequestBatchItem, messages.ResponseBatchItem, VendorAttribute}:
        assert tag_of(cls.__name__)


def test_every_payload_belongs_to_one_operation() -> None:
    requests = [request.operation for request, _ in OPERATIONS]
    assert len(set(requests)) == len(requests)
    declared = {
        cls for cls in STRUCTURES if cls.__module__.endswith("_payloads") and cls.__name__[-4:] in {"uest", "onse"}
    }
    assert declared == {payload for payload in PAYLOADS if schema(payload).fields}


@pytest.mark.parametrize("version", [None, TWO], ids=["1", "2"])
@pytest.mark.parametrize("cls", STRUCTURES)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_structure_round_trips(cls: type[Structure], version: Version | None, data: st.DataObject) -> None:
    if cls in {Attribute, objects.Template, objects.TemplateAttribute} and version == TWO:
        return  # none of them is ever written
    value = data.draw(instances(cls, version or (1, 4)))
    encoding = encoded(value, version)
    again = decoded(cls, encoding)
    assert again == value
    assert encoded(again, version) == encoding


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_messages_raise_nothing_else(data: st.DataObject) -> None:
    cls = data.draw(st.sampled_from([messages.RequestMessage, messages.ResponseMessage]))
    encoding = codec.encode(data.draw(instances(cls)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoding) - 1))
        encoding[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del encoding[data.draw(st.integers(0, len(encoding))) :]
    read: Structure
    try:
        read = codec.decode(cls, encoding)
    except TTLVError:
        return
    assert codec.decode(cls, codec.encode(read)) == read


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    header = bytes.fromhex("42007B01") + len(data).to_bytes(4, "big")
    for encoding in (data, header + data):
        with pytest.raises(TTLVError):
            codec.decode(messages.ResponseMessage, encoding)


def located(uids: tuple[str, ...]) -> Structure:
    return object_payloads.LocateResponse(unique_identifier=uids)


def test_unknown_items_stay_where_they_were() -> None:
    unknown = Item(0x540001, ItemType.STRUCTURE, (Item(0x540002, ItemType.TEXT_STRING, "vendor"),))
    out = bytearray()
    mark = ttlv.open_structure(out, tag_of("response_payload"))
    for part in ("1", unknown, "2", Item(0x540003, ItemType.DATE_TIME_EXTENDED, 5)):
        item = part if isinstance(part, Item) else Item(tag_of("unique_identifier"), ItemType.TEXT_STRING, part)
        ttlv.write(out, item)
    ttlv.close_structure(out, mark)
    read = decoded(object_payloads.LocateResponse, bytes(out))
    assert isinstance(read, object_payloads.LocateResponse)
    assert read.unique_identifier == ("1", "2")
    assert read.unknown[0] == unknown
    assert encoded(read)[8:] == out[8:]
    # What is changed takes its place, what is added follows.
    more = replace(read, unique_identifier=("1", "2", "3"), located_items=3)
    assert decoded(object_payloads.LocateResponse, encoded(more)) == replace(more, order=decoded_order(more))


def decoded_order(value: Structure) -> tuple[int, ...]:
    read = decoded(type(value), encoded(value))
    return read.order


def test_an_order_of_its_own_is_kept() -> None:
    name = Item(tag_of("name_value"), ItemType.TEXT_STRING, "n")
    kind = Item(tag_of("name_type"), ItemType.ENUMERATION, 1)
    out = ttlv.encode(Item(tag_of("request_payload"), ItemType.STRUCTURE, (kind, name)))
    read = decoded(attributes.Name, out)
    assert read == replace(name_attribute("n").attribute_value, order=read.order)  # type: ignore[type-var]
    assert encoded(read) == out


REFUSED = {
    "no required field": (),
    "a wrong type": (Item(tag_of("name_value"), ItemType.BYTE_STRING, b"n"), Item(tag_of("name_type"), 5, 1)),
    "one field twice": (
        Item(tag_of("name_value"), 7, "n"),
        Item(tag_of("name_value"), 7, "n"),
        Item(tag_of("name_type"), 5, 1),
    ),
}


@pytest.mark.parametrize("items", REFUSED.values(), ids=REFUSED.keys())
def test_refused(items: tuple[Item, ...]) -> None:
    with pytest.raises(TTLVError, match="Name"):
        decoded(attributes.Name, ttlv.encode(Item(tag_of("request_payload"), ItemType.STRUCTURE, items)))


def test_deeply_nested_structures_are_refused() -> None:
    data = b""
    for _ in range(50_000):
        data = bytes.fromhex("42008801") + len(data).to_bytes(4, "big") + data
    with pytest.raises(TTLVError, match="deep"):
        decoded(server_payloads.QueryResponse, bytes.fromhex("42007C01") + len(data).to_bytes(4, "big") + data)


@pytest.mark.parametrize(
    ("value", "since"),
    [
        (attribute("Fresh", True), (1, 1)),
        (attribute("Original Creation Date", 0), (1, 2)),
        (attribute("Sensitive", True), (1, 4)),
        (object_payloads.LocateRequest(offset_items=1), (1, 3)),
        (attributes.CryptographicParameters(tag_length=16), (1, 2)),
        (attributes.CryptographicParameters(salt_length=16), (1, 4)),
    ],
)
def test_what_is_younger_than_the_version_is_refused(value: Structure, since: Version) -> None:
    encoded(value, since)
    with pytest.raises(TTLVError, match=r"needs KMIP 1\."):
        encoded(value, (since[0], since[1] - 1))


def test_secrets_are_not_shown() -> None:
    block = objects.key_block(Secret(b"0123456789abcdef"), KeyFormatType.RAW, CryptographicAlgorithm.AES, 128)
    shown = repr(
        object_payloads.GetResponse(
            object_type=ObjectType.SYMMETRIC_KEY,
            unique_identifier="7",
            managed_object=objects.SymmetricKey(key_block=block),
        )
    )
    assert "<secret 16 bytes>" in shown
    assert "0123" not in shown
    numbers_of_a_key = objects.KeyMaterial(modulus=123456, private_exponent=654321, p=111111)
    assert "654321" not in repr(numbers_of_a_key)
    assert "111111" not in repr(numbers_of_a_key)
    assert "30313233" not in repr(crypto_payloads.EncryptRequest(data=b"0123"))
    assert "0123" not in repr(crypto_payloads.EncryptRequest(data=b"0123"))


# PyKMIP as the judge: what it reads of our encoding it writes as the same bytes. Its texts are ASCII.
names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
key_attributes = st.lists(
    st.one_of(
        st.builds(attribute, st.just("Cryptographic Length"), st.integers(0, 4096)),
        st.builds(attribute, st.just("Cryptographic Algorithm"), st.sampled_from(list(CryptographicAlgorithm))),
        st.builds(
            attribute,
            st.just("Cryptographic Usage Mask"),
            st.lists(st.sampled_from(list(CryptographicUsageMask))).map(lambda bits: mask(*bits)),
        ),
        st.builds(name_attribute, names, st.none() | st.integers(0, 5)),
        st.builds(attribute, st.just("Object Group"), names, st.integers(0, 5)),
        st.builds(attribute, st.just("State"), st.sampled_from(list(State))),
        st.builds(attribute, st.sampled_from(["Activation Date", "Initial Date"]), st.integers(0, 2**40)),
        st.builds(attribute, st.just("x-own"), names),
        st.builds(
            attribute,
            st.just("Application Specific Information"),
            st.builds(attributes.ApplicationSpecificInformation, application_namespace=names, application_data=names),
            st.integers(0, 5),
        ),
    ),
    min_size=1,
    max_size=5,
).map(tuple)
templates = st.builds(objects.TemplateAttribute, attribute=key_attributes)
symmetric_keys = st.builds(
    lambda secret: objects.SymmetricKey(
        key_block=objects.key_block(Secret(secret), KeyFormatType.RAW, CryptographicAlgorithm.AES, 8 * len(secret))
    ),
    st.sampled_from([16, 24, 32]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
)
certificates = st.builds(
    lambda data: objects.Certificate(certificate_type=pykmip_value("CertificateType", "X_509"), certificate_value=data),
    st.binary(min_size=1, max_size=50),
)


def pykmip_value(kind: str, name: str) -> int:
    return int(getattr(pykmip, kind)[name].value)


P = object_payloads
known_requests = st.one_of(
    st.builds(P.CreateRequest, object_type=st.just(ObjectType.SYMMETRIC_KEY), template_attribute=templates),
    st.builds(P.CreateKeyPairRequest, common_template_attribute=templates, private_key_template_attribute=templates),
    st.builds(
        P.RegisterRequest,
        object_type=st.just(ObjectType.SYMMETRIC_KEY),
        template_attribute=templates,
        managed_object=symmetric_keys,
    ),
    st.builds(
        P.RegisterRequest,
        object_type=st.just(ObjectType.CERTIFICATE),
        template_attribute=templates,
        managed_object=certificates,
    ),
    st.builds(P.LocateRequest, maximum_items=st.none() | st.integers(0, 9), attribute=key_attributes),
    st.builds(P.GetRequest, unique_identifier=names, key_format_type=st.none() | st.sampled_from(list(KeyFormatType))),
    st.builds(P.GetAttributesRequest, unique_identifier=names, attribute_name=st.just(("State", "Name"))),
    st.builds(P.GetAttributeListRequest, unique_identifier=names),
    st.builds(P.ActivateRequest, unique_identifier=names),
    st.builds(P.DestroyRequest, unique_identifier=names),
    st.builds(P.RekeyRequest, unique_identifier=names, offset=st.none() | st.integers(0, 2**32 - 1)),
    st.builds(
        P.ModifyAttributeRequest, unique_identifier=names, attribute=key_attributes.map(lambda several: several[0])
    ),
    st.builds(
        P.RevokeRequest,
        unique_identifier=names,
        revocation_reason=st.builds(
            attributes.RevocationReason,
            revocation_reason_code=st.sampled_from(list(RevocationReasonCode)),
            revocation_message=st.none() | names,
        ),
        compromise_occurrence_date=st.none() | st.integers(0, 2**40),
    ),
    st.builds(
        server_payloads.QueryRequest,
        query_function=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(server_payloads.DiscoverVersionsRequest),
    st.builds(
        crypto_payloads.EncryptRequest,
        unique_identifier=names,
        data=st.binary(min_size=1),
        iv_counter_nonce=st.none() | st.binary(min_size=1),
    ),
)
known_responses = st.one_of(
    st.builds(P.CreateResponse, object_type=st.just(ObjectType.SYMMETRIC_KEY), unique_identifier=names),
    st.builds(P.RegisterResponse, unique_identifier=names),
    st.builds(P.LocateResponse, unique_identifier=st.lists(names).map(tuple)),
    st.builds(
        P.GetResponse,
        object_type=st.just(ObjectType.SYMMETRIC_KEY),
        unique_identifier=names,
        managed_object=symmetric_keys,
    ),
    st.builds(P.GetAttributesResponse, unique_identifier=names, attribute=key_attributes),
    st.builds(P.ActivateResponse, unique_identifier=names),
    st.builds(
        server_payloads.QueryResponse,
        operation=st.lists(st.sampled_from(list(Operation)), max_size=4).map(tuple),
        vendor_identification=st.none() | names,
    ),
)
VENDOR = tag_of("vendor_identification").to_bytes(3, "big") + b"\x07\0\0\0\1x"  # what PyKMIP's KMIP 2 cannot read
OPERATION_OF = {response: request.operation for request, response in OPERATIONS}


def read_text(self: primitives.TextString, stream: BytearrayStream, **spoken: pykmip.KMIPVersion) -> None:
    """Read as PyKMIP does, without its slip: a text it read, not made, of 8 or 16 characters is written with 8 more."""
    PYKMIP_READ_VALUE(self, stream, **spoken)
    self.padding_length %= 8


PYKMIP_READ_VALUE = primitives.TextString.read_value


def read_and_written_by_pykmip(message: typing.Any, encoding: bytes, version: Version) -> bytes:
    spoken = pykmip.KMIPVersion[f"KMIP_{version[0]}_{version[1]}"]
    with mock.patch.object(primitives.TextString, "read_value", read_text):
        message.read(BytearrayStream(encoding), spoken)
    stream = BytearrayStream()
    message.write(stream, spoken)
    return bytes(stream.buffer)


versions = st.sampled_from([(1, 2), (1, 3), (1, 4), (2, 0)])


@settings(deadline=None, max_examples=300)
@given(known_requests, versions)
def test_pykmip_agrees_on_requests(payload: RequestPayload, version: Version) -> None:
    header = messages.RequestHeader(protocol_version=server_payloads.protocol_version(version), batch_count=1)
    item = messages.RequestBatchItem(operation=payload.operation, request_payload=payload)
    encoding = bytes(codec.encode(messages.RequestMessage(request_header=header, batch_item=(item,)), version))
    assume(version < KMIP_2 or VENDOR not in encoding)
    assert read_and_written_by_pykmip(pykmip_messages.RequestMessage(), encoding, version) == encoding


@settings(deadline=None, max_examples=200)
@given(known_responses, versions)
def test_pykmip_agrees_on_responses(payload: Structure, version: Version) -> None:
    header = messages.ResponseHeader(
        protocol_version=server_payloads.protocol_version(version), time_stamp=1_700_000_000, batch_count=1
    )
    item = messages.ResponseBatchItem(
        operation=OPERATION_OF[type(payload)],  # type: ignore[index]
        result_status=ResultStatus.SUCCESS,
        response_payload=payload,
    )
    encoding = bytes(codec.encode(messages.ResponseMessage(response_header=header, batch_item=(item,)), version))
    assume(version < KMIP_2 or VENDOR not in encoding)
    assert read_and_written_by_pykmip(pykmip_messages.ResponseMessage(), encoding, version) == encoding


# What other servers send that we have no use for: none of it may fail a message.
OF_EVERY_TYPE: dict[int, ttlv.Value] = {
    ItemType.STRUCTURE: (Item(0x540001, ItemType.TEXT_STRING, "inside"),),
    ItemType.INTEGER: -7,
    ItemType.LONG_INTEGER: 2**40,
    ItemType.BIG_INTEGER: -(2**80),
    ItemType.ENUMERATION: 0x80000001,
    ItemType.BOOLEAN: True,
    ItemType.TEXT_STRING: "text",
    ItemType.BYTE_STRING: b"bytes",
    ItemType.DATE_TIME: 1_700_000_000,
    ItemType.INTERVAL: 60,
    ItemType.DATE_TIME_EXTENDED: 1_700_000_000_000_000,
}


def told(name: str, item: Item, version: Version) -> bytes:
    """Encode an answer to Get Attributes with an attribute that has this value, and a State."""
    state = Item(tag_of("state"), ItemType.ENUMERATION, State.ACTIVE.value)
    uid = Item(tag_of("unique_identifier"), ItemType.TEXT_STRING, "7")
    if version >= KMIP_2:
        tag = tag_of(name.replace(" ", "_")) if name in NAMES_OF_2 else tag_of("attribute")
        vendor: tuple[Item, ...] = (
            Item(tag_of("vendor_identification"), ItemType.TEXT_STRING, "x"),
            Item(tag_of("attribute_name"), ItemType.TEXT_STRING, name[2:]),
            Item(tag_of("attribute_value"), item.type, item.value),
        )
        one = Item(tag, item.type, item.value) if name in NAMES_OF_2 else Item(tag, ItemType.STRUCTURE, vendor)
        several: tuple[Item, ...] = (Item(tag_of("attributes"), ItemType.STRUCTURE, (one, state)),)
    else:
        several = tuple(
            Item(
                tag_of("attribute"),
                ItemType.STRUCTURE,
                (
                    Item(tag_of("attribute_name"), ItemType.TEXT_STRING, called),
                    Item(tag_of("attribute_value"), value.type, value.value),
                ),
            )
            for called, value in ((name, item), ("State", state))
        )
    return ttlv.encode(Item(tag_of("response_payload"), ItemType.STRUCTURE, (uid, *several)))


@pytest.mark.parametrize("version", [(1, 4), TWO], ids=["1", "2"])
@pytest.mark.parametrize("type_", OF_EVERY_TYPE, ids=ItemType.name)
@pytest.mark.parametrize("name", ["x-anything", "Link", "Name", "Cryptographic Length", "Digest"])
def test_attributes_may_have_values_of_every_type(name: str, type_: int, version: Version) -> None:
    """They are kept as they came, and what stands beside them is understood."""
    encoding = told(name, Item(tag_of("attribute_value"), type_, OF_EVERY_TYPE[type_]), version)
    read = decoded(object_payloads.GetAttributesResponse, encoding)
    assert isinstance(read, object_payloads.GetAttributesResponse)
    foreign, state = read.attribute
    assert (foreign.attribute_name, state.attribute_value) == (name, State.ACTIVE)
    assert encoded(read, version)[8:] == encoding[8:]


def test_an_identifier_of_kmip_2_may_be_no_text() -> None:
    """A Link may name the ID placeholder: the Link is kept, the object is not lost for it."""
    link = (
        Item(tag_of("link_type"), ItemType.ENUMERATION, 0x101),
        Item(tag_of("linked_object_identifier"), ItemType.ENUMERATION, 1),
    )
    encoding = told("Link", Item(tag_of("link"), ItemType.STRUCTURE, link), TWO)
    read = decoded(object_payloads.GetAttributesResponse, encoding)
    assert isinstance(read, object_payloads.GetAttributesResponse)
    assert isinstance(read.attribute[0].attribute_value, Item)


def test_both_forms_of_attributes_in_one_answer_are_refused() -> None:
    one, two = (told("x-own", Item(0, ItemType.INTEGER, 5), version) for version in ((1, 4), TWO))
    payload = ttlv.decode(one)
    assert isinstance(payload.value, tuple)
    gathered = ttlv.decode(two).value[-1]  # type: ignore[index]
    both = Item(payload.tag, payload.type, (*payload.value, gathered))  # type: ignore[arg-type]
    with pytest.raises(TTLVError, match="forms of KMIP 1 and 2"):
        decoded(object_payloads.GetAttributesResponse, ttlv.encode(both))
