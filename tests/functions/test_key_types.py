"""Each type of key pair through the functions: made, used, shown, copied, wrapped, unwrapped and created again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest
from fix_provider import find, get, make_aes, template

from mrhsm_p11.constants import CKA, CKK, CKM, CKO, CKP
from mrhsm_p11.errors import (
    AttributeSensitive,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    CryptokiError,
    KeyFunctionNotPermitted,
    KeyTypeInconsistent,
    MechanismInvalid,
    SignatureInvalid,
    TemplateIncomplete,
    TemplateInconsistent,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
)
from mrhsm_p11.functions import crypto, encapsulation, keys, objects
from mrhsm_p11.mapping.attributes import for_class
from mrhsm_p11.mapping.codecs import Raw, Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.parameters.signatures import EdDSAParams

KWP = Mechanism(CKM.AES_KEY_WRAP_KWP)
ENCAPSULATE = Mechanism(CKM.ML_KEM)
OPEN: dict[int, Value] = {CKA.SENSITIVE: False, CKA.EXTRACTABLE: True}


@dataclass(frozen=True, slots=True)
class Case:
    """How a pair is made, and what it signs with (None: it signs nothing)."""

    generate: int
    public: dict[int, Value]
    sign: Mechanism | None = None
    parameters: int | None = None  # the mechanism that makes its domain parameters


def curve(oid: str) -> dict[int, Value]:
    return {CKA.EC_PARAMS: bytes.fromhex(oid)}


CASES = {
    "P-224": Case(CKM.EC_KEY_PAIR_GEN, curve("06052b81040021"), Mechanism(CKM.ECDSA_SHA3_256)),
    "secp256k1": Case(CKM.EC_KEY_PAIR_GEN, curve("06052b8104000a"), Mechanism(CKM.ECDSA_SHA256)),
    "Ed25519": Case(CKM.EC_EDWARDS_KEY_PAIR_GEN, curve("06032b6570"), Mechanism(CKM.EDDSA)),
    "Ed448": Case(CKM.EC_EDWARDS_KEY_PAIR_GEN, curve("06032b6571"), Mechanism(CKM.EDDSA, EdDSAParams(0, b""))),
    "X25519": Case(CKM.EC_MONTGOMERY_KEY_PAIR_GEN, curve("06032b656e")),
    "X448": Case(CKM.EC_MONTGOMERY_KEY_PAIR_GEN, curve("06032b656f")),
    "DSA": Case(CKM.DSA_KEY_PAIR_GEN, {CKA.PRIME_BITS: 1024}, Mechanism(CKM.DSA_SHA256), CKM.DSA_PARAMETER_GEN),
    "DH": Case(CKM.DH_PKCS_KEY_PAIR_GEN, {CKA.PRIME_BITS: 2048}, None, CKM.DH_PKCS_PARAMETER_GEN),
    "ML-KEM": Case(CKM.ML_KEM_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.ML_KEM_768}),
    "ML-DSA": Case(CKM.ML_DSA_KEY_PAIR_GEN, {CKA.PARAMETER_SET: CKP.ML_DSA_65}, Mechanism(CKM.ML_DSA)),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def pair(session: int, case: Case, private: dict[int, Value] | None = None) -> tuple[int, int]:
    public = case.public
    if case.parameters is not None:
        made = keys.generate_key(session, Mechanism(case.parameters), template(case.public))
        parts = (CKA.PRIME, CKA.SUBPRIME, CKA.BASE) if case.sign else (CKA.PRIME, CKA.BASE)
        public = {part: get(session, made, part) for part in parts}
    return keys.generate_key_pair(session, Mechanism(case.generate), template(public), template(private or {}))


def shown(session: int, handle: int, cls: int) -> dict[int, Value]:
    """Return every attribute that the object's table has and the object shows."""
    key_type = get(session, handle, CKA.KEY_TYPE)
    assert isinstance(key_type, int)
    found: dict[int, Value] = {}
    for cka in for_class(cls, key_type):
        with suppress(AttributeTypeInvalid):
            found[cka] = get(session, handle, cka)
    return found


def signs(session: int, case: Case, private: int, public: int) -> None:
    if case.sign is None:
        return
    crypto.sign_init(session, case.sign, private)
    signature = crypto.sign(session, b"message", 10000)
    assert isinstance(signature, bytes)
    crypto.verify_init(session, case.sign, public)
    crypto.verify(session, b"message", signature)
    crypto.verify_init(session, case.sign, public)
    with pytest.raises(SignatureInvalid):
        crypto.verify(session, b"messagf", signature)


@cases
def test_a_pair_goes_round(user_session: int, case: Case) -> None:
    public, private = pair(user_session, case, OPEN)
    signs(user_session, case, private, public)
    assert get(user_session, private, CKA.LOCAL) is True
    assert get(user_session, private, CKA.KEY_GEN_MECHANISM) == case.generate
    info = get(user_session, public, CKA.PUBLIC_KEY_INFO)
    assert info == get(user_session, private, CKA.PUBLIC_KEY_INFO)
    assert get(user_session, public, CKA.ID) == get(user_session, private, CKA.ID)
    assert public in find(user_session, {CKA.PUBLIC_KEY_INFO: info})
    kek = make_aes(user_session, {CKA.WRAP: True, CKA.UNWRAP: True})
    wrapped = keys.wrap_key(user_session, KWP, kek, private, 10000)
    assert isinstance(wrapped, bytes)
    key_type = get(user_session, private, CKA.KEY_TYPE)
    wanted = template({CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: key_type, **OPEN})
    unwrapped = keys.unwrap_key(user_session, KWP, kek, wrapped, wanted)
    copied = objects.copy_object(user_session, private, template({CKA.LABEL: "copy"}))
    again = [public]
    for cls, original in ((CKO.PUBLIC_KEY, public), (CKO.PRIVATE_KEY, private)):
        uses = for_class(cls, key_type)  # type: ignore[arg-type]
        given = {
            cka: value
            for cka, value in shown(user_session, original, cls).items()
            if cka in (CKA.CLASS, CKA.KEY_TYPE)
            or (uses[cka].material and not uses[cka].forbidden_on_create and cka != CKA.PUBLIC_KEY_INFO)
        }
        given |= OPEN if cls == CKO.PRIVATE_KEY else {}
        again.append(objects.create_object(user_session, template(given)))
    for other in (unwrapped, copied, again[2]):
        assert get(user_session, other, CKA.PUBLIC_KEY_INFO) == info
        signs(user_session, case, other, again[1])


@cases
def test_a_sensitive_key_shows_no_secret(user_session: int, case: Case) -> None:
    private = pair(user_session, case)[1]
    key_type = get(user_session, private, CKA.KEY_TYPE)
    uses = for_class(CKO.PRIVATE_KEY, key_type)  # type: ignore[arg-type]
    secret = [cka for cka, use in uses.items() if use.sensitive]
    assert secret
    for cka in secret:
        with pytest.raises(AttributeSensitive):
            get(user_session, private, cka)


@cases
def test_unwrapped_as_another_type_it_is_refused(user_session: int, case: Case) -> None:
    private = pair(user_session, case, OPEN)[1]
    kek = make_aes(user_session, {CKA.WRAP: True, CKA.UNWRAP: True})
    wrapped = keys.wrap_key(user_session, KWP, kek, private, 10000)
    assert isinstance(wrapped, bytes)
    own = get(user_session, private, CKA.KEY_TYPE)
    before = find(user_session, {CKA.CLASS: CKO.PRIVATE_KEY})
    for key_type in (CKK.RSA, CKK.EC, CKK.EC_EDWARDS, CKK.EC_MONTGOMERY, CKK.DSA, CKK.DH, CKK.ML_KEM, CKK.ML_DSA):
        if key_type != own:
            with pytest.raises(WrappedKeyInvalid):
                wanted = template({CKA.CLASS: CKO.PRIVATE_KEY, CKA.KEY_TYPE: key_type})
                keys.unwrap_key(user_session, KWP, kek, wrapped, wanted)
    assert find(user_session, {CKA.CLASS: CKO.PRIVATE_KEY}) == before


@pytest.mark.parametrize("on_token", [False, True])
@pytest.mark.parametrize(
    ("mechanism", "bits", "sizes"),
    [
        (CKM.DSA_PARAMETER_GEN, 1024, {CKA.PRIME_BITS: 1024, CKA.SUBPRIME_BITS: 160}),
        (CKM.DH_PKCS_PARAMETER_GEN, 2048, {CKA.PRIME_BITS: 2048}),
    ],
)
def test_domain_parameters(
    user_session: int, mechanism: int, bits: int, sizes: dict[int, Value], on_token: bool
) -> None:
    wanted = template({CKA.PRIME_BITS: bits, CKA.TOKEN: on_token, CKA.LABEL: "group"})
    made = keys.generate_key(user_session, Mechanism(mechanism), wanted)
    seen = shown(user_session, made, CKO.DOMAIN_PARAMETERS)
    assert seen.items() >= {CKA.LOCAL: True, CKA.PRIVATE: False, CKA.CLASS: CKO.DOMAIN_PARAMETERS, **sizes}.items()
    assert find(user_session, {CKA.CLASS: CKO.DOMAIN_PARAMETERS, CKA.LABEL: "group"}) == [made]
    parts = (CKA.CLASS, CKA.KEY_TYPE, CKA.PRIME, CKA.SUBPRIME, CKA.BASE)
    given = {cka: value for cka, value in seen.items() if cka in parts}
    created = objects.create_object(user_session, template(given))
    assert get(user_session, created, CKA.LOCAL) is False
    assert get(user_session, created, CKA.PRIME) == seen[CKA.PRIME]
    for part in given:
        with pytest.raises(TemplateIncomplete):
            objects.create_object(user_session, template({k: v for k, v in given.items() if k != part}))
    with pytest.raises(TemplateIncomplete):
        keys.generate_key(user_session, Mechanism(mechanism), template({}))
    with pytest.raises(AttributeValueInvalid):
        keys.generate_key(user_session, Mechanism(mechanism), template({CKA.PRIME_BITS: 1000000}))


def test_a_secret_is_encapsulated_and_found_again(user_session: int) -> None:
    public, private = pair(user_session, CASES["ML-KEM"])
    wanted: dict[int, Value] = {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 32, CKA.TOKEN: True, **OPEN}
    size, none = encapsulation.encapsulate_key(user_session, ENCAPSULATE, public, template(wanted), None)
    assert (size, none) == (1088, None)
    assert encapsulation.encapsulate_key(user_session, ENCAPSULATE, public, template(wanted), 1087) == (1088, None)
    assert not find(user_session, {CKA.CLASS: CKO.SECRET_KEY})
    sealed, ours = encapsulation.encapsulate_key(user_session, ENCAPSULATE, public, template(wanted), 1088)
    assert isinstance(sealed, bytes)
    assert ours is not None
    for given in (wanted, {k: v for k, v in wanted.items() if k != CKA.VALUE_LEN}, OPEN):
        theirs = encapsulation.decapsulate_key(user_session, ENCAPSULATE, private, template(given), sealed)
        assert get(user_session, theirs, CKA.VALUE) == get(user_session, ours, CKA.VALUE)
        for cka in (CKA.LOCAL, CKA.ALWAYS_SENSITIVE, CKA.NEVER_EXTRACTABLE):
            assert get(user_session, theirs, cka) is False
    whole = get(user_session, ours, CKA.VALUE)
    assert isinstance(whole, bytes)
    for key_type, length in ((CKK.AES, 16), (CKK.AES, 24), (CKK.GENERIC_SECRET, 1), (CKK.GENERIC_SECRET, 31)):
        short: dict[int, Value] = {CKA.KEY_TYPE: key_type, CKA.VALUE_LEN: length, **OPEN}
        theirs = encapsulation.decapsulate_key(user_session, ENCAPSULATE, private, template(short), sealed)
        assert get(user_session, theirs, CKA.VALUE) == whole[:length]
        assert get(user_session, theirs, CKA.VALUE_LEN) == length


def test_what_a_pair_demands_of_the_keys_that_it_brings_in(user_session: int) -> None:
    demanded: Raw = {CKA.SENSITIVE: b"\1", CKA.LABEL: b"demanded"}
    public_values = template({CKA.PARAMETER_SET: CKP.ML_KEM_768}) | {CKA.ENCAPSULATE_TEMPLATE: demanded}
    public, private = keys.generate_key_pair(
        user_session, Mechanism(CKM.ML_KEM_KEY_PAIR_GEN), public_values, {CKA.DECAPSULATE_TEMPLATE: demanded}
    )
    sealed, ours = encapsulation.encapsulate_key(user_session, ENCAPSULATE, public, template({}), 2000)
    assert isinstance(sealed, bytes)
    assert ours is not None
    theirs = encapsulation.decapsulate_key(user_session, ENCAPSULATE, private, template({}), sealed)
    for key in (ours, theirs):
        assert get(user_session, key, CKA.SENSITIVE) is True
        assert get(user_session, key, CKA.LABEL) == "demanded"
    for other in ({CKA.SENSITIVE: False}, {CKA.LABEL: "other"}):
        with pytest.raises(TemplateInconsistent):
            encapsulation.encapsulate_key(user_session, ENCAPSULATE, public, template(other), 2000)
        with pytest.raises(TemplateInconsistent):
            encapsulation.decapsulate_key(user_session, ENCAPSULATE, private, template(other), sealed)


def test_encapsulations_that_are_refused(user_session: int) -> None:
    public, private = pair(user_session, CASES["ML-KEM"])
    sealed, _ = encapsulation.encapsulate_key(user_session, ENCAPSULATE, public, template(OPEN), 2000)
    assert isinstance(sealed, bytes)
    before = find(user_session, {CKA.CLASS: CKO.SECRET_KEY})
    ecdsa = pair(user_session, CASES["P-224"])
    bad: list[tuple[type[CryptokiError], dict[int, Value]]] = [
        (AttributeValueInvalid, {CKA.VALUE_LEN: 33}),
        (AttributeValueInvalid, {CKA.VALUE_LEN: 0}),
        (AttributeValueInvalid, {CKA.KEY_TYPE: CKK.AES, CKA.VALUE_LEN: 31}),
        (TemplateInconsistent, {CKA.KEY_TYPE: CKK.CHACHA20, CKA.VALUE_LEN: 16}),
        (TemplateInconsistent, {CKA.CLASS: CKO.PRIVATE_KEY}),
        (AttributeTypeInvalid, {CKA.MODULUS: b"1"}),
    ]
    for error, wanted in bad:
        with pytest.raises(error):
            encapsulation.encapsulate_key(user_session, ENCAPSULATE, public, template(wanted), 2000)
        with pytest.raises(error):
            encapsulation.decapsulate_key(user_session, ENCAPSULATE, private, template(wanted), sealed)
    with pytest.raises(WrappedKeyLenRange):
        encapsulation.decapsulate_key(user_session, ENCAPSULATE, private, template({}), sealed[1:])
    with pytest.raises(KeyTypeInconsistent):
        encapsulation.encapsulate_key(user_session, ENCAPSULATE, ecdsa[0], template({}), 2000)
    with pytest.raises(KeyFunctionNotPermitted):
        encapsulation.encapsulate_key(user_session, ENCAPSULATE, private, template({}), 2000)
    with pytest.raises(MechanismInvalid):
        encapsulation.encapsulate_key(user_session, Mechanism(CKM.ML_DSA), public, template({}), 2000)
    assert find(user_session, {CKA.CLASS: CKO.SECRET_KEY}) == before
