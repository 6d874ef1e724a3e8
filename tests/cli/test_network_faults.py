"""Whatever is wrong between us and a key manager: a sentence of its own at the CLI, in the log, and the right CKR."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fix_appliance import Appliance, Certificates
from fix_cluster import Home
from fix_faults import CannedServer, Fault, FaultProxy
from p11 import CKError, Cryptoki

from mrhsm_p11.appliance import certificates as issue
from mrhsm_p11.cli.main import main
from mrhsm_p11.constants import CKA, CKR
from mrhsm_p11.mapping.results import Fault as Number
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.settings import Connection

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: the settings that meet it, and what is said of it; {} is the server as it is told."""

    says: str
    number: Number
    client: str = "client"  # the certificate of it, and its key
    server: str = ""  # an appliance with this certificate
    place: str = "appliance"  # the fixture or maker below that gives the port
    host: str = "127.0.0.1"
    set_says: str = ""  # by `mrhsm set`, which takes no such settings; empty: it does


AUTH, TLS = Number.AUTHENTICATION_REFUSED, Number.TLS_REFUSED
REFUSES = "{} refuses us: our certificate "
ROWS = {
    "server's expired": Row("the certificate of {} has expired", TLS, server="server-expired"),
    "server's not valid yet": Row("the certificate of {} is not valid yet", TLS, server="server-not-yet-valid"),
    "server's of another CA": Row(
        "the certificate of {} was not issued by the configured CA", TLS, server="server-other-ca"
    ),
    "server's of another name": Row(
        "the certificate of {} is not for 127.0.0.1: another server name is needed", TLS, server="server-wrong-name"
    ),
    "ours expired": Row(REFUSES + "has expired", AUTH, client="client-expired", set_says="expired on"),
    "ours not valid yet": Row(
        REFUSES + "is not acceptable to it", AUTH, client="client-not-yet-valid", set_says="is not valid before"
    ),
    "ours of another CA": Row(REFUSES + "was issued by a CA that it does not trust", AUTH, client="client-other-ca"),
    "ours not for clients": Row(REFUSES + "is not one for a client", AUTH, client="client-server-usage"),
    "ours without a usage": Row("{} does not accept our certificate", AUTH, client="client-no-usage"),
    "ours revoked": Row(REFUSES + "has been revoked", AUTH, client="revoked", place="revoking"),
    "key of another certificate": Row(
        "the client certificate and the private key do not belong together",
        TLS,
        client="client-mismatch",
        set_says="do not belong together",
    ),
    "key encrypted": Row(
        "the client's private key is encrypted: store it without a passphrase",
        TLS,
        client="client-encrypted",
        set_says="is encrypted",
    ),
    "no such name": Row(
        "the name no-such-host.invalid of the server {} cannot be resolved",
        Number.UNREACHABLE,
        host="no-such-host.invalid",
    ),
    "nobody there": Row("{} refused the connection: no server listens there", Number.UNREACHABLE, place="nobody"),
    "packets dropped": Row("{} did not answer the connection in time", Number.TIMED_OUT, place="full_backlog"),
    "silent": Row("{} did not finish the TLS handshake in time", Number.TIMED_OUT, place="black_hole"),
    "plain HTTP": Row("{} does not speak TLS: is this the KMIP port?", Number.PROTOCOL, place="http_server"),
}


def test_each_fault_has_its_own_sentence() -> None:
    assert len({row.says for row in ROWS.values()}) == len(ROWS)


@pytest.fixture
def black_hole(appliance: Appliance) -> Iterator[int]:
    with closing(FaultProxy(appliance.host, appliance.port)) as proxy:
        proxy.default = Fault(black_hole=True)
        yield proxy.port


@pytest.fixture
def nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Revoking(CannedServer):
    """A server that has revoked the certificate "revoked" of the folder, whose CA is its own."""

    def __init__(self, folder: Path) -> None:
        authority, now = issue.Authority.make("revoking"), datetime.datetime.now(datetime.UTC)
        held = Certificates.__new__(Certificates)
        held.folder, held.ca = folder, folder / "ca.pem"
        held.ca.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
        for name, kind in (("server", issue.GOOD["server"]), ("revoked", issue.OTHERS["client-ec"])):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = authority.issue(kind, key)
            held.certificate(name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            plain = serialization.NoEncryption()
            held.key(name).write_bytes(
                key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
            )
        entry = x509.RevokedCertificateBuilder(certificate.serial_number, now).build()
        revoked = x509.CertificateRevocationListBuilder(
            authority.certificate.subject, now, now + datetime.timedelta(days=1), revoked_certificates=[entry]
        ).sign(authority.key, hashes.SHA256())
        (folder / "crl.pem").write_bytes(revoked.public_bytes(serialization.Encoding.PEM))
        super().__init__(held)
        self._context.load_verify_locations(folder / "crl.pem")
        self._context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


@dataclass(slots=True)
class Scene:
    row: Row
    connection: Connection
    certificates: Certificates

    @property
    def told(self) -> str:
        return f"{self.row.host}:{self.connection.port}"


@pytest.fixture
def revoking(tmp_path: Path) -> Iterator[Revoking]:
    with closing(Revoking(tmp_path)) as server:
        yield server


@pytest.fixture(params=ROWS, ids=str)
def scene(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    make_appliance: Callable[..., Appliance],
) -> Scene:
    row = ROWS[request.param]
    found = make_appliance(server=row.server) if row.server else request.getfixturevalue(row.place)
    port = found if isinstance(found, int) else found.port
    certificates = getattr(found, "certificates", certificates)
    return Scene(
        row,
        Connection(
            addresses=(row.host,),
            port=port,
            kmip_version="1.4",
            ca_certificate=certificates.ca.read_bytes(),
            client_certificate=certificates.certificate(row.client).read_bytes(),
            client_key=Secret(certificates.key(row.client).read_bytes()),
        ),
        certificates,
    )


def test_a_fault_between_us_and_a_key_manager(
    scene: Scene, home: Home, library_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = (5, 1) if scene.row.number is Number.TIMED_OUT else (60, 30)  # no other fault depends on time
    (home.conf / "maprhsm.conf").write_text("[network]\ndeadline_seconds = {}\nconnect_seconds = {}\n".format(*limits))
    home.token("kmip", connection=replace(scene.connection, client_key=None, client_certificate=b""))
    row, told = scene.row, scene.row.says.format(scene.told)
    pair = (scene.certificates.certificate(row.client), scene.certificates.key(row.client))
    status = main(["set", "-clientcert", str(pair[0]), "-clientkey", str(pair[1]), "-sopin", "12345678"])
    err = capfd.readouterr().err
    if row.set_says:
        assert (status, err.count("\n")) == (1, 1)
        assert row.set_says in err
        so = home.login()
        so.save_settings(replace(so.settings, connection=scene.connection))  # as after a while, or by another hand
    else:
        assert (status, err) == (0, "")
    assert main(["info", "-config"]) == 0
    assert f"  IP 1                 : {row.host} Inactive ({told}" in capfd.readouterr().out

    p11 = Cryptoki(library_path)
    p11.initialize()
    try:
        session = p11.open_session(p11.slots(token_present=True)[0])
        p11.login(session)
        with pytest.raises(CKError) as raised:
            p11.find(session, {CKA.LABEL: "a label"})
        assert raised.value.rv == CKR.DEVICE_ERROR
        assert p11.session_info(session)["ulDeviceError"] == row.number
    finally:
        p11.finalize()
    lines = (home.path / "logs" / "mrhsm.log").read_text().splitlines()
    assert [line for line in lines if told in line], lines
