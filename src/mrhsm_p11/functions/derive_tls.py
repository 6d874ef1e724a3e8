"""Derivations whose answers go into the parameter: the key block of a connection, the output of a PRF."""

from __future__ import annotations

from collections.abc import Sequence

from mrhsm_p11.constants import CK, CKA, CKK, CKO
from mrhsm_p11.crypto import material
from mrhsm_p11.errors import MechanismParamInvalid
from mrhsm_p11.functions import derive
from mrhsm_p11.functions.derive import Target
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.mapping.mechanisms.derive import MOST_BYTES
from mrhsm_p11.parameters import Mechanism, Parameter
from mrhsm_p11.parameters.tls import KeyMaterial, KeyMaterialParams, TLS12KeyMaterialParams, TLSPRFParams
from mrhsm_p11.token import inheritance, rules
from mrhsm_p11.token.objects import Object
from mrhsm_p11.token.rules import Template, Values
from mrhsm_p11.token.session import Session

# What the template says of the MAC secrets too; the rest is about the two encryption keys.
_ALL_KEYS = (
    *(CKA.CLASS, CKA.TOKEN, CKA.PRIVATE, CKA.MODIFIABLE, CKA.COPYABLE, CKA.DESTROYABLE, CKA.LABEL, CKA.ID),
    *(CKA.SENSITIVE, CKA.EXTRACTABLE, CKA.WRAP_WITH_TRUSTED, CKA.START_DATE, CKA.END_DATE),
)


def deliver(
    session: Session, row: MechanismRow, mechanism: Mechanism, bases: Sequence[Object], template: Template
) -> None:
    """Derive, and write the answers where the parameter says. Raises MechanismParamInvalid where it says nothing."""
    if isinstance(mechanism.parameter, TLSPRFParams):
        _output(row, mechanism, mechanism.parameter, bases)
    else:
        _keys(session, row, mechanism, bases, template)


def _output(row: MechanismRow, mechanism: Mechanism, parameter: TLSPRFParams, bases: Sequence[Object]) -> None:
    room = parameter.output_len.number
    if not parameter.output.given or not parameter.output_len.given or not 0 < room <= MOST_BYTES:
        raise MechanismParamInvalid(f"no room for the output, or {room} bytes of it")
    (output,) = derive.derived(row, mechanism, bases, (room,))
    parameter.output.fill(output.reveal())
    parameter.output_len.fill(room)


def _keys(
    session: Session, row: MechanismRow, mechanism: Mechanism, bases: Sequence[Object], template: Template
) -> None:
    """Make four keys and two initialisation vectors, or as many as are asked for: RFC 5246, section 6.3."""
    sizes = _sizes(row, mechanism.parameter)
    mac_bytes, key_bytes, iv_bytes = sizes
    places = _places(mechanism.parameter, iv_bytes)
    values = derive.decoded(template, bases[0], CKO.SECRET_KEY)
    mac = _target(session, row, bases, _mac_values(values), mac_bytes)
    key = _target(session, row, bases, {CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.DERIVE: True, **values}, key_bytes)
    secrets = derive.derived(row, mechanism, bases, [size for size in sizes for _ in range(2)])
    wanted = [(target, secret) for target, secret in zip((mac, mac, key, key), secrets, strict=False) if target]
    handles = iter(derive.insert(session, [target for target, _ in wanted], [secret for _, secret in wanted]))
    for place, target in (
        (places.client_mac, mac),
        (places.server_mac, mac),
        (places.client_key, key),
        (places.server_key, key),
    ):
        place.fill(next(handles) if target else CK.INVALID_HANDLE)
    if iv_bytes:
        places.client_iv.fill(secrets[4].reveal())
        places.server_iv.fill(secrets[5].reveal())


def _sizes(row: MechanismRow, parameter: Parameter | bytes | None) -> tuple[int, int, int]:
    """Return the bytes of a MAC secret, an encryption key and an initialisation vector."""
    if not isinstance(parameter, KeyMaterialParams | TLS12KeyMaterialParams) or parameter.is_export:
        raise MechanismParamInvalid("keys for export are made no more")
    bits = parameter.mac_bits, parameter.key_bits, 0 if row.mode == "key-safe" else parameter.iv_bits
    if any(each % 8 or each > MOST_BYTES for each in bits):
        raise MechanismParamInvalid(f"sizes of {bits} bits")
    return bits[0] // 8, bits[1] // 8, bits[2] // 8


def _places(parameter: Parameter | bytes | None, iv_bytes: int) -> KeyMaterial:
    places = getattr(parameter, "returned", None)
    if not isinstance(places, KeyMaterial) or (iv_bytes and not (places.client_iv.given and places.server_iv.given)):
        raise MechanismParamInvalid("keys or initialisation vectors have nowhere to go")
    return places


def _mac_values(values: Values) -> Values:
    """PKCS #11: the MAC secrets are generic secrets that sign, verify and derive."""
    uses = dict.fromkeys((CKA.SIGN, CKA.VERIFY, CKA.DERIVE), True)
    kept = {cka: value for cka, value in values.items() if cka in _ALL_KEYS}
    return {**kept, CKA.KEY_TYPE: CKK.GENERIC_SECRET, **uses}


def _target(session: Session, row: MechanismRow, bases: Sequence[Object], values: Values, size: int) -> Target | None:
    if not size:
        return None
    rules.fix(values, CKA.VALUE_LEN, size)
    inheritance.bind(values, row.type, bases)
    return derive.complete(session, row, values, bases, material.asked_length(values))
