"""The secrets of a TLS connection, version 1.2 and before."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mrhsm_p11.constants import CKM
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.derivation import Lengths
from mrhsm_p11.crypto.tls_prf import expand
from mrhsm_p11.errors import MechanismParamInvalid, TemplateIncomplete, TemplateInconsistent
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.tls import (
    ExtendedMasterKeyParams,
    KeyMaterialParams,
    MasterKeyParams,
    Randoms,
    TLS12KeyMaterialParams,
    TLS12MasterKeyParams,
    TLSKDFParams,
    TLSPRFParams,
)
from mrhsm_p11.secret import Secret

MASTER_BYTES = 48
VERSION_BYTES = 2


def make(row: MechanismRow, parameter: AnyParameter, length: int) -> Secret:
    """Make a premaster secret for RSA: a CK_VERSION, then random bytes. Raises MechanismParamInvalid."""
    if not isinstance(parameter, bytes) or len(parameter) != VERSION_BYTES:
        raise MechanismParamInvalid("the parameter is a CK_VERSION")
    return Secret(parameter + os.urandom(length - VERSION_BYTES))


def derive(
    row: MechanismRow,
    parameter: AnyParameter,
    key_type: int,
    base: Secret,
    lengths: Lengths,
    keys: Mapping[int, Secret],
) -> list[Secret]:
    """Derive a secret, or those of a key block in its order. Raises MechanismParamInvalid, TemplateInconsistent.

    Also TemplateIncomplete where the length is the caller's to say.
    """
    if isinstance(parameter, KeyMaterialParams | TLS12KeyMaterialParams):
        return _block(
            expand(
                _hash(parameter),
                base,
                b"key expansion",
                _seed(parameter.randoms, server_first=True),
                sum(length or 0 for length in lengths),
            ),
            lengths,
        )
    (length,) = lengths
    if isinstance(parameter, MasterKeyParams | TLS12MasterKeyParams):
        return [_master(_hash(parameter), base, b"master secret", _seed(parameter.randoms), length)]
    if isinstance(parameter, ExtendedMasterKeyParams):
        return [_master(parameter.hash, base, b"extended master secret", parameter.session_hash, length)]
    if length is None:
        raise TemplateIncomplete("how much is derived is for CKA_VALUE_LEN or the key type to say")
    if isinstance(parameter, TLSKDFParams):
        seed = _seed(parameter.randoms) + _told(parameter.context)
        return [Secret(expand(parameter.prf, base, parameter.label, seed, length))]
    if isinstance(parameter, TLSPRFParams):
        return [Secret(expand(CKM.TLS_PRF, base, parameter.label, parameter.seed, length))]
    raise MechanismParamInvalid("the parameter is another mechanism's")


def _master(function: int, base: Secret, label: bytes, seed: bytes, length: int | None) -> Secret:
    if length not in (None, MASTER_BYTES):
        raise TemplateInconsistent(f"a master secret has {MASTER_BYTES} bytes, not {length}")
    return Secret(expand(function, base, label, seed, MASTER_BYTES))


def _block(block: bytearray, lengths: Lengths) -> list[Secret]:
    secrets, at = [], 0
    for length in lengths:
        secrets.append(Secret(block[at : at + (length or 0)]))
        at += length or 0
    return secrets


def _hash(parameter: MasterKeyParams | TLS12MasterKeyParams | KeyMaterialParams | TLS12KeyMaterialParams) -> int:
    return getattr(parameter, "hash", CKM.TLS_PRF)


def _seed(randoms: Randoms, *, server_first: bool = False) -> bytes:
    return randoms.server + randoms.client if server_first else randoms.client + randoms.server


def _told(context: bytes) -> bytes:
    """RFC 5705: a context is told with its length; none at all is not the same as an empty one, but here it is."""
    if len(context) >> 16:
        raise MechanismParamInvalid(f"a context has no {len(context)} bytes")
    return len(context).to_bytes(2, "big") + context if context else b""
