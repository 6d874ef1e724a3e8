"""What a key manager does with keys that it keeps: each way to ask is tried, and compared with what is right.

The keys tried with are made for that and destroyed afterwards. A fault on the way ends the probe: what was not answered
says nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from mrhsm_p11 import deadline, log
from mrhsm_p11.constants import CKA, CKF, CKG, CKK, CKM, CKO
from mrhsm_p11.crypto import engine, secret_keys
from mrhsm_p11.errors import CryptokiError, DeviceError
from mrhsm_p11.mapping.codecs import ULONG_BYTES
from mrhsm_p11.mapping.kmip_mechanisms import WAYS
from mrhsm_p11.mapping.mechanisms import HASHES, ROWS, MechanismRow
from mrhsm_p11.mapping.results import Fault, ServerFault
from mrhsm_p11.parameters.rsa import PSSParams
from mrhsm_p11.parameters.symmetric import CTRParams, GCMParams
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.base import Record, Value
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.remote import BLOCK_BYTES, RemoteKey, WrongOutput
from mrhsm_p11.store.kmip.store import KmipStore
from mrhsm_p11.tokendir.custody import NONE_WORKS, Served

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.crypto.checks import AnyParameter
    from mrhsm_p11.tokendir.files import TokenDirectory
    from mrhsm_p11.tokendir.settings import Connection

T = TypeVar("T")

LABEL = "mrhsm-probe"
RSA_BITS = 2048
SECRET_BYTES = {CKK.AES: 32, CKK.DES3: 24, CKK.GENERIC_SECRET: 32}
DATA_BYTES = 48  # whole blocks of every cipher
_HASH_OF = {name: mechanism for mechanism, name in HASHES.items()}
_SECRET_USES = (CKA.ENCRYPT, CKA.DECRYPT, CKA.SIGN, CKA.VERIFY, CKA.WRAP, CKA.UNWRAP)


@dataclass(frozen=True, slots=True)
class _Sample:
    """A key at the server, and what is right: its bytes, or the public half of a pair."""

    record: Record
    bytes_: Secret


def probe(connection: Connection, *, serial: str, directory: TokenDirectory, config: Config) -> Served:
    """Return which way works for each mechanism and use. Raises CryptokiError where that cannot be found out."""
    config = replace(config, custody="appliance")
    servers = Servers(connection, config)
    store = KmipStore(connection, serial=serial, directory=directory, config=config)
    found: dict[tuple[int, int], int] = {}
    try:
        for key_type in (*SECRET_BYTES, CKK.RSA):
            found |= _Trial(servers, store, config, key_type).found()
    finally:
        store.close()
        servers.close()
    return found


class _Trial:
    """The ways to ask, tried with a key of one type."""

    def __init__(self, servers: Servers, store: KmipStore, config: Config, key_type: int) -> None:
        self._servers = servers
        self._store = store
        self._config = config
        self._key_type = key_type
        self._made: list[str] = []

    def found(self) -> dict[tuple[int, int], int]:
        rows = [ROWS[mechanism] for mechanism in WAYS if ROWS[mechanism].key_types[0] == self._key_type]
        uses = [(row, flag) for row in rows for flag in WAYS[row.type][0].kind.value]
        try:
            sample = self._served(self._sample)
            wrapped = self._served(self._sample) if self._key_type == CKK.AES else None
            return {
                (row.type, flag): NONE_WORKS if sample is None else self._first(row, flag, sample, wrapped)
                for row, flag in uses
            }
        finally:
            self._destroy()

    def _first(self, row: MechanismRow, flag: int, sample: _Sample, wrapped: _Sample | None) -> int:
        """Return the first of the ways that gives what is right."""
        for number, _ in enumerate(WAYS[row.type]):
            only = {(row.type, every): number for every in (CKF.ENCRYPT, CKF.DECRYPT, CKF.SIGN, CKF.VERIFY, CKF.WRAP)}
            key = self._remote(sample, only)
            if flag != CKF.WRAP:
                works = self._served(lambda key=key: _is_right(key, row, flag, sample))  # type: ignore[misc]
            else:
                works = wrapped is not None and self._served(
                    lambda key=key, inner=wrapped: (  # type: ignore[misc]
                        key.wrap(row, None, self._remote(inner, None))
                        == engine.wrap(row, None, sample.bytes_, inner.bytes_)
                    )
                )
            if works:
                return number
            if works is False:
                log.warning(f"the key manager computes CKM_{CKM.name(row.type)} otherwise than PKCS #11 does")
        return NONE_WORKS

    def _remote(self, sample: _Sample, served: Served | None) -> RemoteKey:
        return RemoteKey(self._servers, sample.record, served, lambda: None)

    def _served(self, attempt: Callable[[], T]) -> T | None:
        """Return what an attempt gives, None where the server refuses it. Raises DeviceError for a fault."""
        try:
            with deadline.limit(self._config.deadline_s):
                return attempt()
        except WrongOutput as error:
            log.info(f"probe: {error}")
        except ServerFault as error:
            if error.device_error < Fault.REFUSED:
                raise
            log.info(f"probe: {error}")
        except DeviceError:
            raise
        except CryptokiError as error:
            log.info(f"probe: {error}")
        return None

    def _sample(self) -> _Sample:
        common: dict[int, Value] = {CKA.TOKEN: True, CKA.PRIVATE: True, CKA.LABEL: LABEL, CKA.EXTRACTABLE: True}
        if self._key_type == CKK.RSA:
            generator = ROWS[CKM.RSA_PKCS_KEY_PAIR_GEN]
            spki, pkcs8 = engine.generate_pair(generator, {CKA.MODULUS_BITS: RSA_BITS}, {})
            own: dict[int, Value] = {CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: CKK.RSA, CKA.SIGN: True}
            return _Sample(self._insert({**common, **own}, pkcs8), spki)
        secret = secret_keys.make(self._key_type, SECRET_BYTES[self._key_type])
        own = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: self._key_type, **dict.fromkeys(_SECRET_USES, True)}
        return _Sample(self._insert({**common, **own}, Secret(secret.view())), secret)

    def _insert(self, attributes: dict[int, Value], secret: Secret) -> Record:
        record = self._store.insert(attributes, secret)
        self._made.append(record.uid)
        return record

    def _destroy(self) -> None:
        for uid in self._made:
            try:
                with deadline.limit(self._config.deadline_s):
                    self._store.delete(uid)
            except CryptokiError as error:
                log.warning(f"the key {uid}, made for a probe, cannot be destroyed: {error}")


def _is_right(key: RemoteKey, row: MechanismRow, flag: int, sample: _Sample) -> bool:
    """Tell whether one operation gives what the local engine gives, or accepts."""
    parameter, data = _parameter(row), os.urandom(DATA_BYTES)
    if flag in (CKF.ENCRYPT, CKF.DECRYPT):
        encrypted = engine.cipher(row, parameter, sample.bytes_, encrypt=True).finish(data)
        if flag == CKF.ENCRYPT:
            return key.cipher(row, parameter, encrypt=True).finish(data) == encrypted
        return key.cipher(row, parameter, encrypt=False).finish(encrypted) == data
    signer = key.signer(row, parameter)
    signer.update(data)
    verifier = engine.verifier(row, parameter, row.key_types[0], sample.bytes_)
    verifier.update(data)
    verifier.finish(signer.finish())  # SignatureInvalid: the server signs otherwise
    return True


def _parameter(row: MechanismRow) -> AnyParameter:
    """Return a parameter that a program would typically give."""
    if row.parameter is CTRParams:
        return CTRParams(counter_bits=128, counter=os.urandom(16))
    if row.parameter is GCMParams:
        return GCMParams(iv=os.urandom(12), aad=b"associated", tag_bits=128)
    if row.parameter is PSSParams and row.hash is not None:
        hash_ = _HASH_OF[row.hash]
        mask: int = getattr(CKG, "MGF1_" + CKM.name(hash_).replace("SHA_1", "SHA1"))
        return PSSParams(hash=hash_, mgf=mask, salt_len=engine.digest(ROWS[hash_]).size)
    if row.mode.endswith("general"):
        return (8).to_bytes(ULONG_BYTES, sys.byteorder)
    return os.urandom(BLOCK_BYTES[row.key_types[0]]) if row.parameter is bytes and row.family != "keywrap" else None
