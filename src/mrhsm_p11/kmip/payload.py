"""What the payloads of all operations have in common, and which operation is whose."""

from __future__ import annotations

import importlib
from functools import cache
from typing import ClassVar

from mrhsm_p11.kmip.structure import Kind, Structure, kind_of, structure
from mrhsm_p11.kmip.vocabulary import Operation


@structure
class RequestPayload(Structure):
    """What an operation is asked."""

    operation: ClassVar[Operation]
    # Doing it twice is doing it once: it may be asked again after a connection broke.
    idempotent: ClassVar[bool] = False
    # It leaves no trace at a server, not even in a key's Usage Limits: two may be asked at once.
    traceless: ClassVar[bool] = False
    # The reply names the object that the request named, and no other.
    echoes_identifier: ClassVar[bool] = True


@structure
class ResponsePayload(Structure):
    """What an operation answers."""


_MODULES = ("object_payloads", "server_payloads", "crypto_payloads")


@cache
def payload_kinds(operation: Operation) -> tuple[Kind, Kind]:
    """Return the kinds of an operation's request and response payload: bare `Structure` where we do not speak it."""
    for name in _MODULES:
        module = importlib.import_module(f"mrhsm_p11.kmip.{name}")
        for request, response in module.OPERATIONS:
            if request.operation is operation:
                return kind_of(request), kind_of(response)
    return kind_of(Structure), kind_of(Structure)
