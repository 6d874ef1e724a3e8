"""Settings that an operator changes while processes use them."""

from __future__ import annotations

from mrhsm_p11 import log
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.tokendir import entries, tokens
from mrhsm_p11.tokendir.settings import Connection
from mrhsm_p11.tokendir.tokens import OpenToken


class ConnectionWatch:
    """The connection of an open token, as mrhsm.conf has it at each moment. Safe from any thread."""

    def __init__(self, opened: OpenToken) -> None:
        self._opened = opened
        self._stamp: tuple[int, ...] | None = None
        self.reset = False  # the token was initialised again: nothing more may be made for it

    def changed(self) -> Connection | None:
        """Return the connection if mrhsm.conf was written since the last call, else None.

        Settings that cannot be read or trusted leave the former ones in force; the log tells why, once.
        """
        try:
            stamp = self._opened.directory.stamp(entries.CONFIGURATION)
            if stamp == self._stamp:
                return None
            self._stamp = stamp  # before reading: what is written from now on has another
            self._opened = tokens.reopen(self._opened)
        except tokens.TokenReset as error:
            self.reset = True
            log.warning(f"{error}: sessions that were open make no more objects")
            return None
        except MrhsmError as error:
            log.warning(f"the former settings stay in force: {error}")
            return None
        return self._opened.settings.connection
