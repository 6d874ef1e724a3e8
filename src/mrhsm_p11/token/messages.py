"""Message processes of a session: many messages under one key, and the IVs that are made for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mrhsm_p11.constants import CKG
from mrhsm_p11.errors import MechanismParamInvalid, OperationActive, OperationNotInitialized, TokenResourceExceeded

if TYPE_CHECKING:
    from mrhsm_p11.crypto.base import Cipher, Signer, Verifier
    from mrhsm_p11.mapping.mechanisms import MechanismRow
    from mrhsm_p11.parameters import Mechanism
    from mrhsm_p11.parameters.messages import MessageParameter
    from mrhsm_p11.parameters.symmetric import CCMWrapParams, GCMWrapParams
    from mrhsm_p11.secret import Secret
    from mrhsm_p11.token.objects import Object

LEAST_RANDOM_BITS = 64
RANDOM = frozenset({CKG.GENERATE, CKG.GENERATE_RANDOM})
COUNTING = frozenset({CKG.GENERATE_COUNTER, CKG.GENERATE_COUNTER_XOR})


class Messages:
    """One process, from C_Message<X>Init to C_Message<X>Final."""

    __slots__ = ("_current", "ivs", "key_type", "mechanism", "row", "secret")

    def __init__(self, row: MechanismRow, mechanism: Mechanism, key: Object) -> None:
        self.row = row
        self.mechanism = mechanism
        self.key_type = key.key_type or 0
        self.secret: Secret = key.material()
        self.ivs = IVs()
        self._current: Cipher | Signer | Verifier | None = None

    def require_between(self) -> None:
        """Raise OperationActive in the middle of a message."""
        if self._current is not None:
            raise OperationActive("a message has been begun and not ended")

    def begin(self, engine: Cipher | Signer | Verifier) -> None:
        """Begin a message of several parts. Raises OperationActive; OperationNotInitialized where there can be none."""
        self.require_between()
        if not self.row.multipart:
            raise OperationNotInitialized("the mechanism takes a message at once")
        self._current = engine

    def take(self) -> Cipher | Signer | Verifier:
        """End the message's being under way; `keep` undoes it. Raises OperationNotInitialized."""
        current, self._current = self._current, None
        if current is None:
            raise OperationNotInitialized("no message has been begun")
        return current

    def abandon(self) -> None:
        """End the message under way, if there is one."""
        self._current = None

    def keep(self, engine: Cipher | Signer | Verifier) -> None:
        """Go on with the message in the next call."""
        self._current = engine


class IVs:
    """Initialisation vectors of one process: whatever the generator, none is made twice."""

    __slots__ = ("_kind", "_made", "_start")

    def __init__(self) -> None:
        self._kind: tuple[int, int, int] | None = None
        self._made = 0
        self._start = 0

    def next(self, parameter: MessageParameter | GCMWrapParams | CCMWrapParams) -> bytes:
        """Return the next one as the parameter asks; CKG_NO_GENERATE's is the caller's affair.

        Random ones have a random beginning, from which they are counted on. Raises MechanismParamInvalid where the
        parameter asks for another kind than before, TokenResourceExceeded where all have been used.
        """
        generator, length = parameter.generator, len(parameter.iv)
        if generator == CKG.NO_GENERATE:
            return parameter.iv
        free_bits = length * 8 - parameter.fixed_bits
        if generator not in RANDOM | COUNTING or free_bits <= 0:
            raise MechanismParamInvalid(f"no generator {generator} for {free_bits} bits")
        given = int.from_bytes(parameter.iv, "big")
        fixed, free = given >> free_bits << free_bits, given & ((1 << free_bits) - 1)
        self._pin((generator, length, free_bits), free)
        if generator == CKG.GENERATE_COUNTER_XOR and free != self._start:
            raise MechanismParamInvalid("the IV to count on differs from the first one")
        if self._made >> free_bits:
            raise TokenResourceExceeded("all initialisation vectors of this kind have been used")
        count, self._made = self._made, self._made + 1
        if generator == CKG.GENERATE_COUNTER_XOR:
            made = self._start ^ count
        else:
            made = (self._start + count) % (1 << free_bits)
        return (fixed | made).to_bytes(length, "big")

    def _pin(self, kind: tuple[int, int, int], free: int) -> None:
        if self._kind is None:
            generator, length, free_bits = kind
            if generator in RANDOM and free_bits < min(LEAST_RANDOM_BITS, length * 8):
                raise MechanismParamInvalid(f"{free_bits} random bits are too few")
            self._kind = kind
            if generator in RANDOM:
                self._start = int.from_bytes(os.urandom(length), "big") % (1 << free_bits)
            elif generator == CKG.GENERATE_COUNTER_XOR:
                self._start = free
        if self._kind != kind:
            raise MechanismParamInvalid("the initialisation vectors of a process are all made in one way")
