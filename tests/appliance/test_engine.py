"""What the appliance does beyond PyKMIP, asked with bare messages."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fix_appliance import Appliance
from kmip.core.enums import (
    CryptographicAlgorithm,
    KeyFormatType,
    LinkType,
    ObjectType,
    Operation,
    QueryFunction,
    ResultReason,
    RevocationReasonCode,
    State,
)
from raw_kmip import Connection, Date, Interval, Pair, Refused, aes_256, attribute, batch, decode, every, get, name

MakeAppliance = Callable[..., Appliance]
PAST, FUTURE = Date(1), Date(int(time.time()) + 1000)
ASKED_OPERATIONS: Pair = ("QUERY_FUNCTION", QueryFunction.QUERY_OPERATIONS)
BLOB: Pair = attribute(
    "Application Specific Information",
    [("APPLICATION_NAMESPACE", "test"), ("APPLICATION_DATA", "{}")],
)


def stored_values(server: Appliance) -> list[bytes]:
    with contextlib.closing(sqlite3.connect(server.store)) as store:
        return [value for (value,) in store.execute("SELECT value FROM managed_objects")]


@pytest.fixture
def client(appliance: Appliance) -> Iterator[Connection]:
    with Connection(appliance) as connection:
        yield connection


@pytest.fixture
def unused() -> str:
    return f"name-{uuid.uuid4()}"


def add(client: Connection, uid: str, added: Pair) -> None:
    client.act(Operation.ADD_ATTRIBUTE, uid, added)


def test_identifiers_are_uuids(client: Connection) -> None:
    uid = client.create()
    assert str(uuid.UUID(uid)) == uid
    assert client.attributes(uid, "Unique Identifier") == {"Unique Identifier": [uid]}
    assert client.locate(attribute("Unique Identifier", uid)) == [uid]


@pytest.mark.parametrize("uid", ["1", str(uuid.UUID(int=1)), ""])
def test_unknown_identifier(client: Connection, uid: str) -> None:
    client.create()
    with pytest.raises(Refused) as refused:
        client.act(Operation.GET, uid)
    assert refused.value.reason is ResultReason.ITEM_NOT_FOUND


def test_no_request_works_on_what_another_made(client: Connection) -> None:
    client.create()
    with pytest.raises(Refused) as refused:
        client.call(Operation.GET)
    assert refused.value.reason is ResultReason.ITEM_NOT_FOUND


def test_a_batch_may_leave_out_the_identifier(client: Connection) -> None:
    answer = decode(client.exchange(batch((Operation.CREATE, aes_256()), (Operation.GET, []))))
    made, read = every(get(answer, "RESPONSE_MESSAGE"), "BATCH_ITEM")
    uid = get(made, "RESPONSE_PAYLOAD", "UNIQUE_IDENTIFIER")
    assert get(read, "RESPONSE_PAYLOAD", "UNIQUE_IDENTIFIER") == uid


@pytest.mark.parametrize("half", ["PRIVATE_KEY", "PUBLIC_KEY"])
def test_keeps_elliptic_curve_keys(client: Connection, half: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    if half == "PRIVATE_KEY":
        form, plain = KeyFormatType.PKCS_8, serialization.NoEncryption()
        value = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain)
    else:
        form, shape = KeyFormatType.X_509, serialization.PublicFormat.SubjectPublicKeyInfo
        value = key.public_key().public_bytes(serialization.Encoding.DER, shape)
    block = [
        ("KEY_FORMAT_TYPE", form),
        ("KEY_VALUE", [("KEY_MATERIAL", value)]),
        ("CRYPTOGRAPHIC_ALGORITHM", CryptographicAlgorithm.EC),
        ("CRYPTOGRAPHIC_LENGTH", 256),
    ]
    template = ("TEMPLATE_ATTRIBUTE", [attribute("Cryptographic Usage Mask", 1)])
    asked = [("OBJECT_TYPE", ObjectType[half]), template, (half, [("KEY_BLOCK", block)])]
    uid = str(get(client.call(Operation.REGISTER, *asked), "UNIQUE_IDENTIFIER"))
    answer = client.act(Operation.GET, uid)
    assert get(answer, half, "KEY_BLOCK", "KEY_VALUE", "KEY_MATERIAL") == value
    assert get(answer, half, "KEY_BLOCK", "KEY_FORMAT_TYPE") == form.value


class TestRekey:
    def test_replacement_takes_over(self, client: Connection, unused: str) -> None:
        custom, group = attribute("x-note", "kept"), attribute("Object Group", "group")
        old = client.create(name(unused), BLOB, custom, group, attribute("Activation Date", PAST))
        before = client.attributes(old)
        new = str(get(client.act(Operation.REKEY, old), "UNIQUE_IDENTIFIER"))
        after = client.attributes(new)
        assert client.locate(name(unused)) == [new]
        assert "Name" not in client.attributes(old)
        for kept in (
            "Name",
            "Application Specific Information",
            "x-note",
            "Object Group",
            "Cryptographic Usage Mask",
            "Activation Date",
        ):
            assert after[kept] == before[kept], kept
        assert client.key(new) != client.key(old)
        assert (client.state(old), client.state(new)) == (State.ACTIVE, State.ACTIVE)

    def test_links(self, client: Connection) -> None:
        old = client.create()
        new = str(get(client.act(Operation.REKEY, old), "UNIQUE_IDENTIFIER"))
        for uid, kind, other in (
            (old, LinkType.REPLACEMENT_OBJECT_LINK, new),
            (new, LinkType.REPLACED_OBJECT_LINK, old),
        ):
            expected = [("LINK_TYPE", kind.value), ("LINKED_OBJECT_IDENTIFIER", other)]
            assert client.attributes(uid, "Link") == {"Link": [expected]}

    def test_offset_moves_the_dates(self, client: Connection) -> None:
        old = client.create(attribute("Activation Date", Date(1000)), attribute("Protect Stop Date", Date(1600)))
        new = str(get(client.act(Operation.REKEY, old, ("OFFSET", Interval(300))), "UNIQUE_IDENTIFIER"))
        found = client.attributes(new)
        (made,) = found["Initial Date"]
        assert found["Activation Date"] == [made + 300]
        assert found["Protect Stop Date"] == [made + 900]
        assert client.state(new) is State.PRE_ACTIVE

    def test_given_attributes_win(self, client: Connection, unused: str) -> None:
        old = client.create(name(unused))
        template = ("TEMPLATE_ATTRIBUTE", [name(unused + "@2"), attribute("Activation Date", FUTURE)])
        new = str(get(client.act(Operation.REKEY, old, template), "UNIQUE_IDENTIFIER"))
        assert client.locate(name(unused + "@2")) == [new]
        assert client.locate(name(unused)) == []
        assert client.attributes(new, "Activation Date") == {"Activation Date": [FUTURE]}

    def test_may_deactivate(self, make_appliance: MakeAppliance) -> None:
        with Connection(make_appliance(rekey_deactivates=True)) as client:
            old = client.create(attribute("Activation Date", PAST))
            new = str(get(client.act(Operation.REKEY, old), "UNIQUE_IDENTIFIER"))
            assert (client.state(old), client.state(new)) == (State.DEACTIVATED, State.ACTIVE)


class TestDates:
    def test_activation(self, client: Connection) -> None:
        assert client.state(client.create()) is State.PRE_ACTIVE
        assert client.state(client.create(attribute("Activation Date", PAST))) is State.ACTIVE
        uid = client.create(attribute("Activation Date", FUTURE))
        assert client.state(uid) is State.PRE_ACTIVE
        client.act(Operation.MODIFY_ATTRIBUTE, uid, attribute("Activation Date", Date(int(time.time()) + 1)))
        while client.state(uid) is State.PRE_ACTIVE:
            time.sleep(0.05)  # the test's own time limit bounds it
        assert client.attributes(uid, "Activation Date")["Activation Date"][0] <= time.time()

    def test_deactivation(self, client: Connection) -> None:
        uid = client.create(attribute("Activation Date", PAST), attribute("Deactivation Date", Date(2)))
        assert client.state(uid) is State.DEACTIVATED

    def test_operations_leave_dates(self, client: Connection) -> None:
        uid = client.create()
        client.act(Operation.ACTIVATE, uid)
        client.revoke(uid)
        other = client.create()
        client.revoke(other, RevocationReasonCode.KEY_COMPROMISE)
        assert {"Activation Date", "Deactivation Date"} <= client.attributes(uid).keys()
        assert "Compromise Date" in client.attributes(other)
        assert (client.state(uid), client.state(other)) == (State.DEACTIVATED, State.COMPROMISED)


class TestAttributes:
    def test_custom_of_any_type(self, client: Connection) -> None:
        values = ["Grüße", 5, True, Date(77), b"\0\1"]
        uid = client.create(*(attribute("x-all", value, index) for index, value in enumerate(values)))
        assert client.attributes(uid, "x-all") == {"x-all": values}
        assert uid in client.locate(attribute("x-all", "Grüße"))
        assert uid not in client.locate(attribute("x-all", "other"))

    def test_add(self, client: Connection, unused: str) -> None:
        uid = client.create()
        add(client, uid, name(unused))
        add(client, uid, BLOB)
        add(client, uid, attribute("x-added", "a"))
        add(client, uid, attribute("x-added", "b"))
        found = client.attributes(uid)
        assert client.locate(name(unused)) == [uid]
        assert found["x-added"] == ["a", "b"]
        assert len(found["Application Specific Information"]) == 1

    def test_add_answers_the_index(self, client: Connection) -> None:
        uid = client.create(attribute("x-added", "a"))
        answer = client.act(Operation.ADD_ATTRIBUTE, uid, attribute("x-added", "b"))
        assert get(answer, "ATTRIBUTE", "ATTRIBUTE_INDEX") == 1

    @pytest.mark.parametrize("added", [attribute("State", State.ACTIVE), attribute("Extractable", True)])
    def test_add_refused(self, client: Connection, added: Pair) -> None:
        uid = client.create(attribute("Extractable", False))
        with pytest.raises(Refused):
            add(client, uid, added)
        assert client.attributes(uid, "Extractable") == {"Extractable": [False]}

    def test_modify_and_delete(self, client: Connection) -> None:
        uid = client.create(attribute("x-some", "a", 0), attribute("x-some", "b", 1))
        client.act(Operation.MODIFY_ATTRIBUTE, uid, attribute("x-some", "c", 1))
        assert client.attributes(uid, "x-some") == {"x-some": ["a", "c"]}
        client.act(Operation.DELETE_ATTRIBUTE, uid, ("ATTRIBUTE_NAME", "x-some"), ("ATTRIBUTE_INDEX", 0))
        assert client.attributes(uid, "x-some") == {"x-some": ["c"]}
        for operation, *payload in (
            (Operation.MODIFY_ATTRIBUTE, attribute("x-some", "d", 1)),
            (Operation.DELETE_ATTRIBUTE, ("ATTRIBUTE_NAME", "x-some"), ("ATTRIBUTE_INDEX", 1)),
        ):
            with pytest.raises(Refused) as refused:
                client.act(operation, uid, *payload)
            assert refused.value.reason is ResultReason.ITEM_NOT_FOUND


class TestLocate:
    def test_states(self, client: Connection, unused: str) -> None:
        group = attribute("Object Group", unused)
        pre, active, ended = (client.create(group) for _ in range(3))
        client.act(Operation.ACTIVATE, active)
        client.act(Operation.ACTIVATE, ended)
        client.revoke(ended)
        for uid, state in ((pre, State.PRE_ACTIVE), (active, State.ACTIVE), (ended, State.DEACTIVATED)):
            assert client.locate(group, attribute("State", state)) == [uid]
        assert sorted(map(str, client.locate(group))) == sorted([pre, active, ended])

    def test_newest_first_and_bounded(self, client: Connection, unused: str) -> None:
        group = attribute("Object Group", unused)
        made = [client.create(group) for _ in range(4)]
        assert client.locate(group) == made[::-1]
        assert client.locate(("MAXIMUM_ITEMS", 2), group) == made[:1:-1]
        assert client.locate(("MAXIMUM_ITEMS", 2), ("OFFSET_ITEMS", 1), group) == made[2:0:-1]

    @pytest.mark.parametrize(
        "missing",
        [
            attribute("Activation Date", PAST),
            attribute("Contact Information", "nobody"),
            attribute("Cryptographic Usage Mask", 16),
            attribute("Cryptographic Length", 128),
            attribute("Object Type", ObjectType.CERTIFICATE),
            attribute("Initial Date", Date(5)),
            BLOB,
        ],
        ids=lambda pair: str(pair[1][0][1]),
    )
    def test_no_filter_is_ignored(self, client: Connection, unused: str, missing: Pair) -> None:
        uid = client.create(name(unused))
        assert client.locate(name(unused)) == [uid]
        assert client.locate(name(unused), missing) == []

    def test_other_clients_objects_stay_hidden(self, appliance: Appliance, client: Connection, unused: str) -> None:
        uid = client.create(name(unused))
        with Connection(appliance, "client-second") as other:
            assert other.locate(name(unused)) == []
            with pytest.raises(Refused):
                other.key(uid)

    def test_filter_that_a_vendor_ignores(self, make_appliance: MakeAppliance) -> None:
        with Connection(make_appliance(ignore_filters=("State",))) as client:
            uid = client.create()
            assert client.locate(attribute("State", State.ACTIVE)) == [uid]


class TestDestroy:
    def test_forgets(self, client: Connection, unused: str) -> None:
        uid = client.create(name(unused), BLOB)
        client.act(Operation.DESTROY, uid)
        assert client.locate(name(unused)) == []
        with pytest.raises(Refused):
            client.attributes(uid)

    def test_active_is_refused(self, client: Connection) -> None:
        uid = client.create(attribute("Activation Date", PAST))
        with pytest.raises(Refused) as refused:
            client.act(Operation.DESTROY, uid)
        assert refused.value.reason is ResultReason.PERMISSION_DENIED

    def test_may_keep_attributes(self, make_appliance: MakeAppliance) -> None:
        server = make_appliance(keep_destroyed=True)
        with Connection(server) as client:
            uid = client.create(name("gone"))
            client.act(Operation.DESTROY, uid)
            assert stored_values(server) == [b""]
            assert client.locate(name("gone")) == [uid]
            assert client.state(uid) is State.DESTROYED
            assert "Destroy Date" in client.attributes(uid)
            with pytest.raises(Refused):
                client.key(uid)


class TestLimits:
    def test_nine_operations(self, make_appliance: MakeAppliance) -> None:
        with Connection(make_appliance(nine=True)) as client:
            uid = client.create(name("one"))
            client.act(Operation.ACTIVATE, uid)
            assert client.locate(name("one"), attribute("State", State.ACTIVE)) == [uid]
            new = str(get(client.act(Operation.REKEY, uid), "UNIQUE_IDENTIFIER"))
            assert len(client.key(new)) == 32
            client.revoke(uid)
            client.act(Operation.DESTROY, uid)
            client.call(Operation.DISCOVER_VERSIONS)
            for operation, *payload in (
                (Operation.GET_ATTRIBUTES,),
                (Operation.GET_ATTRIBUTE_LIST,),
                (Operation.ADD_ATTRIBUTE, BLOB),
                (Operation.MODIFY_ATTRIBUTE, BLOB),
                (Operation.CHECK,),
                (Operation.ARCHIVE,),
                (Operation.RNG_RETRIEVE, ("DATA_LENGTH", 8)),
            ):
                with pytest.raises(Refused, match="OPERATION_NOT_SUPPORTED"):
                    client.act(operation, new, *payload)
            with pytest.raises(Refused, match="OPERATION_NOT_SUPPORTED"):
                client.call(Operation.QUERY, ASKED_OPERATIONS)

    def test_versions(self, make_appliance: MakeAppliance) -> None:
        with Connection(make_appliance(versions=("1.0", "1.2"))) as client:
            offered = every(client.call(Operation.DISCOVER_VERSIONS, version="1.2"), "PROTOCOL_VERSION")
            assert [get(version, "PROTOCOL_VERSION_MINOR") for version in offered] == [2, 0]
            assert client.create(version="1.0")
            with pytest.raises(Refused, match=r"KMIP 1\.4 is not supported"):
                client.create(version="1.4")

    def test_refused_attributes(self, make_appliance: MakeAppliance) -> None:
        with Connection(make_appliance(refuse_attributes=("Activation Date", "x-"))) as client:
            for refused in (attribute("Activation Date", PAST), attribute("x-any", "a")):
                with pytest.raises(Refused, match="INVALID_FIELD"):
                    client.create(refused)
                with pytest.raises(Refused, match="INVALID_FIELD"):
                    add(client, client.create(), refused)

    def test_refused_operations_are_not_announced(self, make_appliance: MakeAppliance) -> None:
        with Connection(make_appliance(refuse_operations=("REKEY", "ENCRYPT"))) as client:
            announced = every(client.call(Operation.QUERY, ASKED_OPERATIONS), "OPERATION")
            assert Operation.ADD_ATTRIBUTE.value in announced
            assert not {Operation.REKEY.value, Operation.ENCRYPT.value} & set(announced)
            with pytest.raises(Refused, match="OPERATION_NOT_SUPPORTED"):
                client.act(Operation.REKEY, client.create())

    def test_unique_names(self, make_appliance: MakeAppliance) -> None:
        with Connection(make_appliance(unique_names=True)) as client:
            first, second = client.create(name("one")), client.create(name("two"))
            with pytest.raises(Refused, match="INVALID_FIELD"):
                client.create(name("one"))
            with pytest.raises(Refused, match="INVALID_FIELD"):
                add(client, second, name("one"))
            with pytest.raises(Refused, match="INVALID_FIELD"):
                client.act(Operation.MODIFY_ATTRIBUTE, second, name("one", 0))
            client.act(Operation.REKEY, first)
            client.act(Operation.DESTROY, second)
            client.create(name("two"))
