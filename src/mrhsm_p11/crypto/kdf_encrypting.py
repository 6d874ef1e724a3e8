"""Keys that are data encrypted under another key."""

from __future__ import annotations

from collections.abc import Mapping

from mrhsm_p11.constants import CKM
from mrhsm_p11.crypto import checks, families
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.derivation import Lengths, leading
from mrhsm_p11.errors import DataLenRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.parameters.derive import AESCBCData, DESCBCData, StringData
from mrhsm_p11.secret import Secret

_CIPHERS = {
    CKM.AES_ECB_ENCRYPT_DATA: CKM.AES_ECB,
    CKM.AES_CBC_ENCRYPT_DATA: CKM.AES_CBC,
    CKM.DES3_ECB_ENCRYPT_DATA: CKM.DES3_ECB,
    CKM.DES3_CBC_ENCRYPT_DATA: CKM.DES3_CBC,
}


def derive(
    row: MechanismRow,
    parameter: AnyParameter,
    key_type: int,
    base: Secret,
    lengths: Lengths,
    keys: Mapping[int, Secret],
) -> list[Secret]:
    """Derive one key. Raises MechanismParamInvalid (too little data for the key, too), KeySizeRange."""
    (length,) = lengths
    if isinstance(parameter, AESCBCData | DESCBCData):
        iv, data = parameter.iv, parameter.data
    else:
        iv, data = None, checks.structure(parameter, StringData).data
    cipher_row = ROWS[_CIPHERS[row.type]]
    cipher = families.cipher(cipher_row.family).cipher(cipher_row, iv, base, encrypt=True)
    try:
        encrypted = cipher.finish(data)
    except DataLenRange:
        raise MechanismParamInvalid(f"{len(data)} bytes are no whole blocks") from None
    if not encrypted or (length or 0) > len(encrypted):
        raise MechanismParamInvalid(f"{len(data)} bytes of data make no key of {length}")
    return [leading(encrypted, length)]
