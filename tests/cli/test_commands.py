"""Whole commands on the file store, good and bad, in one process."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Certificates
from fix_cluster import CLDB_BYTES, DARE_BYTES, Home

from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import blob
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries, files, tokens

pytestmark = pytest.mark.usefixtures("home", "quick_pins")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mrhsm(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object, sopin: str = "12345678") -> tuple[int, str, str]:
        pin = ["-sopin", sopin] if words[0] in ("init", "set", "enable", "rekey", "remove", "userpin") and sopin else []
        status = main([*map(str, words), *pin])
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


def failed(run: tuple[int, str, str]) -> str:
    """Return the one sentence of a command that failed and printed nothing else."""
    status, out, err = run
    assert status == 1
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.rstrip("\n")


def snapshot(home: Home) -> dict[str, bytes]:
    """Return the token directory's files, without what a node counts for itself."""
    return {
        str(path.relative_to(home.conf)): path.read_bytes()
        for path in home.config.tokens_dir.rglob("*")
        if path.is_file() and not path.name.startswith((".", "node-"))
    }


def test_the_way_of_the_manual(mrhsm: Run, home: Home) -> None:
    home.legacy(dare=DARE_BYTES.hex().encode())
    assert mrhsm("init", "-label", "Utimaco ESKM", "-storetype", "file") == (0, "", "")
    (entry,) = entries.load(home.directory)
    status, out, err = mrhsm("enable", "-dare")
    assert (status, err) == (0, "")
    checksums = [blob.checksum(Secret(key)) for key in (CLDB_BYTES, DARE_BYTES)]
    assert f"SHA-256 checksum for CLDB key is {checksums[0]}\nSuccessfully set encrypted CLDB key in KMIP" in out
    assert f"SHA-256 checksum for DARE key is {checksums[1]}\nSuccessfully set encrypted DARE key in KMIP" in out
    assert f"cldb.key and DARE master key dare.master.key in {home.conf}\nare no longer used." in out
    status, out, _ = mrhsm("info")
    assert out.startswith("Available slots:\nSlot ")
    assert f"\n\nDisplaying information for file token with serial {entry.serial}\nFile Store Conf" in out
    assert all(checksum in out for checksum in checksums)
    assert out.endswith("Enabled             : Yes\n")
    assert (home.conf / "cldb.key").exists()  # left to the operator


def test_the_blobs_beside_the_token_are_the_recorded_ones(mrhsm: Run, home: Home) -> None:
    home.legacy()
    mrhsm("init", "-label", "t", "-storetype", "file")
    mrhsm("enable")
    so = home.login()
    record = so.settings.cluster
    assert record is not None
    assert record.cldb is not None
    file = home.config.tokens_dir / so.entry.serial / "cldb.key.enc"
    assert file.read_bytes() == record.cldb.encrypted
    assert not file.with_name("dare.master.key.enc").exists()


def test_a_fresh_cluster_without_dare(mrhsm: Run, home: Home) -> None:
    mrhsm("init", "-label", "t", "-storetype", "file")
    status, out, _ = mrhsm("enable")
    assert status == 0
    assert "Successfully generated CLDB key, UUID " in out
    assert "DARE" not in out
    assert "DARE :" not in mrhsm("info", "-file")[1]
    assert "Successfully generated DARE key" in mrhsm("enable", "-dare")[1]


def test_an_empty_dare_key_is_only_a_marker(mrhsm: Run, home: Home) -> None:
    home.legacy(dare=b"")
    mrhsm("init", "-label", "t", "-storetype", "file")
    status, out, _ = mrhsm("enable")
    assert status == 0
    assert "dare.master.key" not in out


def test_set_may_be_repeated_with_subsets(mrhsm: Run, home: Home, certificates: Certificates) -> None:
    mrhsm("init", "-label", "t")
    assert mrhsm("set", "-ip", "12.1.78.164,12.1.78.165") == (0, "", "")
    assert mrhsm("set", "-cacert", certificates.ca, "-kmipversion", "1.4") == (0, "", "")
    assert mrhsm("set", "-clientcert", certificates.certificate(), "-clientkey", certificates.key())[0] == 0
    connection = home.login().settings.connection
    assert connection.addresses == ("12.1.78.164", "12.1.78.165")
    assert (connection.port, connection.kmip_version) == (5696, "1.4")
    assert connection.client_key == Secret(certificates.key().read_bytes())
    assert mrhsm("remove", "-ip", "-kmipversion") == (0, "", "")
    connection = home.login().settings.connection
    assert (connection.addresses, connection.kmip_version) == ((), "1.1")


def test_relative_paths(mrhsm: Run, home: Home, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(certificates.folder)
    assert mrhsm("init", "-label", "t", "-cacert", "ca.pem", "-port", "7777") == (0, "", "")
    assert home.login().settings.connection.ca_certificate == certificates.ca.read_bytes()


def test_files_belong_to_the_owner_of_the_directory_and_are_private(mrhsm: Run, home: Home) -> None:
    os.chown(home.conf, 12345, 12345)
    mrhsm("init", "-label", "t", "-storetype", "file")
    mrhsm("enable")
    for path in (home.config.tokens_dir, *home.config.tokens_dir.rglob("*")):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (12345, 12345), path
        assert stat.S_IMODE(status.st_mode) & 0o077 == 0, path


def test_init_with_a_pin_of_ones_own(mrhsm: Run, home: Home, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_bytes(b"chosen pin \r\nsecond line\n")
    assert mrhsm("init", "-label", "t", "-userpinfile", pin)[0] == 0
    (entry,) = entries.load(home.directory)
    kept = tokens.read_pin_file(home.directory, entry)
    assert kept == Secret(b"chosen pin ")
    assert mrhsm("init", "-label", "u", "-userpin", "abcd", "-nopinfile")[0] == 0
    assert tokens.read_pin_file(home.directory, entries.load(home.directory)[1]) is None


def test_sopin_from_a_file_and_from_standard_input(mrhsm: Run, home: Home, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_bytes(b"12345678\n")
    home.token("kmip")
    assert mrhsm("set", "-port", "1", "-sopinfile", pin, sopin="")[0] == 0
    assert "cannot read" in failed(mrhsm("set", "-port", "1", "-sopinfile", tmp_path / "none", sopin=""))
    assert main(["sopin", "-oldsopin", "12345678", "-newsopin", "abcd"]) == 0
    assert mrhsm("set", "-port", "1", sopin="abcd")[0] == 0


def test_userpin(mrhsm: Run, home: Home, tmp_path: Path) -> None:
    home.legacy()
    home.token()
    mrhsm("enable")
    file = tmp_path / "pin"
    file.write_bytes(b"chosen one\n")

    def kept() -> Secret | None:
        return tokens.read_pin_file(home.directory, entries.load(home.directory)[0])

    first, record = kept(), home.login().settings.cluster
    assert mrhsm("userpin") == (0, "New user PIN is set successfully\n", "")
    second = kept()
    assert second not in (None, first)
    assert mrhsm("userpin", "-userpinfile", file)[0] == 0
    assert kept() == Secret(b"chosen one")
    assert mrhsm("userpin", "-userpin", "another", "-nopinfile")[0] == 0
    assert kept() is None
    entry = entries.load(home.directory)[0]
    assert tokens.login_user(home.directory, entry, Secret(b"another")).settings.cluster == record
    before = snapshot(home)
    assert failed(mrhsm("userpin", sopin="wrong")) == "The SO PIN is incorrect"
    assert "this one has 3" in failed(mrhsm("userpin", "-userpin", "abc"))
    assert snapshot(home) == before


def test_sopin_from_files(mrhsm: Run, home: Home, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"12345678\n")
    new.write_bytes("пароль ünd 密码\n".encode())
    home.token()
    assert mrhsm("sopin", "-oldsopinfile", old, "-newsopinfile", new)[0] == 0
    assert mrhsm("userpin", "-sopinfile", new, sopin="")[0] == 0
    assert mrhsm("sopin", "-oldsopinfile", new, "-newsopin", "x" * 255)[0] == 0
    assert mrhsm("userpin", sopin="x" * 255)[0] == 0
    status, _, err = mrhsm("sopin", "-oldsopinfile", "-", "-newsopinfile", "-")
    assert (status, err) == (2, "-oldsopinfile and -newsopinfile: standard input gives one PIN\n")


# ---- refused


def test_before_init(mrhsm: Run, home: Home) -> None:
    for words in (["set", "-ip", "1.2.3.4"], ["enable"], ["info", "-config"], ["remove", "-ip"]):
        assert failed(mrhsm(*words)) == "There is no token yet: run mrhsm init first"
    assert not home.config.tokens_dir.exists()


def test_init_again_names_set(mrhsm: Run, home: Home) -> None:
    mrhsm("init", "-label", "t")
    before = snapshot(home)
    assert "'t' exists already" in failed(mrhsm("init", "-label", "t"))
    assert "mrhsm set" in failed(mrhsm("init", "-label", "t"))
    assert snapshot(home) == before


@pytest.mark.parametrize(("label", "length"), [("", 0), ("x" * 33, 33), ("ü" * 17, 34)])
def test_labels_are_never_cut(mrhsm: Run, home: Home, label: str, length: int) -> None:
    assert f"{length} bytes" in failed(mrhsm("init", "-label", label))
    assert not home.config.tokens_dir.exists()


@pytest.mark.parametrize("pin", ["123", "x" * 256])
def test_short_and_long_pins(mrhsm: Run, home: Home, pin: str) -> None:
    assert f"this one has {len(pin)}" in failed(mrhsm("init", "-label", "t", sopin=pin))
    assert "user PIN must have" in failed(mrhsm("init", "-label", "t", "-userpin", pin))
    assert entries.load(home.directory) == ()


def test_wrong_pin_changes_nothing(mrhsm: Run, home: Home) -> None:
    home.legacy()
    home.token()
    before = snapshot(home)
    for words in (["set", "-port", "1"], ["enable"], ["remove", "-port"]):
        assert failed(mrhsm(*words, sopin="87654321")) == "The SO PIN is incorrect"
    assert snapshot(home) == before


def test_several_tokens_want_a_choice(mrhsm: Run, home: Home) -> None:
    first, second = home.token("kmip", "one"), home.token("kmip", "two")
    told = failed(mrhsm("set", "-port", "1"))
    assert "-token" in told
    assert f"{first.entry.serial} (one), {second.entry.serial} (two)" in told
    assert "no token has 'three'" in failed(mrhsm("set", "-port", "1", "-token", "three"))
    assert mrhsm("set", "-port", "11", "-token", "two")[0] == 0
    assert mrhsm("set", "-port", "12", "-token", first.entry.serial)[0] == 0
    directory = home.directory
    ports = [tokens.login_so(directory, entry, Secret(b"12345678")).settings for entry in entries.load(directory)]
    assert [settings.connection.port for settings in ports] == [12, 11]
    assert mrhsm("info", "-slots")[1].count("\nSlot ") == 2
    assert mrhsm("info")[1].count("KMIP Configuration Version") == 2


def test_enable_says_what_is_missing(mrhsm: Run, home: Home, certificates: Certificates) -> None:
    home.token("kmip")
    told = failed(mrhsm("enable"))
    assert told == "Not configured yet: -ip, -cacert, -clientcert, -clientkey; give what is missing to mrhsm set first"
    mrhsm("set", "-ip", "127.0.0.1", "-cacert", certificates.ca)
    assert failed(mrhsm("enable")).startswith("Not configured yet: -clientcert, -clientkey; ")


def test_bad_files_and_values_leave_the_settings_alone(mrhsm: Run, home: Home, certificates: Certificates) -> None:
    home.token("kmip")
    before = snapshot(home)
    for words, says in (
        (["-cacert", "/none/ca.pem"], "cannot read the CA certificate /none/ca.pem: No such file or directory"),
        (["-clientkey", certificates.key("client-encrypted")], "is encrypted"),
        (["-clientcert", certificates.certificate("client-expired")], "expired on"),
        (["-port", "70000"], "from 1 to 65535"),
        (["-kmipversion", "3.0"], "1.0, 1.1, 1.2, 1.3, 1.4"),
        (["-ip", "1.2.3.4,"], "empty"),
        (["-active", "false"], "nothing is enabled yet"),
        (["-active", "true"], "run mrhsm enable"),
    ):
        assert says.lower() in failed(mrhsm("set", *words)).lower()
    assert snapshot(home) == before


def test_the_file_store_cannot_be_disabled(mrhsm: Run, home: Home) -> None:
    home.token()
    mrhsm("enable")
    before = snapshot(home)
    for command in ("set", "enable"):
        assert failed(mrhsm(command, "-active", "false")).endswith("the file store cannot be disabled")
    assert snapshot(home) == before
    assert mrhsm("set", "-active", "true")[0] == 0


def test_the_store_stays_once_it_has_cluster_keys(mrhsm: Run, home: Home) -> None:
    home.token("kmip")
    assert mrhsm("set", "-storetype", "file")[0] == 0
    mrhsm("enable")
    assert "mrhsm init -storetype kmip" in failed(mrhsm("set", "-storetype", "kmip"))


def test_another_cluster_name_is_refused(mrhsm: Run, home: Home) -> None:
    home.token()
    mrhsm("enable")
    (home.conf / "mapr-clusters.conf").write_text("other.cluster n1:7222\n")
    assert "holds the keys of cluster my.cluster.com" in failed(mrhsm("enable"))
    (home.conf / "mapr-clusters.conf").unlink()
    assert "mapr-clusters.conf: No such file" in failed(mrhsm("enable"))


def test_a_bad_legacy_key_is_refused_before_anything_is_made(mrhsm: Run, home: Home) -> None:
    home.legacy(cldb=b"too short")
    home.token()
    before = snapshot(home)
    status, _, err = mrhsm("enable")
    assert status == 1
    assert "cldb.key is not a CLDB key: it holds 9 bytes" in err
    assert snapshot(home) == before


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def edited(content: bytes) -> bytes:
    document = json.loads(content)
    document["tokens"][0]["label"] = "another"
    return json.dumps(document).encode()


@pytest.mark.parametrize("damage", [cut, edited, lambda _: b"", lambda _: b"\x00" * 100])
def test_damaged_mrhsm_conf_is_named_and_left_untouched(
    mrhsm: Run, home: Home, damage: Callable[[bytes], bytes]
) -> None:
    home.token()
    path = home.config.tokens_dir / "mrhsm.conf"
    path.write_bytes(damage(path.read_bytes()))
    before = snapshot(home)
    for words in (["info"], ["set", "-port", "1"], ["enable"], ["init", "-label", "u"]):
        told = failed(mrhsm(*words))
        assert f"{path} is damaged and was left untouched" in told
    assert snapshot(home) == before


def test_full_disk_keeps_the_old_file(mrhsm: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.token("kmip")
    before = snapshot(home)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "write", full)
        told = failed(mrhsm("set", "-port", "1"))
    assert told.endswith("cannot be saved, nothing was changed: No space left on device")
    assert snapshot(home) == before
    assert mrhsm("set", "-port", "1")[0] == 0


def test_a_missing_home_is_named(mrhsm: Run, home: Home) -> None:
    shutil.rmtree(home.path)
    assert f"{home.conf} is not there" in failed(mrhsm("init", "-label", "t"))


def test_info_without_a_home_says_so(mrhsm: Run, home: Home) -> None:
    shutil.rmtree(home.path)
    status, out, err = mrhsm("info")
    assert (status, err) == (0, f"{home.conf} is not there: is MAPR_HOME set as it should be?\n")
    assert "Slot 0\n" in out


def test_wrong_settings_file_is_named(mrhsm: Run, home: Home) -> None:
    (home.conf / "maprhsm.conf").write_text("\nnonsense = 1\n")
    assert "maprhsm.conf, line 2: unknown setting 'nonsense'" in failed(mrhsm("info"))


def test_another_command_at_work(mrhsm: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.token()
    monkeypatch.setattr(files.TokenDirectory.lock.__wrapped__, "__defaults__", (0.1,))  # type: ignore[attr-defined]
    with files.TokenDirectory(home.config.tokens_dir).lock():
        assert "Another process is changing" in failed(mrhsm("set", "-port", "1"))


def test_faults_of_ours_are_logged_not_shown(mrhsm: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> object:
        raise ZeroDivisionError("secret " + "text")

    monkeypatch.setattr(entries, "load", broken)
    assert failed(mrhsm("info")) == "Internal error (ZeroDivisionError): the log says more"
    logged = (home.path / "logs" / "mrhsm.log").read_text()
    assert "ZeroDivisionError" in logged
    assert "in broken" in logged
    assert "secret text" not in logged


def test_kmip_and_file_sections_point_at_each_other(mrhsm: Run, home: Home) -> None:
    home.token()
    assert "see mrhsm info -file" in failed(mrhsm("info", "-kmip"))
    assert "see mrhsm info -file" in failed(mrhsm("info", "-config"))


def test_path_is_the_library_in_the_package(mrhsm: Run) -> None:
    status, out, err = mrhsm("path")
    if status:
        assert "libmrhsm_p11.so is not there" in err
    else:
        assert Path(out.strip()).is_absolute()
        assert Path(out.strip()).name == "libmrhsm_p11.so"
        assert Path(out.strip()).is_file()
