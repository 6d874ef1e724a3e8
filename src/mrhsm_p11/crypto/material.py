"""The material of an object: one secret string of bytes, and the attributes that it determines.

Secret key: its bytes. Private key: PKCS #8 DER. Public key: SubjectPublicKeyInfo DER. Domain parameters:
AlgorithmIdentifier DER. Certificate: X.509 DER. Data: the value.
"""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.constants import CKA, CKK, CKO
from mrhsm_p11.crypto import certificates, der, families, secret_keys
from mrhsm_p11.crypto.containers import given_bytes
from mrhsm_p11.errors import (
    AttributeValueInvalid,
    TemplateIncomplete,
    TemplateInconsistent,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
)
from mrhsm_p11.mapping.attributes import OWNERS_DATES, UNTYPED_CLASSES, for_class, supported
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret


def split(attributes: Mapping[int, Value]) -> tuple[dict[int, Value], Secret]:
    """Part a complete C_CreateObject template into attributes without material, and the material.

    What the template says twice must agree. Raises TemplateIncomplete, TemplateInconsistent, AttributeValueInvalid,
    CurveNotSupported, DomainParamsInvalid.
    """
    cls, key_type = kind(attributes)
    if not supported(cls, key_type):
        raise TemplateInconsistent(f"no object of class {cls:#x} and type {key_type} can be stored")
    uses = for_class(cls, key_type)
    given = {cka: value for cka, value in attributes.items() if cka in uses and uses[cka].material}
    for cka, use in uses.items():
        if use.material and use.required_on_create and cka not in given:
            raise TemplateIncomplete(f"CKA_{CKA.name(cka)} is missing")
    try:
        material = normalise(cls, key_type, _assembled(cls, key_type, given))
        if cls == CKO.SECRET_KEY:
            secret_keys.check_form(key_type, material)
        if len(material):
            _check_agreement(given, derived(cls, key_type, material))
    except ValueError:
        raise AttributeValueInvalid("the value of the object is malformed") from None
    return {cka: value for cka, value in attributes.items() if cka not in given}, material


def kind(attributes: Mapping[int, Value]) -> tuple[int, int | None]:
    """Return class and key (or certificate) type that a template decides on. Raises TemplateIncomplete."""
    cls = attributes.get(CKA.CLASS)
    if not isinstance(cls, int):
        raise TemplateIncomplete("CKA_CLASS is missing")
    if cls in UNTYPED_CLASSES:
        return cls, None
    of_type = attributes.get(CKA.CERTIFICATE_TYPE if cls == CKO.CERTIFICATE else CKA.KEY_TYPE)
    if not isinstance(of_type, int):
        raise TemplateIncomplete("the key or certificate type is missing")
    return cls, of_type


def normalise(cls: int, key_type: int | None, value: bytes | Secret, *, check: bool = True) -> Secret:
    """Return bytes that came from outside as material; PKCS #1 and SEC 1 are taken too.

    `check` false skips the costly tests (30 ms for RSA) of a private key that passed them before. Raises
    AttributeValueInvalid, CurveNotSupported.
    """
    plain = value.reveal() if isinstance(value, Secret) else value
    if cls == CKO.SECRET_KEY:
        if not secret_keys.has_length(key_type, len(plain)):
            raise AttributeValueInvalid(f"a secret key of this type has no {len(plain)} bytes")
        return Secret(plain)
    if cls in (CKO.PUBLIC_KEY, CKO.PRIVATE_KEY):
        from mrhsm_p11.crypto import encodings

        if key_type not in families.KEY_FORMS:
            raise AttributeValueInvalid("a key pair of this type cannot be used here")
        if cls == CKO.PUBLIC_KEY:
            return Secret(encodings.public(key_type, plain))
        return Secret(encodings.private(key_type, plain, check=check))
    if cls == CKO.CERTIFICATE and plain:  # empty: it is where CKA_URL says
        try:
            certificates.attributes(plain)
        except ValueError:
            raise AttributeValueInvalid("the bytes are no X.509 certificate") from None
    return Secret(plain)


def unwrapped(row: MechanismRow, cls: int, key_type: int | None, value_len: int | None, plain: Secret) -> Secret:
    """Return what C_UnwrapKey gave as material of a new key, cut to `value_len` bytes (CKA_VALUE_LEN) where given.

    Only filling of the wrapping mechanism may be cut off. Raises WrappedKeyLenRange, WrappedKeyInvalid.
    """
    if cls != CKO.SECRET_KEY:
        try:
            return normalise(cls, key_type, plain)
        except AttributeValueInvalid:
            raise WrappedKeyInvalid("what was wrapped is no private key of this type") from None
    if value_len is None:
        value_len = secret_keys.fixed_length(key_type)
    key = plain if value_len is None else _cut(row, plain, value_len)
    if not secret_keys.has_length(key_type, len(key)):
        raise WrappedKeyLenRange(f"a key of this type has no {len(key)} bytes")
    try:
        secret_keys.check_form(key_type, key)
    except AttributeValueInvalid as error:
        raise WrappedKeyInvalid(str(error)) from None
    return key


def asked_length(attributes: Mapping[int, Value]) -> int | None:
    """Return the bytes of a secret key that a template settles on, None where it leaves them to the mechanism.

    Raises TemplateIncomplete where the key type has several lengths, TemplateInconsistent, AttributeValueInvalid.
    """
    key_type, value_len = attributes.get(CKA.KEY_TYPE), attributes.get(CKA.VALUE_LEN)
    key_type = key_type if isinstance(key_type, int) else None
    fixed = secret_keys.fixed_length(key_type)
    if not isinstance(value_len, int):
        if fixed is None and key_type != CKK.GENERIC_SECRET:
            raise TemplateIncomplete("CKA_VALUE_LEN is missing")
        return fixed
    if fixed not in (None, value_len):
        raise TemplateInconsistent(f"a key of this type has {fixed} bytes, not {value_len}")
    if not secret_keys.has_length(key_type, value_len):
        raise AttributeValueInvalid(f"CKA_VALUE_LEN of {value_len} is no size of such keys")
    return value_len


def derived_key(cls: int, key_type: int | None, secret: Secret) -> Secret:
    """Return what C_DeriveKey computed as material: of DES keys, with the parity that they have.

    Raises AttributeValueInvalid for what is no key of this type.
    """
    if key_type in secret_keys.SHAPED:
        secret = Secret(secret_keys.shaped(key_type, secret.reveal()))
    made = normalise(cls, key_type, secret)
    if cls == CKO.SECRET_KEY:
        secret_keys.check_form(key_type, made)
    return made


def _cut(row: MechanismRow, plain: Secret, value_len: int) -> Secret:
    filled = len(plain) - value_len
    if row.fills_before:
        if filled < 0 or not value_len or any(plain.view()[:filled]):
            raise WrappedKeyLenRange(f"more or less than {value_len} bytes were wrapped")
        return Secret(plain.view()[filled:])
    if not 0 <= filled < row.fills_to or not value_len:
        raise WrappedKeyLenRange(f"{len(plain)} bytes were wrapped, not {value_len}")
    return Secret(plain.view()[:value_len])


def derived(cls: int, key_type: int | None, material: Secret) -> dict[int, Value]:
    """Return every attribute that the material determines. The material must have been normalised."""
    plain = material.reveal()
    if cls == CKO.SECRET_KEY:
        return {
            CKA.VALUE: plain,
            CKA.VALUE_LEN: len(plain),
            CKA.CHECK_VALUE: secret_keys.check_value(key_type, material),
        }
    if cls == CKO.PUBLIC_KEY:
        return families.key_form(key_type).public_attributes(plain)
    if cls == CKO.PRIVATE_KEY:
        return families.key_form(key_type).private_attributes(plain)
    if cls == CKO.DOMAIN_PARAMETERS:
        return families.domain_form(key_type).domain_attributes(plain)
    if cls == CKO.CERTIFICATE and plain:
        return dict(certificates.attributes(plain))
    return {CKA.VALUE: plain}


def public_derived(cls: int, key_type: int | None, material: Secret) -> dict[int, Value]:
    """Return those derived attributes that tell nothing secret; stores may keep them with the record."""
    if cls == CKO.SECRET_KEY:
        return {CKA.VALUE_LEN: len(material)}
    if cls == CKO.DATA:
        return {}
    uses = for_class(cls, key_type)
    return {cka: value for cka, value in derived(cls, key_type, material).items() if not uses[cka].sensitive}


def said_of(attributes: Mapping[int, Value]) -> dict[int, Value]:
    """Return those attributes of a template that the material decides."""
    uses = for_class(*kind(attributes))
    return {cka: value for cka, value in attributes.items() if cka in uses and uses[cka].material}


def require_agreement(attributes: Mapping[int, Value], material: Secret) -> None:
    """Check what a template says of a key that came by other means. Raises as `split` does where they disagree."""
    if said := said_of(attributes):
        cls, key_type = kind(attributes)
        public = {CKA.VALUE_LEN: len(material)}  # enough for most, and a check value costs
        known = cls == CKO.SECRET_KEY and said.keys() <= public.keys()
        _check_agreement(said, public if known else derived(cls, key_type, material))


def _assembled(cls: int, key_type: int | None, given: Mapping[int, Value]) -> bytes:
    if cls == CKO.PUBLIC_KEY:
        return families.key_form(key_type).public_material(given)
    if cls == CKO.PRIVATE_KEY:
        return families.key_form(key_type).private_material(given)
    if cls == CKO.DOMAIN_PARAMETERS:
        return families.domain_form(key_type).domain_material(given)
    return b"" if cls == CKO.TRUST else given_bytes(given, CKA.VALUE)


# Accepted in other forms than the one that is reported.
_INPUT_FORMS = (CKA.EC_PARAMS, CKA.EC_POINT)


def _check_agreement(given: Mapping[int, Value], actual: Mapping[int, Value]) -> None:
    for cka, value in given.items():
        if cka not in actual:
            continue  # checked by the key form, and not kept
        truth = actual[cka]
        if cka in _INPUT_FORMS or cka in OWNERS_DATES or value in (truth, b""):
            continue
        if cka == CKA.VALUE and isinstance(value, bytes) and isinstance(truth, bytes):
            if value.lstrip(b"\0") == truth.lstrip(b"\0"):
                continue
        elif cka == CKA.SERIAL_NUMBER and isinstance(truth, bytes) and value == der.only(truth, der.INTEGER):
            continue  # SunPKCS11 gives the bare number
        if cka == CKA.CHECK_VALUE:
            raise AttributeValueInvalid("CKA_CHECK_VALUE is another key's")
        raise TemplateInconsistent(f"CKA_{CKA.name(cka)} is not what the value of the object says")
