"""Run commands before an audience: shown as typed, PINs typed at their prompts, output shown as it comes."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LIMIT_S = 60.0
HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """The demonstration cannot go on; the text says why."""


class Stage:
    """The root of the repository as a working directory, an environment, and everything that is shown."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(os.environ) | dict(environment)

    def say(self, text: str) -> None:
        print(f"\n# {text}", flush=True)

    def run(self, *command: str, typed: Sequence[str] = ()) -> str:
        """Run a command on a terminal of its own, answer its prompts in turn, return its output. Raises Failed."""
        print(f"$ {shlex.join(command)}", flush=True)
        program = _program(command[0])
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(  # noqa: S603  (what the demonstration says)
                [program, *command[1:]],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                cwd=HERE.parent,
                env=self.environment,
                start_new_session=True,
            )
            os.close(theirs)
            try:
                output = _converse(ours, list(typed))
                code = process.wait(LIMIT_S)
            finally:
                process.kill()
                process.wait()
        finally:
            os.close(ours)
        if code:
            raise Failed(f"{command[0]} ended with {code}")
        return output


def _converse(terminal: int, answers: list[str]) -> str:
    """Read until the other side closes; whenever it asks for a PIN, type the next answer."""
    until = time.monotonic() + LIMIT_S
    output = ""
    while select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux says that the last process has closed its end
            return output
        text = piece.decode(errors="replace").replace("\r\n", "\n")
        sys.stdout.write(text)
        sys.stdout.flush()
        output += text
        if answers and re.search(r"PIN.*: \Z", output):
            os.write(terminal, answers.pop(0).encode() + b"\r")
    raise Failed(f"no answer within {LIMIT_S:.0f} seconds")


def _program(name: str) -> str:
    """Prefer the programs of this Python's environment. Raises Failed."""
    program = shutil.which(Path(sys.executable).parent / name) or shutil.which(name) or shutil.which(HERE.parent / name)
    if program is None:
        raise Failed(f"{name} is not installed: make setup installs what the demonstration needs")
    return program
