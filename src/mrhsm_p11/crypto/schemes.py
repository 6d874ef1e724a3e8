"""What the C front is told of a signature's, or of RSA's, hashes and padding."""

from __future__ import annotations

import sys
from typing import NamedTuple

from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.rsa import PKCS1_OVERHEAD, hash_name, mask_name, oaep_overhead
from mrhsm_p11.mapping.codecs import ULONG_BYTES
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.mapping.native import Native, hash_of
from mrhsm_p11.parameters.rsa import OAEPParams, PSSParams


class Scheme(NamedTuple):
    """As `struct terms` of cdef/datapath.h has it; `asked` is what C compares parameters with."""

    algorithm: str
    size: int = 0
    mask: str = ""
    salt_bytes: int = 0
    asked: bytes = b""


def scheme(how: Native, row: MechanismRow, parameter: AnyParameter) -> Scheme | None:
    """Return what a parameter that the engine has taken comes to; None for one that C does not."""
    if isinstance(parameter, PSSParams):
        algorithm, size = hash_of(hash_name(parameter.hash))
        asked = _numbers(parameter.hash, parameter.mgf, parameter.salt_len)
        return Scheme(algorithm, size, _mask(parameter.mgf), parameter.salt_len, asked)
    if isinstance(parameter, OAEPParams) and not parameter.label:
        algorithm, size = hash_of(hash_name(parameter.hash))
        return Scheme(
            algorithm, oaep_overhead(size), _mask(parameter.mgf), asked=_numbers(parameter.hash, parameter.mgf)
        )
    if parameter:
        return None
    algorithm, _ = hash_of(row.hash)
    return Scheme(algorithm, PKCS1_OVERHEAD if how.method == "RSA_PKCS" else 0)


def _mask(mgf: int) -> str:
    return hash_of(mask_name(mgf))[0]


def _numbers(*numbers: int) -> bytes:
    """Return numbers as they lie in a structure."""
    return b"".join(number.to_bytes(ULONG_BYTES, sys.byteorder) for number in numbers)
