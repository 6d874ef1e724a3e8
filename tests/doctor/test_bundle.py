"""The support archive: what helps is in it, and none of the secrets in any spelling."""

from __future__ import annotations

import base64
import json
import stat
import tarfile
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates
from fix_cluster import CLDB_BYTES, DARE_BYTES, SO_PIN, Home

from mrhsm_p11 import store
from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import beginning
from mrhsm_p11.doctor import bundle
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.pinfile import read_pin_file

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")


def spellings(secret: bytes) -> set[bytes]:
    """Return how a secret could be written; independent of what the archive's own cleaning knows."""
    ways = {secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret)}
    ways.add(repr(secret)[2:-1].encode())
    if b"-----BEGIN" in secret:
        lines = secret.splitlines()
        ways |= {line for line in lines if line and not line.startswith(b"-----")}
        ways.add(base64.b64decode(b"".join(line for line in lines if not line.startswith(b"-----"))))
    return ways


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive.getmembers()}  # type: ignore[union-attr]


def test_no_secret_is_in_it(
    home: Home,
    appliance: Appliance,
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    monkeypatch.setenv("PATH", "/nowhere")  # no JVM: it is not what this is about
    (home.conf / "mapr-clusters.conf").write_text(f"bundle-{tmp_path.name} n1:7222\n")
    (home.conf / "maprhsm.conf").write_text('[log]\nlevel = "debug"\n')
    home.legacy(dare=DARE_BYTES.hex().encode())
    home.token("kmip", connection=appliance.connection())
    assert main(["enable", "-dare", "-sopin", SO_PIN.reveal().decode()]) == 0
    so = home.login()
    cluster = so.settings.cluster
    assert cluster is not None
    keys = store.open_keys(so, home.config)
    records = (cluster.core_kek, cluster.common_kek, cluster.cldb, cluster.dare)
    pin = read_pin_file(home.directory, so.entry)
    assert pin is not None
    secrets = {
        "SO PIN": SO_PIN.reveal(),
        "user PIN": pin.reveal(),
        "token key": so.token_key.reveal(),
        "signing key": so._seed.reveal(),
        "client key": certificates.key().read_bytes(),
        "CLDB key": CLDB_BYTES,
        "DARE key": DARE_BYTES,
        "Core KEK": keys.read(cluster.core_kek.uid).reveal(),  # type: ignore[union-attr]
        "Common KEK": keys.read(cluster.common_kek.uid).reveal(),  # type: ignore[union-attr]
    }
    # What another program may do: secrets in the log and in a settings file's comment.
    with (home.path / "logs" / "mrhsm.log").open("ab") as log:
        log.write(b"somebody typed " + pin.reveal() + b" and " + DARE_BYTES.hex().encode() + b"\n")
    with (home.conf / "maprhsm.conf").open("ab") as file:
        file.write(b"# " + certificates.key().read_bytes().splitlines()[1] + b"\n")
    capfd.readouterr()

    path = tmp_path / "bundle.tar.gz"
    assert main(["doctor", "-bundle", str(path)]) == 3  # the legacy files still lie there
    assert f"The bundle is {path}" in capfd.readouterr().out
    found = contents(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    everything = b"\n".join([*map(str.encode, found), *found.values()])
    for name, secret in secrets.items():
        for spelling in spellings(secret):
            assert spelling not in everything, name
    assert all(
        record.encrypted.hex().encode() not in everything.lower() for record in records if record and record.encrypted
    )
    assert found["mrhsm-doctor/mrhsm.log"].count(bundle.REMOVED) == 2
    assert bundle.REMOVED in found["mrhsm-doctor/maprhsm.conf"]
    assert b"kmip " in found["mrhsm-doctor/mrhsm.log"]
    assert b"rw-------" in found["mrhsm-doctor/files.txt"]
    assert json.loads(found["mrhsm-doctor/doctor.json"])["worst"] == "warning"
    assert so.entry.fingerprint().encode() in found["mrhsm-doctor/tokens.txt"]
    assert b"BEGIN CERTIFICATE" in found[f"mrhsm-doctor/{so.entry.serial}-client.pem"]


def test_nothing_is_overwritten(tmp_path: Path, home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "there"
    path.write_text("kept")
    assert main(["doctor", "-bundle", str(path)]) == 1
    assert path.read_text() == "kept"
    assert "exists already" in capfd.readouterr().err


def test_a_node_without_tokens_has_a_bundle_too(tmp_path: Path, home: Home) -> None:
    path = tmp_path / "bundle.tar.gz"
    assert main(["doctor", "-json", "-bundle", str(path)]) == 1
    assert b"conf/tokens is not there" in contents(path)["mrhsm-doctor/doctor.txt"]


def test_spellings_of_a_secret_are_removed_whole() -> None:
    secret = Secret(b"\x00\xffabcd")
    text = b"a " + secret.reveal().hex().encode() + b" b " + base64.b64encode(secret.reveal()) + b" c"
    assert bundle.without(text, bundle.spelled(secret)) == b"a [removed] b [removed] c"
