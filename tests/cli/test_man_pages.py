"""The manual pages name every command, option, setting and default, and no others."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from mrhsm_p11.cli.commands import COMMANDS
from mrhsm_p11.config import Config

MAN = Path(__file__).parents[2] / "docs" / "man"


def test_commands_and_options() -> None:
    page = (MAN / "mrhsm.8").read_text().replace("\\-", "-").replace('"', " ")
    options = {option.name for command in COMMANDS for option in command.options} | {"-help"}
    assert set(re.findall(r"(?<![\w.\\-])-[a-z]+\b", page)) - {"-p"} == options
    assert all(f"\n.B {command.name}\n" in page for command in COMMANDS)


def test_settings_and_defaults() -> None:
    page = (MAN / "maprhsm.conf.5").read_text().split(".SH SETTINGS")[1].split(".SH EXAMPLE")[0]
    described, table = {}, ""
    for line in page.splitlines():
        if section := re.match(r"\.SS \[(\w+)\]", line):
            table = f"{section[1]}."
        elif setting := re.match(r'\.BR (\w+) " \((.*)\)"$', line):
            described[table + setting[1]] = setting[2].replace("\\(dq", '"')
    rows = {spec.metadata["setting"].key: spec.default for spec in fields(Config) if "setting" in spec.metadata}
    del rows["settings_key"]  # described without a default
    assert ".B settings_key\n" in page
    assert described == {key: as_toml(default) for key, default in rows.items()}


def as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:.10g}"
