"""The parameter of one message of C_EncryptMessage and its kin: where the caller keeps it, for reading and writing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mrhsm_p11.abi.parameters import parameter_reader
from mrhsm_p11.abi.structs import pointed_bytes
from mrhsm_p11.errors import MechanismParamInvalid
from mrhsm_p11.parameters import Parameter

_readers: dict[type[Parameter], Callable[[Any, int], Parameter]] = {}


class LentParameter:
    """A parameters.messages.Lent, for the time of one call."""

    __slots__ = ("_ffi", "_length", "_pointer")

    def __init__(self, ffi: Any, pointer: Any, length: int) -> None:
        self._ffi = ffi
        self._pointer = pointer
        self._length = length

    @property
    def given(self) -> bool:
        """Tell whether there is any."""
        return bool(self._pointer or self._length)

    def require(self, shape: type[Parameter], *places: str) -> None:
        """Raise MechanismParamInvalid unless it has this shape's size and all these places."""
        if not self._pointer or self._length != self._ffi.sizeof(shape.struct):
            raise MechanismParamInvalid(f"{self._length} bytes are not a {shape.struct}")
        for place in places:
            self._place(shape, place)

    def read(self, shape: type[Parameter]) -> Parameter:
        """Return its present value. Raises MechanismParamInvalid on another size."""
        if shape not in _readers:
            _readers[shape] = parameter_reader(self._ffi, shape)
        return _readers[shape](self._pointer, self._length)

    def take(self, shape: type[Parameter], place: str, length: int) -> bytes:
        """Return the bytes at one of the structure's places, after `read`. Raises MechanismParamInvalid at NULL."""
        return pointed_bytes(self._ffi, self._place(shape, place), length)

    def give(self, shape: type[Parameter], place: str, value: bytes) -> None:
        """Write to one of its places, which has room, after `read`. Raises MechanismParamInvalid at NULL."""
        self._ffi.memmove(self._place(shape, place), value, len(value))

    def _place(self, shape: type[Parameter], place: str) -> Any:
        struct = self._ffi.cast(f"{shape.struct} *", self._pointer)
        found = getattr(struct, shape.places[place])
        if not found:
            raise MechanismParamInvalid(f"{shape.struct} has no room for the {place}")
        return found
