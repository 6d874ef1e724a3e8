"""The token directory exported and imported: whole, encrypted, never over a newer one, and finished after a death."""

from __future__ import annotations

import base64
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Appliance
from fix_cluster import CLDB_BYTES, CLUSTER, DARE_BYTES, Home
from fix_tokens import run_all_killed

from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import archive, beginning, blob, setup, stores
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries, tokens

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")
Run = Callable[..., tuple[int, str, str]]
CHANGES = ("write", "rename", "unlink", "mkdir")  # what other processes see of a command
PHRASE = b"correct horse battery"


@pytest.fixture
def mrhsm(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(archive, "SCRYPT_N", 2**4)
    phrase = tmp_path / "phrase"
    phrase.write_bytes(PHRASE + b"\n")

    def run(*words: object, pin: str = "12345678", file: Path = phrase) -> tuple[int, str, str]:
        sealed = ["-passphrasefile", str(file)] if words[0] in ("export", "import") and "-k8s" not in words else []
        status = main([*map(str, words), "-sopin", pin, *sealed])
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def enabled(home: Home, mrhsm: Run) -> Home:
    home.legacy(dare=DARE_BYTES.hex().encode())
    home.token()
    assert mrhsm("enable", "-dare")[0] == 0
    return home


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Another node, on which commands run from now on when a test asks for it."""
    made = Home(tmp_path / "other")
    made.conf.mkdir(parents=True)
    (made.path / "logs").mkdir()
    (made.conf / "mapr-clusters.conf").write_text(f"{CLUSTER} secure=true node1:7222\n")
    return made


def files(home: Home) -> dict[str, bytes]:
    """Return what the directory holds for every node."""
    root = home.config.tokens_dir
    names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return {name: (root / name).read_bytes() for name in names if archive.belongs(name)}


def failed(run: tuple[int, str, str]) -> str:
    status, out, err = run
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    return err


def test_another_node_has_it_all(
    mrhsm: Run, enabled: Home, other: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "archive"
    assert mrhsm("export", file) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secrets = [content for name, content in files(enabled).items() if name.endswith("user.pin")]
    assert all(secret.split(b"\n")[1] not in file.read_bytes() for secret in secrets)
    monkeypatch.setenv("MAPR_HOME", str(other.path))
    (entry,) = entries.load(enabled.directory)
    assert mrhsm("import", file) == (0, f"Imported token {entry.serial} (MapRHSM), generation {entry.generation}\n", "")
    assert files(other) == files(enabled)
    assert stat.S_IMODE((other.config.tokens_dir / entry.serial / "user.pin").stat().st_mode) == 0o400
    assert main(["info", "-file"]) == 0
    assert mrhsm("enable", "-dare")[0] == 0


def test_owner_is_that_of_the_other_node(
    mrhsm: Run, enabled: Home, other: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(enabled.config.tokens_dir)
    os.chown(enabled.conf, 2, 2)  # a user that Linux hosts have: bin
    assert mrhsm("init", "-label", "t", "-storetype", "file")[0] == 0
    assert mrhsm("export", tmp_path / "archive")[0] == 0
    monkeypatch.setenv("MAPR_HOME", str(other.path))
    assert mrhsm("import", tmp_path / "archive")[0] == 0
    for path in (other.config.tokens_dir, *other.config.tokens_dir.rglob("*")):
        assert (path.stat().st_uid, path.stat().st_gid) == (2, 2), path


def test_a_newer_directory_is_not_overwritten(mrhsm: Run, enabled: Home, tmp_path: Path) -> None:
    file = tmp_path / "archive"
    mrhsm("export", file)
    old = files(enabled)
    assert mrhsm("rekey", "core")[0] == 0
    before = files(enabled)
    assert "is newer here, generation" in failed(mrhsm("import", file))
    assert files(enabled) == before
    shutil.rmtree(enabled.config.tokens_dir)
    assert mrhsm("import", file)[0] == 0  # nothing is left that would know better
    assert files(enabled) == old


def test_older_is_taken_over_when_asked_for(mrhsm: Run, enabled: Home, tmp_path: Path) -> None:
    file = tmp_path / "archive"
    mrhsm("export", file)
    old = files(enabled)
    mrhsm("rekey", "core")
    assert mrhsm("import", file, "-older")[0] == 0
    assert files(enabled) == old
    assert mrhsm("userpin")[0] == 0
    assert "is newer here" in failed(mrhsm("import", file))  # the user PIN is
    assert mrhsm("import", file, "-older")[0] == 0
    assert files(enabled) == old


def test_tokens_that_the_archive_does_not_hold_stay(mrhsm: Run, enabled: Home, tmp_path: Path) -> None:
    file = tmp_path / "archive"
    mrhsm("export", file)
    enabled.token("kmip", "second")
    assert mrhsm("import", file, "-token", "MapRHSM")[0] == 0
    assert [entry.label for entry in entries.load(enabled.directory)] == ["MapRHSM", "second"]


def test_a_damaged_directory_is_replaced_and_a_copy_kept(mrhsm: Run, enabled: Home, tmp_path: Path) -> None:
    file = tmp_path / "archive"
    mrhsm("export", file)
    old = files(enabled)
    (enabled.config.tokens_dir / "mrhsm.conf").write_bytes(b"damage")
    assert mrhsm("import", file)[0] == 0
    assert files(enabled) == old
    assert (enabled.config.tokens_dir / "mrhsm.conf.damaged").read_bytes() == b"damage"


def test_refused(mrhsm: Run, enabled: Home, tmp_path: Path) -> None:
    file, wrong, short = tmp_path / "archive", tmp_path / "wrong", tmp_path / "short"
    wrong.write_bytes(b"wrong phrase\n")
    short.write_bytes(b"seven..\n")
    assert "at least 8" in failed(mrhsm("export", file, file=short))
    assert not file.exists()
    assert failed(mrhsm("export", file, pin="87654321")) == "The SO PIN is incorrect\n"
    mrhsm("export", file)
    before, content = files(enabled), file.read_bytes()
    assert "exists already" in failed(mrhsm("export", file))
    assert file.read_bytes() == content
    assert "cannot be written" in failed(mrhsm("export", tmp_path / "none" / "archive"))
    assert failed(mrhsm("import", file, pin="87654321")) == "The SO PIN is incorrect\n"
    assert "pass phrase is not the one" in failed(mrhsm("import", file, file=wrong))
    assert "cannot be read" in failed(mrhsm("import", tmp_path / "none"))
    for damage in (b"", b"{}", content[:-1], content[:100], content[:-1] + b"\0", b"x" + content, bytes(5000)):
        file.write_bytes(damage)
        assert failed(mrhsm("import", file))
    assert files(enabled) == before


@pytest.mark.parametrize(
    "name", ["../x", "0" * 16 + "/../x", "0" * 16 + "/.lock", "other.conf", "0" * 16 + "/node-1.json"]
)
def test_an_archive_of_something_else_is_refused(name: str) -> None:
    packed = archive.Archive(
        "mapr",
        "mapr",
        (archive.PackedFile("mrhsm.conf", 0o600, Secret(b"x")), archive.PackedFile(name, 0o600, Secret(b"x"))),
    )
    assert archive.unseal(archive.seal(archive.Archive("a", "b", packed.files[:1]), Secret(PHRASE)), Secret(PHRASE))
    with pytest.raises(archive.ArchiveRefused, match="something else"):
        archive.unseal(archive.seal(packed, Secret(PHRASE)), Secret(PHRASE))


def test_what_another_so_signed_is_refused(mrhsm: Run, enabled: Home, tmp_path: Path) -> None:
    file = tmp_path / "archive"
    mrhsm("export", file)
    opened = archive.unseal(file.read_bytes(), Secret(PHRASE))
    content = opened.content("mrhsm.conf")
    assert content is not None
    forged = content.reveal().replace(b'"label": "MapRHSM"', b'"label": "MapRHSX"')
    import hashlib
    import json

    document = json.loads(forged)
    document["sha256"] = hashlib.sha256(
        json.dumps(document["tokens"], sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
    changed = [
        archive.PackedFile(one.name, one.mode, Secret(json.dumps(document).encode()))
        if one.name == "mrhsm.conf"
        else one
        for one in opened.files
    ]
    file.write_bytes(archive.seal(archive.Archive("root", "root", tuple(changed)), Secret(PHRASE)))
    assert "the signature is not the SO's" in failed(mrhsm("import", file))


def test_kubernetes(mrhsm: Run, enabled: Home, tmp_path: Path) -> None:
    status, out, err = mrhsm("export", "-k8s", "hsmconfig-my.cluster.com")
    assert status == 0
    assert err.startswith("The manifest is not encrypted")
    head, _, content = out.partition("  MAPR_KMIP: ")
    assert head == (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: hsmconfig-my.cluster.com\n  namespace: hpe-secure\n"
        "type: Opaque\ndata:\n"
    )
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(content, validate=False))) as tar:
        unpacked = {one.name: one for one in tar.getmembers()}
        plain = {name: tar.extractfile(one).read() for name, one in unpacked.items() if one.isfile()}  # type: ignore[union-attr]
    assert plain == {f"tokens/{name}": content for name, content in files(enabled).items()}
    (serial,) = [entry.serial for entry in entries.load(enabled.directory)]
    assert unpacked[f"tokens/{serial}/user.pin"].mode == 0o400
    assert unpacked[f"tokens/{serial}"].isdir()
    assert mrhsm("export", tmp_path / "secret.yaml", "-k8s", "x")[0] == 0
    assert stat.S_IMODE((tmp_path / "secret.yaml").stat().st_mode) == 0o600
    for name in ("", "Upper", "-x", "x_y", "x" * 254):
        assert "Kubernetes Secret" in failed(mrhsm("export", "-k8s", name))


@pytest.fixture
def with_a_key_manager(
    home: Home, mrhsm: Run, make_appliance: Callable[..., Appliance], monkeypatch: pytest.MonkeyPatch
) -> Home:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    home.legacy(dare=DARE_BYTES.hex().encode())
    home.token("kmip", connection=make_appliance().connection())
    assert mrhsm("enable", "-dare")[0] == 0
    return home


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fixture", "fresh"),
    [("enabled", True), ("enabled", False), ("with_a_key_manager", False)],
    ids=["new node", "older node", "older node of a key manager"],
)
def test_an_import_that_is_killed_is_finished_by_the_next(
    request: pytest.FixtureRequest,
    mrhsm: Run,
    fixture: str,
    other: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh: bool,
) -> None:
    enabled: Home = request.getfixturevalue(fixture)
    if not fresh:
        shutil.copytree(enabled.config.tokens_dir, other.config.tokens_dir)
        mrhsm("userpin")
        mrhsm("rekey", "core")
    file = tmp_path / "archive"
    mrhsm("export", file)
    monkeypatch.setenv("MAPR_HOME", str(other.path))
    before = tmp_path / "before"
    if not fresh:
        shutil.copytree(other.config.tokens_dir, before)
    phrase = str(tmp_path / "phrase")

    def check(_step: int) -> None:
        present = entries.load(other.directory)
        if present:  # services log in whatever has been written
            pin = tokens.read_pin_file(other.directory, present[0])
            assert pin is not None
            opened = setup.login_user(other.directory, present[0], pin, other.config, from_file=True)
            assert opened.settings.cluster is not None
            assert_unwraps(other)
        assert mrhsm("import", file)[0] == 0
        assert files(other) == files(enabled)
        assert_unwraps(other)
        shutil.rmtree(other.config.tokens_dir)
        if not fresh:
            shutil.copytree(before, other.config.tokens_dir)

    words = ["import", str(file), "-sopin", "12345678", "-passphrasefile", phrase]
    steps = run_all_killed(lambda: main(words), check, CHANGES)
    print(f"\nimport: killed at {steps} points, survived all")
    assert steps > 10


def assert_unwraps(home: Home) -> None:
    """The CLDB key opens under the KEK that is recorded with it, wherever that is."""
    so = home.login()
    record = so.settings.cluster
    assert record is not None
    assert record.core_kek is not None
    assert record.cldb is not None
    with stores.open_keys(so, home.config) as keys:
        core = keys.read(record.core_kek.uid)
    assert blob.decrypt(core, record.cldb.encrypted, record.cldb.checksum, "CLDB key").reveal() == CLDB_BYTES
