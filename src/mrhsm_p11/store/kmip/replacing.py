"""Re-key: a server's own way to replace a key, whose answer may be lost and whose result says the old key's words."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from mrhsm_p11 import deadline, log
from mrhsm_p11.kmip.attributes import Attribute, name_attribute
from mrhsm_p11.kmip.errors import OperationFailed
from mrhsm_p11.kmip.vocabulary import ResultReason
from mrhsm_p11.store.base import Attributes
from mrhsm_p11.store.kmip import found, records
from mrhsm_p11.store.kmip.blob import Blob
from mrhsm_p11.store.kmip.changing import Changer
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.learned import Learned
from mrhsm_p11.store.kmip.reader import UNSUPPORTED
from mrhsm_p11.store.kmip.resolving import Marker, Resolver
from mrhsm_p11.store.kmip.sidecar import Note, Sidecar

# Refusals of this one key, for the state it is in: a new key can still be made beside it.
_NOT_THIS_ONE = {
    reason.value
    for reason in (
        ResultReason.ILLEGAL_OPERATION,
        ResultReason.KEY_VALUE_NOT_PRESENT,
        ResultReason.WRONG_KEY_LIFECYCLE_STATE,
        ResultReason.INVALID_FIELD,
    )
}


class Replacer:
    """Raises KMIPError."""

    def __init__(self, servers: Servers, learned: Learned, sidecar: Sidecar, serial: str) -> None:
        self._servers = servers
        self._learned = learned
        self._sidecar = sidecar
        self._serial = serial
        self._changer = Changer(servers, sidecar)
        self._resolver = Resolver(servers, None)

    def rekey(self, uid: str, bears: Sequence[Attribute]) -> str | None:
        """Have the server replace a key that bears these attributes, by which an unanswered replacement is found.

        Return its identifier, None where the server does not replace this key.
        """
        if self._learned.expected.rekey is False:
            return None
        search, client = tuple(bears), self._servers.client
        none = (name_attribute(secrets.token_hex(16)), *search[1:])
        had = {one for each in self._servers.each() for one in each.locate(search, deadline=deadline.current())}
        marker = Marker(search, none, frozenset({uid, *had}))
        try:
            made = self._resolver.make(lambda: client.rekey(uid, deadline=deadline.current()), marker)
        except OperationFailed as error:
            if error.reason in UNSUPPORTED:
                self._learned.note(rekey=False)
            elif error.reason not in _NOT_THIS_ONE:
                raise
            log.info(f"key {uid} is replaced by a new one made beside it: {error}")
            return None
        self._learned.note(rekey=True)
        return made

    def claim(self, uid: str, attributes: Attributes, length: int) -> None:
        """Rewrite what the replacement copied from the key it replaces; without Get Attributes, in the sidecar file."""
        shape = records.shape_of(attributes, length)
        if self._learned.facts.get_attributes is not False:
            try:
                told = found.read(uid, self._servers.client.get_attributes(uid, deadline=deadline.current()))
            except OperationFailed as error:
                if error.reason not in UNSUPPORTED:
                    raise
                self._learned.note(get_attributes=False)
            else:
                copied = records.blob_of(told)
                if copied is not None:
                    blob = Blob(self._serial, copied.nonce, records.changes_of(attributes, shape))
                    self._changer.rewrite(told, blob, attributes)
                    return
        self._sidecar.write(Note(uid, records.completed(attributes, shape)))
