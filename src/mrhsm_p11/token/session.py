"""A session: read-only or read/write, its active operations, its search in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrhsm_p11 import datapath
from mrhsm_p11.constants import CKF, CKS, CKU
from mrhsm_p11.errors import OperationNotInitialized, SessionReadOnly
from mrhsm_p11.token.operations import Operation

if TYPE_CHECKING:
    from mrhsm_p11.token.messages import Messages
    from mrhsm_p11.token.operations import Active
    from mrhsm_p11.token.token import Token

# (role, read/write) -> state; there is no read-only SO session.
STATES = {
    (None, False): CKS.RO_PUBLIC_SESSION,
    (CKU.USER, False): CKS.RO_USER_FUNCTIONS,
    (None, True): CKS.RW_PUBLIC_SESSION,
    (CKU.USER, True): CKS.RW_USER_FUNCTIONS,
    (CKU.SO, True): CKS.RW_SO_FUNCTIONS,
}


class Session:
    """One session of a token. At most one operation of each family is active in it, here or in the C front."""

    __slots__ = ("device_error", "found", "handle", "messages", "operations", "token", "wrapped", "writable")

    def __init__(self, handle: int, token: Token, *, writable: bool) -> None:
        self.handle = handle
        self.token = token
        self.writable = writable
        self.operations: dict[str, Active] = {}
        self.messages: dict[str, Messages] = {}  # processes of many messages
        self.found: list[int] | None = None  # handles still to be given, last first; None: no search is active
        self.wrapped: tuple[int, int, int] | None = None  # mechanism and keys of the last C_WrapKey
        self.device_error = 0

    @property
    def state(self) -> int:
        """Return the CKS that the token's login and this session's kind make."""
        return STATES[self.token.role, self.writable]

    @property
    def flags(self) -> int:
        return CKF.SERIAL_SESSION | (CKF.RW_SESSION if self.writable else 0)

    def require_writable(self) -> None:
        """Raise SessionReadOnly unless this is a read/write session."""
        if not self.writable:
            raise SessionReadOnly

    def take(self, family: str) -> Active:
        """Take the active operation out of the session: a call that fails leaves none, and no two threads share one."""
        operation = self.operations.pop(family, None) or self._taken_over(family)
        if operation is None:
            raise OperationNotInitialized(f"no {family} operation is active")
        return operation

    def put(self, family: str, operation: Active, among: dict[str, Active]) -> None:
        """Keep the operation active for the next call.

        `among`: `operations` as the call found it before it looked whether it may. Where `cancel` has come since,
        nobody looks there any more: the operation has ended too.
        """
        among[family] = operation

    def adopt(self, family: str, operation: Active) -> None:
        """Make an operation active that no C_<X>Init has begun."""
        self.end(family)
        datapath.path.claim(family, self.handle)
        self.put(family, operation, self.operations)

    def is_active(self, family: str) -> bool:
        """Tell whether an operation is active. Where none is, C begins none of the family until it is let again."""
        return family in self.operations or not datapath.path.claim(family, self.handle)

    def end(self, family: str) -> None:
        """End the active operation, if there is one."""
        self.operations.pop(family, None)
        datapath.path.take(family, self.handle)

    def gather(self) -> None:
        """Take over every operation that C has begun, for what looks at several."""
        for family in datapath.FAMILIES:
            if (operation := self._taken_over(family)) is not None:
                self.operations[family] = operation

    def _taken_over(self, family: str) -> Active | None:
        found = datapath.path.take(family, self.handle)
        return Operation.under_way(*found) if found is not None else None

    def cancel(self) -> None:
        """End every operation and search, those too that calls under way in other threads have taken out or begin."""
        datapath.path.cancel(self.handle)
        self.operations = {}
        self.messages = {}
        self.found = None
