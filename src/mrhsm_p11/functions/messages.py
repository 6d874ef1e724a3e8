"""Message functions of 3.0: many messages under one key, each with a parameter of its own.

A message that fails ends; the process goes on until C_Message<X>Final. The tag is no part of the output: it lies where
the message's parameter says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from mrhsm_p11.constants import CKA, CKF
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.base import Cipher, Signer, Verifier
from mrhsm_p11.errors import (
    AeadDecryptFailed,
    ArgumentsBad,
    EncryptedDataInvalid,
    KeyFunctionNotPermitted,
    MechanismInvalid,
    MechanismParamInvalid,
    OperationActive,
    OperationNotInitialized,
)
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters import Mechanism, Parameter
from mrhsm_p11.parameters.messages import Lent, LentMechanism, MessageParameter
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider, usage
from mrhsm_p11.token.messages import Messages
from mrhsm_p11.token.operations import MORE_FOLLOWS, Buffer, Outcome
from mrhsm_p11.token.session import Session
from mrhsm_p11.token.usage import Purpose

__all__ = [
    "decrypt_message",
    "decrypt_message_begin",
    "decrypt_message_next",
    "encrypt_message",
    "encrypt_message_begin",
    "encrypt_message_next",
    "message_decrypt_final",
    "message_decrypt_init",
    "message_encrypt_final",
    "message_encrypt_init",
    "message_sign_final",
    "message_sign_init",
    "message_verify_final",
    "message_verify_init",
    "sign_message",
    "sign_message_begin",
    "sign_message_next",
    "verify_message",
    "verify_message_begin",
    "verify_message_next",
]

ENCRYPT, DECRYPT = usage.MESSAGE_ENCRYPT.name, usage.MESSAGE_DECRYPT.name
SIGN, VERIFY = usage.MESSAGE_SIGN.name, usage.MESSAGE_VERIFY.name


# ---- the process ----


def _init(session: int, purpose: Purpose, asked: Mechanism | LentMechanism | None, key: int) -> None:
    found = provider.session(session)
    among = found.messages  # what C_Logout has ended meanwhile stays so
    active = purpose.name in among
    if asked is None:
        if not active:
            raise ArgumentsBad("no mechanism is given")
        del among[purpose.name]
        return
    if active:
        raise OperationActive(f"a {purpose.name} process is active")
    row, permitted = usage.permit(found.token, purpose, asked, key)
    if isinstance(asked, LentMechanism):
        if asked.parameter.given:  # some pass their first message's
            asked.parameter.require(shape(row))
        mechanism = Mechanism(asked.type)
    else:
        mechanism = asked
    if permitted.is_true(CKA.ALWAYS_AUTHENTICATE):
        raise KeyFunctionNotPermitted("the key wants a login before each message, which no message function asks for")
    process = Messages(row, mechanism, permitted)
    if (start := _STARTS.get(purpose.name)) is not None:
        start(process)  # so that a bad parameter or size is told now
    among[purpose.name] = process


def message_encrypt_init(session: int, mechanism: LentMechanism | None, key: int) -> None:
    _init(session, usage.MESSAGE_ENCRYPT, mechanism, key)


def message_decrypt_init(session: int, mechanism: LentMechanism | None, key: int) -> None:
    _init(session, usage.MESSAGE_DECRYPT, mechanism, key)


def message_sign_init(session: int, mechanism: Mechanism | None, key: int) -> None:
    _init(session, usage.MESSAGE_SIGN, mechanism, key)


def message_verify_init(session: int, mechanism: Mechanism | None, key: int) -> None:
    _init(session, usage.MESSAGE_VERIFY, mechanism, key)


def _final(name: str) -> Callable[[int], None]:
    def final(session: int) -> None:
        if provider.session(session).messages.pop(name, None) is None:
            raise OperationNotInitialized(f"no {name} process is active")

    return final


message_encrypt_final = _final(ENCRYPT)
message_decrypt_final = _final(DECRYPT)
message_sign_final = _final(SIGN)
message_verify_final = _final(VERIFY)


@contextmanager
def _process(session: int, name: str) -> Iterator[Messages]:
    """Lend the process to one call: no two threads share it."""
    found: Session = provider.session(session)
    among = found.messages
    process = among.pop(name, None)
    if process is None:
        raise OperationNotInitialized(f"no {name} process is active")
    try:
        yield process
    finally:
        among[name] = process


# ---- authenticated encryption ----


def shape(row: MechanismRow) -> type[MessageParameter]:
    """Return what a message's parameter looks like. Raises MechanismInvalid where there is none."""
    if row.message_parameter is None:
        raise MechanismInvalid("the mechanism has no parameter for single messages")
    return cast("type[MessageParameter]", row.message_parameter)


def cipher(
    row: MechanismRow, message: MessageParameter, iv: bytes, aad: Buffer, key: Secret, *, encrypt: bool
) -> Cipher:
    """Start one message with the mechanism's own parameter. Raises MechanismParamInvalid."""
    parameter = cast("type[Parameter]", row.parameter)(**message.beside(iv, bytes(aad)))
    return engine.cipher(row, parameter, key, encrypt=encrypt)


def _read(process: Messages, lent: Lent) -> MessageParameter:
    lent.require(shape(process.row), "iv", "tag")
    return cast("MessageParameter", lent.read(shape(process.row)))


def _started(process: Messages, lent: Lent, aad: Buffer) -> Cipher:
    """Begin to encrypt a message, and tell its caller with which IV."""
    message = _read(process, lent)
    iv = process.ivs.next(message)
    started = cipher(process.row, message, iv, aad, process.secret, encrypt=True)
    lent.give(shape(process.row), "iv", iv)
    return started


def _sealed(process: Messages, lent: Lent, output: bytes) -> bytes:
    """Put the tag in its place; return the ciphertext without it."""
    tag_bytes = _read(process, lent).tag_bytes
    lent.give(shape(process.row), "tag", output[-tag_bytes:])
    return output[:-tag_bytes]


def encrypt_message(session: int, lent: Lent, aad: Buffer, plain: Buffer, room: int | None) -> Outcome:
    with _process(session, ENCRYPT) as process:
        process.require_between()
        message = _read(process, lent)
        if len(plain) and (room is None or room < len(plain)):
            cipher(process.row, message, message.iv, aad, process.secret, encrypt=True)
            return len(plain)
        sealed = _sealed(process, lent, _started(process, lent, aad).finish(plain))
        return sealed if room is not None else 0  # without plaintext there is a tag all the same


def encrypt_message_begin(session: int, lent: Lent, aad: Buffer) -> None:
    with _process(session, ENCRYPT) as process:
        process.require_between()
        process.begin(_started(process, lent, aad))


def encrypt_message_next(session: int, lent: Lent, part: Buffer, room: int | None, flags: int) -> Outcome:
    with _process(session, ENCRYPT) as process:
        current = cast("Cipher", process.take())
        last = bool(flags & CKF.END_OF_MESSAGE)
        needed = current.size(len(part), final=last) - (_read(process, lent).tag_bytes if last else 0)
        if room is None or room < needed:
            process.keep(current)
            return needed
        if last:
            return _sealed(process, lent, current.finish(part))
        output = current.update(part)
        process.keep(current)
        return output


def _opened(process: Messages, lent: Lent, current: Cipher, last: Buffer) -> bytes:
    """Take the last part and the tag; return what they verify."""
    tag = lent.take(shape(process.row), "tag", _read(process, lent).tag_bytes)
    try:
        return current.update(last) + current.finish(tag)
    except EncryptedDataInvalid as error:
        raise AeadDecryptFailed(str(error)) from None


def decrypt_message(session: int, lent: Lent, aad: Buffer, encrypted: Buffer, room: int | None) -> Outcome:
    with _process(session, DECRYPT) as process:
        process.require_between()
        message = _read(process, lent)
        started = cipher(process.row, message, message.iv, aad, process.secret, encrypt=False)
        if len(encrypted) and (room is None or room < len(encrypted)):
            return len(encrypted)
        opened = _opened(process, lent, started, encrypted)
        return opened if room is not None else 0


def decrypt_message_begin(session: int, lent: Lent, aad: Buffer) -> None:
    with _process(session, DECRYPT) as process:
        process.require_between()
        message = _read(process, lent)
        process.begin(cipher(process.row, message, message.iv, aad, process.secret, encrypt=False))


def decrypt_message_next(session: int, lent: Lent, part: Buffer, room: int | None, flags: int) -> Outcome:
    """Take a part; the plaintext comes with the last one, when the tag has been checked."""
    with _process(session, DECRYPT) as process:
        current = cast("Cipher", process.take())
        last = bool(flags & CKF.END_OF_MESSAGE)
        more = _read(process, lent).tag_bytes if last else 0
        needed = current.size(len(part) + more, final=last)
        if room is None or room < needed:
            process.keep(current)
            return needed
        if last:
            return _opened(process, lent, current, part)
        output = current.update(part)
        process.keep(current)
        return output


# ---- signatures ----


def _signer(process: Messages) -> Signer:
    return engine.signer(process.row, process.mechanism.parameter, process.key_type, process.secret)


def _verifier(process: Messages) -> Verifier:
    return engine.verifier(process.row, process.mechanism.parameter, process.key_type, process.secret)


_STARTS: dict[str, Callable[[Messages], object]] = {
    usage.MESSAGE_SIGN.name: _signer,
    usage.MESSAGE_VERIFY.name: _verifier,
}


def _require_none(lent: Lent) -> None:
    if lent.given:
        raise MechanismParamInvalid("no signature has a parameter of its own")


def sign_message(session: int, lent: Lent, data: Buffer, room: int | None) -> Outcome:
    with _process(session, SIGN) as process:
        process.require_between()
        _require_none(lent)
        signer = _signer(process)
        if room is None or room < signer.size:
            return signer.size
        signer.update(data)
        return signer.finish()


def sign_message_begin(session: int, lent: Lent) -> None:
    with _process(session, SIGN) as process:
        _require_none(lent)
        process.begin(_signer(process))


def sign_message_next(session: int, lent: Lent, part: Buffer, room: int | None) -> Outcome:
    with _process(session, SIGN) as process:
        signer = cast("Signer", process.take())
        _require_none(lent)
        if room != MORE_FOLLOWS and (room is None or room < signer.size):
            process.keep(signer)
            return signer.size
        signer.update(part)
        if room != MORE_FOLLOWS:
            return signer.finish()
        process.keep(signer)
        return None


def verify_message(session: int, lent: Lent, data: Buffer, signature: Buffer) -> None:
    with _process(session, VERIFY) as process:
        process.require_between()
        _require_none(lent)
        verifier = _verifier(process)
        verifier.update(data)
        verifier.finish(signature)


def verify_message_begin(session: int, lent: Lent) -> None:
    with _process(session, VERIFY) as process:
        _require_none(lent)
        process.begin(_verifier(process))


def verify_message_next(session: int, lent: Lent, part: Buffer, signature: Buffer | None) -> None:
    with _process(session, VERIFY) as process:
        verifier = cast("Verifier", process.take())
        _require_none(lent)
        verifier.update(part)
        if signature is None:
            process.keep(verifier)
        else:
            verifier.finish(signature)
