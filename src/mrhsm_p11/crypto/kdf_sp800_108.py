"""SP 800-108: keys from a pseudo-random function in counter, feedback or double-pipeline mode.

PKCS #11 lets the caller lay out what the function is fed: a list of parts, in order. Where one call gives several keys,
each begins with a new output of the function: no two share one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

from mrhsm_p11.constants import CK
from mrhsm_p11.crypto import prf
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.derivation import Lengths
from mrhsm_p11.errors import KeySizeRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.derive import CounterParams, FeedbackParams, PRFPart
from mrhsm_p11.secret import Secret

# CK_SP800_108_COUNTER_FORMAT and CK_SP800_108_DKM_LENGTH_FORMAT, as the compiler lays them out
_COUNTER = struct.Struct("@BL")
_LENGTH = struct.Struct("@LBL")
_WIDEST_COUNTER_BITS = 32
_WIDEST_LENGTH_BITS = 64
_REPEATED = (CK.SP800_108_BYTE_ARRAY, CK.SP800_108_KEY_HANDLE)

Part = Callable[[int, bytes], bytes]  # (number of the round, iteration variable) -> what the function is fed


def derive(
    row: MechanismRow,
    parameter: AnyParameter,
    key_type: int,
    base: Secret,
    lengths: Lengths,
    keys: Mapping[int, Secret],
) -> list[Secret]:
    """Derive one key or several. Raises MechanismParamInvalid, KeySizeRange."""
    if not isinstance(parameter, CounterParams | FeedbackParams):
        raise MechanismParamInvalid("the parameter is one of SP 800-108")
    function = prf.by_mac(parameter.prf, base.view())
    sizes = [function.size if length is None else length for length in lengths]
    layout = _Layout(row.mode, parameter.parts, sizes, function.size, keys)
    rounds = [-(-size // function.size) for size in sizes]
    layout.require(sum(rounds))
    outputs = _outputs(row.mode, function, layout, getattr(parameter, "iv", b""))
    return [_cut(outputs, count, size) for count, size in zip(rounds, sizes, strict=True)]


def _cut(outputs: Iterable[bytes], rounds: int, size: int) -> Secret:
    whole = bytearray()
    for _, output in zip(range(rounds), outputs, strict=False):
        whole += output
    return Secret(whole[:size])


def _outputs(mode: str, function: prf.PRF, layout: _Layout, iv: bytes) -> Iterable[bytes]:
    number, variable = 1, iv
    while True:
        if mode == "double-pipeline":
            variable = function(variable if number > 1 else layout.fixed())
        output = function(layout.input(number, variable))
        yield output
        if mode == "feedback":
            variable = output
        number += 1


class _Layout:
    """The parts in order, ready to be put together for each round."""

    def __init__(
        self, mode: str, parts: Sequence[PRFPart], sizes: Sequence[int], segment: int, keys: Mapping[int, Secret]
    ) -> None:
        self._keys = keys
        self._parts: list[tuple[bool, Part]] = []
        self._counter_bits = 0
        seen: list[int] = []
        for part in parts:
            fixed, made = self._part(mode, part, sizes, segment)
            if part.type not in _REPEATED and part.type in seen:
                raise MechanismParamInvalid("a part that may stand once stands twice")
            seen.append(part.type)
            self._parts.append((fixed, made))
        if CK.SP800_108_ITERATION_VARIABLE not in seen:
            raise MechanismParamInvalid("the iteration variable is missing")

    def input(self, number: int, variable: bytes) -> bytes:
        return b"".join(part(number, variable) for _, part in self._parts)

    def fixed(self) -> bytes:
        """Return what stays the same: A(0) of the double pipeline."""
        return b"".join(part(0, b"") for fixed, part in self._parts if fixed)

    def require(self, rounds: int) -> None:
        """Raise KeySizeRange where the counter is too narrow for this many rounds."""
        if self._counter_bits and rounds >> self._counter_bits:
            raise KeySizeRange(f"{rounds} rounds are more than {self._counter_bits} bits count")

    def _part(self, mode: str, part: PRFPart, sizes: Sequence[int], segment: int) -> tuple[bool, Part]:
        kind = part.type
        if kind == CK.SP800_108_BYTE_ARRAY:
            return True, lambda number, variable: part.value
        if kind == CK.SP800_108_KEY_HANDLE:
            key = self._keys[part.key].reveal()
            return True, lambda number, variable: key
        if kind == CK.SP800_108_DKM_LENGTH:
            told = _told_length(part.value, sizes, segment)
            return True, lambda number, variable: told
        if kind == CK.SP800_108_ITERATION_VARIABLE and mode != "counter":
            if part.value:
                raise MechanismParamInvalid("the iteration variable has no format in this mode")
            return False, lambda number, variable: variable
        counts = CK.SP800_108_ITERATION_VARIABLE if mode == "counter" else CK.SP800_108_COUNTER
        if kind != counts:
            raise MechanismParamInvalid(f"{kind} is no part of this mode")
        little, bits = _format(_COUNTER, part.value, _WIDEST_COUNTER_BITS)
        self._counter_bits = bits
        order = "little" if little else "big"
        return False, lambda number, variable: number.to_bytes(bits // 8, order)


def _format(shape: struct.Struct, value: bytes, widest: int) -> tuple[int, ...]:
    """Return a format's numbers; the last is a width in bits. Raises MechanismParamInvalid."""
    if len(value) != shape.size:
        raise MechanismParamInvalid(f"a format has {shape.size} bytes, not {len(value)}")
    numbers = shape.unpack(value)
    if not 8 <= numbers[-1] <= widest or numbers[-1] % 8:
        raise MechanismParamInvalid(f"a number of {numbers[-1]} bits is not 8, 16, ... {widest}")
    return numbers


def _told_length(value: bytes, sizes: Sequence[int], segment: int) -> bytes:
    method, little, bits = _format(_LENGTH, value, _WIDEST_LENGTH_BITS)
    if method == CK.SP800_108_DKM_LENGTH_SUM_OF_KEYS:
        total = sum(sizes) * 8
    elif method == CK.SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS:
        total = sum(-(-size // segment) * segment for size in sizes) * 8
    else:
        raise MechanismParamInvalid(f"{method} is no way to tell a length")
    if total >> bits:
        raise KeySizeRange(f"{total} bits cannot be told in {bits}")
    return total.to_bytes(bits // 8, "little" if little else "big")
