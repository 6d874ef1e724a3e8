"""The verify data of a Finished message (RFC 5246, section 7.4.9)."""

from __future__ import annotations

from cryptography.hazmat.primitives.constant_time import bytes_eq

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.base import Input, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.tls_prf import expand
from mrhsm_p11.errors import MechanismParamInvalid, SignatureInvalid, SignatureLenRange
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.tls import TLSMACParams
from mrhsm_p11.secret import Secret

_LABELS = {1: b"server finished", 2: b"client finished"}
SHORTEST_BYTES, LONGEST_BYTES = 12, 1024


class TLSMac(Signer):
    """Verify data to be made from the hash of the handshake."""

    __slots__ = ("_given", "_key", "_seed")

    def __init__(self, row: MechanismRow, parameter: AnyParameter, key: Secret) -> None:
        given = checks.structure(parameter, TLSMACParams)
        checks.key_size(row, len(key) * 8)
        if given.side not in _LABELS or not SHORTEST_BYTES <= given.mac_len <= LONGEST_BYTES:
            raise MechanismParamInvalid(f"side {given.side}, {given.mac_len} bytes")
        expand(given.hash, key, b"", b"", 1)  # raises now what it would raise later
        self._given, self._key, self._seed = given, key, bytearray()
        self.size = given.mac_len

    def update(self, data: Input) -> None:
        self._seed += data

    def finish(self) -> bytes:
        return bytes(
            expand(self._given.hash, self._key, _LABELS[self._given.side], bytes(self._seed), self._given.mac_len)
        )


class TLSMacVerifier(Verifier):
    """Verify data to be compared, in constant time."""

    __slots__ = ("_mac",)

    def __init__(self, mac: TLSMac) -> None:
        self._mac = mac

    def update(self, data: Input) -> None:
        self._mac.update(data)

    def finish(self, signature: Input) -> None:
        if len(signature) != self._mac.size:
            raise SignatureLenRange(f"the MAC has {self._mac.size} bytes, not {len(signature)}")
        if not bytes_eq(self._mac.finish(), bytes(signature)):
            raise SignatureInvalid("the MAC differs")


def signer(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Signer:
    """Start making verify data. Raises MechanismParamInvalid, KeySizeRange."""
    return TLSMac(row, parameter, material)


def verifier(row: MechanismRow, parameter: AnyParameter, material: Secret) -> Verifier:
    """Start checking verify data. Raises MechanismParamInvalid, KeySizeRange."""
    return TLSMacVerifier(TLSMac(row, parameter, material))
