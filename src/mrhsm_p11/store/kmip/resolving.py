"""A new object that was asked for but not answered: made or not? Found out by something only it carries."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from mrhsm_p11 import deadline, log
from mrhsm_p11.errors import CryptokiError
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import Attribute, attribute, name_attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import AuthenticationRefused, KMIPError, OperationFailed
from mrhsm_p11.mapping.results import Fault, ServerFault
from mrhsm_p11.store.kmip import found
from mrhsm_p11.store.kmip.bare import located
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.found import CUSTOM, NAMESPACE
from mrhsm_p11.store.kmip.plans import Plan
from mrhsm_p11.store.kmip.reader import answers, information


@dataclass(frozen=True, slots=True)
class Marker:
    """What tells one new object from all others: its blob, else its Name and which objects had that before."""

    search: tuple[Attribute, ...]
    control: tuple[Attribute, ...]  # the same attribute with a value that no object has
    before: frozenset[str] = frozenset()


class Unresolved(ServerFault):
    """The server may have made the object, and nobody can say."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Fault.UNRESOLVED)


class Resolver:
    """Makes Create and Register safe to repeat."""

    def __init__(self, servers: Servers, undo: Callable[[str], None] | None) -> None:
        self._servers = servers
        self._undo = undo  # takes an object back; None for cluster keys, which nobody destroys
        self._leftovers: list[Marker] = []

    def marker(self, plan: Plan, name: str, blob: str, *, unique_name: bool) -> Marker:
        """Return the marker of an object about to be made; asks the server only where its Name must do."""
        none = secrets.token_hex(16)
        if plan.information:
            return Marker((information(NAMESPACE, blob),), (information(NAMESPACE, none),))
        if plan.custom:
            return Marker((attribute(CUSTOM, blob),), (attribute(CUSTOM, none),))
        search, control = (name_attribute(name),), (name_attribute(none),)
        if unique_name:
            return Marker(search, control)
        had = self._servers.client.locate(search, deadline=deadline.current())
        return Marker(search, control, frozenset(had))

    def make(self, ask: Callable[[], str], marker: Marker) -> str:
        """Return the identifier of the one object that `ask` makes. Raises KMIPError, Unresolved."""
        try:
            return ask()
        except (OperationFailed, AuthenticationRefused):
            raise
        except KMIPError as error:
            if not error.sent:
                raise
            log.warning(f"a new object was not answered, looking for it: {error}")
            return self._after(error, ask, marker)

    def tidy(self) -> None:
        """Take back what calls that had to fail made after all."""
        while self._leftovers and self._undo is not None:
            marker = self._leftovers.pop()
            try:
                for uid in self._look(marker):
                    log.warning(f"object {uid}, made by a call that failed, is destroyed")
                    self._undo(uid)
            except (KMIPError, CryptokiError):
                self._leftovers.append(marker)
                return

    def _after(self, error: KMIPError, ask: Callable[[], str], marker: Marker) -> str:
        try:
            made = self._look(marker)
            if made:
                return made[0]
            uid = ask()
        except OperationFailed:
            raise
        except (KMIPError, Unresolved) as second:
            self._leftovers.append(marker)
            raise Unresolved(f"{error}; whether the object was made is not known: {second}") from second
        for twin in self._look(marker):
            if twin != uid:
                log.warning(f"object {twin} was made beside {uid}, by one request")
                if self._undo is not None:
                    self._undo(twin)
        return uid

    def _look(self, marker: Marker) -> list[str]:
        """Return the objects that bear the marker, asking every server. Raises unless all of them answer."""
        uids: dict[str, None] = {}
        for client in self._servers.each():
            uids.update(dict.fromkeys(self._look_at(client, marker)))
        return [uid for uid in uids if uid not in marker.before]

    @staticmethod
    def _look_at(client: Client, marker: Marker) -> list[str]:
        requests = [payloads.LocateRequest(attribute=search) for search in (marker.search, marker.control)]
        uids, control = map(located, answers(client, requests))
        if not control:
            return list(uids)
        # This server does not search by such an attribute: look at what it lists.
        confirmed = []
        for uid, got in zip(uids, answers(client, [_attributes_of(uid) for uid in uids]), strict=True):
            if isinstance(got, OperationFailed):
                raise Unresolved(f"the server finds everything when asked for one object, and tells nothing: {got}")
            assert isinstance(got, payloads.GetAttributesResponse)
            if _bears(marker, found.read(uid, got.attribute)):
                confirmed.append(uid)
        return confirmed


def _attributes_of(uid: str) -> payloads.GetAttributesRequest:
    return payloads.GetAttributesRequest(unique_identifier=uid)


def _bears(marker: Marker, told: found.Found) -> bool:
    wanted = marker.search[0]
    if wanted.attribute_name == "Name":
        return any(wanted == name_attribute(name) for name in told.names)
    if wanted.attribute_name == CUSTOM:
        return wanted.attribute_value in told.custom
    return any(wanted == information(info.namespace, info.text) for info in told.information)
