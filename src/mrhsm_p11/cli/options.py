"""Single-dash options: one table a command, one parser for all."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mrhsm_p11.config import Config
from mrhsm_p11.errors import MrhsmError

HELP = ("-help", "--help", "-h")


class UsageError(MrhsmError):
    """A command line that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option; `value` is what its argument is called, empty for a flag."""

    name: str
    value: str
    text: str
    choices: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """The options of one call."""

    values: Mapping[str, str]
    flags: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.values or name in self.flags

    def get(self, name: str) -> str | None:
        """Return an option's argument, None when it was not given."""
        return self.values.get(name)


@dataclass(frozen=True, slots=True)
class Command:
    """One row a subcommand; `run` may return an exit code of its own.

    One that does without `needs_settings` is run with the defaults where maprhsm.conf cannot be read.
    """

    name: str
    summary: str
    options: tuple[Option, ...]
    run: Callable[[Given, Config], int | None]
    needs_settings: bool = True
    argument: Option | None = None  # a bare word, given under this name; it may be the name of an option too


def parse(command: Command, words: Sequence[str]) -> Given:
    """Return the options that the words give. Raises UsageError."""
    table = {option.name: option for option in command.options}
    values: dict[str, str] = {}
    flags: set[str] = set()
    rest = iter(words)
    for word in rest:
        option = table.get(word)
        bare = option is None and command.argument is not None and not word.startswith("-")
        if bare:
            option = command.argument
        if option is None:
            raise UsageError(_unknown(command.name, word, tuple(table)))
        if option.name in values or option.name in flags:
            raise UsageError(f"{option.name} is given twice")
        if not option.value:
            flags.add(option.name)
            continue
        argument = word if bare else next(rest, None)
        if argument is None or argument in table:
            raise UsageError(f"{word} needs a value: {word} <{option.value}>")
        if option.choices and argument not in option.choices:
            raise UsageError(_no_choice(option, argument))
        values[option.name] = argument
    for option in (*command.options, *((command.argument,) if command.argument else ())):
        if option.required and option.name not in values:
            raise UsageError(f"mrhsm {command.name} needs {option.name} <{option.value}>")
    return Given(values, frozenset(flags))


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the known word that was probably meant, "" when none is near."""
    bare = {name.lstrip("-"): name for name in known}
    found = difflib.get_close_matches(word.lstrip("-").lower(), bare, n=1, cutoff=0.6)
    return bare[found[0]] if found else ""


def _no_choice(option: Option, argument: str) -> str:
    near = nearest(argument, option.choices)
    what = f"{option.name} must be {' or '.join(option.choices)}, not {argument!r}"
    return f"{what}: did you mean {near}?" if near else what


def _unknown(command: str, word: str, known: Sequence[str]) -> str:
    near = nearest(word, known)
    what = f"unknown option {word}" if word.startswith("-") else f"unexpected argument {word!r}"
    return f"{what}: did you mean {near}?" if near else f"{what}: mrhsm {command} -help lists the options"


def usage(command: Command) -> str:
    """Return a command's help text."""
    bare = f" {command.argument.value}" if command.argument else ""
    lines = [f"usage: mrhsm {command.name}{bare} [options]", "", command.summary, ""]
    if command.argument and command.argument not in command.options:
        lines += [f"  {command.argument.value}  {command.argument.text}", ""]
    spelled = [f"{option.name} <{option.value}>" if option.value else option.name for option in command.options]
    width = max(map(len, spelled), default=0)
    for option, left in zip(command.options, spelled, strict=True):
        lines.append(f"  {left:<{width}}  {option.text}")
    return "\n".join(lines)
