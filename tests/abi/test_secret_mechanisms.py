"""Each mechanism of secret keys through the C ABI: made, used in one part and in several, wrapped, told of truly."""

from __future__ import annotations

from typing import Any

import pytest
from fix_matrix import Matrix
from p11 import Cryptoki, rv_of
from secret_samples import CIPHERS, LENGTHS, MACS, key_bytes, name, parameter, plain

from mrhsm_p11.constants import CKA, CKF, CKG, CKK, CKM, CKO, CKR
from mrhsm_p11.mapping.mechanisms import MechanismRow, digests, symmetric
from mrhsm_p11.parameters import Parameter

USES = dict.fromkeys((CKA.ENCRYPT, CKA.DECRYPT, CKA.SIGN, CKA.VERIFY, CKA.WRAP, CKA.UNWRAP), True)
GENERATORS = [row for row in (*symmetric.ROWS, *digests.ROWS) if row.family == "random"]
MADE_BY = {row.key_types[0]: row for row in GENERATORS}


@pytest.fixture
def cryptoki(matrix: Matrix) -> Cryptoki:
    return matrix.p11


@pytest.fixture
def session(matrix: Matrix) -> int:
    return matrix.session


def struct(p11: Cryptoki, value: Any) -> Any:
    """Return a sample parameter as C has it."""
    if not isinstance(value, Parameter):
        return value
    made = p11.new(f"{value.struct} *")
    for field, member in value.members.items():
        given = getattr(value, field)
        if len(member.names) == 2:
            place, length = p11.encoded(given)
            p11._keep(place)
            setattr(made, member.names[0], place)
            setattr(made, member.names[1], length * 8 if length in member.bits else length)
        else:
            setattr(made, member.names[0], given)
    return made


def made_key(p11: Cryptoki, session: int, key_type: int) -> int:
    length = {} if key_type in (CKK.DES2, CKK.DES3, CKK.CHACHA20, CKK.POLY1305) else {CKA.VALUE_LEN: 32}
    return p11.generate_key(session, MADE_BY[key_type].type, {**USES, **length})


@pytest.mark.parametrize("row", CIPHERS, ids=name)
def test_ciphers(cryptoki: Cryptoki, session: int, row: MechanismRow) -> None:
    data = plain(row, 48)
    mechanism = (row.type, struct(cryptoki, parameter(row, len(data))))
    for key_type in row.key_types:
        key = made_key(cryptoki, session, key_type)
        sealed = cryptoki.encrypt(session, mechanism, key, data)
        assert cryptoki.decrypt(session, mechanism, key, sealed) == data
        for operation, given, expected in (("Encrypt", data, sealed), ("Decrypt", sealed, data)):
            assert cryptoki.parts(operation, session, mechanism, (given[:7], given[7:30], given[30:]), key) == expected


@pytest.mark.parametrize("row", MACS, ids=name)
def test_macs(cryptoki: Cryptoki, session: int, row: MechanismRow) -> None:
    mechanism = (row.type, struct(cryptoki, parameter(row)))
    for key_type in row.key_types:
        if key_type not in MADE_BY:
            continue
        key = made_key(cryptoki, session, key_type)
        mac = cryptoki.sign(session, mechanism, key, b"some text")
        assert cryptoki.parts("Sign", session, mechanism, (b"some", b"", b" text"), key) == mac
        cryptoki.verify(session, mechanism, key, b"some text", mac)
        changed = bytes([mac[0] ^ 1]) + mac[1:]
        assert rv_of(cryptoki.verify, session, mechanism, key, b"some text", changed) == CKR.SIGNATURE_INVALID
        assert rv_of(cryptoki.verify, session, mechanism, key, b"some text", mac + b"\0") == CKR.SIGNATURE_LEN_RANGE


@pytest.mark.parametrize("row", [row for row in CIPHERS if row.flags & CKF.WRAP], ids=name)
def test_wrapping(cryptoki: Cryptoki, session: int, row: MechanismRow) -> None:
    step = LENGTHS.get(row.type, (1, 0))[0]
    kek = made_key(cryptoki, session, row.key_types[0])
    for key_type in (CKK.AES, CKK.DES3, CKK.CHACHA20, CKK.SHA256_HMAC):
        value = key_bytes(key_type)
        filled = len(value) + -len(value) % (step if row.fills_to > 1 else 1)
        mechanism = (row.type, struct(cryptoki, parameter(row, filled)))
        template = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: key_type}
        key = cryptoki.create_object(session, {**template, CKA.VALUE: value, CKA.EXTRACTABLE: True})
        wrapped = cryptoki.wrap_key(session, mechanism, kek, key)
        back = cryptoki.unwrap_key(session, mechanism, kek, wrapped, {**template, CKA.EXTRACTABLE: True})
        assert cryptoki.get(session, back, CKA.VALUE) == value


@pytest.mark.parametrize("row", GENERATORS, ids=name)
@pytest.mark.parametrize("on_token", [False, True])
def test_generation(cryptoki: Cryptoki, session: int, row: MechanismRow, on_token: bool) -> None:
    (key_type,) = row.key_types
    key = cryptoki.generate_key(
        session,
        row.type,
        {CKA.VALUE_LEN: len(key_bytes(key_type)), CKA.TOKEN: on_token, CKA.EXTRACTABLE: True},
    )
    assert cryptoki.get_int(session, key, CKA.KEY_TYPE) == key_type
    assert cryptoki.get_int(session, key, CKA.KEY_GEN_MECHANISM) == row.type
    assert cryptoki.get_bool(session, key, CKA.LOCAL)
    assert len(cryptoki.get(session, key, CKA.CHECK_VALUE)) == 3
    value = cryptoki.get(session, key, CKA.VALUE)
    assert len(value) == cryptoki.get_int(session, key, CKA.VALUE_LEN) == len(key_bytes(key_type))
    for wrong in (0, 1 << 20):
        template = {CKA.VALUE_LEN: wrong}
        assert rv_of(cryptoki.generate_key, session, row.type, template) == CKR.ATTRIBUTE_VALUE_INVALID


def test_gmac_takes_both_parameters(cryptoki: Cryptoki, session: int) -> None:
    key = made_key(cryptoki, session, CKK.AES)
    bare, whole = ((CKM.AES_GMAC, form) for form in (bytes(12), cryptoki.gcm(bytes(12))))
    assert cryptoki.sign(session, bare, key, b"text") == cryptoki.sign(session, whole, key, b"text")
    for wrong in (bytes(11), bytes(13), bytes(16), b""):
        assert rv_of(cryptoki.sign, session, (CKM.AES_GMAC, wrong), key, b"text") == CKR.MECHANISM_PARAM_INVALID


def test_a_nonce_may_be_counted_in_bits(cryptoki: Cryptoki, session: int) -> None:
    key = made_key(cryptoki, session, CKK.CHACHA20)
    nonce, _ = cryptoki.encoded(bytes(12))
    sealed = {
        cryptoki.encrypt(
            session,
            (
                CKM.CHACHA20_POLY1305,
                cryptoki.new("CK_SALSA20_CHACHA20_POLY1305_PARAMS *", [nonce, n, cryptoki.ffi.NULL, 0]),
            ),
            key,
            b"text",
        )
        for n in (12, 96)
    }
    assert len(sealed) == 1
    odd = cryptoki.new("CK_CHACHA20_PARAMS *", [nonce, 33, nonce, 96])
    assert rv_of(cryptoki.encrypt, session, (CKM.CHACHA20, odd), key, b"text") == CKR.MECHANISM_PARAM_INVALID


@pytest.mark.parametrize("generator", [CKG.NO_GENERATE, CKG.GENERATE, CKG.GENERATE_RANDOM])
@pytest.mark.parametrize("mechanism", [CKM.AES_GCM, CKM.AES_CCM])
def test_wrapping_makes_the_initialisation_vector(
    cryptoki: Cryptoki, session: int, mechanism: int, generator: int
) -> None:
    iv, aad = cryptoki.new("CK_BYTE[]", b"f" * 12), cryptoki.new("CK_BYTE[]", b"aad")
    tail = [iv, 12, 32, generator, aad, 3]
    if mechanism == CKM.AES_GCM:
        shape = cryptoki.new("CK_GCM_WRAP_PARAMS *", [*tail, 128])
    else:
        shape = cryptoki.new("CK_CCM_WRAP_PARAMS *", [32, *tail, 16])
    kek, key = (made_key(cryptoki, session, CKK.AES) for _ in range(2))
    wrapped = cryptoki.wrap_key(session, (mechanism, shape), kek, key)
    used = bytes(cryptoki.ffi.buffer(iv, 12))
    assert used[:4] == b"ffff"
    assert (used == b"f" * 12) == (generator == CKG.NO_GENERATE)
    template = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.SENSITIVE: False, CKA.EXTRACTABLE: True}
    value = cryptoki.get(session, key, CKA.VALUE)
    again = cryptoki.unwrap_key(session, (mechanism, shape), kek, wrapped, template)
    assert cryptoki.get(session, again, CKA.VALUE) == value
    assert bytes(cryptoki.ffi.buffer(iv, 12)) == used
    setattr(shape, "ivGenerator" if mechanism == CKM.AES_GCM else "nonceGenerator", CKG.GENERATE_COUNTER)
    assert rv_of(lambda: cryptoki.wrap_key(session, (mechanism, shape), kek, key)) == CKR.MECHANISM_PARAM_INVALID
    assert rv_of(lambda: cryptoki.encrypt(session, (mechanism, shape), kek, b"data")) == CKR.MECHANISM_PARAM_INVALID
    assert bytes(cryptoki.ffi.buffer(iv, 12)) == used
