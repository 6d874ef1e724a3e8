"""What a failed socket or TLS call means, in one sentence; tables only, so that nothing here needs ssl."""

from __future__ import annotations

import errno
import os

from mrhsm_p11.kmip.errors import (
    AuthenticationRefused,
    KMIPError,
    ProtocolError,
    TimedOut,
    TLSRefused,
    Unreachable,
)

# X509_V_ERR_*: what is wrong with the server's certificate.
VERIFICATION = {
    2: "was not issued by the configured CA",
    7: "has a signature that does not fit",
    9: "is not valid yet",
    10: "has expired",
    18: "was not issued by the configured CA",
    19: "was not issued by the configured CA",
    20: "was not issued by the configured CA",
    21: "was not issued by the configured CA",
    23: "has been revoked",
    26: "is not one for a server",
    66: "has a key that is too small",
    68: "is signed with a digest that is too weak",
}
_NAME_MISMATCH = {62, 64}

# TLS alerts by which a server refuses the certificate that we show; OpenSSL puts a protocol name before each.
CERTIFICATE_ALERTS = {
    "ALERT_UNKNOWN_CA": "was issued by a CA that it does not trust",
    "ALERT_CERTIFICATE_REQUIRED": "is missing",
    "ALERT_BAD_CERTIFICATE": "is not acceptable to it",
    "ALERT_CERTIFICATE_EXPIRED": "has expired",
    "ALERT_CERTIFICATE_REVOKED": "has been revoked",
    "ALERT_CERTIFICATE_UNKNOWN": "is not acceptable to it",
    "ALERT_UNSUPPORTED_CERTIFICATE": "is not one for a client",
    "ALERT_ACCESS_DENIED": "has no access",
    "ALERT_DECRYPT_ERROR": "could not be verified",
}
_NOT_TLS = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "BAD_RECORD_TYPE",
    "UNEXPECTED_MESSAGE",
    "INVALID_PACKET_LENGTH",
}
_OLD_TLS = {"UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION"}
_NOTHING_IN_COMMON = {"ALERT_HANDSHAKE_FAILURE", "ALERT_INSUFFICIENT_SECURITY", "NO_PROTOCOLS_AVAILABLE"}
_ALERT_PREFIXES = ("SSLV3_", "TLSV1_", "TLSV13_", "SSL/TLS_", "SSL_TLS_")
_LOST = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ESHUTDOWN, errno.ENOTCONN}


def unresolved(server: str, host: str, why: str) -> KMIPError:
    return Unreachable(f"the name {host} of the server {server} cannot be resolved: {why}", server, stage="name")


def connecting(error: OSError, server: str) -> KMIPError:
    """Explain why there is no TCP connection."""
    return _at("tcp", _connecting(error, server))


def _connecting(error: OSError, server: str) -> KMIPError:
    if isinstance(error, TimeoutError):
        return TimedOut(f"{server} did not answer the connection in time", server)
    if error.errno == errno.ECONNREFUSED:
        return Unreachable(f"{server} refused the connection: no server listens there", server)
    why = os.strerror(error.errno) if error.errno else str(error)
    return Unreachable(f"{server} cannot be reached: {why}", server)


def handshaking(error: OSError, server: str, name: str) -> KMIPError:
    """Explain why there is no TLS connection with the server that should have `name`."""
    return _at("tls", _handshaking(error, server, name))


def _handshaking(error: OSError, server: str, name: str) -> KMIPError:
    if isinstance(error, TimeoutError):
        return TimedOut(f"{server} did not finish the TLS handshake in time", server)
    code = getattr(error, "verify_code", None)
    if isinstance(code, int):
        if code in _NAME_MISMATCH:
            return TLSRefused(f"the certificate of {server} is not for {name}: another server name is needed", server)
        detail = VERIFICATION.get(code) or f"is refused: {getattr(error, 'verify_message', code)}"
        return TLSRefused(f"the certificate of {server} {detail}", server)
    told = _told(error, server)
    return told or Unreachable(f"{server} closed the connection during the TLS handshake", server)


def exchanging(error: OSError, server: str, *, first: bool) -> KMIPError:
    """Explain why a request has no reply; `first` is the first exchange after the handshake.

    In TLS 1.3 the server judges our certificate after our side of the handshake is done.
    """
    if isinstance(error, TimeoutError):
        return TimedOut(f"{server} did not answer in time", server, sent=True)
    told = _told(error, server)
    if told is not None:
        told.sent = not (first and isinstance(told, AuthenticationRefused))
        return told if told.sent else _at("tls", told)
    return lost(server, first=first)


def lost(server: str, *, first: bool, received: int = 0) -> KMIPError:
    """Explain a connection that was closed where a reply was due."""
    if received:
        return Unreachable(f"{server} closed the connection in the middle of a reply", server, sent=True)
    perhaps = ": it may refuse our certificate" if first else ""
    return Unreachable(f"{server} closed the connection without a reply{perhaps}", server, sent=True)


def _at(stage: str, error: KMIPError) -> KMIPError:
    error.stage = stage
    return error


def _told(error: OSError, server: str) -> KMIPError | None:
    """Explain an error that TLS has a name for; None for a connection that was merely lost."""
    reason = str(getattr(error, "reason", "") or "").replace(" ", "_").upper()
    for prefix in _ALERT_PREFIXES:
        reason = reason.removeprefix(prefix)
    if reason in CERTIFICATE_ALERTS:
        return AuthenticationRefused(f"{server} refuses us: our certificate {CERTIFICATE_ALERTS[reason]}", server)
    if reason in _NOT_TLS:
        return ProtocolError(f"{server} does not speak TLS: is this the KMIP port?", server)
    if reason in _OLD_TLS:
        return TLSRefused(f"{server} does not offer TLS 1.2 or later", server)
    if reason in _NOTHING_IN_COMMON:
        return TLSRefused(f"{server} refused the TLS handshake: no common cipher, or no certificate it takes", server)
    if error.errno in _LOST or "EOF" in reason or "EOF" in type(error).__name__.upper():
        return None
    return Unreachable(f"the connection to {server} failed: {reason or error}", server)


def oversize(server: str, length: int, limit: int) -> KMIPError:
    return ProtocolError(f"{server} announced a reply of {length} bytes: the limit is {limit}", server, sent=True)


def not_kmip(server: str) -> KMIPError:
    return ProtocolError(f"{server} sent something that is no KMIP message: is this the KMIP port?", server, sent=True)
