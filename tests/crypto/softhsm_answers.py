"""Ask SoftHSM2 to repeat operations, in a process of its own: standard input and output are JSON, bytes in hex.

In: [[operation, mechanism, parameter, class, key type, key, data, signature or null], ...]; out: [hex or verdict, ...].
A parameter is null, bytes in hex, or ["ctr", nonce], ["gcm", iv, aad, bits], ["pss", hash, mgf, salt length].
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pkcs11
from pkcs11 import MGF, Attribute, CTRParams, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import decode_ec_public_key
from pkcs11.util.rsa import decode_rsa_public_key


def main(library: str) -> None:
    token = next(iter(pkcs11.lib(library).get_tokens(token_label="answers")))
    with token.open(rw=True, user_pin="1234") as session:
        print(json.dumps([answer(session, *request) for request in json.load(sys.stdin)]))


def answer(session: Any, operation: str, mechanism: int, parameter: Any, *rest: Any) -> str:
    cls, key_type, key, data, signature = rest
    held = session.create_object(template(cls, key_type, bytes.fromhex(key)))
    given = {"mechanism": Mechanism(mechanism), "mechanism_param": argument(parameter)}
    if operation == "verify":
        return str(held.verify(bytes.fromhex(data), bytes.fromhex(signature), **given))
    return getattr(held, operation)(bytes.fromhex(data), **given).hex()


def template(cls: int, key_type: int, key: bytes) -> dict[Attribute, Any]:
    if cls == ObjectClass.SECRET_KEY:
        return {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType(key_type), Attribute.VALUE: key}
    return decode_rsa_public_key(key) if key_type == KeyType.RSA else decode_ec_public_key(key)


def argument(parameter: Any) -> Any:
    if not isinstance(parameter, list):
        return None if parameter is None else bytes.fromhex(parameter)
    if parameter[0] == "gcm":
        return GCMParams(bytes.fromhex(parameter[1]), bytes.fromhex(parameter[2]), parameter[3])
    if parameter[0] == "ctr":
        return CTRParams(bytes.fromhex(parameter[1]))
    return Mechanism(parameter[1]), MGF(parameter[2]), parameter[3]


if __name__ == "__main__":
    main(sys.argv[1])
