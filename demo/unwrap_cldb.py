"""Unwrap the CLDB key with python-pkcs11 and print its SHA-256: unwrap_cldb.py MODULE TOKEN_LABEL [PIN]."""

import hashlib
import sys

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass


def main(module: str, label: str, pin: str | None = None) -> None:
    token = pkcs11.lib(module).get_token(token_label=label)
    # PROTECTED_AUTH: log in with no PIN; the library reads the PIN file, if this user may.
    with token.open(user_pin=pkcs11.PROTECTED_AUTH if pin is None else pin) as session:
        keys = session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})
        (core_kek,) = (key for key in keys if key.label.endswith("/core-kek"))
        wanted = {Attribute.CLASS: ObjectClass.DATA, Attribute.APPLICATION: "mrhsm", Attribute.LABEL: "cldb.key"}
        (blob,) = session.get_objects(wanted)
        encrypted = blob[Attribute.VALUE]
        cldb_key = core_kek.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.AES,
            encrypted[16:],
            mechanism=Mechanism.AES_CBC_PAD,
            mechanism_param=encrypted[:16],
            template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
        )
        print(hashlib.sha256(cldb_key[Attribute.VALUE]).hexdigest().upper())


if __name__ == "__main__":
    main(*sys.argv[1:])
