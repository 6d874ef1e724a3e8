"""May this key do that with this mechanism: one row a purpose, one check for all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from mrhsm_p11 import log
from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA, CKF, CKM, CKO
from mrhsm_p11.errors import (
    CryptokiError,
    KeyFunctionNotPermitted,
    KeyHandleInvalid,
    KeyTypeInconsistent,
    MechanismInvalid,
    MechanismParamInvalid,
    ObjectHandleInvalid,
    UnwrappingKeyHandleInvalid,
    UnwrappingKeyTypeInconsistent,
    UserNotLoggedIn,
    WrappingKeyHandleInvalid,
    WrappingKeyTypeInconsistent,
)
from mrhsm_p11.mapping import mechanisms
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters import Mechanism, Parameter
from mrhsm_p11.store.base import KeyState
from mrhsm_p11.token.cluster_objects import is_cluster_key
from mrhsm_p11.token.objects import Object
from mrhsm_p11.token.token import Token

if TYPE_CHECKING:
    from mrhsm_p11.crypto.base import Key
    from mrhsm_p11.parameters.messages import LentMechanism


class Purpose(NamedTuple):
    """What a key is wanted for. `receding`: still allowed when the key may protect nothing new.

    `in_one_call`: no C_<X>Init comes before, after which a CKA_ALWAYS_AUTHENTICATE key could get its PIN.
    """

    name: str
    flag: int
    attribute: int
    classes: tuple[int, ...]
    receding: bool
    handle_invalid: type[CryptokiError] = KeyHandleInvalid
    type_inconsistent: type[CryptokiError] = KeyTypeInconsistent
    in_one_call: bool = False


_WRAPPING = (WrappingKeyHandleInvalid, WrappingKeyTypeInconsistent)
_UNWRAPPING = (UnwrappingKeyHandleInvalid, UnwrappingKeyTypeInconsistent)
_OUTER = (CKO.SECRET_KEY, CKO.PUBLIC_KEY)  # what closes an envelope or checks a seal
_INNER = (CKO.SECRET_KEY, CKO.PRIVATE_KEY)  # what opens an envelope or makes a seal

ENCRYPT = Purpose("encrypt", CKF.ENCRYPT, CKA.ENCRYPT, _OUTER, False)
DECRYPT = Purpose("decrypt", CKF.DECRYPT, CKA.DECRYPT, _INNER, True)
SIGN = Purpose("sign", CKF.SIGN, CKA.SIGN, _INNER, False)
VERIFY = Purpose("verify", CKF.VERIFY, CKA.VERIFY, _OUTER, True)
WRAP = Purpose("wrap", CKF.WRAP, CKA.WRAP, _OUTER, False, *_WRAPPING)
UNWRAP = Purpose("unwrap", CKF.UNWRAP, CKA.UNWRAP, _INNER, True, *_UNWRAPPING, in_one_call=True)
SIGN_RECOVER = Purpose("sign_recover", CKF.SIGN_RECOVER, CKA.SIGN_RECOVER, (CKO.PRIVATE_KEY,), False)
VERIFY_RECOVER = Purpose("verify_recover", CKF.VERIFY_RECOVER, CKA.VERIFY_RECOVER, (CKO.PUBLIC_KEY,), True)
DERIVE = Purpose("derive", CKF.DERIVE, CKA.DERIVE, _INNER, False, in_one_call=True)
ENCAPSULATE = Purpose("encapsulate", CKF.ENCAPSULATE, CKA.ENCAPSULATE, (CKO.PUBLIC_KEY,), False)
DECAPSULATE = Purpose(
    *("decapsulate", CKF.DECAPSULATE, CKA.DECAPSULATE, (CKO.PRIVATE_KEY,), True),
    *_UNWRAPPING,  # PKCS #11 3.2, "C_DecapsulateKey": its codes are those of C_UnwrapKey
    in_one_call=True,
)
MESSAGE_ENCRYPT = Purpose("message_encrypt", CKF.MESSAGE_ENCRYPT, CKA.ENCRYPT, _OUTER, False)
MESSAGE_DECRYPT = Purpose("message_decrypt", CKF.MESSAGE_DECRYPT, CKA.DECRYPT, _INNER, True)
MESSAGE_SIGN = Purpose("message_sign", CKF.MESSAGE_SIGN, CKA.SIGN, _INNER, False)
MESSAGE_VERIFY = Purpose("message_verify", CKF.MESSAGE_VERIFY, CKA.VERIFY, _OUTER, True)
PURPOSES = {
    purpose.name: purpose
    for purpose in (
        *(ENCRYPT, DECRYPT, SIGN, VERIFY, WRAP, UNWRAP, SIGN_RECOVER, VERIFY_RECOVER, DERIVE, ENCAPSULATE, DECAPSULATE),
        *(MESSAGE_ENCRYPT, MESSAGE_DECRYPT, MESSAGE_SIGN, MESSAGE_VERIFY),
    )
}


def offered(config: Config) -> Iterator[MechanismRow]:
    """Yield the mechanisms that this library offers, in the order of the table."""
    return (row for row in mechanisms.ROWS.values() if _is_offered(config, row))


def mechanism_row(config: Config, type: int, flag: int = 0) -> MechanismRow:
    """Return a mechanism's row. Raises MechanismInvalid if it is not offered, or not for this use."""
    row = mechanisms.ROWS.get(type)
    if row is None or (row.flags & flag) != flag or not _is_offered(config, row):
        raise MechanismInvalid(f"CKM_{CKM.name(type)} does not do this here")
    return row


def _is_offered(config: Config, row: MechanismRow) -> bool:
    if row.libcrypto:
        from mrhsm_p11.crypto import libcrypto

        if libcrypto.bound() is None:
            return False
    return config.legacy or not row.legacy


def permit(
    token: Token, purpose: Purpose, asked: Mechanism | LentMechanism, handle: int
) -> tuple[MechanismRow, Object]:
    """Return mechanism and key if the key may serve this purpose now; else raise the standard's error.

    Parameter and size of the key are the engine's to check, when it gets the material.
    """
    row = mechanism_row(token.config, asked.type, purpose.flag)
    key = find_key(token, handle, purpose.handle_invalid)
    if key.key_type not in row.key_types:
        raise purpose.type_inconsistent(f"CKM_{CKM.name(row.type)} does not take this type of key")
    _require_use(token, purpose, row.type, key)
    if isinstance(asked.parameter, Parameter) and asked.parameter.is_legacy and not token.config.legacy:
        raise MechanismParamInvalid("the parameter asks for a legacy algorithm")
    return row, key


def permit_beside(token: Token, purpose: Purpose, type: int, handle: int) -> Object:
    """Return a secret key that a mechanism's parameter names, if it may serve the purpose too."""
    key = find_key(token, handle)
    if key.cls != CKO.SECRET_KEY:
        raise purpose.type_inconsistent("the key that the parameter names is no secret key")
    _require_use(token, purpose, type, key)
    return key


def _require_use(token: Token, purpose: Purpose, type: int, key: Object) -> None:
    if key.cls not in purpose.classes or not key.is_true(purpose.attribute):
        raise KeyFunctionNotPermitted(f"the key has not CKA_{CKA.name(purpose.attribute)}")
    if not _is_allowed(key, type):
        raise MechanismInvalid(f"CKA_ALLOWED_MECHANISMS of the key leaves out CKM_{CKM.name(type)}")
    if purpose.in_one_call and key.is_true(CKA.ALWAYS_AUTHENTICATE):
        raise UserNotLoggedIn("the key wants a PIN for each use, and this function has no place for one")
    _require_state(token.config, purpose, key)
    _require_dates(purpose, key)


def find_key(token: Token, handle: int, invalid: type[CryptokiError] = KeyHandleInvalid) -> Object:
    """Return the key that a handle stands for, else raise `invalid`."""
    try:
        found = token.object(handle)
    except ObjectHandleInvalid as error:
        raise invalid(str(error)) from None
    if not found.is_key:
        raise invalid("the object is not a key")
    return found


def computing(key: Object, invalid: type[CryptokiError] = KeyHandleInvalid) -> Key:
    """Return what computes with a key that was found; raise `invalid` where it has been destroyed since."""
    try:
        return key.key()
    except ObjectHandleInvalid as error:
        raise invalid(str(error)) from None


def _is_allowed(key: Object, mechanism: int) -> bool:
    """An empty list allows nothing; no list allows everything."""
    allowed = key.record.attributes.get(CKA.ALLOWED_MECHANISMS)
    return not isinstance(allowed, tuple) or mechanism in allowed


def _require_state(config: Config, purpose: Purpose, key: Object) -> None:
    state = key.record.state
    if state is KeyState.ACTIVE:
        return
    if state is KeyState.COMPROMISED and purpose.receding and (config.allow_compromised or is_cluster_key(key.record)):
        log.warning(f"compromised key {key.uid} is used to {purpose.name}")
        return
    if state is not KeyState.DEACTIVATED or not purpose.receding:
        raise KeyFunctionNotPermitted(f"the key is {state.name.lower()}")


def _require_dates(purpose: Purpose, key: Object) -> None:
    """Before CKA_START_DATE a key does nothing; after CKA_END_DATE it protects nothing new (days of UTC)."""
    start, end = (key.record.attributes.get(cka) or b"" for cka in (CKA.START_DATE, CKA.END_DATE))
    if not start and not end:
        return
    today = time.strftime("%Y%m%d", time.gmtime()).encode()
    if isinstance(start, bytes) and start and today < start:
        raise KeyFunctionNotPermitted(f"the key starts on {start.decode()}")
    if isinstance(end, bytes) and end and today > end and not purpose.receding:
        raise KeyFunctionNotPermitted(f"the key ended on {end.decode()}")
