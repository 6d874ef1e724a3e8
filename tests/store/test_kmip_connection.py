"""Where the servers are, what is missing in the settings, and which servers can be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from fix_appliance import Appliance, Certificates
from fix_faults import FaultProxy
from fix_kmip_store import KmipPlace

from mrhsm_p11 import log
from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKR
from mrhsm_p11.errors import CryptokiError, MrhsmError
from mrhsm_p11.store import kmip
from mrhsm_p11.store.base import ObjectGone
from mrhsm_p11.store.kmip import addresses, connection
from mrhsm_p11.store.kmip.addresses import Address, AddressInvalid
from mrhsm_p11.store.kmip.connection import NotConfigured, Servers
from mrhsm_p11.tokendir.settings import Connection

PATIENT = Config(deadline_s=60.0, connect_s=30.0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("12.1.78.164", Address("12.1.78.164", 5696)),
        ("12.1.78.164:9000", Address("12.1.78.164", 9000)),
        ("kms.example.net", Address("kms.example.net", 5696)),
        (" kms-1:1 ", Address("kms-1", 1)),
        ("[::1]", Address("::1", 5696)),
        ("[fe80::1%eth0]:65535", Address("fe80::1%eth0", 65535)),
        ("[::ffff:1.2.3.4]:7", Address("::ffff:1.2.3.4", 7)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert addresses.parse(text, 5696) == address


@pytest.mark.parametrize("text", ["", ":1", "::1", "a b", "a:0", "a:65536", "a:x", "[::1", "[kms]", "[::1]x", "a:1:2"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressInvalid, match="is no server address"):
        addresses.parse(text, 5696)


def test_server_names_go_with_their_addresses() -> None:
    settings = Connection(addresses=("a", "b"))
    names = [[e.server_name for e in connection.endpoints_of(replace(settings, server_names=n))] for n in ((), ("x",))]
    assert names == [[None, None], ["x", "x"]]
    both = connection.endpoints_of(replace(settings, server_names=("x", "y")))
    assert [endpoint.server_name for endpoint in both] == ["x", "y"]
    with pytest.raises(NotConfigured):
        connection.endpoints_of(replace(settings, server_names=("x", "y", "z")))


@pytest.mark.parametrize(
    ("field", "empty", "option"),
    [
        ("addresses", (), "-ip"),
        ("ca_certificate", b"", "-cacert"),
        ("client_certificate", b"", "-clientcert"),
        ("client_key", None, "-clientkey"),
    ],
)
def test_what_is_missing_is_named_when_it_is_needed(
    make_kmip_place: Callable[..., KmipPlace], appliance: Appliance, field: str, empty: object, option: str
) -> None:
    place = make_kmip_place(appliance)
    store = place.open(connection=replace(place.connection, **{field: empty}))  # type: ignore[arg-type]
    with pytest.raises(MrhsmError, match=option) as failure:
        store.load("one")
    assert isinstance(failure.value, CryptokiError)
    assert failure.value.ckr == CKR.DEVICE_ERROR


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(NotConfigured, match=r"2\.7"):
        connection.version_of(Connection(kmip_version="2.7"))


@pytest.mark.parametrize("uid", ["", "a\0b", "\n"])
def test_no_identifier_never_means_the_latest_object(
    make_kmip_place: Callable[..., KmipPlace], stock_appliance: Appliance, uid: str
) -> None:
    from fix_stores import aes_key

    from mrhsm_p11.secret import Secret

    place = make_kmip_place(stock_appliance)
    store = place.open()
    made = store.insert(aes_key(), Secret(bytes(32))).uid
    keys = place.open_keys()
    for act in (store.load, store.material, store.delete, keys.state, keys.read, keys.activate, keys.revoke):
        with pytest.raises(ObjectGone):
            act(uid)
    assert store.load(made).uid == made


# ---- which servers can be used


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.4"])
def test_each_server_is_asked(appliance: Appliance, fault_proxy: Callable[..., FaultProxy], version: str) -> None:
    down = fault_proxy(appliance)
    down.accept(False)
    configured = (f"127.0.0.1:{appliance.port}", f"localhost:{down.port}")
    settings = replace(appliance.connection(kmip_version=version), addresses=configured)
    (first, problem), (second, other) = kmip.ping(settings, PATIENT)
    assert (first, second) == configured
    assert problem is None
    assert other is not None
    assert "refused the connection" in other


def test_a_server_that_speaks_other_versions_says_which(make_appliance: Callable[..., Appliance]) -> None:
    server = make_appliance(versions=("1.2", "1.3"))
    ((_, problem),) = kmip.ping(server.connection(kmip_version="1.4"), PATIENT)
    assert problem is not None
    assert "does not speak KMIP 1.4" in problem
    assert "1.3" in problem
    assert "1.2" in problem


def test_a_server_without_discover_versions_can_be_used(make_appliance: Callable[..., Appliance]) -> None:
    server = make_appliance(refuse_operations=("DISCOVER_VERSIONS",))
    assert kmip.ping(server.connection(), PATIENT)[0][1] is None


def test_settings_that_lack_something_are_a_problem_of_every_server(appliance: Appliance) -> None:
    settings = replace(appliance.connection(), client_key=None, addresses=("a", "b"))
    assert [address for address, _ in kmip.ping(settings, PATIENT)] == ["a", "b"]
    assert all(problem and "-clientkey" in problem for _, problem in kmip.ping(settings, PATIENT))
    assert kmip.ping(Connection(), PATIENT) == []


def test_a_certificate_out_of_its_time_is_logged_with_file_and_date(
    appliance: Appliance, tmp_path: Path, certificates: Certificates
) -> None:
    log.open_target(tmp_path / "log", "warning")
    connection = appliance.connection(client="client-expired")
    config = Config(home=tmp_path)
    servers = Servers(connection, config)
    assert servers.client is not None
    servers.close()
    (certificate,) = x509.load_pem_x509_certificates(certificates.certificate("client-expired").read_bytes())[:1]
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S}"
    told = (tmp_path / "log").read_text()
    assert f"{tmp_path}/conf/tokens/mrhsm.conf: the client certificate expired on {until} UTC" in told
