"""PINs typed on a real pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pexpect
import pytest
from fix_cluster import SO_PIN, Home

from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import entries, tokens

pytestmark = pytest.mark.usefixtures("home")
COMMAND = [sys.executable, "-m", "mrhsm_p11.cli.main"]
FIRST, AGAIN = "Enter SO PIN (4-255 characters): ", "Please reenter SO PIN: "
Spawn = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def mrhsm(home: Home) -> Spawn:
    def spawn(*words: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], *words], encoding="utf-8", timeout=20)
        child.delaybeforesend = None
        return child

    return spawn


def typed(child: pexpect.spawn[str], prompt: str, keys: str) -> None:
    child.expect_exact(prompt)
    child.send(keys)


def ended(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    child.expect(pexpect.EOF)
    return child.wait(), child.before or ""


def opens(home: Home, pin: bytes) -> bool:
    directory = home.directory
    (entry,) = entries.load(directory)
    return tokens.login_so(directory, entry, Secret(pin)).settings.store == "file"


def test_init_asks_twice_and_shows_one_star_a_character(mrhsm: Spawn, home: Home) -> None:
    child = mrhsm("init", "-label", "Utimaco ESKM", "-storetype", "file")
    typed(child, FIRST, "12345678\r")
    child.expect_exact("********\r\n" + AGAIN)
    child.send("12345678\r")
    status, shown = ended(child)
    assert (status, shown) == (0, "********\r\n")
    assert opens(home, b"12345678")


@pytest.mark.parametrize(
    ("keys", "pin"),
    [
        ("12x\x7f3x\x083\r", b"1233"),
        ("wrong\x15right\n", b"right"),
        ("\x7f\x7fpässwörd€\r", "pässwörd€".encode()),
        ("a b\tc$'\"\\\r", b"a bc$'\"\\"),
        ("abcd\x1a\x1c\r", b"abcd"),
    ],
    ids=["backspace", "kill line", "utf-8", "specials", "no signals"],
)
def test_line_editing(mrhsm: Spawn, home: Home, keys: str, pin: bytes) -> None:
    child = mrhsm("init", "-label", "t", "-storetype", "file")
    typed(child, FIRST, keys)
    typed(child, AGAIN, keys)
    status, shown = ended(child)
    assert status == 0
    assert set(shown) <= set("*\b \r\n")
    assert opens(home, pin)


def test_backspace_rubs_out_one_star_even_of_a_long_character(mrhsm: Spawn) -> None:
    child = mrhsm("init", "-label", "t", "-storetype", "file")
    typed(child, FIRST, "12€\x7f3\r")
    child.expect_exact("***\b \b*\r\n")
    assert ended(child)[0] == 1  # 123 is too short


def test_differing_pins_change_nothing(mrhsm: Spawn, home: Home) -> None:
    child = mrhsm("init", "-label", "t")
    typed(child, FIRST, "12345678\r")
    typed(child, AGAIN, "12345679\r")
    status, shown = ended(child)
    assert status == 1
    assert shown.endswith("The two entries of the SO PIN differ: nothing was changed\r\n")
    assert not home.config.tokens_dir.exists()


@pytest.mark.parametrize(("pin", "length"), [("", 0), ("123", 3), ("x" * 256, 256)])
def test_short_and_long_pins_are_refused_at_once(mrhsm: Spawn, home: Home, pin: str, length: int) -> None:
    child = mrhsm("init", "-label", "t")
    typed(child, FIRST, pin + "\r")
    status, shown = ended(child)
    assert status == 1
    assert shown.endswith(f"The SO PIN must have 4 to 255 characters, this one has {length}\r\n")
    assert AGAIN not in shown
    assert not home.config.tokens_dir.exists()


def test_set_and_enable_ask_once(mrhsm: Spawn, home: Home) -> None:
    home.token("kmip")
    child = mrhsm("set", "-port", "5697")
    typed(child, "Enter SO PIN: ", SO_PIN.reveal().decode() + "\r")
    assert ended(child) == (0, "********\r\n")
    assert home.login().settings.connection.port == 5697
    child = mrhsm("enable")
    typed(child, "Enter SO PIN: ", "no\x03")
    assert ended(child) == (1, "**\r\nInterrupted\r\n")


def test_wrong_pin(mrhsm: Spawn, home: Home) -> None:
    home.token()
    child = mrhsm("set", "-port", "1")
    typed(child, "Enter SO PIN: ", "87654321\r")
    assert ended(child) == (1, "********\r\nThe SO PIN is incorrect\r\n")


def test_sopin_asks_for_old_and_new(mrhsm: Spawn, home: Home) -> None:
    home.token()
    child = mrhsm("sopin")
    typed(child, "Current SO PIN: ", SO_PIN.reveal().decode() + "\r")
    typed(child, "Enter new SO PIN (4-255 characters): ", "abcd\r")
    typed(child, "Please reenter new SO PIN: ", "abcd\r")
    assert ended(child) == (0, "****\r\nNew SO PIN is set successfully\r\n")
    assert opens(home, b"abcd")


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_the_terminal_is_as_it_was_afterwards(home: Home, key: str) -> None:
    script = f"{' '.join(COMMAND)} init -label t; echo status=$?; stty -a"
    child = pexpect.spawn("/bin/sh", ["-c", script], encoding="utf-8", timeout=20)
    typed(child, FIRST, "12" + key)
    _, shown = ended(child)
    assert "status=1" in shown
    assert {"echo", "icanon", "isig", "iexten"} <= set(shown.replace(";", " ").split())


def test_dare_refusal_comes_before_any_prompt(mrhsm: Spawn, home: Home) -> None:
    home.token()
    home.legacy(dare=b"00" * 32)
    path = home.conf / "dare.master.key"
    assert ended(mrhsm("enable")) == (
        1,
        f"Existing DARE master key found at {path}, and -dare is not specified\r\n"
        "Use the -dare option to import the DARE master key into the HSM.\r\n",
    )


def test_user_pin_is_asked_for_where_there_is_no_file(mrhsm: Spawn, home: Home) -> None:
    made = mrhsm("init", "-label", "t", "-storetype", "file", "-sopin", "1234", "-userpin", "abcd", "-nopinfile")
    assert ended(made)[0] == 0
    child = mrhsm("info", "-file")
    typed(child, "Enter user PIN: ", "abcd\r")
    status, shown = ended(child)
    assert status == 0
    assert "Enabled             : No" in shown
    child = mrhsm("info", "-file")
    typed(child, "Enter user PIN: ", "abce\r")
    assert ended(child) == (1, "****\r\nThe user PIN is incorrect\r\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("init", "-label", "t"), "-sopin or -sopinfile"),
        (("sopin", "-oldsopin", "12345678"), "-newsopin or -newsopinfile"),
        (("set", "-port", "1"), "-sopin or -sopinfile"),
    ],
)
def test_without_a_terminal_the_options_are_named(home: Home, words: tuple[str, ...], says: str) -> None:
    if words[0] != "init":
        home.token()
    done = subprocess.run([*COMMAND, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Standard input is not a terminal to ask for a PIN on: use {says}\n"


def test_output_may_go_elsewhere_while_the_prompt_stays_on_the_terminal(home: Home) -> None:
    home.token()
    script = f"{' '.join(COMMAND)} enable > {home.path}/out 2> {home.path}/err"
    child = pexpect.spawn("/bin/sh", ["-c", script], encoding="utf-8", timeout=20)
    typed(child, "Enter SO PIN: ", SO_PIN.reveal().decode() + "\r")
    assert ended(child)[0] == 0
    assert (home.path / "out").read_text().startswith("Obtained cluster name my.cluster.com")
    assert (home.path / "err").read_text() == ""


def test_a_reader_that_goes_away_is_no_traceback(home: Home) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "info"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
