"""Checks that several families make before they compute: parameters and key sizes."""

from __future__ import annotations

import sys
from typing import TypeVar

from mrhsm_p11.errors import KeySizeRange, KeyTypeInconsistent, MechanismParamInvalid
from mrhsm_p11.mapping.codecs import ULONG_BYTES
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters import Parameter

AnyParameter = Parameter | bytes | None

_Structure = TypeVar("_Structure", bound=Parameter)


def no_parameter(parameter: AnyParameter) -> None:
    """Raise MechanismParamInvalid if there is one."""
    if parameter is not None and parameter != b"":
        raise MechanismParamInvalid("the mechanism takes no parameter")


def initial_vector(parameter: AnyParameter, size: int) -> bytes:
    """Return the parameter as an initialisation vector of `size` bytes. Raises MechanismParamInvalid."""
    if not isinstance(parameter, bytes) or len(parameter) != size:
        raise MechanismParamInvalid(f"the parameter is an initialisation vector of {size} bytes")
    return parameter


def structure(parameter: AnyParameter, shape: type[_Structure]) -> _Structure:
    """Return the parameter as the structure the mechanism takes. Raises MechanismParamInvalid."""
    if not isinstance(parameter, shape):
        raise MechanismParamInvalid(f"the parameter is a {shape.struct}")
    return parameter


def number(parameter: AnyParameter) -> int:
    """Return the parameter as the one CK_ULONG that the mechanism takes. Raises MechanismParamInvalid."""
    if not isinstance(parameter, bytes) or len(parameter) != ULONG_BYTES:
        raise MechanismParamInvalid(f"the parameter is a CK_ULONG, {ULONG_BYTES} bytes")
    return int.from_bytes(parameter, sys.byteorder)


def key_size(row: MechanismRow, key_bits: int) -> None:
    """Raise KeySizeRange if the mechanism does not take a key of this size."""
    if not row.allows(key_bits):
        raise KeySizeRange(f"a key of {key_bits} bits is outside what the mechanism takes")


def key_type(row: MechanismRow, actual: int) -> None:
    """Raise KeyTypeInconsistent if the mechanism does not take keys of this type."""
    if actual not in row.key_types:
        raise KeyTypeInconsistent(f"key type {actual:#x} is none of the mechanism's")
