"""HKDF (RFC 5869), whole or either of its halves."""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.constants import CKF
from mrhsm_p11.crypto import checks, prf
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.derivation import Lengths, leading
from mrhsm_p11.errors import KeySizeRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.derive import HKDFParams
from mrhsm_p11.secret import Secret


def derive(
    row: MechanismRow,
    parameter: AnyParameter,
    key_type: int,
    base: Secret,
    lengths: Lengths,
    keys: Mapping[int, Secret],
) -> list[Secret]:
    """Derive one key. Raises MechanismParamInvalid, KeySizeRange."""
    (length,) = lengths
    given = checks.structure(parameter, HKDFParams)
    if not (given.extract or given.expand):
        raise MechanismParamInvalid("neither extract nor expand is asked for")
    function = prf.hash_of(given.hash)
    key = base.view()
    if given.extract:
        key = memoryview(prf.hmac(function, _salt(given, keys, function.digest_size))(key))
    if not given.expand:
        return [leading(key, length)]
    length = function.digest_size if length is None else length
    if length > 255 * function.digest_size:
        raise KeySizeRange(f"HKDF gives no {length} bytes with this hash")
    return [_expanded(prf.hmac(function, key), given.info, length)]


def _salt(given: HKDFParams, keys: Mapping[int, Secret], hash_bytes: int) -> bytes | memoryview:
    if given.salt_type == CKF.HKDF_SALT_NULL:
        return bytes(hash_bytes)
    if given.salt_type == CKF.HKDF_SALT_DATA:
        return given.salt or bytes(hash_bytes)  # as HMAC would fill it up
    if given.salt_type == CKF.HKDF_SALT_KEY:
        return keys[given.salt_key].view()
    raise MechanismParamInvalid(f"{given.salt_type} is no kind of salt")


def _expanded(function: prf.PRF, info: bytes, length: int) -> Secret:
    output, block, number = bytearray(), b"", 1
    while len(output) < length:
        block = function(block, info, bytes([number]))
        output += block
        number += 1
    return leading(output, length)
