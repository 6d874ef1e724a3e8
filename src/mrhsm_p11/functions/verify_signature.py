"""Verification of a signature that is known before the data."""

from __future__ import annotations

from functools import partial

from mrhsm_p11.crypto import engine
from mrhsm_p11.functions import crypto
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.token import operations, provider, usage
from mrhsm_p11.token.operations import Buffer, Operation, Step

__all__ = ["verify_signature", "verify_signature_final", "verify_signature_init", "verify_signature_update"]


def verify_signature_init(session: int, mechanism: Mechanism | None, key: int, signature: Buffer) -> None:
    begun = crypto.begin(session, operations.VERIFY_SIGNATURE.name, mechanism)
    if begun is None:
        return
    found, asked = begun
    among = found.operations
    row, permitted = usage.permit(found.token, usage.VERIFY, asked, key)
    held = usage.computing(permitted)
    begin = partial(engine.verifier, row, asked.parameter, permitted.key_type or 0, held)
    operation = Operation(begin, multipart=row.multipart)
    operation.signature = bytes(signature)
    found.put(operations.VERIFY_SIGNATURE.name, operation, among)


def verify_signature(session: int, data: Buffer) -> None:
    operations.run(provider.session(session), operations.VERIFY_SIGNATURE, Step.ONCE, None, data)


def verify_signature_update(session: int, part: Buffer) -> None:
    operations.run(provider.session(session), operations.VERIFY_SIGNATURE, Step.UPDATE, None, part)


def verify_signature_final(session: int) -> None:
    operations.run(provider.session(session), operations.VERIFY_SIGNATURE, Step.FINAL, None)
