"""States of managed objects: activate, revoke, destroy, whatever was done before."""

from __future__ import annotations

from mrhsm_p11 import deadline, log
from mrhsm_p11.errors import CryptokiError
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import RevocationReason, attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.kmip.payload import RequestPayload
from mrhsm_p11.kmip.vocabulary import RevocationReasonCode
from mrhsm_p11.store.base import KeyState
from mrhsm_p11.store.kmip import found
from mrhsm_p11.store.kmip.bare import located, state_filters, state_in
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.learned import Learned
from mrhsm_p11.store.kmip.reader import GONE, UNSUPPORTED, answers

_CESSATION = RevocationReason(revocation_reason_code=RevocationReasonCode.CESSATION_OF_OPERATION)


class Lifecycle:
    """Raises KMIPError; an object that is not there is OperationFailed with a reason of GONE."""

    def __init__(self, servers: Servers, learned: Learned) -> None:
        self._servers = servers
        self._learned = learned

    def state(self, uid: str, client: Client | None = None) -> KeyState | None:
        """Return an object's state; None where the server does not tell, or it is destroyed."""
        client = client or self._servers.client
        if self._learned.facts.get_attributes is not False:
            try:
                told = client.get_attributes(uid, ["State", found.EVERYWHERE], deadline=deadline.current())
            except OperationFailed as error:
                if error.reason not in UNSUPPORTED:
                    raise
                self._learned.note(get_attributes=False)
            else:
                self._learned.note(get_attributes=True)
                return found.read(uid, told).state
        own = attribute("Unique Identifier", uid)
        requests = [payloads.LocateRequest(attribute=(own, *search)) for search in state_filters()]
        got = answers(client, requests)
        return state_in(uid, [() if isinstance(one, OperationFailed) else located(one) for one in got])

    def activate(self, uid: str) -> None:
        """Make active; what is active already stays so."""
        try:
            self._twice(payloads.ActivateRequest(unique_identifier=uid))
        except OperationFailed as error:
            if error.reason in GONE:
                raise
            state = self.state(uid)
            if state is None and self._learned.facts.get_attributes is False:
                log.warning(f"object {uid} is taken to be active already, the server does not tell: {error}")
            elif state is not KeyState.ACTIVE:
                raise

    def revoke(self, uid: str) -> None:
        """Revoke for Cessation of Operation; what is revoked already stays so."""
        try:
            self._twice(payloads.RevokeRequest(unique_identifier=uid, revocation_reason=_CESSATION))
        except OperationFailed as error:
            if error.reason in GONE:
                raise
            state = self.state(uid)
            if state is KeyState.PRE_ACTIVE:
                # Only what was active can cease to be.
                self.activate(uid)
                self._twice(payloads.RevokeRequest(unique_identifier=uid, revocation_reason=_CESSATION))
            elif state not in (KeyState.DEACTIVATED, KeyState.COMPROMISED):
                raise

    def destroy(self, uid: str, state: KeyState | None) -> None:
        """Destroy, after revoking what is active; `state` as last known, None: not known or none."""
        destroy = payloads.DestroyRequest(unique_identifier=uid)
        if state is KeyState.ACTIVE:
            revoke = payloads.RevokeRequest(unique_identifier=uid, revocation_reason=_CESSATION)
            got = self._batch_twice([revoke, destroy])
            if not isinstance(got[-1], OperationFailed):
                return
            if isinstance(got[0], OperationFailed) and got[0].reason in GONE:
                raise got[0]
        try:
            self._twice(destroy)
        except OperationFailed as error:
            if error.reason in GONE or state is KeyState.ACTIVE or self.state(uid) is not KeyState.ACTIVE:
                raise
            self.destroy(uid, KeyState.ACTIVE)

    def destroy_quietly(self, uid: str) -> None:
        """Take back an object that a failing call made; what stays is named in the log."""
        try:
            self.destroy(uid, None)
        except (KMIPError, CryptokiError) as error:
            log.warning(f"object {uid} of a call that failed could not be destroyed: {error}")

    def _twice(self, request: RequestPayload) -> None:
        got = self._batch_twice([request])[0]
        if isinstance(got, OperationFailed):
            raise got

    def _batch_twice(self, requests: list[RequestPayload]) -> list[object]:
        """Ask; an unanswered request is repeated once, and finding it done already is success."""
        try:
            return list(self._servers.client.batch(requests, deadline=deadline.current()))
        except OperationFailed:
            raise
        except KMIPError as error:
            if not error.sent or deadline.current().passed:
                raise
            log.info(f"asking again: {error}")
        got: list[object] = list(self._servers.client.batch(requests, deadline=deadline.current()))
        gone = any(isinstance(one, OperationFailed) and one.reason in GONE for one in got)
        if gone and isinstance(requests[-1], payloads.DestroyRequest):
            return [None] * len(requests)
        return got
