"""Ask for a PIN on the terminal: one `*` a character, and the terminal as it was afterwards."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
from collections.abc import Iterator

from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.secret import Secret

_ENTER = (b"\r", b"\n")
_INTERRUPT, _END, _KILL_LINE = b"\x03", b"\x04", b"\x15"
_ERASE = (b"\x7f", b"\x08")
_RUB_OUT = b"\b \b"
_MOST_CHARACTERS = 4096


class NoTerminal(MrhsmError):
    """There is nobody to ask."""


def ask(prompt: str, instead: str) -> Secret:
    """Return what is typed after the prompt.

    Raises NoTerminal, which names `instead`, where standard input is no terminal; KeyboardInterrupt on Ctrl-C.
    """
    if not sys.stdin.isatty():
        raise NoTerminal(f"standard input is not a terminal to ask for a PIN on: use {instead}")
    sys.stdout.flush()
    reader = sys.stdin.fileno()
    writer = next((fd for fd in (1, 2) if os.isatty(fd)), reader)
    with _unechoed(reader):
        os.write(writer, prompt.encode())
        try:
            return _typed(reader, writer)
        finally:
            os.write(writer, b"\n")


def ask_openly(prompt: str, instead: str) -> str:
    """Return a line that is typed in the open. Raises NoTerminal as `ask` does."""
    if not sys.stdin.isatty():
        raise NoTerminal(f"standard input is not a terminal to ask on: use {instead}")
    return input(prompt).strip()


@contextlib.contextmanager
def _unechoed(fd: int) -> Iterator[None]:
    """Take keys one by one, Ctrl-C and Ctrl-Z among them, so that no signal can leave the terminal silent."""
    before = termios.tcgetattr(fd)
    silent = termios.tcgetattr(fd)
    silent[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
    silent[6][termios.VMIN], silent[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _typed(reader: int, writer: int) -> Secret:
    characters: list[bytearray] = []
    while True:
        key = os.read(reader, 1)
        if key in _ENTER or key in (b"", _END):
            break
        if key == _INTERRUPT:
            raise KeyboardInterrupt
        if key in _ERASE or key == _KILL_LINE:
            for _ in range(min(len(characters), 1 if key in _ERASE else len(characters))):
                characters.pop()
                os.write(writer, _RUB_OUT)
        elif key[0] & 0xC0 == 0x80 and characters:
            characters[-1] += key  # a further byte of the same UTF-8 character
        elif key >= b" " and len(characters) < _MOST_CHARACTERS:
            characters.append(bytearray(key))
            os.write(writer, b"*")
    pin = Secret(b"".join(characters))
    for character in characters:
        character[:] = bytes(len(character))
    return pin
