"""The samples of the manual's page, byte for byte, with the samples' values put in."""

from __future__ import annotations

import datetime
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mrhsm_p11.cli import certificates, layouts
from mrhsm_p11.cluster.events import Event, Happened
from mrhsm_p11.cluster.keys import CLDB, DARE
from mrhsm_p11.cluster.status import ServerStatus
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.sealing import PinRecord
from mrhsm_p11.tokendir.settings import ClusterRecord, Connection, KeyRecord

PAD = " "

SLOTS = f"""\
Available slots:
Slot 1298274617
    Slot info:
        Description:          MapRHSM slot ID 0x4d621939{PAD * 38}
        Manufacturer ID:      HPE MapR-HSM{PAD * 20}
        Token present:        yes
    Token info:
        Manufacturer ID:      HPE MapR-HSM{PAD * 20}
        Model:                MapRHSM{PAD * 9}
        Serial number:        07137a824d621939
        Initialized:          yes
        User PIN initialized: yes
        Label:                Utimaco ESKM{PAD * 20}
"""

NO_TOKEN = f"""\
Available slots:
Slot 0
    Slot info:
        Description:          MapRHSM slot ID 0x0{PAD * 45}
        Manufacturer ID:      HPE MapR-HSM{PAD * 20}
        Token present:        yes
    Token info:
        Manufacturer ID:      HPE MapR-HSM{PAD * 20}
        Model:                MapRHSM{PAD * 9}
        Serial number:        {PAD * 16}
        Initialized:          no
        User PIN initialized: no
        Label:                {PAD * 32}
"""

# The page ends before the last line, which is the CA certificate's.
CONFIGURATION = """\
Displaying information for KMIP token with serial b819261a33fbe5a1
IPs
  IP 1                 : 12.1.78.164 Active
  IP 2                 : 12.1.78.165 Active
Port                   : 5696
KMIP Version           : 1.1
KMIP Client Key        : Configured

KMIP Client Certificate:
    Subject: /C=US/ST=California/L=Santa Clara/O=HPE/OU=MapR/CN=kmipclient/emailAddress=johndoe@hpe.com
    Issuer: /C=US/ST=OR/L=Campbell/O=Utimaco/OU=Atalla/CN=LocalCA/emailAddress=support@utimaco.com
    Version: 3
    Signature Algorithm: rsaEncryption
    Validity:
        Not before: Jan 13 05:23:00 2020 GMT
        Not after: Aug  5 05:23:00 2029 GMT

KMIP CA Certificate:
    Subject: /C=US/ST=OR/L=Campbell/O=Utimaco/OU=Atalla/CN=LocalCA/emailAddress=support@utimaco.com
    Issuer: /C=US/ST=OR/L=Campbell/O=Utimaco/OU=Atalla/CN=LocalCA/emailAddress=support@utimaco.com
    Version: 3
    Signature Algorithm: id-ecPublicKey
    Validity:
        Not before: Aug  6 23:49:09 2019 GMT
        Not after: Aug  5 05:23:00 2029 GMT
"""

STATUS = """\
Displaying information for KMIP token with serial 8ce465dd102da8f6
KMIP Configuration Version 1
-----------------------------
CLDB:
    Encrypted Key   : FA31033A00220EDE67006049FFD98EEFB9D517E3E8BF1EEE35C29726BA11EE34F7118124C17F7C10654AC1D1E5BA16F83FCFAC398F99B392E226C2CE23D29D30
    UUID            : 260ca605-bb65-4a81-a341-f3fffc8dced8
    SHA-256 checksum: 9C1F76DAE7F9C0EC49153AA91B420DFF07276E896DC858A18F3FD20D551340CC
DARE :
    Encrypted Key   : 75E530E5DC12AEDB50AF414B8B7C7B07DCC9532FBE698543EF0A90E58767D03C4BF5B4518ED9F34F8D3379DA87F1C4E467891E22D6404502328D1CC9A69A65EC
    UUID            : effc0d14-8d8e-4335-8b03-849a0da46eed
    SHA-256 checksum: D062D60D6D3AFC1906660FA373C12A05BA40EA4CB077195116399B009E3CDDDF
Core KEK :
    UUID            : a6a07015-4fa0-477f-8bc3-8c5fa272d822
    SHA-256 checksum: 3A1F6060408025873AD32EA7D05086C6F6D99530DFD7467B677E8A94978DC863
Common KEK :
    UUID            : 22812c6f-44b1-4c6a-ad77-1cc21b255d04
    SHA-256 checksum: 1065ACB3C339AE81ABE43E6D8048795397FE3FD58C4511D63C5C96B2337E4932
Enabled             : Yes
"""  # noqa: E501

ENABLE = """\
Obtained cluster name my.cluster.com from mapr-clusters.conf
Enabling MapR HSM on cluster my.cluster.com
Successfully generated Core KEK, UUID a6a07015-4fa0-477f-8bc3-8c5fa272d822
SHA-256 checksum for Core KEK is 3A1F6060408025873AD32EA7D05086C6F6D99530DFD7467B677E8A94978DC863
Successfully generated Common KEK, UUID 22812c6f-44b1-4c6a-ad77-1cc21b255d04
SHA-256 checksum for Common KEK is 1065ACB3C339AE81ABE43E6D8048795397FE3FD58C4511D63C5C96B2337E4932
SHA-256 checksum for CLDB key is 9C1F76DAE7F9C0EC49153AA91B420DFF07276E896DC858A18F3FD20D551340CC
Successfully set encrypted CLDB key in KMIP configuration
SHA-256 checksum for DARE key is D062D60D6D3AFC1906660FA373C12A05BA40EA4CB077195116399B009E3CDDDF
Successfully set encrypted DARE key in KMIP configuration
"""

BANNER = """\
##############################################################################
The CLDB and DARE master keys are now protected by the HSM.
The CLDB key cldb.key and DARE master key dare.master.key in /opt/mapr/conf
are no longer used. Back up these keys in a safe location, and then remove
them from /opt/mapr/conf. All keys in the HSM, including the CLDB and DARE
master keys, should be safely backed up. Without the DARE master key, the
cluster cannot be started and data cannot be accessed.

Copy the entire contents of the KMIP token directory /opt/mapr/conf/tokens to
all CLDB and Zookeeper nodes. All files in /opt/mapr/conf/tokens must be owned
by the mapr user and mapr group.
##############################################################################"""

REFUSAL = """\
Existing DARE master key found at /opt/mapr/conf/dare.master.key, and -dare is not specified
Use the -dare option to import the DARE master key into the HSM."""


def entry(serial: str, label: str) -> TokenEntry:
    pin = PinRecord("hkdf", b"", 0, 0, 0, 1, b"")
    return TokenEntry(serial, label, "kmip", 1, pin, pin, b"", b"", b"")


def key(uid: str, checksum: str, encrypted: str = "") -> KeyRecord:
    return KeyRecord(uid, checksum, bytes.fromhex(encrypted))


def sample_cluster() -> ClusterRecord:
    words = [line.split(": ")[1] for line in STATUS.splitlines()[3:-1] if ": " in line]
    return ClusterRecord(
        "my.cluster.com",
        cldb=key(words[1], words[2], words[0]),
        dare=key(words[4], words[5], words[3]),
        core_kek=key(words[6], words[7]),
        common_kek=key(words[8], words[9]),
        enabled=True,
    )


def name(**parts: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(getattr(NameOID, oid), text) for oid, text in parts.items()])


CLIENT = name(
    COUNTRY_NAME="US",
    STATE_OR_PROVINCE_NAME="California",
    LOCALITY_NAME="Santa Clara",
    ORGANIZATION_NAME="HPE",
    ORGANIZATIONAL_UNIT_NAME="MapR",
    COMMON_NAME="kmipclient",
    EMAIL_ADDRESS="johndoe@hpe.com",
)
AUTHORITY = name(
    COUNTRY_NAME="US",
    STATE_OR_PROVINCE_NAME="OR",
    LOCALITY_NAME="Campbell",
    ORGANIZATION_NAME="Utimaco",
    ORGANIZATIONAL_UNIT_NAME="Atalla",
    COMMON_NAME="LocalCA",
    EMAIL_ADDRESS="support@utimaco.com",
)


def certify(
    subject: x509.Name,
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    begin: datetime.datetime,
) -> x509.Certificate:
    builder = x509.CertificateBuilder(AUTHORITY, subject, public, 7, begin, datetime.datetime(2029, 8, 5, 5, 23))
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


@pytest.fixture(scope="module")
def sample_connection() -> Connection:
    client = certify(CLIENT, rsa.generate_private_key(65537, 2048).public_key(), datetime.datetime(2020, 1, 13, 5, 23))
    authority = certify(
        AUTHORITY, ec.generate_private_key(ec.SECP256R1()).public_key(), datetime.datetime(2019, 8, 6, 23, 49, 9)
    )
    return Connection(
        addresses=("12.1.78.164", "12.1.78.165"),
        ca_certificate=authority.public_bytes(Encoding.PEM),
        client_certificate=client.public_bytes(Encoding.PEM),
        client_key=Secret(b"-----BEGIN PRIVATE KEY-----"),
    )


def test_slots() -> None:
    assert layouts.slots([entry("07137a824d621939", "Utimaco ESKM")]) == SLOTS


def test_slots_without_a_token() -> None:
    assert layouts.slots([]) == NO_TOKEN


def test_label_field_has_32_bytes_not_characters() -> None:
    shown = layouts.slots([entry("07137a824d621939", "Schlüssel")])
    assert f"Label:                Schlüssel{PAD * 22}\n" in shown


def test_configuration(sample_connection: Connection) -> None:
    servers = [ServerStatus(address) for address in sample_connection.addresses]
    shown = layouts.heading("b819261a33fbe5a1", "kmip") + layouts.connection(sample_connection, servers)
    assert shown == CONFIGURATION


def test_a_server_that_does_not_answer_is_inactive_with_the_reason(sample_connection: Connection) -> None:
    servers = [ServerStatus("12.1.78.164"), ServerStatus("12.1.78.165", "connection refused")]
    shown = layouts.connection(sample_connection, servers)
    assert "  IP 2                 : 12.1.78.165 Inactive (connection refused)\n" in shown


def test_nothing_configured() -> None:
    assert layouts.connection(Connection(), []) == (
        "IPs                    : Not configured\n"
        "Port                   : 5696\n"
        "KMIP Version           : 1.1\n"
        "KMIP Client Key        : Not configured\n"
        "\n"
        "KMIP Client Certificate: Not configured\n"
        "\n"
        "KMIP CA Certificate: Not configured\n"
    )


def test_every_certificate_of_a_chain_is_shown(sample_connection: Connection) -> None:
    chain = replace(sample_connection, ca_certificate=sample_connection.ca_certificate * 2)
    assert layouts.connection(chain, []).count("\nKMIP CA Certificate:\n") == 2


def test_status() -> None:
    assert layouts.heading("8ce465dd102da8f6", "kmip") + layouts.cluster("kmip", sample_cluster()) == STATUS


def test_status_of_the_file_store() -> None:
    shown = layouts.heading("8ce465dd102da8f6", "file") + layouts.cluster("file", sample_cluster())
    assert shown == STATUS.replace("for KMIP token", "for file token").replace("KMIP Conf", "File Store Conf")


def test_status_before_enable() -> None:
    assert layouts.cluster("kmip", None) == f"KMIP Configuration Version 1\n{'-' * 29}\nEnabled             : No\n"


def test_enable() -> None:
    record = sample_cluster()
    assert record.core_kek
    assert record.common_kek
    assert record.cldb
    assert record.dare
    events = [
        Event(Happened.CLUSTER_NAMED, text=record.cluster),
        Event(Happened.ENABLING, text=record.cluster),
        Event(Happened.GENERATED, "Core KEK", record.core_kek.uid),
        Event(Happened.CHECKSUM, "Core KEK", record.core_kek.checksum),
        Event(Happened.GENERATED, "Common KEK", record.common_kek.uid),
        Event(Happened.CHECKSUM, "Common KEK", record.common_kek.checksum),
        Event(Happened.CHECKSUM, "CLDB key", record.cldb.checksum),
        Event(Happened.ENCRYPTED, "CLDB key"),
        Event(Happened.CHECKSUM, "DARE key", record.dare.checksum),
        Event(Happened.ENCRYPTED, "DARE key"),
    ]
    assert "".join(layouts.event(event) + "\n" for event in events) == ENABLE
    assert layouts.event(Event(Happened.FOUND, "Core KEK", "u-1")) == "Found existing Core KEK, UUID u-1"


def test_banner() -> None:
    assert layouts.banner(Path("/opt/mapr"), [CLDB, DARE], [CLDB, DARE]) == BANNER
    elsewhere = layouts.banner(Path("/srv/a/much/longer/place/for/it"), [CLDB, DARE], [CLDB, DARE])
    assert elsewhere == BANNER.replace("/opt/mapr", "/srv/a/much/longer/place/for/it")


def test_banner_tells_only_of_keys_that_are_there() -> None:
    fresh = layouts.banner(Path("/opt/mapr"), [CLDB, DARE], [])
    assert "no longer used" not in fresh
    assert "including the CLDB and DARE master keys, should" in fresh.replace("\n", " ")
    plain = layouts.banner(Path("/opt/mapr"), [CLDB], [CLDB])
    assert "DARE" not in plain
    assert "The CLDB key cldb.key in /opt/mapr/conf is no longer used. Back up this key in" in plain


def test_refusal() -> None:
    assert layouts.DARE_NOT_CHOSEN.format(path="/opt/mapr/conf/dare.master.key") == REFUSAL


def test_names_escape_what_is_not_printable() -> None:
    odd = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "Käthe\n"),
            x509.NameAttribute(x509.ObjectIdentifier("1.2.3.4"), "x"),
        ]
    )
    assert certificates.one_line(odd) == "/CN=K\\xC3\\xA4the\\x0A/1.2.3.4=x"


def test_algorithm_is_the_public_keys() -> None:
    begin = datetime.datetime(2020, 1, 1)
    made = certify(CLIENT, ed25519.Ed25519PrivateKey.generate().public_key(), begin)
    assert certificates.public_key_algorithm(made) == "ED25519"


def test_banner_lines_fit_78_columns() -> None:
    assert all(len(line) <= 78 for line in textwrap.dedent(BANNER).splitlines())


def test_a_second_key_is_called_one() -> None:
    lone = " ".join(layouts.confirm_new({CLDB: False}, "my.cluster.com").split())
    assert "A new CLDB key will be made although cluster my.cluster.com has keys" in lone
    assert "second" not in lone
    both = " ".join(layouts.confirm_new({CLDB: True, DARE: False}, "my.cluster.com").split())
    assert "A new CLDB key and a new DARE key will be made" in both
    assert "has a CLDB key of this cluster already: the new one is a second, which this node then uses" in both
