"""Derive the same keys with any library: derive_alike.py LIBRARY SLOT PIN; standard output is JSON, name -> hex or CKR.

What the library does not offer is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))
from cryptography.hazmat.primitives.asymmetric import ec
from p11 import CKError, Cryptoki

from mrhsm_p11.constants import CKA, CKD, CKK, CKM, CKO, CKR

P256 = bytes.fromhex("06082a8648ce3d030107")
PEER = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
POINT = b"\4" + PEER.x.to_bytes(32, "big") + PEER.y.to_bytes(32, "big")
GENERIC = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.SENSITIVE: False, CKA.EXTRACTABLE: True}
AES = {**GENERIC, CKA.KEY_TYPE: CKK.AES}


class Case:
    """One library in use."""

    def __init__(self, library: str, slot: int, pin: str) -> None:
        self.p11 = Cryptoki(library)
        self.p11.initialize()
        self.session = self.p11.open_session(slot)
        self.p11.login(self.session, pin)
        self.offered = set(self.p11.mechanisms(slot))
        self.kept: list[Any] = []
        self.answers: dict[str, str] = {}

    def secret(self, key_type: int, value: bytes) -> int:
        given = {**GENERIC, CKA.KEY_TYPE: key_type, CKA.VALUE: value, CKA.DERIVE: True, CKA.TOKEN: False}
        return self.p11.create_object(self.session, given)

    def private(self) -> int:
        given = {CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: CKK.EC, CKA.EC_PARAMS: P256, CKA.VALUE: bytes(31) + b"\5"}
        return self.p11.create_object(self.session, {**given, CKA.DERIVE: True, CKA.TOKEN: False})

    def bytes(self, value: bytes) -> Any:
        self.kept.append(self.p11.new("CK_BYTE[]", value))
        return self.kept[-1]

    def struct(self, kind: str, *values: Any) -> Any:
        self.kept.append(self.p11.new(f"{kind} *", list(values)))
        return self.kept[-1]

    def derive(self, name: str, mechanism: int, parameter: Any, key: int, wanted: dict[int, Any]) -> None:
        if mechanism not in self.offered:
            return
        try:
            made = self.p11.derive_key(self.session, (mechanism, parameter), key, {**wanted, CKA.TOKEN: False})
            self.answers[name] = self.p11.get(self.session, made, CKA.VALUE).hex()
        except CKError as error:
            self.answers[name] = CKR.name(error.rv)


def main(library: str, slot: str, pin: str) -> None:
    case = Case(library, int(slot), pin)
    private, aes, generic = (
        case.private(),
        case.secret(CKK.AES, bytes(range(16))),
        case.secret(CKK.GENERIC_SECRET, b"base"),
    )
    point = case.bytes(POINT)
    ecdh = case.struct("CK_ECDH1_DERIVE_PARAMS", CKD.NULL, 0, case.p11.ffi.NULL, len(POINT), point)
    for length in (32, 20):
        case.derive(f"ecdh {length}", CKM.ECDH1_DERIVE, ecdh, private, {**GENERIC, CKA.VALUE_LEN: length})
    case.derive("ecdh aes", CKM.ECDH1_DERIVE, ecdh, private, {**AES, CKA.VALUE_LEN: 16})
    text = case.bytes(bytes(range(32)))
    ecb = case.struct("CK_KEY_DERIVATION_STRING_DATA", text, 32)
    cbc = case.struct("CK_AES_CBC_ENCRYPT_DATA_PARAMS", bytes(range(7, 23)), text, 32)
    for name, mechanism, parameter in (
        ("ecb", CKM.AES_ECB_ENCRYPT_DATA, ecb),
        ("cbc", CKM.AES_CBC_ENCRYPT_DATA, cbc),
    ):
        case.derive(name, mechanism, parameter, aes, {**GENERIC, CKA.VALUE_LEN: 32})
        case.derive(f"{name} cut", mechanism, parameter, aes, {**AES, CKA.VALUE_LEN: 16})
    other = case.p11.new("CK_OBJECT_HANDLE *", aes)
    case.kept.append(other)
    for name, mechanism, parameter in (
        ("base and data", CKM.CONCATENATE_BASE_AND_DATA, ecb),
        ("data and base", CKM.CONCATENATE_DATA_AND_BASE, ecb),
        ("base and key", CKM.CONCATENATE_BASE_AND_KEY, other),
    ):
        case.derive(name, mechanism, parameter, generic, {**GENERIC, CKA.VALUE_LEN: 18})
    print(json.dumps(case.answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
