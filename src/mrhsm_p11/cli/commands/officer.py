"""`mrhsm sopin`: the PINs of a token that exists."""

from __future__ import annotations

from mrhsm_p11.cli import layouts, pins
from mrhsm_p11.cli.commands.opening import TOKEN, as_officer, chosen
from mrhsm_p11.cli.options import Command, Given, Option
from mrhsm_p11.cluster import setup
from mrhsm_p11.config import Config
from mrhsm_p11.tokendir.files import TokenDirectory


def sopin(given: Given, config: Config) -> None:
    chosen(given, TokenDirectory(config.tokens_dir))
    old, new = pins.changed_so_pin(given)
    with as_officer(given, config, old) as so:
        setup.change_so_pin(so, new)
    print(layouts.NEW_SO_PIN)


SOPIN = Command(
    "sopin",
    "Change the SO PIN.",
    (
        Option("-oldsopin", "PIN", "The present SO PIN"),
        Option("-newsopin", "PIN", "The new SO PIN, 4-255 characters"),
        TOKEN,
    ),
    sopin,
)
