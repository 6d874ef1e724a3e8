"""A user name and its password beside the certificate: asked for, kept sealed, sent, refused, and told to nobody."""

from __future__ import annotations

import base64
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from fix_appliance import Appliance, Certificates, StockAppliance
from fix_cluster import SO_PIN, Home

from mrhsm_p11.cli.main import main
from mrhsm_p11.cluster import archive, beginning
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.settings import Connection

pytestmark = pytest.mark.usefixtures("home", "quick_pins", "quick_disk")
Run = Callable[..., tuple[int, str, str]]
NAME, PASSWORD = "näme of mine", "pässwörd: 5%, 'quoted' and long"
PATIENCE = "[network]\ndeadline_seconds = 60\nconnect_seconds = 30\n"
SOPIN = ("-sopin", SO_PIN.reveal().decode())


@pytest.fixture
def mrhsm(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(beginning, "SETTLE_S", 0.0)
    monkeypatch.setattr(archive, "SCRYPT_N", 2**4)

    def run(*words: object) -> tuple[int, str, str]:
        status = main([*map(str, words), *(() if words[0] in ("info", "doctor") else SOPIN)])
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> object:
    """An appliance that asks for a user name and a password with every request."""
    folder = tmp_path_factory.mktemp("demanding")
    users = folder / "users"
    users.write_text(f"somebody:else\n{NAME}:{PASSWORD}\n")
    server = Appliance(folder, certificates, users=users)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def token(home: Home, demanding: Appliance, tmp_path: Path) -> Home:
    (home.conf / "mapr-clusters.conf").write_text(f"user-{tmp_path.name} n1:7222\n")
    (home.conf / "maprhsm.conf").write_text(f'{PATIENCE}[log]\nlevel = "debug"\n')
    home.token("kmip", connection=demanding.connection())
    return home


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    return path


def connection(home: Home) -> Connection:
    return home.login().settings.connection


def state(mrhsm: Run) -> str:
    return next(line for line in mrhsm("info", "-config")[1].splitlines() if line.startswith("  IP 1 "))


def test_without_a_name_the_refusal_is_of_the_certificate(mrhsm: Run, token: Home) -> None:
    assert "does not accept our certificate: " in state(mrhsm)
    assert "mrhsm set -username" in mrhsm("doctor")[1]


def test_a_wrong_password_has_a_sentence_of_its_own(mrhsm: Run, token: Home, file: Path) -> None:
    file.write_text("wrong\n")
    assert mrhsm("set", "-username", NAME, "-passwordfile", file) == (0, "", "")
    said = f"does not accept the password of user '{NAME}', or that name with our certificate"
    assert said in state(mrhsm)
    assert said in mrhsm("enable")[2]
    assert "mrhsm set -username with the name and the password that the appliance knows" in mrhsm("doctor")[1]


def test_the_main_job_with_a_name_and_a_password(mrhsm: Run, token: Home, file: Path) -> None:
    assert mrhsm("set", "-username", NAME, "-passwordfile", file) == (0, "", "")
    assert state(mrhsm).endswith(" Active")
    assert mrhsm("enable")[0] == 0
    assert mrhsm("rekey", "core")[0] == 0
    status, out, _ = mrhsm("info", "-config", "-verbose")
    assert status == 0
    assert f"User name : {NAME}\n" in out
    assert PASSWORD not in out
    everywhere = b"".join(path.read_bytes() for path in token.path.rglob("*") if path.is_file())
    assert PASSWORD.encode() not in everywhere
    assert base64.b64encode(PASSWORD.encode()) not in everywhere
    assert b"kmip " in (token.path / "logs" / "mrhsm.log").read_bytes()


def test_the_support_archive_is_without_the_password(mrhsm: Run, token: Home, file: Path, tmp_path: Path) -> None:
    mrhsm("set", "-username", NAME, "-passwordfile", file)
    with (token.path / "logs" / "mrhsm.log").open("a") as log:
        log.write(f"somebody else logged {PASSWORD}\n")
    bundle = tmp_path / "bundle.tar.gz"
    mrhsm("doctor", "-bundle", bundle)
    with tarfile.open(bundle) as members:
        found = b"".join(members.extractfile(one).read() for one in members.getmembers())  # type: ignore[union-attr]
    assert f"user name {NAME}".encode() in found
    for spelling in (PASSWORD.encode(), PASSWORD.encode().hex().encode(), base64.b64encode(PASSWORD.encode())):
        assert spelling not in found


def test_export_and_import_carry_it(
    mrhsm: Run, token: Home, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mrhsm("set", "-username", NAME, "-passwordfile", file)
    phrase, packed = tmp_path / "phrase", tmp_path / "tokens.mrhsm"
    phrase.write_text("correct horse battery")
    assert mrhsm("export", packed, "-passphrasefile", phrase)[0] == 0
    other = Home(tmp_path / "other")
    (other.path / "conf").mkdir(parents=True)
    monkeypatch.setenv("MAPR_HOME", str(other.path))
    assert mrhsm("import", packed, "-passphrasefile", phrase)[0] == 0
    assert (connection(other).username, connection(other).password) == (NAME, Secret(PASSWORD.encode()))
    assert state(mrhsm).endswith(" Active")


def test_remove_takes_both_away(mrhsm: Run, token: Home, file: Path) -> None:
    mrhsm("set", "-username", NAME, "-passwordfile", file)
    assert mrhsm("remove", "-username") == (0, "", "")
    assert (connection(token).username, connection(token).password) == ("", None)


def test_a_server_that_takes_no_notice_is_no_harm(
    mrhsm: Run, home: Home, file: Path, stock_appliance: StockAppliance
) -> None:
    home.token("kmip", connection=stock_appliance.connection())
    file.write_text("in ASCII, which is all it can read\n")
    mrhsm("set", "-username", "me", "-passwordfile", file)
    assert state(mrhsm).endswith(" Active")


def test_a_name_may_go_without_a_password(mrhsm: Run, token: Home, file: Path) -> None:
    file.write_text("\n")
    assert mrhsm("set", "-username", NAME, "-passwordfile", file)[0] == 0
    assert (connection(token).username, connection(token).password) == (NAME, None)
    assert "does not accept the password" in state(mrhsm)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("-passwordfile", "/dev/null"), 2, "-passwordfile goes with -username"),
        (("-username", "", "-passwordfile", "/dev/null"), 1, "a user name has 1 to 255 printable characters"),
        (("-username", "x" * 256, "-passwordfile", "/dev/null"), 1, "1 to 255 printable characters"),
        (("-username", "a\nb", "-passwordfile", "/dev/null"), 1, "printable"),
        (("-username", NAME, "-passwordfile", "/nowhere"), 1, "-passwordfile: cannot read /nowhere"),
        (("-username", NAME, "-passwordfile", "-", "-sopinfile", "-"), 2, "standard input gives one"),
    ],
)
def test_what_cannot_be_meant(
    capfd: pytest.CaptureFixture[str], home: Home, words: tuple[str, ...], status: int, said: str
) -> None:
    home.token("kmip")
    assert main(["set", *words, *(() if "-sopinfile" in words else SOPIN)]) == status
    assert said in capfd.readouterr().err
    assert connection(home) == Connection()


def test_a_password_that_is_not_utf_8(mrhsm: Run, home: Home, file: Path) -> None:
    home.token("kmip")
    file.write_bytes(b"\xff\xfe\n")
    assert mrhsm("set", "-username", NAME, "-passwordfile", file)[2] == "The password of -username is not UTF-8\n"


def test_configure_takes_it_and_names_the_step_that_failed(
    home: Home, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home.token("kmip")
    words = ("configure", "-hsmsopin", SOPIN[1])
    assert main([*words, "-hsmusername", NAME, "-hsmpasswordfile", "/nowhere"]) == 4
    assert capfd.readouterr().err.startswith("Set: -passwordfile: cannot read /nowhere")
    assert main([*words, "-hsmpasswordfile", "/nowhere"]) == 2
    assert capfd.readouterr().err == "-hsmpasswordfile goes with -hsmusername\n"
    assert main([*words, "-hsmusername", NAME, "-hsmpasswordfile", str(file)]) == 4  # the rest is not configured
    assert connection(home).username == NAME


def test_it_is_asked_for_with_one_star_a_character(home: Home) -> None:
    home.token("kmip")
    child = pexpect.spawn(
        sys.executable, ["-m", "mrhsm_p11.cli.main", "set", "-username", "me"], encoding="utf-8", timeout=60
    )
    child.delaybeforesend = None
    child.expect_exact("Enter password of me: ")
    child.send(f"{PASSWORD}\r")
    child.expect_exact("*" * len(PASSWORD) + "\r\nEnter SO PIN: ")
    child.send(SO_PIN.reveal().decode() + "\r")
    child.expect(pexpect.EOF)
    assert child.wait() == 0
    assert (connection(home).username, connection(home).password) == ("me", Secret(PASSWORD.encode()))
