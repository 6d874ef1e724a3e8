"""An imitated product offers what its profile has, and refuses what no document says is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates

from mrhsm_p11.appliance import main
from mrhsm_p11.appliance.options import Options
from mrhsm_p11.config import PROFILES, Config
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import Attribute, attribute, name_attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import AuthenticationRefused, KMIPError, OperationFailed, Unreachable
from mrhsm_p11.kmip.objects import EncryptionKeyInformation, KeyWrappingSpecification
from mrhsm_p11.kmip.profiles import ROWS, Profile
from mrhsm_p11.kmip.vocabulary import (
    BlockCipherMode,
    CryptographicAlgorithm,
    ObjectType,
    Operation,
    QueryFunction,
    ResultReason,
    RevocationReasonCode,
    WrappingMethod,
)
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip.connection import make_pool
from mrhsm_p11.store.kmip.reader import information
from mrhsm_p11.tokendir.settings import Connection

PATIENT = Config(connect_s=60.0)
Imitated = tuple[Profile, Client]
KEY = (
    attribute("Cryptographic Algorithm", CryptographicAlgorithm.AES),
    attribute("Cryptographic Length", 256),
    attribute("Cryptographic Usage Mask", 0x3C),
)


def in_time() -> Deadline:
    return Deadline(60)


@pytest.fixture(scope="module", params=PROFILES)
def imitated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Imitated]:
    server = Appliance(tmp_path_factory.mktemp("imitation"), certificates, imitate=request.param)
    server.start()
    row = ROWS[request.param]
    version = next((f"{a}.{b}" for a, b in reversed(row.versions) if a == 1), "1.4")
    client = Client(make_pool(server.connection(kmip_version=version), PATIENT))
    yield row, client
    client.pool.close()
    server.stop()


def create(client: Client, *more: Attribute) -> str:
    return client.create(ObjectType.SYMMETRIC_KEY, [*KEY, *more], deadline=in_time())


def taken(act: Callable[[], object]) -> bool:
    """Tell whether the server does it; only refusals are caught."""
    try:
        act()
    except OperationFailed:
        return False
    return True


def test_name_versions_and_query(imitated: Imitated) -> None:
    row, client = imitated
    offered = client.discover_versions(deadline=in_time())
    assert set(offered) == set(row.versions) or not row.versions
    functions = [QueryFunction.QUERY_SERVER_INFORMATION]
    if row.offers(Operation.QUERY):
        told = client.query(functions, deadline=in_time())
        assert told.vendor_identification == (row.answers or row.title)
    else:
        with pytest.raises(OperationFailed):
            client.query(functions, deadline=in_time())


def test_operations_and_batches(imitated: Imitated) -> None:
    row, client = imitated
    uid = create(client)
    assert taken(lambda: client.get_attributes(uid, deadline=in_time())) is (
        row.offers(Operation.GET_ATTRIBUTES) is True
    )
    assert taken(lambda: client.rekey(create(client), deadline=in_time())) is (row.offers(Operation.REKEY) is True)
    client.batch([payloads.LocateRequest(maximum_items=1)] * 2, deadline=in_time())
    assert client.pool.refuses_batches is (row.batches is not True)


@pytest.mark.parametrize(
    ("fact", "more"),
    [
        ("information", information("tests", "text", 0)),
        ("custom", attribute("x-tests", "text")),
        ("activation_date", attribute("Activation Date", 1)),
    ],
    ids=["information", "custom", "activation_date"],
)
def test_attributes(imitated: Imitated, fact: str, more: Attribute) -> None:
    row, client = imitated
    assert taken(lambda: create(client, more)) is (getattr(row, fact) is True)


def test_names(imitated: Imitated) -> None:
    row, client = imitated
    create(client, name_attribute("twice", 0))
    assert taken(lambda: create(client, name_attribute("twice", 0))) is (row.unique_names is False)


def test_life_and_wrapping(imitated: Imitated) -> None:
    row, client = imitated
    uid, kek = create(client), create(client)
    assert taken(lambda: client.get(uid, deadline=in_time())) is (row.reads_active_only is not True)
    for one in (uid, kek):
        client.activate(one, deadline=in_time())
    assert taken(lambda: client.get(uid, deadline=in_time()))
    specification = KeyWrappingSpecification(
        wrapping_method=WrappingMethod.ENCRYPT,
        encryption_key_information=EncryptionKeyInformation(unique_identifier=kek),
    )
    if BlockCipherMode.NIST_KEY_WRAP not in row.wrap_methods:
        assert not taken(lambda: client.get(uid, key_wrapping_specification=specification, deadline=in_time()))
    with pytest.raises(OperationFailed):
        client.destroy(uid, deadline=in_time())
    client.revoke(uid, RevocationReasonCode.CESSATION_OF_OPERATION, deadline=in_time())
    client.destroy(uid, deadline=in_time())
    still = uid in client.locate([attribute("Unique Identifier", uid)], deadline=in_time())
    assert still is (row.keeps_destroyed is not False)


def test_a_user_name_that_is_not_the_certificates_is_hung_up_on(
    make_appliance: Callable[..., Appliance], tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text("kmipclient:password\nsomebody:password\n")
    server = make_appliance(imitate="keysecure", users=users)

    def ping(connection: Connection) -> KMIPError | None:
        client = Client(make_pool(connection, PATIENT))
        try:
            client.discover_versions(deadline=in_time())
        except KMIPError as error:
            return error
        finally:
            client.pool.close()
        return None

    plain = server.connection(kmip_version="1.2")
    assert isinstance(ping(plain), AuthenticationRefused)
    assert ping(replace(plain, username="kmipclient", password=Secret(b"password"))) is None
    assert isinstance(ping(replace(plain, username="somebody", password=Secret(b"password"))), Unreachable)


def test_options_beside_an_imitation_are_set() -> None:
    options = main.parse(["-imitate", "vault", "-versions", "1.2,1.4", "-uniquenames"])
    assert (options.imitate, options.versions, options.unique_names) == ("vault", ("1.2", "1.4"), True)
    assert main.parse([]) == Options()
    with pytest.raises(MrhsmError, match="'valt' is no profile: there are default, eskm"):
        main.parse(["-imitate", "valt"])


def test_reasons_are_those_of_kmip(make_appliance: Callable[..., Appliance]) -> None:
    client = Client(make_pool(make_appliance(imitate="cosmian").connection(), PATIENT))
    with pytest.raises(OperationFailed) as refusal:
        client.get(create(client), deadline=in_time())
    assert refusal.value.reason == ResultReason.ILLEGAL_OPERATION.value
    client.pool.close()
