"""Objects read from servers that have no Get Attributes: from Get, from Locate, and from this node's sidecar files.

A state is believed if exactly one of the four Locates by State lists the object: a server that ignores the filter lists
it in all. A name is believed if a Locate of a name that cannot exist found nothing.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Sequence

from mrhsm_p11.constants import CKA
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import Attribute, attribute, name_attribute
from mrhsm_p11.kmip.errors import OperationFailed
from mrhsm_p11.kmip.payload import RequestPayload, ResponsePayload
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, KeyState
from mrhsm_p11.store.kmip import materials, records
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.found import STATES, Found
from mrhsm_p11.store.kmip.reader import GONE, HIDDEN, answers
from mrhsm_p11.store.kmip.records import Entry
from mrhsm_p11.store.kmip.sidecar import Sidecar

Answer = ResponsePayload | OperationFailed


def state_filters() -> list[list[Attribute]]:
    """Return a search for each state in which objects are listed."""
    return [[attribute("State", state)] for state in STATES]


def control_filter() -> list[Attribute]:
    """Return a search for a name that no object has."""
    return [name_attribute(f"mrhsm-p11-control-{secrets.token_hex(16)}")]


def located(answer: Answer) -> tuple[str, ...]:
    """Return what a Locate found. Raises its failure."""
    if isinstance(answer, OperationFailed):
        raise answer
    assert isinstance(answer, payloads.LocateResponse)
    return answer.unique_identifier


def state_in(uid: str, lists: Sequence[Iterable[str]]) -> KeyState | None:
    """Return the one state whose list has the object, None where none or several have."""
    states = [state for state, uids in zip(STATES.values(), lists, strict=True) if uid in uids]
    return states[0] if len(states) == 1 else None


class BareReader:
    """What Reader does, by other means; raises KMIPError."""

    def __init__(self, servers: Servers, sidecar: Sidecar, group: Sequence[Attribute]) -> None:
        self._servers = servers
        self._sidecar = sidecar
        self._group = list(group)

    def search(self, wanted: Attributes) -> list[Entry]:
        """Return every object, those of the wanted label under it: one message, and one for each fifty strangers."""
        label = wanted.get(CKA.LABEL)
        searches: list[list[Attribute]] = [[], *state_filters(), control_filter()]
        if isinstance(label, str) and label and label.isprintable():
            searches.append([name_attribute(label)])
        requests = [payloads.LocateRequest(attribute=(*search, *self._group)) for search in searches]
        everything, *rest = map(located, answers(self._servers.client, requests))
        lists, (control, *by_name) = [set(uids) for uids in rest[: len(STATES)]], rest[len(STATES) :]
        named = set(by_name[0]) if by_name and not control else set()
        return self._entries(everything, lists, named, label if isinstance(label, str) else "")

    def look(self, uid: str) -> tuple[Entry | None, Secret | None]:
        """Return an object and its bytes, in one message."""
        own = attribute("Unique Identifier", uid)
        requests: list[RequestPayload] = [payloads.GetRequest(unique_identifier=uid)]
        requests += [payloads.LocateRequest(attribute=(own, *search)) for search in state_filters()]
        got, *lists = answers(self._servers.client, requests)
        if isinstance(got, OperationFailed):
            raise got
        assert isinstance(got, payloads.GetResponse)
        told = materials.described(uid, got.managed_object)
        state = state_in(uid, [() if isinstance(one, OperationFailed) else located(one) for one in lists])
        entry = self._entry(dataclasses.replace(told, state=state or KeyState.ACTIVE))
        return entry, materials.unpack(got.managed_object)

    def _entries(self, uids: Sequence[str], lists: Sequence[set[str]], named: set[str], label: str) -> list[Entry]:
        stateful = set().union(*lists)
        believed = 0 < len(stateful) == sum(map(len, lists))
        entries = []
        strangers = []
        for uid in uids:
            told = Found(uid, state=state_in(uid, lists) or KeyState.ACTIVE)
            entry = self._entry(told)
            if entry is not None:
                # Servers may keep what they destroyed listed; a key that is in no state has met that end.
                is_key = records.shape_of(entry.record.attributes, 0).stateful
                if not (believed and uid not in stateful and is_key):
                    entries.append(entry)
            else:
                strangers.append(dataclasses.replace(told, names=(label,) if uid in named else ()))
        requests = [payloads.GetRequest(unique_identifier=told.uid) for told in strangers]
        for told, got in zip(strangers, answers(self._servers.client, requests), strict=True):
            if isinstance(got, OperationFailed):
                if got.reason not in GONE | HIDDEN:
                    raise got
                continue
            assert isinstance(got, payloads.GetResponse)
            described = materials.described(told.uid, got.managed_object)
            if entry := records.entry(dataclasses.replace(described, state=told.state, names=told.names), None):
                entries.append(entry)
        return entries

    def _entry(self, told: Found) -> Entry | None:
        note = self._sidecar.read(told.uid)
        return records.entry(told, note) if note is not None or told.object_type is not None else None
