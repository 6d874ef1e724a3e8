"""Keys from what two key pairs have in common, as it is or through the KDF of ANSI X9.63."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF

from mrhsm_p11.constants import CKD
from mrhsm_p11.crypto import hashes
from mrhsm_p11.crypto.agreement import shared_secret
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.derivation import Lengths, trailing
from mrhsm_p11.errors import MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.derive import ECDH1Params
from mrhsm_p11.secret import Secret

_HASHES = {
    CKD.SHA1_KDF: "sha1",
    CKD.SHA224_KDF: "sha224",
    CKD.SHA256_KDF: "sha256",
    CKD.SHA384_KDF: "sha384",
    CKD.SHA512_KDF: "sha512",
    CKD.SHA3_224_KDF: "sha3_224",
    CKD.SHA3_256_KDF: "sha3_256",
    CKD.SHA3_384_KDF: "sha3_384",
    CKD.SHA3_512_KDF: "sha3_512",
}


def derive(
    row: MechanismRow,
    parameter: AnyParameter,
    key_type: int,
    base: Secret,
    lengths: Lengths,
    keys: Mapping[int, Secret],
) -> list[Secret]:
    """Derive one key. Raises MechanismParamInvalid, KeyTypeInconsistent, KeySizeRange."""
    (length,) = lengths
    if row.mode == "dh":
        return [trailing(shared_secret(key_type, base, _raw(parameter)).view(), length)]
    if not isinstance(parameter, ECDH1Params):
        raise MechanismParamInvalid(f"the parameter is a {ECDH1Params.struct}")
    if parameter.kdf == CKD.NULL and parameter.shared_data:
        raise MechanismParamInvalid("without a KDF there is no shared data")
    if parameter.kdf not in (CKD.NULL, *_HASHES):
        raise MechanismParamInvalid(f"{parameter.kdf} is no KDF here")
    common = shared_secret(key_type, base, parameter.public_data)
    if parameter.kdf == CKD.NULL:
        return [trailing(common.view(), length)]
    function = hashes.algorithm(_HASHES[parameter.kdf])
    size = function.digest_size if length is None else length
    return [Secret(X963KDF(function, size, parameter.shared_data).derive(common.view()))]


def _raw(parameter: AnyParameter) -> bytes:
    if not isinstance(parameter, bytes) or not parameter:
        raise MechanismParamInvalid("the parameter is the other party's public value")
    return parameter
