"""A session: read-only or read/write, its active operations, its search in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrhsm_p11.constants import CKF, CKS, CKU
from mrhsm_p11.errors import OperationNotInitialized, SessionReadOnly

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
    """One session of a token. At most one operation of each family is active in it."""

    __slots__ = ("device_error", "found", "handle", "messages", "operations", "token", "writable")

    def __init__(self, handle: int, token: Token, *, writable: bool) -> None:
        self.handle = handle
        self.token = token
        self.writable = writable
        self.operations: dict[str, Active] = {}
        self.messages: dict[str, Messages] = {}  # processes of many messages
        self.found: list[int] | None = None  # handles still to be given, last first; None: no search is active
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
        operation = self.operations.pop(family, None)
        if operation is None:
            raise OperationNotInitialized(f"no {family} operation is active")
        return operation

    def put(self, family: str, operation: Active) -> None:
        """Keep the operation active for the next call."""
        self.operations[family] = operation

    def cancel(self) -> None:
        """End every operation and search."""
        self.operations.clear()
        self.messages.clear()
        self.found = None
