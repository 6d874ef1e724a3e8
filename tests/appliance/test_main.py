"""The command: what it refuses, prints, leaves behind, and how fast it ends."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fix_appliance import Appliance, Certificates
from kmip.core.enums import Operation
from raw_kmip import Connection, attribute, name

from mrhsm_p11.appliance import main
from mrhsm_p11.appliance.options import Options
from mrhsm_p11.errors import MrhsmError

COMMAND = [sys.executable, "-m", "mrhsm_p11.appliance.main"]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command and return it once it is ready; its lines so far are in `.printed`."""
    processes = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line.rstrip("\n"))
            if line.startswith("READY "):
                return process
        raise AssertionError(process.communicate()[1])

    printed: list[str] = []
    begin.printed = printed  # type: ignore[attr-defined]
    yield begin
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def refusal(*arguments: str, program: list[str] = COMMAND) -> str:
    command = [*program, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    return sentence


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "kms.example.net", ""])
def test_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(MrhsmError, match="is not a loopback address"):
        main.parse(["-host", host])


def test_refusals_are_one_sentence(tmp_path: Path) -> None:
    assert refusal("-host", "192.0.2.1") == (
        "mrhsm-appliance: 192.0.2.1 is not a loopback address, and a trial appliance listens on no other"
    )
    assert "KMIP version 1.7 is not one of 1.0" in refusal("-versions", "1.1,1.7")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "Address already in use" in refusal("-port", str(taken.getsockname()[1]))
    assert refusal("-store", "/nonexistent/store.sqlite") == (
        "mrhsm-appliance: cannot open the store /nonexistent/store.sqlite: No such file or directory"
    )
    assert "cannot read the users of /nonexistent" in refusal("-users", "/nonexistent")
    (tmp_path / "users").write_text("no password\n")
    assert "must hold lines of name:password" in refusal("-users", str(tmp_path / "users"))


def test_names_what_to_install() -> None:
    program = (
        "import sys; sys.modules['sqlalchemy'] = None; from mrhsm_p11.appliance import main; sys.exit(main.main())"
    )
    assert "pip install 'mrhsm-p11[appliance]'" in refusal(program=[sys.executable, "-c", program])


def test_every_option_has_help_and_a_field() -> None:
    assert main.HELP.keys() == {option.name for option in dataclasses.fields(Options)}
    parsed = main.parse(["-nine", "-versions", "1.1,1.2", "-refuseattributes", "x-", "-store", "s", "-idle", "1.5"])
    assert parsed == Options(nine=True, versions=("1.1", "1.2"), refuse_attributes=("x-",), store=Path("s"), idle=1.5)


def test_tells_where_everything_lies(start: Start, tmp_path: Path) -> None:
    start()
    printed = "\n".join(start.printed)  # type: ignore[attr-defined]
    assert "FOR TRIAL AND TESTS ONLY" in printed
    for label in ("CA certificate", "Client certificate", "Client private key"):
        (line,) = (line for line in printed.splitlines() if line.startswith(label))
        assert Path(line.split(": ")[1]).read_text().startswith("-----BEGIN")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_once_and_leaves_nothing(
    start: Start, tmp_path: Path, certificates: Certificates, number: signal.Signals
) -> None:
    process = start("-certs", str(certificates.folder))
    port = int(start.printed[-1].split()[2])  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir())
    with socket.create_connection(("127.0.0.1", port)):
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(5) == 0
        assert time.monotonic() - began < 1
    assert not list(tmp_path.iterdir())


def test_ends_with_its_parent(start: Start) -> None:
    process = start("-with-parent")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(5) == 0


def test_outlives_standard_input_unless_asked(start: Start) -> None:
    process = start()
    assert process.stdin is not None
    process.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)


def test_is_one_process(appliance: Appliance) -> None:
    assert appliance.process is not None
    pid = appliance.process.pid
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""


def test_keys_survive_restart_and_kill(make_appliance: Callable[..., Appliance]) -> None:
    server = make_appliance(nosync=False)
    with Connection(server) as client:
        uid = client.create(name("kept"), attribute("x-note", "kept"))
        client.act(Operation.ACTIVATE, uid)
        before = client.key(uid), client.attributes(uid)
    for end in (server.stop, server.kill):
        end()
        server.start()
        with Connection(server) as client:
            assert client.locate(name("kept")) == [uid]
            assert (client.key(uid), client.attributes(uid)) == before


def test_log_holds_operations_and_no_key(make_appliance: Callable[..., Appliance]) -> None:
    server = make_appliance()
    with Connection(server) as client:
        key = client.key(client.create())
    assert server.requests() == ["CREATE", "GET"]
    assert server.requests(skip=1) == ["GET"]
    log = server.log.read_text().lower()
    assert key.hex() not in log
    assert str(key).lower() not in log
