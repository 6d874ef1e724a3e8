"""`mrhsm sopin` and `userpin`: the PINs of a token that exists."""

from __future__ import annotations

from mrhsm_p11.cli import layouts, pins
from mrhsm_p11.cli.commands.opening import TOKEN, as_officer, chosen
from mrhsm_p11.cli.options import Command, Given, Option
from mrhsm_p11.cluster import setup
from mrhsm_p11.config import Config
from mrhsm_p11.tokendir.files import TokenDirectory


def sopin(given: Given, config: Config) -> None:
    chosen(given, TokenDirectory(config.tokens_dir))
    pins.refuse_two_inputs(given)
    old, new = pins.changed_so_pin(given)
    with as_officer(given, config, old) as so:
        setup.change_so_pin(so, new)
    print(layouts.NEW_SO_PIN)


def userpin(given: Given, config: Config) -> None:
    pins.refuse_two_inputs(given)
    pins.refuse_lost_pin(given)
    with as_officer(given, config) as so:
        setup.change_user_pin(so, pins.new_user_pin(given))
    print(layouts.NEW_USER_PIN)


SOPIN = Command(
    "sopin",
    "Change the SO PIN.",
    (
        Option("-oldsopin", "PIN", "The present SO PIN"),
        Option("-oldsopinfile", "file", "Read the present SO PIN from the first line of a file, - for standard input"),
        Option("-newsopin", "PIN", "The new SO PIN, 4-255 characters"),
        Option("-newsopinfile", "file", "Read the new SO PIN from the first line of a file, - for standard input"),
        TOKEN,
    ),
    sopin,
)
USERPIN = Command(
    "userpin",
    "Set another user PIN: a random one, kept in the token directory, unless one is given.",
    (*pins.USER_PIN, *pins.SO_PIN, TOKEN),
    userpin,
)
