"""Encryption, digests, signatures and random numbers: functions made from the rows of token.operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mrhsm_p11 import datapath, log
from mrhsm_p11.constants import CKA, CKF, CKO
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.base import Key
from mrhsm_p11.errors import ArgumentsBad, EncryptedDataInvalid, KeyIndigestible, OperationActive
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.token import cluster_objects, grants, operations, provider, usage
from mrhsm_p11.token.operations import Buffer, Dual, Engine, Family, Operation, Outcome, Step
from mrhsm_p11.token.session import Session
from mrhsm_p11.token.usage import Purpose

__all__ = [
    "decrypt",
    "decrypt_digest_update",
    "decrypt_final",
    "decrypt_init",
    "decrypt_update",
    "decrypt_verify_update",
    "digest",
    "digest_encrypt_update",
    "digest_final",
    "digest_init",
    "digest_key",
    "digest_update",
    "encrypt",
    "encrypt_final",
    "encrypt_init",
    "encrypt_update",
    "generate_random",
    "seed_random",
    "sign",
    "sign_encrypt_update",
    "sign_final",
    "sign_init",
    "sign_recover",
    "sign_recover_init",
    "sign_update",
    "verify",
    "verify_final",
    "verify_init",
    "verify_recover",
    "verify_recover_init",
    "verify_update",
]

Begin = Callable[[MechanismRow, Mechanism, int, Key], Engine]

_BEGIN: dict[str, Begin] = {
    "encrypt": lambda row, asked, kind, held: engine.cipher(row, asked.parameter, held, encrypt=True),
    "decrypt": lambda row, asked, kind, held: engine.cipher(row, asked.parameter, held, encrypt=False),
    "sign": lambda row, asked, kind, held: engine.signer(row, asked.parameter, kind, held),
    "verify": lambda row, asked, kind, held: engine.verifier(row, asked.parameter, kind, held),
    "sign_recover": lambda row, asked, kind, held: engine.signer(row, asked.parameter, kind, held),
    "verify_recover": lambda row, asked, kind, held: engine.recoverer(row, asked.parameter, kind, held),
}


def begin(session: int, family: str, mechanism: Mechanism | None) -> tuple[Session, Mechanism] | None:
    """Do what every C_<X>Init does first; None: the active operation has been cancelled and nothing is to begin."""
    found = provider.session(session)
    active = found.is_active(family)
    if mechanism is None:
        if not active:
            raise ArgumentsBad("no mechanism is given")
        found.end(family)
        return None
    if active:
        raise OperationActive(f"a {family} operation is active")
    return found, mechanism


def _keyed_init(purpose: Purpose) -> Callable[[int, Mechanism | None, int], None]:
    """Make C_<X>Init of a family that works with a key."""
    start, is_native = _BEGIN[purpose.name], purpose.name in datapath.FAMILIES

    def init(session: int, mechanism: Mechanism | None, key: int) -> None:
        seen = datapath.path.changes()
        begun = begin(session, purpose.name, mechanism)
        if begun is None:
            return
        found, asked = begun
        among = found.operations
        row, permitted = usage.permit(found.token, purpose, asked, key)
        held = usage.computing(permitted, purpose.handle_invalid)
        in_c = found, purpose.name, row, asked, permitted, held, seen
        if is_native and grants.begin(*in_c):
            return
        operation = Operation(
            partial(start, row, asked, permitted.key_type or 0, held),
            multipart=row.multipart,
            locked=permitted.is_true(CKA.ALWAYS_AUTHENTICATE),
        )
        if is_native and grants.begin_pair(*in_c):
            return
        if purpose is usage.DECRYPT:
            operation.observe = _checksum_observer(found, asked)
        found.put(purpose.name, operation, among)

    return init


def digest_init(session: int, mechanism: Mechanism | None) -> None:
    seen = datapath.path.changes()
    begun = begin(session, "digest", mechanism)
    if begun is not None:
        found, asked = begun
        row = usage.mechanism_row(found.token.config, asked.type, CKF.DIGEST)
        if grants.begin_digest(found, row, asked, seen):
            return
        found.put("digest", Operation(partial(engine.digest, row, asked.parameter)), found.operations)


def digest_key(session: int, key: int) -> None:
    """Take the value of a secret key into the digest; one that may not be seen may not be digested either."""
    found = provider.session(session)
    among = found.operations
    operation = found.take("digest")
    secret = usage.find_key(found.token, key)
    if secret.cls != CKO.SECRET_KEY or secret.is_true(CKA.SENSITIVE) or not secret.is_true(CKA.EXTRACTABLE):
        raise KeyIndigestible("the key's value must not be seen")
    value = secret.material()
    found.put("digest", operation, among)
    operations.run(found, operations.DIGEST, Step.UPDATE, None, value.view())


def _input_output(family: Family, step: Step) -> Callable[[int, Buffer, int | None], Outcome]:
    def call(session: int, data: Buffer, room: int | None) -> Outcome:
        return operations.run(provider.session(session), family, step, room, data)

    return call


def _input(family: Family) -> Callable[[int, Buffer], None]:
    def call(session: int, data: Buffer) -> None:
        operations.run(provider.session(session), family, Step.UPDATE, None, data)

    return call


def _output(family: Family) -> Callable[[int, int | None], Outcome]:
    def call(session: int, room: int | None) -> Outcome:
        return operations.run(provider.session(session), family, Step.FINAL, room)

    return call


def _dual(dual: Dual) -> Callable[[int, Buffer, int | None], Outcome]:
    def call(session: int, data: Buffer, room: int | None) -> Outcome:
        return operations.run_dual(provider.session(session), dual, room, data)

    return call


encrypt_init = _keyed_init(usage.ENCRYPT)
encrypt = _input_output(operations.ENCRYPT, Step.ONCE)
encrypt_update = _input_output(operations.ENCRYPT, Step.UPDATE)
encrypt_final = _output(operations.ENCRYPT)
decrypt_init = _keyed_init(usage.DECRYPT)
decrypt = _input_output(operations.DECRYPT, Step.ONCE)
decrypt_update = _input_output(operations.DECRYPT, Step.UPDATE)
decrypt_final = _output(operations.DECRYPT)
digest = _input_output(operations.DIGEST, Step.ONCE)
digest_update = _input(operations.DIGEST)
digest_final = _output(operations.DIGEST)
sign_init = _keyed_init(usage.SIGN)
sign = _input_output(operations.SIGN, Step.ONCE)
sign_update = _input(operations.SIGN)
sign_final = _output(operations.SIGN)
sign_recover_init = _keyed_init(usage.SIGN_RECOVER)
sign_recover = _input_output(operations.SIGN_RECOVER, Step.ONCE)
verify_init = _keyed_init(usage.VERIFY)
verify_update = _input(operations.VERIFY)
verify_recover_init = _keyed_init(usage.VERIFY_RECOVER)
verify_recover = _input_output(operations.VERIFY_RECOVER, Step.ONCE)
digest_encrypt_update = _dual(operations.DIGEST_ENCRYPT)
decrypt_digest_update = _dual(operations.DECRYPT_DIGEST)
sign_encrypt_update = _dual(operations.SIGN_ENCRYPT)
decrypt_verify_update = _dual(operations.DECRYPT_VERIFY)


CONTINUES: dict[str, tuple[str, ...]] = {  # function -> families of the operations that it goes on with
    **{name + step.value: (name,) for name, family in operations.FAMILIES.items() for step in family.steps},
    **{dual.name: (dual.cipher, dual.second) for dual in operations.DUALS.values()},
    "digest_key": ("digest",),
}
MESSAGES = {f"{verb}_message_next": f"message_{verb}" for verb in ("encrypt", "decrypt", "sign", "verify")}


def refused(function: str, session: int) -> None:
    """End what a call would have gone on with, when its arguments are refused before it is made.

    Of a process of many messages only the message under way ends (PKCS #11 3.1, 5.9.4, 5.11.4, 5.14.4, 5.16.4).
    """
    found = provider.session(session)
    for family in CONTINUES.get(function, ()):
        found.end(family)
    if process := found.messages.get(MESSAGES.get(function, "")):
        process.abandon()


def verify(session: int, data: Buffer, signature: Buffer) -> None:
    operations.run(provider.session(session), operations.VERIFY, Step.ONCE, None, data, signature)


def verify_final(session: int, signature: Buffer) -> None:
    operations.run(provider.session(session), operations.VERIFY, Step.FINAL, None, signature)


def generate_random(session: int, length: int) -> bytes:
    provider.session(session)
    return engine.random(length)


def seed_random(session: int, seed: Buffer) -> None:
    """Take the seed and need it not: the system's generator seeds itself."""
    provider.session(session)


def _checksum_observer(session: Session, asked: Mechanism) -> Callable[[Buffer, bytes], None] | None:
    """Return what compares a decrypted cluster key with its recorded checksum; None where no key is recorded."""
    opened = session.token.opened
    cluster = opened.settings.cluster if opened is not None else None
    vector = asked.parameter
    if cluster is None or not isinstance(vector, bytes):
        return None

    def observe(encrypted: Buffer, plain: bytes) -> None:
        broken = cluster_objects.checksum_broken(cluster, vector + bytes(encrypted), plain)
        if broken:
            log.error(f"{broken} was decrypted to something else than its checksum tells")
            raise EncryptedDataInvalid(f"the checksum of {broken} does not fit")

    return observe
