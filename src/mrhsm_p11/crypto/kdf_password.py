"""Keys from passwords: PBKDF2 (RFC 8018)."""

from __future__ import annotations

from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from mrhsm_p11.constants import CKP, CKZ
from mrhsm_p11.crypto import checks, hashes
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.derive import PBKD2Params
from mrhsm_p11.secret import Secret

MOST_ITERATIONS = 10_000_000  # some seconds; a host that wants more has made a mistake

_HASHES = {
    CKP.PKCS5_PBKD2_HMAC_SHA1: "sha1",
    CKP.PKCS5_PBKD2_HMAC_SHA224: "sha224",
    CKP.PKCS5_PBKD2_HMAC_SHA256: "sha256",
    CKP.PKCS5_PBKD2_HMAC_SHA384: "sha384",
    CKP.PKCS5_PBKD2_HMAC_SHA512: "sha512",
    CKP.PKCS5_PBKD2_HMAC_SHA512_224: "sha512_224",
    CKP.PKCS5_PBKD2_HMAC_SHA512_256: "sha512_256",
}


def make(row: MechanismRow, parameter: AnyParameter, length: int) -> Secret:
    """Make a key of `length` bytes. Raises MechanismParamInvalid."""
    given = checks.structure(parameter, PBKD2Params)
    if given.salt_source != CKZ.SALT_SPECIFIED or given.prf not in _HASHES or given.prf_data:
        raise MechanismParamInvalid("neither salt source, function nor its data may be anything else than known ones")
    if not 1 <= given.iterations <= MOST_ITERATIONS:
        raise MechanismParamInvalid(f"{given.iterations} iterations are not 1 to {MOST_ITERATIONS}")
    function = hashes.algorithm(_HASHES[given.prf])
    return Secret(PBKDF2HMAC(function, length, given.salt, given.iterations).derive(given.password.view()))
