"""What a group of servers was seen to take, kept beside the token: disposable, it only saves messages."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrhsm_p11 import log
from mrhsm_p11.errors import DeviceError

if TYPE_CHECKING:
    from mrhsm_p11.store.kmip.connection import Servers
    from mrhsm_p11.tokendir.files import TokenDirectory
    from mrhsm_p11.tokendir.settings import Connection

BELIEVED_S = 7 * 86_400.0  # an appliance that was upgraded is asked again after a week


@dataclass(frozen=True, slots=True)
class Facts:
    """None: not tried yet."""

    get_attributes: bool | None = None
    information: bool | None = None  # one Application Specific Information at creation: the blob
    entries: bool | None = None  # more of them: the search entries
    custom: bool | None = None  # x-mrhsm-p11 instead
    activation_date: bool | None = None
    links: bool | None = None  # between the halves of a pair
    plain_names: bool | None = None  # any label as Name; False: ASCII, with a suffix
    rekey: bool | None = None
    not_created: tuple[str, ...] = ()  # algorithms that Create refuses
    unmarked: tuple[str, ...] = ()  # of Sensitive and Extractable, those that Create and Register refuse
    formats: tuple[str, ...] = ()  # key format types that Register refuses


class Learned:
    """The facts in force, saved whenever they change; a file that cannot be written costs only messages."""

    def __init__(self, directory: TokenDirectory, serial: str, servers: Servers) -> None:
        self._directory = directory
        self._serial = serial
        self._servers = servers
        self._facts: Facts | None = None
        servers.followers.append(self._forget)

    @property
    def facts(self) -> Facts:
        if self._facts is None:
            self._facts = self._read()
        return self._facts

    def note(self, **changes: bool | tuple[str, ...]) -> None:
        """Remember what was just seen."""
        changed = dataclasses.replace(self.facts, **changes)  # type: ignore[arg-type]
        if changed == self._facts:
            return
        self._facts = changed
        content = {"group": _group(self._servers.connection), "at": int(time.time()), **dataclasses.asdict(changed)}
        try:
            self._directory.make_folder(self._serial)
            self._directory.write(f"{self._serial}/learned.json", json.dumps(content).encode())
        except DeviceError as error:
            log.debug(f"what was learned of the key managers is not kept: {error}")

    def _forget(self) -> None:
        """Other servers take other things."""
        self._facts = None

    def _read(self) -> Facts:
        try:
            content = json.loads(self._directory.read(f"{self._serial}/learned.json"))
            if (
                content["group"] != _group(self._servers.connection)
                or not 0 <= time.time() - content["at"] < BELIEVED_S
            ):
                return Facts()
            return _facts(content)
        except (DeviceError, ValueError, KeyError, TypeError):
            return Facts()


def _group(connection: Connection) -> str:
    """Return what tells this group of servers, at this version, from others."""
    text = "\0".join([connection.kmip_version, str(connection.port), *sorted(connection.addresses)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _facts(content: dict[str, object]) -> Facts:
    """Return what a file says; what it says in another type than ours counts as not said."""
    said: dict[str, bool | tuple[str, ...]] = {}
    for field in dataclasses.fields(Facts):
        value = content.get(field.name)
        if field.default is None and isinstance(value, bool):
            said[field.name] = value
        elif field.default == () and isinstance(value, list):
            said[field.name] = tuple(text for text in value if isinstance(text, str))
    return dataclasses.replace(Facts(), **said)  # type: ignore[arg-type]
