"""The operations of a session: one table, one state machine.

An operation begins with C_<X>Init and then is either one call (C_<X>) or any number of updates and a final call. What a
call makes of the caller's buffer, when the operation lives on and when it ends, is said once, in `run`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mrhsm_p11.constants import CKF
from mrhsm_p11.crypto.base import Cipher, Digest, Signer, Verifier
from mrhsm_p11.errors import OperationNotInitialized, UserNotLoggedIn

if TYPE_CHECKING:
    from mrhsm_p11.token.session import Session

Sink = Digest | Signer  # takes input, gives `size` bytes at the end
Buffer = bytes | memoryview
# Output; or the number of bytes that it needs, then nothing was consumed; None where a call has no output.
Outcome = bytes | int | None
BLOCK_BYTES = 16  # the least that is told of an update with input: a size may be larger than what comes
MORE_FOLLOWS = -1  # as the room for output: none is wanted before the last part


class Step(Enum):
    """A call of an operation, after C_<X>Init."""

    ONCE = ""
    UPDATE = "_update"
    FINAL = "_final"


Engine = Cipher | Digest | Signer | Verifier
E_co = TypeVar("E_co", covariant=True)


class Operation(Generic[E_co]):
    """An active operation: its engine, how to begin anew, and the output that waits for a larger buffer."""

    __slots__ = ("engine", "locked", "multipart", "observe", "parked", "signature", "start", "streaming")

    def __init__(self, start: Callable[[], E_co], *, multipart: bool = True, locked: bool = False) -> None:
        self.start = start
        self.engine = start()
        self.multipart = multipart
        self.locked = locked  # until a C_Login of CKU_CONTEXT_SPECIFIC
        self.streaming = False  # after the first update
        self.parked: tuple[bytes, bytes] | None = None  # SHA-256 of the input, output
        self.signature = b""  # that C_VerifySignatureInit was given
        self.observe: Callable[[Buffer, bytes], None] | None = None  # sees input and output of a decryption in one call

    @classmethod
    def under_way(cls, engine: Any, streaming: bool, multipart: bool) -> Operation[Any]:
        """Return one that the C front has begun; only its ciphers can begin anew."""
        operation = Operation(lambda: engine, multipart=multipart)
        operation.start = getattr(engine, "restarted", operation.start)
        operation.streaming = streaming
        return operation

    def require(self, step: Step) -> None:
        """Raise unless this call may come now."""
        if self.locked:
            raise UserNotLoggedIn("the key wants a C_Login of CKU_CONTEXT_SPECIFIC before each use")
        if (step is Step.ONCE and self.streaming) or (step is not Step.ONCE and not self.multipart):
            raise OperationNotInitialized("the operation cannot go on with this call")


Active = Operation[Engine]


def _encrypt(operation: Operation[Cipher], room: int | None, data: Buffer) -> Outcome:
    needed = operation.engine.size(len(data), final=True)
    return needed if room is None or room < needed else operation.engine.finish(data)


def _cipher_update(operation: Operation[Cipher], room: int | None, data: Buffer) -> Outcome:
    needed = operation.engine.size(len(data), final=False)
    if room is None:  # told that there is nothing to come, callers pass no buffer: and so ask again, and not for output
        return max(needed, BLOCK_BYTES) if data else needed
    return needed if room < needed else operation.engine.update(data)


def _encrypt_final(operation: Operation[Cipher], room: int | None) -> Outcome:
    return _encrypt(operation, room, b"")


def _decrypt(operation: Operation[Cipher], room: int | None, data: Buffer) -> Outcome:
    """Padding hides the size of the output until it is made; made too early for the buffer, it is parked."""
    if operation.parked is None:
        if room is None:
            return operation.engine.size(len(data), final=True)
        output = _decrypted(operation, data)
    else:
        mark, output = operation.parked
        if mark != hashlib.sha256(data).digest():
            operation.engine, operation.parked = operation.start(), None
            return _decrypt(operation, room, data)
    if room is not None and room >= len(output):
        return output
    operation.parked = operation.parked or (hashlib.sha256(data).digest(), output)
    return len(output)


def _decrypted(operation: Operation[Cipher], data: Buffer) -> bytes:
    output = operation.engine.finish(data)
    if operation.observe is not None:
        operation.observe(data, output)
    return output


def _decrypt_final(operation: Operation[Cipher], room: int | None) -> Outcome:
    return _decrypt(operation, room, b"")


def _sink(operation: Operation[Sink], room: int | None, data: Buffer) -> Outcome:
    if room is None or room < operation.engine.size:
        return operation.engine.size
    operation.engine.update(data)
    return operation.engine.finish()


def _sink_update(operation: Operation[Sink], room: int | None, data: Buffer) -> Outcome:
    operation.engine.update(data)
    return None


def _sink_final(operation: Operation[Sink], room: int | None) -> Outcome:
    size = operation.engine.size
    return size if room is None or room < size else operation.engine.finish()


def _verify(operation: Operation[Verifier], room: int | None, data: Buffer, signature: Buffer) -> Outcome:
    operation.engine.update(data)
    operation.engine.finish(signature)
    return None


def _verify_update(operation: Operation[Verifier], room: int | None, data: Buffer) -> Outcome:
    operation.engine.update(data)
    return None


def _verify_final(operation: Operation[Verifier], room: int | None, signature: Buffer) -> Outcome:
    operation.engine.finish(signature)
    return None


def _verify_signature(operation: Operation[Verifier], room: int | None, data: Buffer = b"") -> Outcome:
    return _verify(operation, room, data, operation.signature)


class Family(NamedTuple):
    """The row of a family of functions: what each step does with engine, room and input.

    `flag`: the CKF that C_SessionCancel ends its operation by.
    """

    name: str
    flag: int
    steps: Mapping[Step, Callable[..., Outcome]]


class Dual(NamedTuple):
    """The row of a dual-function update: `second` sees the input of `cipher`, or its output."""

    name: str
    cipher: str
    second: str
    sees_output: bool


def _family(
    name: str, flag: int, once: Callable[..., Outcome], update: Callable[..., Outcome], final: Callable[..., Outcome]
) -> Family:
    return Family(name, flag, {Step.ONCE: once, Step.UPDATE: update, Step.FINAL: final})


ENCRYPT = _family("encrypt", CKF.ENCRYPT, _encrypt, _cipher_update, _encrypt_final)
DECRYPT = _family("decrypt", CKF.DECRYPT, _decrypt, _cipher_update, _decrypt_final)
DIGEST = _family("digest", CKF.DIGEST, _sink, _sink_update, _sink_final)
SIGN = _family("sign", CKF.SIGN, _sink, _sink_update, _sink_final)
VERIFY = _family("verify", CKF.VERIFY, _verify, _verify_update, _verify_final)
VERIFY_SIGNATURE = _family("verify_signature", CKF.VERIFY, _verify_signature, _verify_update, _verify_signature)
SIGN_RECOVER = Family("sign_recover", CKF.SIGN_RECOVER, {Step.ONCE: _sink})
VERIFY_RECOVER = Family("verify_recover", CKF.VERIFY_RECOVER, {Step.ONCE: _decrypt})
FAMILIES = {
    family.name: family
    for family in (ENCRYPT, DECRYPT, DIGEST, SIGN, VERIFY, VERIFY_SIGNATURE, SIGN_RECOVER, VERIFY_RECOVER)
}

DIGEST_ENCRYPT = Dual("digest_encrypt_update", "encrypt", "digest", sees_output=False)
DECRYPT_DIGEST = Dual("decrypt_digest_update", "decrypt", "digest", sees_output=True)
SIGN_ENCRYPT = Dual("sign_encrypt_update", "encrypt", "sign", sees_output=False)
DECRYPT_VERIFY = Dual("decrypt_verify_update", "decrypt", "verify", sees_output=True)
DUALS = {dual.name: dual for dual in (DIGEST_ENCRYPT, DECRYPT_DIGEST, SIGN_ENCRYPT, DECRYPT_VERIFY)}


def run(session: Session, family: Family, step: Step, room: int | None, *inputs: Buffer) -> Outcome:
    """Make one call of the session's active operation; `room` is the caller's buffer, None asks for the size.

    The operation lives on after an update and after an answer that is a size. Everything else ends it, whatever fails.
    """
    among = session.operations
    operation = session.take(family.name)
    operation.require(step)
    outcome = family.steps[step](operation, room, *inputs)
    if isinstance(outcome, int):
        session.put(family.name, operation, among)
    elif step is Step.UPDATE:
        operation.streaming = True
        session.put(family.name, operation, among)
    return outcome


def run_dual(session: Session, dual: Dual, room: int | None, part: Buffer) -> Outcome:
    """Make one dual update: both operations advance, or neither does and a size is returned."""
    session.gather()
    among = session.operations
    if not {dual.cipher, dual.second} <= among.keys():
        raise OperationNotInitialized(f"{dual.name} needs an active {dual.cipher} and {dual.second} operation")
    second = session.take(dual.second)
    second.require(Step.UPDATE)
    output = run(session, FAMILIES[dual.cipher], Step.UPDATE, room, part)
    if isinstance(output, bytes):
        FAMILIES[dual.second].steps[Step.UPDATE](second, None, output if dual.sees_output else part)
        second.streaming = True
    session.put(dual.second, second, among)
    return output
