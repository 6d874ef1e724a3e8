"""One row a CKA: how its value is encoded, which objects have it, and the standard's rules for it.

The rules are the footnotes of the standard's own tables, by number:
1 must be given to C_CreateObject, 2 must not; 3 must be given to C_GenerateKey(Pair), 4 must not; 5 must be given to
C_UnwrapKey, 6 must not; 7 is not revealed while CKA_SENSITIVE or not CKA_EXTRACTABLE; 8 may be modified; 9 has a
default of the token's choice; 10 only the SO sets it true; 11 stays once true; 12 stays once false. Ours: 0 may be
changed by C_CopyObject though not by C_SetAttributeValue (the standard says so in prose).
"""

from __future__ import annotations

from typing import NamedTuple

from mrhsm_p11.constants import CKA
from mrhsm_p11.errors import AttributeTypeInvalid, AttributeValueInvalid
from mrhsm_p11.mapping.codecs import BIGINT, BOOL, BYTES, DATE, TEXT, ULONG, ULONGS, Codec, Raw, Value, expect


class AttributeUse(NamedTuple):
    """A CKA as objects of some kinds have it.

    `material`: the value comes from the object's material (crypto.material) and is never in Record.attributes.
    `default` is None where there is none: the attribute is then given, derived, or absent.
    """

    type: int
    codec: Codec
    kinds: tuple[str, ...]
    notes: frozenset[int]
    default: Value | None = None
    material: bool = False

    @property
    def required_on_create(self) -> bool:
        return 1 in self.notes

    @property
    def forbidden_on_create(self) -> bool:
        return 2 in self.notes

    @property
    def required_on_generate(self) -> bool:
        return 3 in self.notes

    @property
    def forbidden_on_generate(self) -> bool:
        return 4 in self.notes

    @property
    def required_on_unwrap(self) -> bool:
        return 5 in self.notes

    @property
    def forbidden_on_unwrap(self) -> bool:
        return 6 in self.notes

    @property
    def forbidden_on_derive(self) -> bool:
        """The tables say nothing of C_DeriveKey: what comes with the bytes cannot be given here either."""
        return self.forbidden_on_unwrap

    @property
    def required_on_derive(self) -> bool:
        return False

    @property
    def sensitive(self) -> bool:
        return 7 in self.notes

    @property
    def settable(self) -> bool:
        """C_SetAttributeValue may change it (in the one direction that so_only_true, only_to_true, ... leave)."""
        return not self.notes.isdisjoint((8, 10, 11, 12))

    @property
    def copy_settable(self) -> bool:
        """C_CopyObject's template may change it."""
        return self.settable or 0 in self.notes

    @property
    def so_only_true(self) -> bool:
        return 10 in self.notes

    @property
    def only_to_true(self) -> bool:
        return 11 in self.notes

    @property
    def only_to_false(self) -> bool:
        return 12 in self.notes


class AttributeRow(NamedTuple):
    """A CKA: its one encoding, and its uses by kind of object."""

    type: int
    codec: Codec
    uses: tuple[AttributeUse, ...]


def decode(type: int, raw: Raw) -> Value:
    """Return the natural value of what a caller gave.

    Raises AttributeTypeInvalid for a CKA that no object here has, AttributeValueInvalid for a malformed value.
    """
    return _codec(type).decode(raw)


def encode(type: int, value: Value) -> Raw:
    """Return the C form of a natural value: bytes, or a nested template. Raises AttributeTypeInvalid."""
    return _codec(type).encode(value)


def _codec(type: int) -> Codec:
    row = ROWS.get(type)
    if row is None:
        raise AttributeTypeInvalid(f"CKA_{CKA.name(type)} is not an attribute of any object here")
    return row.codec


def _decode_template(raw: Raw) -> Value:
    if not isinstance(raw, dict):
        raise AttributeValueInvalid("an attribute template is an array of CK_ATTRIBUTE")
    return {nested: decode(nested, value) for nested, value in raw.items()}


def _encode_template(value: Value) -> Raw:
    return {nested: encode(nested, inner) for nested, inner in expect(dict, value).items()}


TEMPLATE = Codec("TEMPLATE", _decode_template, _encode_template)


def _use(
    kinds: str, notes: str = "", default: Value | None = None, *, material: bool = False
) -> tuple[str, str, Value | None, bool]:
    return kinds, notes, default, material


def _row(type: int, codec: Codec, *uses: tuple[str, str, Value | None, bool]) -> AttributeRow:
    return AttributeRow(
        type,
        codec,
        tuple(
            AttributeUse(type, codec, tuple(kinds.split()), frozenset(map(int, notes.split())), default, material)
            for kinds, notes, default, material in uses
        ),
    )


def _usage(type: int, kinds: str) -> AttributeRow:
    # default: see _USAGES
    return _row(type, BOOL, _use(kinds, "8 9", False))


_ROWS = (
    _row(CKA.CLASS, ULONG, _use("object", "1")),
    # storage objects
    _row(CKA.TOKEN, BOOL, _use("storage", "0", False)),
    _row(CKA.PRIVATE, BOOL, _use("storage", "0 9")),
    _row(CKA.MODIFIABLE, BOOL, _use("storage", "0", True)),
    _row(CKA.LABEL, TEXT, _use("storage", "8", "")),
    _row(CKA.COPYABLE, BOOL, _use("storage", "12", True)),
    _row(CKA.DESTROYABLE, BOOL, _use("storage", "0", True)),
    _row(CKA.UNIQUE_ID, TEXT, _use("storage", "2 4 6")),
    # data objects
    _row(CKA.APPLICATION, TEXT, _use("data", "", "")),
    _row(CKA.OBJECT_ID, BYTES, _use("data", "", b"")),
    _row(
        CKA.VALUE,
        BYTES,
        _use("data", "", b"", material=True),
        _use("x509", "1", material=True),
        _use("secret-value secret-fixed ec-private dsa-private dh-private", "1 4 6 7", material=True),
        _use("pq-private", "4 6 7", material=True),
        _use("dsa-public dh-public pq-public", "1 4", material=True),
    ),
    # certificates
    _row(CKA.CERTIFICATE_TYPE, ULONG, _use("certificate", "1")),
    _row(CKA.TRUSTED, BOOL, _use("certificate public secret", "10", False)),
    _row(CKA.CERTIFICATE_CATEGORY, ULONG, _use("certificate", "", 0)),
    _row(CKA.CHECK_VALUE, BYTES, _use("certificate secret", "", material=True)),
    _row(CKA.START_DATE, DATE, _use("certificate", "", material=True), _use("key", "8", b"")),
    _row(CKA.END_DATE, DATE, _use("certificate", "", material=True), _use("key", "8", b"")),
    _row(CKA.PUBLIC_KEY_INFO, BYTES, _use("certificate public private", "", material=True)),
    # The standard lets ISSUER and SERIAL_NUMBER be modified; here they are what the certificate says.
    _row(CKA.SUBJECT, BYTES, _use("x509", "1", material=True), _use("public private", "8", b"")),
    _row(CKA.ID, BYTES, _use("x509 key", "8", b"")),
    _row(CKA.ISSUER, BYTES, _use("x509", "", material=True), _use("trust", "1")),
    _row(CKA.SERIAL_NUMBER, BYTES, _use("x509", "", material=True), _use("trust", "1")),
    _row(CKA.URL, TEXT, _use("x509", "", "")),
    _row(CKA.HASH_OF_SUBJECT_PUBLIC_KEY, BYTES, _use("x509", "", b"")),
    _row(CKA.HASH_OF_ISSUER_PUBLIC_KEY, BYTES, _use("x509", "", b"")),
    _row(CKA.JAVA_MIDP_SECURITY_DOMAIN, ULONG, _use("x509", "", 0)),
    _row(CKA.NAME_HASH_ALGORITHM, ULONG, _use("x509"), _use("trust")),
    # trust objects: each purpose a CKT, 0 (CKT_TRUST_UNKNOWN) where nothing is said
    _row(CKA.HASH_OF_CERTIFICATE, BYTES, _use("trust", "", b"")),
    *(
        _row(purpose, ULONG, _use("trust", "8", 0))
        for purpose in (
            *(CKA.TRUST_SERVER_AUTH, CKA.TRUST_CLIENT_AUTH, CKA.TRUST_CODE_SIGNING, CKA.TRUST_EMAIL_PROTECTION),
            *(CKA.TRUST_IPSEC_IKE, CKA.TRUST_TIME_STAMPING, CKA.TRUST_OCSP_SIGNING),
        )
    ),
    # keys
    _row(CKA.KEY_TYPE, ULONG, _use("key domain", "1 5")),
    _row(CKA.DERIVE, BOOL, _use("key", "8", False)),
    _row(CKA.LOCAL, BOOL, _use("key domain", "2 4 6", False)),
    _row(CKA.KEY_GEN_MECHANISM, ULONG, _use("key", "2 4 6")),
    _row(CKA.ALLOWED_MECHANISMS, ULONGS, _use("key")),
    _usage(CKA.ENCRYPT, "public secret"),
    _usage(CKA.DECRYPT, "private secret"),
    _usage(CKA.SIGN, "private secret"),
    _usage(CKA.SIGN_RECOVER, "private"),
    _usage(CKA.VERIFY, "public secret"),
    _usage(CKA.VERIFY_RECOVER, "public"),
    _usage(CKA.WRAP, "public secret"),
    _usage(CKA.UNWRAP, "private secret"),
    _usage(CKA.ENCAPSULATE, "public"),
    _usage(CKA.DECAPSULATE, "private"),
    _row(CKA.SENSITIVE, BOOL, _use("private", "8 11", True), _use("secret", "8 11", False)),
    _row(CKA.EXTRACTABLE, BOOL, _use("private", "8 12", False), _use("secret", "8 12", True)),
    _row(CKA.ALWAYS_SENSITIVE, BOOL, _use("private secret", "2 4 6")),
    _row(CKA.NEVER_EXTRACTABLE, BOOL, _use("private secret", "2 4 6")),
    _row(CKA.WRAP_WITH_TRUSTED, BOOL, _use("private secret", "11", False)),
    _row(CKA.ALWAYS_AUTHENTICATE, BOOL, _use("private", "", False)),
    _row(CKA.WRAP_TEMPLATE, TEMPLATE, _use("public secret")),
    _row(CKA.UNWRAP_TEMPLATE, TEMPLATE, _use("private secret")),
    _row(CKA.DERIVE_TEMPLATE, TEMPLATE, _use("private secret")),
    _row(CKA.ENCAPSULATE_TEMPLATE, TEMPLATE, _use("public")),
    _row(CKA.DECAPSULATE_TEMPLATE, TEMPLATE, _use("private")),
    # The AES table forbids VALUE_LEN when unwrapping; the wrapping mechanisms ask for it there, to cut off padding.
    _row(
        CKA.VALUE_LEN,
        ULONG,
        _use("secret-value", "2 3", material=True),
        _use("secret-fixed", "2", material=True),
    ),
    # RSA
    _row(CKA.MODULUS, BIGINT, _use("rsa-public", "1 4", material=True), _use("rsa-private", "1 4 6", material=True)),
    _row(CKA.MODULUS_BITS, ULONG, _use("rsa-public", "2 3", material=True)),
    _row(
        CKA.PUBLIC_EXPONENT,
        BIGINT,
        _use("rsa-public", "1", material=True),
        _use("rsa-private", "1 4 6", material=True),
    ),
    _row(CKA.PRIVATE_EXPONENT, BIGINT, _use("rsa-private", "1 4 6 7", material=True)),
    # Optional in the standard, which lets a token ask for more: the primitives compute nothing of these from the rest.
    _row(CKA.PRIME_1, BIGINT, _use("rsa-private", "1 4 6 7", material=True)),
    _row(CKA.PRIME_2, BIGINT, _use("rsa-private", "1 4 6 7", material=True)),
    _row(CKA.EXPONENT_1, BIGINT, _use("rsa-private", "1 4 6 7", material=True)),
    _row(CKA.EXPONENT_2, BIGINT, _use("rsa-private", "1 4 6 7", material=True)),
    _row(CKA.COEFFICIENT, BIGINT, _use("rsa-private", "1 4 6 7", material=True)),
    # EC: Weierstrass, Edwards and Montgomery curves
    _row(CKA.EC_PARAMS, BYTES, _use("ec-public", "1 3", material=True), _use("ec-private", "1 4 6", material=True)),
    _row(CKA.EC_POINT, BYTES, _use("ec-public", "1 4", material=True)),
    # DSA and Diffie-Hellman
    *(
        _row(
            part,
            BIGINT,
            _use("dsa-public dh-public", "1 3", material=True),
            _use("dsa-private dh-private", "1 4 6", material=True),
            _use("dsa-domain dh-domain", "1 4", material=True),
        )
        for part in (CKA.PRIME, CKA.BASE)
    ),
    _row(
        CKA.SUBPRIME,
        BIGINT,
        _use("dsa-public", "1 3", material=True),
        _use("dsa-private", "1 4 6", material=True),
        _use("dsa-domain", "1 4", material=True),
    ),
    _row(CKA.PRIME_BITS, ULONG, _use("dsa-domain dh-domain", "2 3", material=True)),
    _row(CKA.SUBPRIME_BITS, ULONG, _use("dsa-domain", "2", material=True)),
    _row(CKA.VALUE_BITS, ULONG, _use("dh-private", "2 6", material=True)),
    # ML-KEM, ML-DSA, SLH-DSA
    _row(CKA.PARAMETER_SET, ULONG, _use("pq-public", "1 3", material=True), _use("pq-private", "1 4 6", material=True)),
    # The standard wants CKA_SEED or CKA_VALUE and lets a token ask for one: the primitives take the seed alone.
    _row(CKA.SEED, BYTES, _use("pq-private", "1 4 6 7", material=True)),
    # objects that tell what a token can do
    _row(CKA.PROFILE_ID, ULONG, _use("profile")),
    _row(CKA.MECHANISM_TYPE, ULONG, _use("mechanism")),
)

ROWS: dict[int, AttributeRow] = {row.type: row for row in _ROWS}
