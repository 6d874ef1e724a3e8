"""The documents name commands, options, settings and files that exist."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from mrhsm_p11.appliance.main import flag
from mrhsm_p11.appliance.options import NAMES
from mrhsm_p11.cli.commands import COMMANDS
from mrhsm_p11.config import Config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TABLE = {command.name: {option.name for option in command.options} for command in COMMANDS}
# In a code block a line begins with the program; in running text it stands in backticks.
CALL = re.compile(r"(?:^\s*(?:[#$] )?|`|\$\(|ssh \w+ )(mrhsm(?:-appliance)?)((?: +[^\s`|;<>()&]+)*)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_calls_of_our_programs(page: Path) -> None:
    for program, rest in CALL.findall(page.read_text()):
        words = [word.strip(".,:\"'") for word in rest.split()]
        options = {word for word in words if re.fullmatch(r"-[a-z]+", word)}
        if program == "mrhsm-appliance":
            assert options <= {flag(name) for name in NAMES}, rest
        elif words and not words[0].startswith("-"):
            assert words[0] in {*TABLE, "command"}, (program, rest)
            assert options - {"-help"} <= TABLE.get(words[0], set()), (program, rest)


def test_advice_names_commands_that_exist() -> None:
    """Messages say `mrhsm COMMAND -option`; sentences that merely go on after the name are few and known."""
    named = set()
    for file in (ROOT / "src").rglob("*.py"):
        named |= set(re.findall(r"\bmrhsm ([a-z]+)((?: -[a-z]+)*)", file.read_text()))
    sentences = {"command", "does", "makes", "user", "trial"}
    assert {command for command, _ in named} - sentences <= TABLE.keys()
    for command, options in named:
        assert set(options.split()) - {"-help"} <= TABLE.get(command, set()), (command, options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings(page: Path) -> None:
    known = {spec.metadata["setting"].key for spec in fields(Config) if "setting" in spec.metadata}
    tables = {key.split(".")[0] for key in known if "." in key}
    named = re.findall(rf"`((?:{'|'.join(tables)})\.[a-z_]+)\b", page.read_text())
    assert set(named) <= known, set(named) - known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_check_sees_calls() -> None:
    found = CALL.findall("```\n# mrhsm set -ip A,B -port 1\n```\nrun `mrhsm sopin -oldsopin X`, ssh cldb2 mrhsm doctor")
    assert [shlex.join([name, *rest.split()]) for name, rest in found] == [
        "mrhsm set -ip A,B -port 1",
        "mrhsm sopin -oldsopin X",
        "mrhsm doctor",
    ]
