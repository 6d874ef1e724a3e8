"""Where PINs come from: the command line, a file, or the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

from mrhsm_p11.cli import terminal
from mrhsm_p11.cli.options import Given, Option, UsageError
from mrhsm_p11.cluster.setup import WrongPin, check_new_pin
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.pinfile import UserPin

SO_PIN = (
    Option("-sopin", "so-pin", "PIN for SO (Security Officer); seen by everybody in the process list"),
    Option("-sopinfile", "file", "Read the SO PIN from the first line of a file, - for standard input"),
)
USER_PIN = (
    Option("-userpin", "pin", "Set this user PIN instead of a random one"),
    Option("-userpinfile", "file", "Read the user PIN from the first line of a file, - for standard input"),
    Option("-nopinfile", "", "Do not keep the user PIN given in the token directory"),
)
PASS_PHRASE = (
    Option("-passphrasefile", "file", "Read the pass phrase from the first line of a file, - for standard input"),
)
PASSWORD = (
    Option(
        "-username", "name", "User name for servers that want one beside the certificate; its password is asked for"
    ),
    Option("-passwordfile", "file", "Read that user's password from the first line of a file, - for standard input"),
)
INSTEAD = "-sopin or -sopinfile"


def so_pin(given: Given) -> Secret:
    """Return the SO PIN of an existing token."""
    pin = _given(given, "-sopin")
    return terminal.ask("Enter SO PIN: ", INSTEAD) if pin is None else pin


def new_so_pin(given: Given) -> Secret:
    """Return the SO PIN of a new token, typed twice where it is typed."""
    pin = _given(given, "-sopin")
    if pin is None:
        return _twice("SO", "Enter SO PIN (4-255 characters): ", "Please reenter SO PIN: ", INSTEAD)
    return pin


def changed_so_pin(given: Given) -> tuple[Secret, Secret]:
    """Return the old and the new SO PIN."""
    old, new = _given(given, "-oldsopin"), _given(given, "-newsopin")
    before = terminal.ask("Current SO PIN: ", "-oldsopin or -oldsopinfile") if old is None else old
    if new is not None:
        return before, new
    prompts = ("Enter new SO PIN (4-255 characters): ", "Please reenter new SO PIN: ")
    return before, _twice("new SO", *prompts, "-newsopin or -newsopinfile")


def new_user_pin(given: Given) -> UserPin:
    """Return the user PIN to set, random unless one is given."""
    refuse_lost_pin(given)
    pin = _given(given, "-userpin")
    return UserPin.random() if pin is None else UserPin(pin, keep="-nopinfile" not in given)


def refuse_lost_pin(given: Given) -> None:
    """Raise UsageError where a random user PIN would be kept nowhere."""
    if "-nopinfile" in given and "-userpin" not in given and "-userpinfile" not in given:
        raise UsageError("-nopinfile needs -userpin or -userpinfile: a random PIN that is kept nowhere opens nothing")


def refuse_two_inputs(given: Given) -> None:
    """Raise UsageError where two PINs are to come from standard input."""
    both = [name for name, value in given.values.items() if value == "-" and name.endswith("file")]
    if len(both) > 1:
        raise UsageError(f"{' and '.join(both)}: standard input gives one PIN")


def given_user_pin(given: Given) -> Secret | None:
    """Return the user PIN of an existing token where the command line tells it."""
    return _given(given, "-userpin")


def user_pin() -> Secret:
    """Ask for the user PIN of an existing token."""
    return terminal.ask("Enter user PIN: ", "a user who can read user.pin in the token directory")


def pass_phrase(given: Given) -> Secret:
    """Return the pass phrase of an archive that exists."""
    file = given.get("-passphrasefile")
    if file is not None:
        return Secret(_first_line(file, "-passphrasefile"))
    return terminal.ask("Enter pass phrase: ", "-passphrasefile")


def new_pass_phrase(given: Given) -> Secret:
    """Return the pass phrase of a new archive, typed twice where it is typed."""
    phrase = pass_phrase(given)
    if "-passphrasefile" not in given and terminal.ask("Please reenter pass phrase: ", "-passphrasefile") != phrase:
        raise WrongPin("the two entries of the pass phrase differ: nothing was written")
    return phrase


def password(given: Given) -> Secret | None:
    """Return the password of the user that `-username` names, None where it names none."""
    name, file = given.get("-username"), given.get("-passwordfile")
    if name is None:
        if file is not None:
            raise UsageError("-passwordfile goes with -username")
        return None
    if file is not None:
        return Secret(_first_line(file, "-passwordfile"))
    return terminal.ask(f"Enter password of {name}: ", "-passwordfile")


def _twice(role: str, first: str, second: str, instead: str) -> Secret:
    pin = terminal.ask(first, instead)
    check_new_pin(pin, role)
    if terminal.ask(second, instead) != pin:
        raise WrongPin(f"the two entries of the {role} PIN differ: nothing was changed")
    return pin


def _given(given: Given, option: str) -> Secret | None:
    value, file = given.get(option), given.get(f"{option}file")
    if value is not None and file is not None:
        raise UsageError(f"{option} and {option}file cannot both be given")
    if value is not None:
        return Secret(_bytes(value))
    return Secret(_first_line(file, f"{option}file")) if file is not None else None


def _bytes(value: str) -> bytes:
    return value.encode(errors="surrogateescape")


def _first_line(file: str, option: str) -> bytes:
    try:
        if file == "-":
            line = sys.stdin.buffer.readline()
        else:
            with Path(file).open("rb") as lines:
                line = lines.readline()
    except OSError as error:
        raise WrongPin(f"{option}: cannot read {file}: {error.strerror}") from error
    return line.removesuffix(b"\n").removesuffix(b"\r")
