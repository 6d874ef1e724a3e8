"""Asynchronous functions: every call is done when it returns, so that there is never one to ask for."""

from __future__ import annotations

from mrhsm_p11.errors import OperationNotInitialized, SavedStateInvalid
from mrhsm_p11.token import provider
from mrhsm_p11.token.operations import Buffer

__all__ = ["async_complete", "async_get_id", "async_join"]


def async_complete(session: int, function: str) -> None:
    provider.session(session)
    raise OperationNotInitialized(f"{function} is not under way")


def async_get_id(session: int, function: str) -> int:
    provider.session(session)
    raise OperationNotInitialized(f"{function} is not under way")


def async_join(session: int, function: str, id: int, data: Buffer) -> None:
    provider.session(session)
    raise SavedStateInvalid(f"there is no {function} with number {id}")
