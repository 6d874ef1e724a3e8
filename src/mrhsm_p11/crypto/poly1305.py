"""Poly1305 by itself: a MAC whose key is used for one message."""

from __future__ import annotations

from cryptography.hazmat.primitives.poly1305 import Poly1305

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.base import Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.mac import MACSigner, MACVerifier
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.secret import Secret

TAG_BYTES = 16


def signer(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Signer:
    """Start making a MAC. Raises MechanismParamInvalid, KeySizeRange."""
    return MACSigner(_start(row, parameter, key), TAG_BYTES)


def verifier(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Verifier:
    """Start checking a MAC. Raises MechanismParamInvalid, KeySizeRange."""
    return MACVerifier(_start(row, parameter, key), TAG_BYTES)


def _start(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Poly1305:
    checks.key_size(row, len(key) * 8)
    checks.no_parameter(parameter)
    return Poly1305(key.view())
