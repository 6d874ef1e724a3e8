from __future__ import annotations

import pytest

from mrhsm_p11.cli.commands import COMMANDS
from mrhsm_p11.cli.commands.settings import REMOVABLE
from mrhsm_p11.cli.layouts import EVENTS, KEY_HEADINGS
from mrhsm_p11.cli.main import main
from mrhsm_p11.cli.options import Command, Option, UsageError, parse, usage
from mrhsm_p11.cluster.events import Happened
from mrhsm_p11.cluster.keys import KEYS
from mrhsm_p11.tokendir.settings import Connection

PROBE = Command(
    "probe",
    "Try.",
    (
        Option("-ip", "ips", "addresses"),
        Option("-dare", "", "flag"),
        Option("-storetype", "file|kmip", "store", choices=("file", "kmip")),
        Option("-label", "text", "label", required=True),
    ),
    lambda _given, _config: None,
)


def test_values_and_flags() -> None:
    given = parse(PROBE, ["-dare", "-label", "-odd one", "-ip", "-"])
    assert given.get("-label") == "-odd one"
    assert given.get("-ip") == "-"
    assert given.get("-storetype") is None
    assert "-dare" in given
    assert "-storetype" not in given


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-label", "x", "-dar"], "did you mean -dare?"),
        (["--label", "x"], "did you mean -label?"),
        (["-LABEL", "x"], "did you mean -label?"),
        (["-label", "x", "-zzz"], "mrhsm probe -help"),
        (["-label", "x", "y"], "unexpected argument 'y'"),
        (["-label"], "-label needs a value"),
        (["-label", "-dare"], "-label needs a value"),
        (["-label", "x", "-label", "y"], "given twice"),
        (["-dare", "-dare"], "given twice"),
        (["-label", "x", "-storetype", "tape"], "file or kmip, not 'tape'"),
        (["-dare"], "needs -label"),
    ],
)
def test_refused(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(PROBE, words)
    assert says in str(refused.value)


def test_help_lists_every_option() -> None:
    text = usage(PROBE)
    assert all(f"  {option.name}" in text for option in PROBE.options)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_and_no_option_twice(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    names = [option.name for option in command.options]
    assert len(set(names)) == len(names)
    assert main([command.name, "-help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: mrhsm {command.name} ")


# The syntax of the manual's pages.
DOCUMENTED = {
    "init": "-cacert -clientcert -clientkey -ip -kmipversion -label -storetype -port -sopin",
    "set": "-cacert -clientcert -clientkey -ip -kmipversion -storetype -port -sopin -active",
    "info": "-config -file -kmip -slots",
    "enable": "-dare -sopin -active",
    "remove": "-cacert -clientcert -clientkey -ip -kmipversion -port -sopin",
    "rekey": "-keytype -sopin",
    "sopin": "-oldsopin -newsopin",
}


def test_documented_options_are_there() -> None:
    table = {command.name: {option.name for option in command.options} for command in COMMANDS}
    for name, options in DOCUMENTED.items():
        assert set(options.split()) <= table[name], name


def test_tables_are_complete() -> None:
    assert set(EVENTS) == set(Happened)
    assert set(KEY_HEADINGS) == set(KEYS)
    assert sorted(name for names, _ in REMOVABLE.values() for name in names) == sorted(Connection.__slots__)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "A command is needed: init, set, info, enable"),
        (["-version"], "see mrhsm -help"),
        (["frob"], "see mrhsm -help"),
        (["enabel"], "did you mean enable?"),
        (["xyzzy"], "see mrhsm -help"),
        (["set", "-sopin", "1234"], "Nothing to set"),
        (["remove", "-sopin", "1234"], "Nothing to remove"),
        (["info", "-slot"], "did you mean -slots?"),
        (["init", "-label", "x", "-nopinfile"], "-nopinfile needs -userpin"),
        (["init", "-label", "x", "-sopin", "1234", "-sopinfile", "f"], "cannot both be given"),
    ],
)
@pytest.mark.usefixtures("home")
def test_usage_errors_exit_2_with_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert says in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("word", ["-help", "help"])
def test_help_of_all(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    out = capsys.readouterr().out
    assert all(f"  {command.name} " in out for command in COMMANDS)
