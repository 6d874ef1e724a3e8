"""A token whose keys stay at an appliance: set up as `mrhsm` does, used through the library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fix_appliance import Appliance
from fix_stores import SERIAL
from fix_tokens import USER_PIN, TokenOnDisk
from p11 import Cryptoki

from mrhsm_p11.config import Config
from mrhsm_p11.store.kmip import probing
from mrhsm_p11.tokendir import custody
from mrhsm_p11.tokendir.custody import Served
from mrhsm_p11.tokendir.files import TokenDirectory

SETTINGS = '[keys]\ncustody = "appliance"\n'


@dataclass(slots=True)
class KeptToken:
    """The library with a session in which the user is logged in, and the appliance that has the keys."""

    p11: Cryptoki
    session: int
    token: TokenOnDisk
    appliance: Appliance
    seen: int = 0

    @property
    def slot(self) -> int:
        return self.token.slot_id

    def requests(self) -> list[str]:
        """Return the operations of each message since the last time."""
        new = self.appliance.requests(self.seen)
        self.seen += len(new)
        return new


@pytest.fixture
def keep_at_appliance(mapr_home: Path) -> None:
    (mapr_home / "conf" / "maprhsm.conf").write_text(SETTINGS)


@pytest.fixture(scope="session")
def served(appliance: Appliance, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """What a probe of the appliance finds."""
    directory = TokenDirectory(tmp_path_factory.mktemp("probe"))
    return probing.probe(appliance.connection(), serial=SERIAL, directory=directory, config=Config())


@pytest.fixture
def kept_token(
    keep_at_appliance: None,
    library_path: Path,
    make_token: Callable[..., TokenOnDisk],
    appliance: Appliance,
    served: Served,
) -> Iterator[KeptToken]:
    yield from opened(library_path, make_token, appliance, served)


@pytest.fixture
def kept_token_alone(
    keep_at_appliance: None,
    library_path: Path,
    make_token: Callable[..., TokenOnDisk],
    make_appliance: Callable[..., Appliance],
    served: Served,
) -> Iterator[KeptToken]:
    """One whose appliance may be stopped."""
    yield from opened(library_path, make_token, make_appliance(), served)


def opened(
    library_path: Path, make_token: Callable[..., TokenOnDisk], appliance: Appliance, served: Served
) -> Iterator[KeptToken]:
    token = make_token("kept", store="kmip", connection=appliance.connection())
    custody.write(token.directory, token.serial, served)
    p11 = Cryptoki(library_path)
    p11.initialize()
    session = p11.open_session(token.slot_id)
    p11.login(session, USER_PIN)
    kept = KeptToken(p11, session, token, appliance)
    kept.requests()
    yield kept
    p11.finalize()
