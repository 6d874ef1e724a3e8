"""`mrhsm enable`: the cluster's keys."""

from __future__ import annotations

import sys

from mrhsm_p11.cli import layouts, pins
from mrhsm_p11.cli.commands.opening import TOKEN, as_officer, chosen, now
from mrhsm_p11.cli.commands.settings import ACTIVE, active
from mrhsm_p11.cli.options import Command, Given, Option
from mrhsm_p11.cluster import setup, site
from mrhsm_p11.cluster.enabling import Request, enable_cluster
from mrhsm_p11.cluster.events import Event
from mrhsm_p11.cluster.keys import CLDB, DARE
from mrhsm_p11.config import Config
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.tokendir.files import TokenDirectory


def enable(given: Given, config: Config) -> None:
    wanted, dare = active(given), "-dare" in given
    chosen(given, TokenDirectory(config.tokens_dir))
    if wanted is not False and not dare and site.has_legacy_key(config.conf_dir, DARE):
        raise MrhsmError(layouts.DARE_NOT_CHOSEN.format(path=site.legacy_path(config.conf_dir, DARE)))
    with as_officer(given, config) as so:
        if wanted is False:
            setup.deactivate(so)
            return
        uids = tuple(given.values["-uuid"].split(",")) if "-uuid" in given else ()
        protected = enable_cluster(so, config, Request(dare, uids, now()), print_event)
    legacy = [key for key in (CLDB, DARE) if site.has_legacy_key(config.conf_dir, key)]
    print(layouts.banner(config.home, protected, legacy))


def print_event(event: Event) -> None:
    """Print what happened, at once."""
    print(layouts.event(event))
    sys.stdout.flush()


ENABLE = Command(
    "enable",
    "Put the cluster's keys under the protection of the key store.",
    (
        Option("-dare", "", "Import the DARE master key, or make one where there is none"),
        ACTIVE,
        Option("-uuid", "uuid1,...", "Adopt these keys where several could be meant"),
        *pins.SO_PIN,
        TOKEN,
    ),
    enable,
)
