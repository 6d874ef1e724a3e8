"""The keys of a cluster as managed objects with fixed Names: never destroyed, never made twice, never missed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from mrhsm_p11 import deadline, log
from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.errors import DeviceError
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import Attribute, attribute, name_attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.mapping.results import Fault, ServerFault
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Attributes, Candidate, ClusterKeyStore, KeyState, KeyUse, Record, Value
from mrhsm_p11.store.kmip import found, materials
from mrhsm_p11.store.kmip.bare import control_filter, located, state_filters, state_in
from mrhsm_p11.store.kmip.connection import Servers, reported, require_identifier
from mrhsm_p11.store.kmip.creating import Creator
from mrhsm_p11.store.kmip.custody import Custody
from mrhsm_p11.store.kmip.learned import Learned
from mrhsm_p11.store.kmip.lifecycle import Lifecycle
from mrhsm_p11.store.kmip.reader import GONE, UNSUPPORTED, answers
from mrhsm_p11.store.kmip.replacing import Replacer
from mrhsm_p11.store.kmip.sidecar import Sidecar

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.crypto.base import Key
    from mrhsm_p11.tokendir.files import TokenDirectory
    from mrhsm_p11.tokendir.settings import Connection
    from mrhsm_p11.tokendir.watching import ConnectionWatch

T = TypeVar("T")

KEY_BITS = 256

_ALL: dict[int, Value] = {
    CKA.CLASS: CKO.SECRET_KEY,
    CKA.KEY_TYPE: CKK.AES,
    CKA.TOKEN: True,
    CKA.PRIVATE: True,
    CKA.SENSITIVE: True,
    CKA.EXTRACTABLE: False,
    CKA.MODIFIABLE: False,
    CKA.COPYABLE: False,
    CKA.DESTROYABLE: False,
    CKA.ENCRYPT: True,
    CKA.DECRYPT: True,
    CKA.SIGN: False,
    CKA.VERIFY: False,
    CKA.WRAP: False,
    CKA.UNWRAP: False,
    CKA.DERIVE: False,
}
_KEK: dict[int, Value] = {**_ALL, CKA.WRAP: True, CKA.UNWRAP: True}

# The attributes that say what a cluster key may do; the usage mask follows from them.
ATTRIBUTES: dict[KeyUse, dict[int, Value]] = {
    KeyUse.CORE_KEK: _KEK,
    KeyUse.COMMON_KEK: {**_KEK, CKA.DERIVE: True},
    KeyUse.CLDB_KEY: _ALL,
    KeyUse.DARE_KEY: _ALL,
}


class KmipKeys(ClusterKeyStore):
    """Keys by exact Name. Nothing connects before the first call."""

    def __init__(
        self,
        connection: Connection,
        *,
        serial: str,
        directory: TokenDirectory,
        config: Config,
        group: str | None = None,
        watch: ConnectionWatch | None = None,
    ) -> None:
        self._servers = Servers(connection, config, watch)
        kept = config.custody == "appliance"
        self._custody = Custody(self._servers, directory, serial) if kept else None
        self._learned = Learned(directory, serial, self._servers)
        self._lifecycle = Lifecycle(self._servers, self._learned)
        self._group = [attribute("Object Group", group)] if group else []
        sidecar = Sidecar(directory, serial)
        self._replacer = Replacer(self._servers, self._learned, sidecar, serial)
        self._creator = Creator(
            self._servers,
            self._learned,
            sidecar,
            self._lifecycle,
            serial=serial,
            group=self._group,
            undoes=False,
        )

    def locate(self, *names: str) -> list[Candidate]:
        with reported():
            candidates: dict[tuple[str, str], Candidate] = {}
            for client in self._servers.each():
                for candidate in self._located(client, names):
                    candidates.setdefault((candidate.name, candidate.uid), candidate)
            return list(candidates.values())

    def create(self, name: str, use: KeyUse) -> str:
        with reported():
            entry = self._creator.create(_attributes(name, use), KEY_BITS, name=name, activates=False)
        if entry is None:
            raise DeviceError(f"the server makes no AES-{KEY_BITS} keys")
        return entry.record.uid

    def register(self, name: str, use: KeyUse, material: Secret) -> str:
        with reported():
            return self._creator.register(_attributes(name, use), material, name=name, activates=False).record.uid

    def rekey(self, uid: str, name: str) -> str | None:
        require_identifier(uid)
        with reported():
            return self._replacer.rekey(uid, [name_attribute(name), *self._group])

    def claim(self, uid: str, name: str, use: KeyUse) -> None:
        require_identifier(uid)
        with reported():
            self._replacer.claim(uid, _attributes(name, use), KEY_BITS)

    def replaced(self, uid: str) -> str:
        require_identifier(uid)
        if self._learned.facts.get_attributes is False:
            return ""
        with reported():
            try:
                told = self._servers.client.get_attributes(uid, ["Link", found.EVERYWHERE], deadline=deadline.current())
            except OperationFailed as error:
                if error.reason in GONE:
                    raise
                log.info(f"which key {uid} replaced is not known: {error}")
                return ""
        return found.read(uid, told).replaces

    def activate(self, uid: str) -> None:
        require_identifier(uid)
        with reported():
            self._lifecycle.activate(uid)

    def state(self, uid: str) -> KeyState:
        require_identifier(uid)
        with reported():
            state = self._anywhere(lambda client: self._lifecycle.state(uid, client))
        if state is None:
            # Destroyed, or no server tells: what can still be read is there.
            self.read(uid)
            return KeyState.ACTIVE
        return state

    def key(self, uid: str) -> Key:
        if self._custody is None:
            return self.read(uid, fresh=True)
        require_identifier(uid)
        return self._custody.key(Record(uid, {**_KEK, CKA.VALUE_LEN: KEY_BITS // 8}), lambda: None)

    def read(self, uid: str, *, fresh: bool = False) -> Secret:
        require_identifier(uid)
        if self._custody is not None:
            self._custody.refuse(Record(uid, _KEK))

        def get(client: Client) -> Secret:
            asked = client.fresh() if fresh else client
            return materials.unpack(asked.get(uid, deadline=deadline.current()).managed_object)

        with reported():
            return self._anywhere(get)

    def revoke(self, uid: str) -> None:
        require_identifier(uid)
        with reported():
            self._lifecycle.revoke(uid)

    def close(self) -> None:
        self._servers.close()

    def _anywhere(self, ask: Callable[[Client], T]) -> T:
        """Ask a server; replicas lag, so what one has not is asked of every one that answers."""
        try:
            return ask(self._servers.client)
        except OperationFailed as error:
            each = self._servers.each()
            for client in each if error.reason in GONE and len(each) > 1 else ():
                try:
                    return ask(client)
                except KMIPError as other:
                    log.debug(f"asking for an object elsewhere: {other}")
            raise

    def _located(self, client: Client, names: Sequence[str]) -> list[Candidate]:
        """Return what one server has of these names: two messages for all."""
        lists = self._found(client, [self._bearing(name) for name in names])
        uids = list(dict.fromkeys(uid for each in lists for uid in each))
        if self._learned.facts.get_attributes is not False:
            got = answers(client, [payloads.GetAttributesRequest(unique_identifier=uid) for uid in uids])
            if not any(isinstance(one, OperationFailed) and one.reason in UNSUPPORTED for one in got):
                return _candidates(names, uids, got)
            self._learned.note(get_attributes=False)
        return self._by_state(client, [name for name, each in zip(names, lists, strict=True) if each])

    def _by_state(self, client: Client, names: Sequence[str]) -> list[Candidate]:
        """Tell names and states apart by Locate alone."""
        if not names:
            return []
        filters: list[list[Attribute]] = [[], *state_filters()]
        searches = [[*self._bearing(name), *state] for name in names for state in filters]
        control, *lists = self._found(client, [control_filter(), *searches])
        starts = range(0, len(lists), len(filters))
        if control:
            raise ServerFault(
                "the server has no Get Attributes, and its Locate finds names that do not exist", Fault.PROTOCOL
            )
        return [
            Candidate(uid, name, state)
            for name, start in zip(names, starts, strict=True)
            for uid in lists[start]
            if (state := state_in(uid, lists[start + 1 : start + len(filters)]) or self._readable(client, uid))
        ]

    def _bearing(self, name: str) -> list[Attribute]:
        return [name_attribute(name), *self._group]

    @staticmethod
    def _found(client: Client, searches: Sequence[Sequence[Attribute]]) -> list[tuple[str, ...]]:
        requests = [payloads.LocateRequest(attribute=tuple(search)) for search in searches]
        return list(map(located, answers(client, requests)))

    @staticmethod
    def _readable(client: Client, uid: str) -> KeyState | None:
        """Return Active for a key in no known state whose bytes can be read, None for one that is destroyed."""
        try:
            client.get(uid, deadline=deadline.current())
        except OperationFailed as error:
            if error.reason in GONE:
                return None
            raise
        return KeyState.ACTIVE


def _attributes(name: str, use: KeyUse) -> Attributes:
    return {**ATTRIBUTES[use], CKA.LABEL: name}


def _candidates(names: Sequence[str], uids: Sequence[str], got: Sequence[object]) -> list[Candidate]:
    candidates = []
    for uid, answer in zip(uids, got, strict=True):
        if isinstance(answer, OperationFailed):
            if answer.reason in GONE:
                continue
            raise answer
        assert isinstance(answer, payloads.GetAttributesResponse)
        told = found.read(uid, answer.attribute)
        if told.state is not None:
            borne = [name for name in names if name in told.names]
            candidates += [Candidate(uid, name, told.state, told.initial_date) for name in borne]
    return candidates
