"""`mrhsm enable` and `rekey`: the cluster's keys."""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.cli import layouts, pins, terminal
from mrhsm_p11.cli.commands.opening import TOKEN, as_officer, chosen, now
from mrhsm_p11.cli.commands.settings import ACTIVE, active
from mrhsm_p11.cli.narration import Narration
from mrhsm_p11.cli.options import Command, Given, Option, UsageError
from mrhsm_p11.cluster import setup, site
from mrhsm_p11.cluster.enable import Confirm
from mrhsm_p11.cluster.enabling import Request, enable_cluster
from mrhsm_p11.cluster.keys import CLDB, DARE, ClusterKey
from mrhsm_p11.cluster.rekey import KEY_TYPES
from mrhsm_p11.cluster.rekeying import RekeyRequest, rekey_cluster
from mrhsm_p11.config import Config
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.tokendir.files import TokenDirectory


class NotConfirmed(MrhsmError):
    """The operator did not say yes."""


def enable(given: Given, config: Config) -> None:
    wanted, dare = active(given), "-dare" in given
    chosen(given, TokenDirectory(config.tokens_dir))
    if "-confirm" in given and "-new" not in given:
        raise UsageError("-confirm goes with -new")
    if wanted is not False and not dare:
        refuse_unchosen_dare(config)
    with as_officer(given, config) as so, Narration() as report:
        if wanted is False:
            setup.deactivate(so)
            return
        uids = tuple(given.values["-uuid"].split(",")) if "-uuid" in given else ()
        new = _confirm(given, site.cluster_name(config.conf_dir), report) if "-new" in given else None
        protected = enable_cluster(so, config, Request(dare, uids, now(), new), report)
    legacy = [key for key in (CLDB, DARE) if site.has_legacy_key(config.conf_dir, key)]
    print(layouts.banner(config.home, protected, legacy))


def rekey(given: Given, config: Config) -> None:
    if "-keytype" not in given:
        raise UsageError("mrhsm rekey needs the key: mrhsm rekey core, or mrhsm rekey common")
    if "-retire" in given and "-uuid" in given:
        raise UsageError("-retire makes no new key: it takes no -uuid")
    key, retire = KEY_TYPES[given.values["-keytype"]], "-retire" in given
    with as_officer(given, config) as so, Narration() as report:
        request = RekeyRequest(key, now(), retire, given.get("-uuid") or "")
        protected = rekey_cluster(so, config, request, report)
    if not retire:
        print(layouts.rekeyed(config.home, key, protected))


def refuse_unchosen_dare(config: Config) -> None:
    """Refuse to go on without -dare where a DARE master key stands ready to be imported. Raises MrhsmError."""
    if site.has_legacy_key(config.conf_dir, DARE):
        raise MrhsmError(layouts.DARE_NOT_CHOSEN.format(path=site.legacy_path(config.conf_dir, DARE)))


def _confirm(given: Given, cluster: str, narration: Narration) -> Confirm:
    """Return what has the operator type the cluster's name before keys are made beside others. Raises NotConfirmed."""

    def confirm(keys: Mapping[ClusterKey, bool]) -> None:
        narration.progress.clear()
        answer = given.get("-confirm")
        if answer is None:
            print(layouts.confirm_new(keys, cluster))
            answer = terminal.ask_openly("Cluster name: ", f"-confirm {cluster}")
        if answer != cluster:
            raise NotConfirmed(f"{answer!r} is not the cluster's name: nothing was made")

    return confirm


ENABLE = Command(
    "enable",
    "Put the cluster's keys under the protection of the key store.",
    (
        Option("-dare", "", "Import the DARE master key, or make one where there is none"),
        ACTIVE,
        Option("-uuid", "uuid1,...", "Adopt these keys where several could be meant"),
        Option("-new", "", "Make keys although others of the cluster are in the key store; asks for confirmation"),
        Option("-confirm", "cluster", "Confirm -new by the cluster's name, where there is no terminal to ask on"),
        *pins.SO_PIN,
        TOKEN,
    ),
    enable,
)
_KEY_TYPE = Option("-keytype", "core|common", "The key to replace", choices=tuple(KEY_TYPES))
REKEY = Command(
    "rekey",
    "Replace the Core or the Common KEK; the CLDB and DARE keys stay what they are.",
    (
        _KEY_TYPE,
        Option("-retire", "", "Make no new key: revoke the former ones, once all nodes have the new token directory"),
        Option("-uuid", "uuid", "Take over this key, by which another node has replaced the present one"),
        *pins.SO_PIN,
        TOKEN,
    ),
    rekey,
    argument=_KEY_TYPE,
)
