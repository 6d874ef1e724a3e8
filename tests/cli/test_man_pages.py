"""The manual pages name every command, option, setting and default, and no others."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from mrhsm_p11.cli.commands import COMMANDS
from mrhsm_p11.config import Config
from mrhsm_p11.mapping.results import Fault

MAN = Path(__file__).parents[2] / "docs" / "man"


def test_commands_and_options() -> None:
    page = (MAN / "mrhsm.8").read_text().replace("\\-", "-").replace('"', " ")
    options = {option.name for command in COMMANDS for option in command.options} | {"-help"}
    assert set(re.findall(r"(?<![\w.\\-])-[a-z][a-z0-9]*\b", page)) - {"-p"} == options
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


def test_device_errors() -> None:
    page = (MAN / "libmrhsm_p11.7").read_text()
    rows = re.findall(r"^(0x[0-9a-f]+|[0-9]+) .* ([A-Z_]+)$", page, re.MULTILINE)
    assert {name: int(number, 0) for number, name in rows} == {fault.name: fault.value for fault in Fault}


def test_pages_are_installed() -> None:
    listed = tomllib.loads((MAN.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    installed = {file for files in listed.values() for file in files}
    assert installed == {f"docs/man/{page.name}" for page in MAN.iterdir()}
    assert all(folder.endswith(f"man{file[-1]}") for folder, files in listed.items() for file in files)


def as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:.10g}"
