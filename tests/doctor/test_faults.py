"""Every fault that can be made gives a sentence of its own, says what to do, and stops no other check."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fix_appliance import Appliance, Certificates
from fix_cluster import Home
from fix_faults import Fault, FaultProxy

from mrhsm_p11.cli import doctor as command
from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import beginning
from mrhsm_p11.deadline import Deadline
from mrhsm_p11.doctor import checks
from mrhsm_p11.store.kmip import inspecting
from mrhsm_p11.store.kmip.connection import make_pool
from mrhsm_p11.tokendir import pinfile
from mrhsm_p11.tokendir.tokens import SoToken

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk", "no_jvm")
Found = dict[str, dict[str, Any]]


@pytest.fixture
def no_jvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)


@dataclass
class Scene:
    """A node whose cluster is enabled on an appliance, and what tests need to break it."""

    home: Home
    appliance: Appliance
    capfd: pytest.CaptureFixture[str]

    def doctor(self, *words: str) -> tuple[int, Found]:
        status = main(["doctor", "-json", *words])
        document = json.loads(self.capfd.readouterr().out)
        return status, {row["check"]: row for row in document["checks"]}

    @property
    def folder(self) -> Path:
        return self.home.config.tokens_dir / self.home.login().entry.serial

    def reconnect(self, **changes: object) -> None:
        """Change the connection behind the checks that `mrhsm set` makes."""
        so = self.home.login()
        connection = dataclasses.replace(so.settings.connection, **changes)  # type: ignore[arg-type]
        so.save_settings(dataclasses.replace(so.settings, connection=connection))

    def record(self, name: str, **changes: object) -> None:
        so = self.home.login()
        assert so.settings.cluster is not None
        key = dataclasses.replace(getattr(so.settings.cluster, name), **changes)
        so.save_settings(
            dataclasses.replace(so.settings, cluster=dataclasses.replace(so.settings.cluster, **{name: key}))
        )

    def uid(self, name: str) -> str:
        cluster = self.home.login().settings.cluster
        uid: str = getattr(cluster, name).uid
        return uid


@pytest.fixture
def scene(
    home: Home,
    appliance: Appliance,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    (home.conf / "mapr-clusters.conf").write_text(f"cluster-{os.urandom(6).hex()} n1:7222\n")
    (home.conf / "maprhsm.conf").write_text("[network]\nconnect_seconds = 4\n")
    home.token("kmip", connection=appliance.connection())
    assert main(["enable", "-dare", "-sopin", "12345678"]) == 0
    capfd.readouterr()
    return Scene(home, appliance, capfd)


def said(row: dict[str, Any]) -> str:
    return " | ".join(f"{one['severity']}: {one['says']}" for one in row["findings"])


def test_well(scene: Scene) -> None:
    status, found = scene.doctor()
    assert status == 0, found
    assert list(found) == [check.name for check in (*checks.NODE, *checks.TOKEN)]
    assert {name: said(row) for name, row in found.items() if row["worst"] != "well"}.keys() == {"java", "sidecar"}
    assert "no JVM on this host" in said(found["java"])
    assert "days left" in said(found["certificates"])
    assert "TLSv1.3" in said(found["tls"])
    assert said(found["keys"]).count("is active and the recorded one") == 4
    assert said(found["keys"]).count("opens to its SHA-256") == 2


# ---- how each fault is made


def chmod(scene: Scene) -> None:
    (scene.folder / "user.pin").chmod(0o444)


def group_readable(scene: Scene) -> None:
    (scene.home.config.tokens_dir / "mrhsm.conf").chmod(0o640)


def log_of_root(scene: Scene) -> None:
    """What a first `mrhsm` as root leaves behind where the daemons are somebody else."""
    (scene.home.path / "logs" / "mrhsm.log").touch(mode=0o640)
    tokens_dir = scene.home.config.tokens_dir
    for path in (tokens_dir, *tokens_dir.rglob("*")):
        os.chown(path, 12345, 12345)


def settings_of_all(scene: Scene) -> None:
    (scene.home.conf / "maprhsm.conf").chmod(0o666)


def another_token_named(scene: Scene) -> None:
    (scene.home.conf / "maprhsm.conf").write_text(f'settings_key = ["{"0" * 64}"]\n')


def symlink(scene: Scene) -> None:
    file = scene.folder / "cldb.key.enc"
    file.rename(scene.home.path / "elsewhere")
    file.symlink_to(scene.home.path / "elsewhere")


def stranger(scene: Scene) -> None:
    os.chown(scene.folder / "user.pin", 12345, 12345)


def stale_pin(scene: Scene) -> None:
    file = scene.folder / "user.pin"
    _, rest = file.read_bytes().split(b"\n", 1)
    file.chmod(0o600)
    file.write_bytes(pinfile.HEADER % 1 + rest)


def no_pin(scene: Scene) -> None:
    (scene.folder / "user.pin").unlink()


def conf_damaged(scene: Scene) -> None:
    path = scene.home.config.tokens_dir / "mrhsm.conf"
    path.write_bytes(path.read_bytes()[:-40])


def no_tokens(scene: Scene) -> None:
    shutil.rmtree(scene.home.config.tokens_dir)


def bad_setting(scene: Scene) -> None:
    (scene.home.conf / "maprhsm.conf").write_text("[network]\n\nport = 5696\n")


def no_cluster(scene: Scene) -> None:
    (scene.home.conf / "mapr-clusters.conf").write_text("# nothing\n")


def future_conf(scene: Scene) -> None:
    later = time.time() + 400 * 86_400
    os.utime(scene.home.config.tokens_dir / "mrhsm.conf", (later, later))


def blob_damaged(scene: Scene) -> None:
    cluster = scene.home.login().settings.cluster
    assert cluster is not None
    assert cluster.cldb is not None
    scene.record("cldb", encrypted=cluster.cldb.encrypted[:-1] + bytes([cluster.cldb.encrypted[-1] ^ 1]))


def checksum_broken(scene: Scene) -> None:
    scene.record("common_kek", checksum="0" * 64)


def enc_missing(scene: Scene) -> None:
    (scene.folder / "dare.master.key.enc").unlink()


def enc_other(scene: Scene) -> None:
    (scene.folder / "cldb.key.enc").write_bytes(bytes(64))


def legacy_left(scene: Scene) -> None:
    scene.home.legacy()


def switched_off(scene: Scene) -> None:
    assert main(["set", "-active", "false", "-sopin", "12345678"]) == 0


def revoked(scene: Scene) -> None:
    server(scene, lambda client, deadline: client.revoke(
        scene.uid("core_kek"), inspecting.RevocationReasonCode.CESSATION_OF_OPERATION, deadline=deadline
    ))  # fmt: skip


def destroyed(scene: Scene) -> None:
    revoked(scene)
    server(scene, lambda client, deadline: client.destroy(scene.uid("core_kek"), deadline=deadline))


def server(scene: Scene, act: Callable[[inspecting.Client, Deadline], object]) -> None:
    pool = make_pool(scene.appliance.connection(), scene.home.config)
    try:
        act(inspecting.Client(pool), Deadline(5))
    finally:
        pool.close()


FAULTS: tuple[tuple[Callable[[Scene], None], str, str, str], ...] = (
    (chmod, "files", "broken", "user.pin has mode 0444: others than its owner may use it"),
    (group_readable, "files", "broken", "mrhsm.conf has mode 0640: others than its owner may use it"),
    (log_of_root, "log", "warning", "the daemons of 12345 cannot log"),
    (settings_of_all, "settings", "warning", "maprhsm.conf may be written by others than its owner"),
    (another_token_named, "login", "broken", "is none of those that settings_key in maprhsm.conf names"),
    (symlink, "files", "broken", "cldb.key.enc is a symbolic link"),
    (stranger, "files", "broken", "user.pin does not belong to"),
    (stale_pin, "pin", "broken", "user.pin is stale"),
    (no_pin, "pin", "warning", "user.pin is not there"),
    (conf_damaged, "tokens", "broken", "mrhsm.conf is damaged and was left untouched"),
    (no_tokens, "files", "broken", "conf/tokens is not there"),
    (bad_setting, "settings", "broken", "line 3: unknown setting 'network.port'"),
    (no_cluster, "cluster", "broken", "names no cluster"),
    (future_conf, "tokens", "broken", "was written after what this host takes for now"),
    (blob_damaged, "keys", "broken", "the encrypted CLDB key does not open to the recorded key"),
    (checksum_broken, "keys", "broken", "has another SHA-256 than recorded"),
    (enc_missing, "encrypted", "broken", "dare.master.key.enc is not there"),
    (enc_other, "encrypted", "broken", "cldb.key.enc is not the recorded CLDB key"),
    (legacy_left, "legacy", "warning", "cldb.key still holds a key in the clear"),
    (switched_off, "keys", "warning", "the cluster keys are switched off"),
    (revoked, "keys", "warning", "was deactivated: it still decrypts and nothing more"),
    (destroyed, "keys", "broken", "is not in the key store any more"),
)


@pytest.mark.parametrize(("make", "check", "severity", "says"), FAULTS, ids=[row[0].__name__ for row in FAULTS])
def test_on_this_node(scene: Scene, make: Callable[[Scene], None], check: str, severity: str, says: str) -> None:
    make(scene)
    scene.capfd.readouterr()
    status, found = scene.doctor()
    fits = [one for one in found[check]["findings"] if says in one["says"]]
    assert [one["severity"] for one in fits] == [severity], said(found[check])
    assert fits[0]["do"]
    assert found[check]["worst"] == severity
    assert status == {"broken": 1, "warning": 3}[severity]
    assert {check.name for check in checks.NODE} <= found.keys()  # whatever is broken, the rest was looked at
    assert not any("the check itself failed" in said(row) for row in found.values())


def test_a_key_that_waits_to_be_retired(scene: Scene) -> None:
    former = scene.uid("core_kek")
    assert main(["rekey", "core", "-sopin", "12345678"]) == 0
    scene.capfd.readouterr()
    status, found = scene.doctor()
    assert f"note: the former Core KEK, UUID {former}, is still active" in said(found["keys"])
    assert found["encrypted"]["worst"] == "well"
    assert main(["rekey", "core", "-retire", "-sopin", "12345678"]) == 0
    scene.capfd.readouterr()
    after, found = scene.doctor()
    assert "former" not in said(found["keys"])
    assert (status, after) == (0, 0)


@pytest.mark.parametrize("make", [enc_missing, enc_other, switched_off], ids=lambda make: make.__name__)
def test_what_enable_is_said_to_heal(scene: Scene, make: Callable[[Scene], None]) -> None:
    make(scene)
    assert main(["enable", "-sopin", "12345678"]) == 0
    scene.capfd.readouterr()
    assert scene.doctor()[0] == 0


@pytest.mark.parametrize("make", [chmod, stranger], ids=lambda make: make.__name__)
def test_commands_that_heal_as_they_stand(scene: Scene, make: Callable[[Scene], None]) -> None:
    make(scene)
    advice = [one["do"] for one in scene.doctor()[1]["files"]["findings"]]
    for command_line in advice:
        subprocess.run(command_line.split(), check=True, env={"PATH": os.defpath}, timeout=10)
    assert scene.doctor()[0] == 0


# ---- servers and certificates


@pytest.mark.parametrize(
    ("name", "says", "do"),
    [
        ("server-expired", "the certificate of {} has expired", "renew the server's certificate"),
        ("server-not-yet-valid", "the certificate of {} is not valid yet", "clocks"),
        ("server-other-ca", "the certificate of {} was not issued by the configured CA", "-cacert"),
        ("server-wrong-name", "the certificate of {} is not for 127.0.0.1", "-servername"),
    ],
)
def test_server_certificates(
    scene: Scene, make_appliance: Callable[..., Appliance], name: str, says: str, do: str
) -> None:
    other = make_appliance(server=name)
    scene.reconnect(port=other.port)
    assert says.format(f"127.0.0.1:{other.port}") in only_fault(scene, "tls", do)


@pytest.mark.parametrize(
    ("name", "check", "severity", "says"),
    [
        ("client-expired", "certificates", "broken", "the client certificate expired on"),
        ("client-not-yet-valid", "certificates", "broken", "the client certificate is not valid before"),
        ("client-no-usage", "certificates", "warning", "is not marked for clients"),
        ("client-server-usage", "certificates", "warning", "is not marked for clients"),
        ("client-mismatch", "certificates", "broken", "do not belong together"),
        ("client-other-ca", "tls", "broken", "refuses us: our certificate was issued by a CA that it does not trust"),
    ],
)
def test_client_certificates(
    scene: Scene, certificates: Certificates, name: str, check: str, severity: str, says: str
) -> None:
    connection = scene.appliance.connection(client=name)
    scene.reconnect(client_certificate=connection.client_certificate, client_key=connection.client_key)
    status, found = scene.doctor()
    fits = [one for one in found[check]["findings"] if says in one["says"]]
    assert [one["severity"] for one in fits] == [severity], said(found[check])
    assert fits[0]["do"]
    assert status == 1  # this appliance takes none of them


def test_refused_black_hole_and_names(scene: Scene, fault_proxy: Callable[..., FaultProxy]) -> None:
    proxy = fault_proxy(scene.appliance)
    proxy.default = Fault(black_hole=True)
    scene.reconnect(port=proxy.port)
    hole = only_fault(scene, "tls", "says nothing")
    proxy.accept(False)
    refused = only_fault(scene, "tcp", "start KMIP on the appliance")
    scene.reconnect(addresses=("no-such-host.invalid",))
    unknown = only_fault(scene, "dns", "DNS")
    assert "did not finish the TLS handshake in time" in hole
    assert "refused the connection" in refused
    assert "cannot be resolved" in unknown


def test_dropped_packets(scene: Scene, full_backlog: int) -> None:
    scene.reconnect(port=full_backlog)
    assert "did not answer the connection in time" in only_fault(scene, "tcp", "what drops the packets")


def test_captive_portal(scene: Scene, http_server: int) -> None:
    scene.reconnect(port=http_server)
    assert "does not speak TLS: is this the KMIP port?" in only_fault(scene, "tls", "another service has this port")


def only_fault(scene: Scene, check: str, do: str) -> str:
    """Return the one sentence of the only check that is broken; what needs it is not checked, the rest is well."""
    status, found = scene.doctor()
    broken = [name for name, row in found.items() if row["worst"] == "broken"]
    assert (status, broken) == (1, [check]), found
    assert found["keys"]["worst"] == "not_checked"
    assert found["encrypted"]["worst"] == "well"
    (finding,) = [one for one in found[check]["findings"] if one["severity"] == "broken"]
    assert do in finding["do"]
    text: str = finding["says"]
    return text


def test_one_of_two_servers_is_a_warning(scene: Scene) -> None:
    scene.reconnect(addresses=("127.0.0.1", "127.0.0.1:1"))
    status, found = scene.doctor()
    assert status == 3
    assert "warning: 127.0.0.1:1 refused the connection" in said(found["tcp"])
    assert found["keys"]["worst"] == "well"


def test_operations_that_are_not_offered(scene: Scene, make_appliance: Callable[..., Appliance]) -> None:
    other = make_appliance(nine=True, refuse_operations=("REGISTER",))
    scene.reconnect(port=other.port)
    _, found = scene.doctor()
    row = found["operations"]
    assert row["worst"] == "broken"
    assert "broken: 127.0.0.1: Register is not offered by the server (for enable, which imports keys)" in said(row)
    assert "note: 127.0.0.1: Query is not offered by the server" in said(row)


def test_version_that_is_not_offered(scene: Scene, make_appliance: Callable[..., Appliance]) -> None:
    other = make_appliance(versions=("1.0", "1.1"))
    scene.reconnect(port=other.port)
    assert "does not speak KMIP 1.4 and offers 1.1, 1.0" in only_fault(scene, "kmip", "-kmipversion")


@pytest.mark.parametrize(("off_s", "worst"), [(600, "warning"), (172_800, "broken"), (-172_700, "broken")])
def test_clock(scene: Scene, monkeypatch: pytest.MonkeyPatch, off_s: float, worst: str) -> None:
    wrong = SimpleNamespace(time=lambda: time.time() + off_s, monotonic=time.monotonic)
    monkeypatch.setattr(inspecting, "time", wrong)  # nobody sets the machine's clock for a test
    _, found = scene.doctor()
    assert found["clock"]["worst"] == worst
    late = "ahead of" if off_s > 0 else "behind"
    assert f"this host's clock is {'10 minutes' if worst == 'warning' else '2 days'} {late}" in said(found["clock"])


def test_the_sentences_differ() -> None:
    sentences = [row[3] for row in FAULTS]
    assert len(set(sentences)) == len(sentences)
    for rows in (checks.NODE, checks.TOKEN):
        names = [check.name for check in rows]
        assert len(set(names)) == len(names)
    known = {check.name for check in (*checks.NODE, *checks.TOKEN)}
    assert all(set(check.needs) <= known for check in (*checks.NODE, *checks.TOKEN))


def test_a_check_that_fails_stops_no_other(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> Iterator[Any]:
        raise RuntimeError("a fault of ours")
        yield

    rows = tuple(dataclasses.replace(check, run=fails) if check.name == "pin" else check for check in checks.TOKEN)
    monkeypatch.setattr(checks, "TOKEN", rows)
    status, found = scene.doctor()
    assert status == 1
    assert "the check itself failed (RuntimeError)" in said(found["pin"])
    assert found["library"]["worst"] == "well"
    assert "a fault of ours" not in json.dumps(found)


def test_text_for_people(scene: Scene) -> None:
    chmod(scene)
    assert main(["doctor"]) == 1
    told = scene.capfd.readouterr()
    assert told.err == ""  # no progress in a pipe
    assert "\x1b" not in told.out
    assert "  Token directory   BROKEN   " in told.out
    assert "-> chmod 400 " in told.out
    assert told.out.endswith("1 broken, 0 with warnings, 20 well, 1 not checked\n") or "1 broken, 0 with" in told.out


def test_several_tokens(scene: Scene) -> None:
    second: SoToken = scene.home.token("file", "second")
    status, found = scene.doctor("-token", "second")
    assert found["pin"]["token"] == second.entry.serial
    assert "connection" not in found  # a file store has none
    assert status == 3
    assert "no cluster keys yet" in said(found["keys"])
    assert main(["doctor", "-token", "third"]) == 1
    assert command.EXIT.keys() == {command.Severity.WARNING, command.Severity.BROKEN}
