"""What the checks look at: this node, and each of its tokens; checks leave here what later ones need."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mrhsm_p11.config import Config
from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir.entries import TokenEntry
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.settings import Settings
from mrhsm_p11.tokendir.tokens import OpenToken

if TYPE_CHECKING:
    from mrhsm_p11.store.kmip.inspecting import Inspection


@dataclass
class Node:
    """This host with its MAPR_HOME; `now` is what it believes the time to be."""

    config: Config
    now: datetime.datetime
    user_pin: Secret | None = None  # where no PIN file is kept
    entries: tuple[TokenEntry, ...] = ()  # found by the check of mrhsm.conf

    @property
    def directory(self) -> TokenDirectory:
        return TokenDirectory(self.config.tokens_dir)


@dataclass
class Token:
    """One token of the node."""

    node: Node
    entry: TokenEntry
    pin: Secret | None = None  # found by the check of the PIN file
    opened: OpenToken | None = None  # by the log-in
    secrets: list[Secret] = field(default_factory=list)  # everything seen that no report may hold

    @property
    def settings(self) -> Settings:
        assert self.opened is not None, "checks that read the settings need the log-in"
        return self.opened.settings

    @cached_property
    def servers(self) -> list[Inspection]:
        """The key managers as they are now: asked once, at the first look."""
        from mrhsm_p11.store import kmip

        return kmip.inspect(self.settings.connection, self.node.config)
