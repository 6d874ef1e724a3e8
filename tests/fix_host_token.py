"""A token for hosts that log in without a PIN: in the file store, or on a key manager."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from fix_appliance import Server

from mrhsm_p11.secret import Secret
from mrhsm_p11.tokendir import tokens
from mrhsm_p11.tokendir.files import TokenDirectory
from mrhsm_p11.tokendir.tokens import UserPin

MakeHostToken = Callable[..., None]


@pytest.fixture
def make_host_token(host_home: Path, appliance: Server) -> MakeHostToken:
    """Make the token: make_host_token("file"), make_host_token("kmip", addresses=("localhost",), port=5696).

    `at` is the appliance, if not the one for all tests. Calls have a minute, however busy this machine, unless
    `network` says otherwise in maprhsm.conf.
    """

    def make(
        store: str, *, network: str = "deadline_seconds = 60", at: Server | None = None, **changes: object
    ) -> None:
        with (host_home / "conf" / "maprhsm.conf").open("a") as settings:
            settings.write(f"[network]\n{network}\n")
        connection = dataclasses.replace((at or appliance).connection(), **changes)  # type: ignore[arg-type]
        tokens.create_token(
            TokenDirectory(host_home / "conf" / "tokens"),
            "host",
            Secret(b"so pin 1234"),
            user_pin=UserPin.random(),
            store=store,
            connection=connection if store == "kmip" else None,
        )

    return make
