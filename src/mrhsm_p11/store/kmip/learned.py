"""What a group of servers was seen to take, kept beside the token: disposable, it only saves messages.

Where nothing was seen yet, the profile of the product says what to expect: which of several ways is tried first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrhsm_p11 import deadline, log
from mrhsm_p11.errors import DeviceError
from mrhsm_p11.kmip import profiles
from mrhsm_p11.kmip.errors import OperationFailed, ProtocolError
from mrhsm_p11.kmip.profiles import Profile
from mrhsm_p11.kmip.vocabulary import KeyFormatType, Operation, QueryFunction

if TYPE_CHECKING:
    from mrhsm_p11.store.kmip.connection import Servers
    from mrhsm_p11.tokendir.files import TokenDirectory
    from mrhsm_p11.tokendir.settings import Connection

BELIEVED_S = 7 * 86_400.0  # an appliance that was upgraded is asked again after a week


@dataclass(frozen=True, slots=True)
class Facts:
    """None: not tried yet."""

    vendor: str | None = None  # who the server says it is; empty: it does not tell
    batches: bool | None = None  # False: a message of several operations was refused
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
        self._saved = Facts()
        servers.followers.append(self._forget)

    @property
    def profile(self) -> str:
        """The name of the profile in force: the one that was set, else the one that the server says it is."""
        return self._servers.forced_profile or profiles.recognised(self.facts.vendor or "")

    @property
    def expected(self) -> Facts:
        """What was seen and, where nothing was, what the profile says: to choose what is tried first."""
        return expected(self.facts, self.profile)

    def ask_who(self) -> None:
        """Have the server say who it is, unless it was asked or a profile is set; saved with what is seen next.

        Raises KMIPError if none answers.
        """
        if self.facts.vendor is not None or self._servers.forced_profile:
            return
        functions = [QueryFunction.QUERY_SERVER_INFORMATION]
        try:
            told = self._servers.client.query(functions, deadline=deadline.current()).vendor_identification
        except (OperationFailed, ProtocolError) as error:
            log.debug(f"the server does not tell who it is: {error}")
            told = None
        self._facts = dataclasses.replace(self.facts, vendor=told or "")

    @property
    def facts(self) -> Facts:
        if self._facts is None:
            self._facts = self._saved = self._read()
            if self.expected.batches is False:
                self._servers.send_no_batches()
        return self._facts

    def note_sent(self, **changes: bool) -> None:
        """Remember with what a new object was taken. What the profile had us leave out is not seen to be refused."""
        facts, expected = self.facts, self.expected
        self.note(
            **{
                name: value
                for name, value in changes.items()
                if value or getattr(facts, name) is not None or getattr(expected, name) is not False
            }
        )

    def note(self, **changes: bool | str | tuple[str, ...]) -> None:
        """Remember what was just seen, and whether a batch was refused since."""
        if self._servers.refuses_batches and self.expected.batches is not False:
            changes["batches"] = False
        changed = dataclasses.replace(self.facts, **changes)  # type: ignore[arg-type]
        if changed == self._saved:
            return
        self._facts = self._saved = changed
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
    said: dict[str, bool | str | tuple[str, ...]] = {}
    for field in dataclasses.fields(Facts):
        value = content.get(field.name)
        if field.default is None and type(value) is (str if field.name == "vendor" else bool):
            said[field.name] = value
        elif field.default == () and isinstance(value, list):
            said[field.name] = tuple(text for text in value if isinstance(text, str))
    return dataclasses.replace(Facts(), **said)  # type: ignore[arg-type]


def expected(facts: Facts, profile: str) -> Facts:
    """Return the facts with what a profile says where nothing was seen."""
    guess = _guess(profiles.ROWS.get(profile, profiles.ROWS[profiles.DEFAULT]))
    held = {field.name: getattr(facts, field.name) for field in dataclasses.fields(Facts)}
    seen = {name: value for name, value in held.items() if value is not None}
    seen["formats"] = tuple(dict.fromkeys([*facts.formats, *guess.formats]))
    return dataclasses.replace(guess, **seen)


def _guess(profile: Profile) -> Facts:
    """Return what is to be expected of a product. Only what to try first hangs on it."""
    absent = [form.name for form in KeyFormatType if profile.formats and form not in profile.formats]
    return Facts(
        batches=profile.batches,
        information=profile.information,
        custom=profile.custom,
        activation_date=profile.activation_date,
        links=False if profile.offers(Operation.ADD_ATTRIBUTE) is False else None,
        rekey=False if profile.offers(Operation.REKEY) is False else None,
        formats=tuple(absent),
    )
