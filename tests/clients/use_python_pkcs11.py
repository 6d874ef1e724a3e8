"""Use a token through python-pkcs11: use_python_pkcs11.py MODULE TOKEN_LABEL; says OK at the end."""

import sys

import pkcs11
from pkcs11 import MGF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

PLAIN = bytes(range(77))


def secret_keys(session: pkcs11.Session) -> None:
    kek = session.generate_key(KeyType.AES, 256, label="py-kek", id=b"\x01", store=True)
    inner = session.generate_key(
        KeyType.AES,
        128,
        label="py-inner",
        store=True,
        template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False},
    )
    iv = session.generate_random(128)
    for mechanism, parameter in (
        (Mechanism.AES_CBC_PAD, iv),
        (Mechanism.AES_GCM, pkcs11.GCMParams(iv[:12], b"aad", 128)),
    ):
        encrypted = kek.encrypt(PLAIN, mechanism=mechanism, mechanism_param=parameter)
        assert encrypted != PLAIN
        assert kek.decrypt(encrypted, mechanism=mechanism, mechanism_param=parameter) == PLAIN
    wrapped = kek.wrap_key(inner, mechanism=Mechanism.AES_KEY_WRAP)
    readable = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}
    again = kek.unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.AES,
        wrapped,
        mechanism=Mechanism.AES_KEY_WRAP,
        label="py-again",
        store=True,
        template=readable,
    )
    assert again[Attribute.VALUE] == inner[Attribute.VALUE]
    copy = inner.copy({Attribute.LABEL: "py-copy", Attribute.TOKEN: True})
    assert copy[Attribute.VALUE] == inner[Attribute.VALUE]
    assert copy.label == "py-copy"


def key_pairs(session: pkcs11.Session) -> None:
    session.generate_keypair(KeyType.RSA, 2048, label="py-rsa", id=b"\x02", store=True)
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    domain = session.create_domain_parameters(KeyType.EC, curve, local=True)
    domain.generate_keypair(label="py-ec", id=b"\x03", store=True)
    edwards = session.create_domain_parameters(
        KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: b"\x13\x0cedwards25519"}, local=True
    )
    edwards.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, label="py-ed", id=b"\x04", store=True)
    session.generate_domain_parameters(KeyType.DSA, 1024).generate_keypair(label="py-dsa", id=b"\x05", store=True)
    agreed(session)


def agreed(session: pkcs11.Session) -> None:
    """Agree on an AES key by Diffie-Hellman, in a group that the token made."""
    group = session.generate_domain_parameters(KeyType.DH, 2048)
    assert len(group[Attribute.PRIME]) == 256
    alice, bob = group.generate_keypair(), group.generate_keypair()
    readable = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}
    keys = [
        own[1].derive_key(KeyType.AES, 256, mechanism_param=other[0][Attribute.VALUE], template=readable)
        for own, other in ((alice, bob), (bob, alice))
    ]
    assert keys[0][Attribute.VALUE] == keys[1][Attribute.VALUE]


def found_again(session: pkcs11.Session) -> None:
    for label, mechanism, parameter in (
        ("py-rsa", Mechanism.SHA256_RSA_PKCS, None),
        ("py-rsa", Mechanism.SHA256_RSA_PKCS_PSS, (Mechanism.SHA256, MGF.SHA256, 32)),
        ("py-ec", Mechanism.ECDSA_SHA256, None),
        ("py-ed", Mechanism.EDDSA, None),
        ("py-dsa", Mechanism.DSA_SHA256, None),
    ):
        private = session.get_key(ObjectClass.PRIVATE_KEY, label=label)
        public = session.get_key(ObjectClass.PUBLIC_KEY, label=label)
        signature = private.sign(PLAIN, mechanism=mechanism, mechanism_param=parameter)
        assert public.verify(PLAIN, signature, mechanism=mechanism, mechanism_param=parameter), mechanism
        assert not public.verify(PLAIN[1:], signature, mechanism=mechanism, mechanism_param=parameter), mechanism


def mine(session: pkcs11.Session) -> list[pkcs11.Object]:
    kinds = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
    listed = [item for kind in kinds
              for item in session.get_objects({Attribute.CLASS: kind})]  # fmt: skip
    return [item for item in listed if item.label.startswith("py-")]


def main(module: str, label: str) -> None:
    token = pkcs11.lib(module).get_token(token_label=label)
    with token.open(rw=True, user_pin=pkcs11.PROTECTED_AUTH) as session:
        secret_keys(session)
        key_pairs(session)
    with token.open(rw=True, user_pin=pkcs11.PROTECTED_AUTH) as session:
        found_again(session)
        names = sorted(item.label for item in mine(session))
        pairs = ["py-dsa", "py-ec", "py-ed", "py-rsa"]
        assert names == sorted(["py-again", "py-copy", "py-inner", "py-kek", *pairs, *pairs]), names
        for item in mine(session):
            item.destroy()
        assert not mine(session)
    print("OK")


if __name__ == "__main__":
    main(*sys.argv[1:])
