"""OpenSSL's configuration of the host loads the library as an engine, while the library itself uses OpenSSL."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Appliance
from fix_host_token import MakeHostToken
from fix_native import ISOLATED, Host

from mrhsm_p11.constants import CKR

REFUSED = f"engine: initialize 0x{CKR.FUNCTION_FAILED:x}"
SETTINGS = """openssl_conf = all
[all]
engines = engines
[engines]
one = one
[one]
engine_id = {name}
dynamic_path = {engine}
{more}
"""
UNSTARTED = [f"child: {call} 0x{CKR.CRYPTOKI_NOT_INITIALIZED:x}" for call in ("info", "slots")]


@pytest.fixture
def configure(tmp_path: Path, library_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write OpenSSL's configuration and name it, and the library, to every host."""

    def write(name: str, engine: Path, more: str) -> None:
        file = tmp_path / "openssl.cnf"
        file.write_text(SETTINGS.format(name=name, engine=engine, more=more))
        monkeypatch.setenv("OPENSSL_CONF", str(file))
        monkeypatch.setenv("ENGINE_USES", str(library_path))

    return write


@pytest.fixture
def libp11() -> Path:
    found = sorted(Path("/usr/lib").glob("*/engines-3/pkcs11.so"))
    if not found:
        pytest.skip("libp11's engine is not installed (Debian: libengine-pkcs11-openssl)")
    return found[0]


def used(host: Host) -> list[str]:
    """Use the token in a C host, before a fork, in the child and after; return what engines said."""
    ended = host("forked")
    assert ended.returncode == 0, ended
    answers = ended.stdout.splitlines()
    assert [line for line in answers if not line.endswith((" 0x0", "ended 0"))] == UNSTARTED
    assert answers.count("use 0x0") == 3
    assert "child: use 0x0" in answers
    return ended.stderr.splitlines()


@pytest.mark.parametrize("store", ["file", "kmip"])
def test_an_engine_that_calls_back_is_refused(
    host: Host,
    make_host_token: MakeHostToken,
    compiled: Callable[[str], Path],
    configure: Callable[..., None],
    store: str,
) -> None:
    make_host_token(store)
    configure("reentrant", compiled("engine.so"), "")
    said = used(host)
    assert set(said) <= {REFUSED}, said
    assert said or store == "file" or ISOLATED  # the one needs no OpenSSL of the system, the other has no stderr


@pytest.mark.parametrize("init", [0, 1])
def test_libp11_configured_for_the_host_is_no_trouble(
    host: Host,
    make_host_token: MakeHostToken,
    libp11: Path,
    library_path: Path,
    configure: Callable[..., None],
    init: int,
) -> None:
    make_host_token("kmip")
    configure("pkcs11", libp11, f"MODULE_PATH = {library_path}\ninit = {init}")
    used(host)


def openssl(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("openssl")
    if not program:
        pytest.skip("openssl is not installed")
    return subprocess.run([program, *words], check=False, capture_output=True, text=True, timeout=60, env=os.environ)


@pytest.mark.parametrize("store", ["file", "kmip"])
def test_the_library_starts_while_openssl_reads_its_configuration(
    make_host_token: MakeHostToken, compiled: Callable[[str], Path], configure: Callable[..., None], store: str
) -> None:
    make_host_token(store)
    configure("reentrant", compiled("engine.so"), "")
    ended = openssl("rand", "-hex", "4")
    assert ended.returncode == 0, ended
    assert ended.stderr.splitlines() == [f"engine: {step} 0x0" for step in ("initialize", "use", "finalize")]


def test_openssl_signs_with_a_key_of_the_key_manager_through_an_engine_begun_at_once(
    make_host_token: MakeHostToken,
    make_appliance: Callable[..., Appliance],
    libp11: Path,
    library_path: Path,
    configure: Callable[..., None],
    tmp_path: Path,
) -> None:
    """At an appliance of its own: libp11 0.4.12 finds no key at all where one is of a type that it does not know."""
    tool = shutil.which("pkcs11-tool")
    if not tool:
        pytest.skip("pkcs11-tool is not installed")
    make_host_token("kmip", at=make_appliance())
    command = [tool, "--module", library_path, "--login", "--keypairgen", "--key-type", "EC:prime256v1"]
    subprocess.run([*command, "--label", "reentry", "--id", "77"], check=True, capture_output=True, timeout=60)
    configure("pkcs11", libp11, f"MODULE_PATH = {library_path}\ninit = 1")
    (tmp_path / "text").write_text("what is signed")
    name = "pkcs11:object=reentry;type="
    engine = ("-engine", "pkcs11", "-keyform", "engine")
    signed = openssl(
        "dgst", "-sha256", *engine, "-sign", f"{name}private", "-out", f"{tmp_path}/sig", f"{tmp_path}/text"
    )
    assert signed.returncode == 0, signed.stderr
    verify = ("-verify", f"{name}public", "-signature", f"{tmp_path}/sig", f"{tmp_path}/text")
    verified = openssl("dgst", "-sha256", *engine, *verify)
    assert verified.stdout == "Verified OK\n", verified
