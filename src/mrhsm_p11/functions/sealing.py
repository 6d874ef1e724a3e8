"""Key wrapping with associated data: C_WrapKeyAuthenticated and C_UnwrapKeyAuthenticated of 3.2."""

from __future__ import annotations

from typing import cast

from mrhsm_p11.errors import (
    ArgumentsBad,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    MechanismParamInvalid,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
)
from mrhsm_p11.functions import keys
from mrhsm_p11.functions.messages import cipher, shape
from mrhsm_p11.parameters.messages import LentMechanism, MessageParameter
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider, usage
from mrhsm_p11.token.messages import COUNTING, IVs
from mrhsm_p11.token.operations import Buffer, Outcome
from mrhsm_p11.token.rules import Template

__all__ = ["unwrap_key_authenticated", "wrap_key_authenticated"]


def wrap_key_authenticated(
    session: int, mechanism: LentMechanism | None, wrapping_key: int, key: int, aad: Buffer, room: int | None
) -> Outcome:
    """Wrap a key; IV and tag are written to the mechanism's parameter."""
    token = provider.session(session).token
    asked = _given(mechanism)
    row, wrapping = usage.permit(token, usage.WRAP, asked, wrapping_key)
    wrapped = usage.find_key(token, key)
    keys.require_wrappable(row, wrapping, wrapped)
    asked.parameter.require(shape(row), "iv", "tag")
    message = cast("MessageParameter", asked.parameter.read(shape(row)))
    if message.generator in COUNTING:
        raise MechanismParamInvalid("each wrapped key would have the same counted initialisation vector")
    plain = wrapped.material()
    if room is None or room < len(plain):
        cipher(row, message, message.iv, aad, wrapping.material(), encrypt=True)
        return len(plain)
    iv = IVs().next(message)
    output = cipher(row, message, iv, aad, wrapping.material(), encrypt=True).finish(plain.view())
    asked.parameter.give(shape(row), "iv", iv)
    asked.parameter.give(shape(row), "tag", output[-message.tag_bytes :])
    return output[: -message.tag_bytes]


def unwrap_key_authenticated(
    session: int,
    mechanism: LentMechanism | None,
    unwrapping_key: int,
    wrapped: Buffer,
    template: Template,
    aad: Buffer,
) -> int:
    found = provider.session(session)
    asked = _given(mechanism)
    row, unwrapping = usage.permit(found.token, usage.UNWRAP, asked, unwrapping_key)
    asked.parameter.require(shape(row), "iv", "tag")
    message = cast("MessageParameter", asked.parameter.read(shape(row)))

    def unwrap() -> Secret:
        opening = cipher(row, message, message.iv, aad, unwrapping.material(), encrypt=False)
        try:
            opening.update(wrapped)
            return Secret(opening.finish(asked.parameter.take(shape(row), "tag", message.tag_bytes)))
        except EncryptedDataLenRange as error:
            raise WrappedKeyLenRange(str(error)) from None
        except EncryptedDataInvalid as error:
            raise WrappedKeyInvalid(str(error)) from None

    return keys.bring_in(found, row, unwrapping, template, unwrap)


def _given(mechanism: LentMechanism | None) -> LentMechanism:
    if mechanism is None:
        raise ArgumentsBad("no mechanism is given")
    return mechanism
