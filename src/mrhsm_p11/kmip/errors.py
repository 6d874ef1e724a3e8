"""How talking to a KMIP server fails. Every text is one sentence that names the server and the cause."""

from __future__ import annotations

from mrhsm_p11.kmip.vocabulary import ItemType, Operation, ResultReason, ResultStatus, reason_name  # noqa: F401


class KMIPError(Exception):
    """A failed exchange.

    `sent` tells whether the request may have reached the server: what it asks for may then have happened. `stage` is
    how far a connection came: "name", "tcp" or "tls" is what failed, empty is a connection that stood.
    """

    def __init__(self, text: str, server: str = "", *, sent: bool = False, stage: str = "") -> None:
        super().__init__(text)
        self.server = server
        self.sent = sent
        self.stage = stage


class Unreachable(KMIPError):
    """No connection, or one that was lost."""


class TimedOut(KMIPError):
    """The deadline passed."""


class TLSRefused(KMIPError):
    """We refuse the server's certificate, or our own certificate and key cannot be used."""


class AuthenticationRefused(KMIPError):
    """The server refuses our certificate, or who it says we are."""


class ProtocolError(KMIPError):
    """What came is not a reply to what was asked."""


class OperationFailed(KMIPError):
    """The server's answer: it did not do it. `status` and `reason` are KMIP's numbers; reason 0 is none given."""

    def __init__(self, operation: Operation | int, status: int, reason: int, message: str, server: str = "") -> None:
        name = operation.name if isinstance(operation, Operation) else f"operation 0x{operation:X}"
        said = f": {message}" if message else ""
        cause = reason_name(reason) if reason else "no reason given"
        super().__init__(f"{server or 'the server'} refused {name} with {cause}{said}", server, sent=True)
        self.operation, self.status, self.reason, self.message = operation, status, reason, message


def combined(failures: list[KMIPError]) -> KMIPError:
    """Return one error for a request that every server failed: the class of the last, the texts of all."""
    last = failures[-1]
    if len(failures) == 1:
        return last
    texts = dict.fromkeys(str(failure) for failure in failures)
    servers = ", ".join(dict.fromkeys(failure.server for failure in failures))
    return type(last)("no KMIP server answered: " + "; ".join(texts), servers, sent=any(f.sent for f in failures))
