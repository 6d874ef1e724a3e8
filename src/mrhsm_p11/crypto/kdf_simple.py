"""Keys from the bytes of other keys: concatenated, combined with data, cut out, or hashed."""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.crypto import checks, digests
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.derivation import Lengths, bits_from, leading, xor
from mrhsm_p11.errors import KeySizeRange, MechanismParamInvalid, TemplateIncomplete
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.derive import StringData
from mrhsm_p11.secret import Secret


def derive(
    row: MechanismRow,
    parameter: AnyParameter,
    key_type: int,
    base: Secret,
    lengths: Lengths,
    keys: Mapping[int, Secret],
) -> list[Secret]:
    """Derive one key. Raises MechanismParamInvalid, KeySizeRange, TemplateIncomplete."""
    (length,) = lengths
    if row.mode == "digest":
        checks.no_parameter(parameter)
        computation = digests.digest(row.hash or "", None)
        computation.update(base.view())
        return [leading(computation.finish(), length)]
    if row.mode == "extract":
        return [_extracted(checks.number(parameter), base, length)]
    if row.mode == "base-and-key":
        return [leading(bytearray(base.view()) + keys[checks.number(parameter)].view(), length)]
    data = checks.structure(parameter, StringData).data
    combined = {
        "base-and-data": lambda: bytearray(base.view()) + data,
        "data-and-base": lambda: bytearray(data) + base.view(),
        "xor": lambda: xor(base.view(), data),
    }[row.mode]()
    return [leading(combined, length)]


def _extracted(bit: int, base: Secret, length: int | None) -> Secret:
    if bit >= len(base) * 8:
        raise MechanismParamInvalid(f"the key has no bit {bit}")
    if length is None:
        raise TemplateIncomplete("how much is cut out is for CKA_VALUE_LEN or the key type to say")
    if length > len(base):
        raise KeySizeRange(f"{length} bytes are not in a key of {len(base)}")
    return Secret(bits_from(bytearray(base.view()), bit, length))
