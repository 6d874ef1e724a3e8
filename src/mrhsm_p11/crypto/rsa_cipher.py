"""RSA encryption: PKCS #1 v1.5 and OAEP."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.padding import OAEP, AsymmetricPadding, PKCS1v15

from mrhsm_p11.constants import CKZ
from mrhsm_p11.crypto import checks, digests, keys
from mrhsm_p11.crypto.base import Cipher, Input, OneShotCipher
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.hashes import algorithm
from mrhsm_p11.crypto.rsa import PKCS1_OVERHEAD, hash_name, mask
from mrhsm_p11.errors import DataLenRange, EncryptedDataInvalid, EncryptedDataLenRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.rsa import OAEPParams
from mrhsm_p11.secret import Secret


def cipher(row: MechanismRow, parameter: AnyParameter, material: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation with a public (encrypt) or private key.

    A PKCS #1 v1.5 ciphertext with bad padding decrypts to random bytes of random length rather than to an error
    (implicit rejection), so that the answer gives nothing away: whoever asks must check what comes out.
    Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid.
    """
    padding, overhead = _padding(row, parameter)
    if encrypt:
        public = keys.rsa_public(row, material)
        size = _bytes(public.key_size)
        _check_room(size, overhead)

        def seal(plain: Input) -> bytes:
            if len(plain) > size - overhead:
                raise DataLenRange(f"at most {size - overhead} bytes can be encrypted with this key and padding")
            return public.encrypt(bytes(plain), padding)

        return OneShotCipher(seal, lambda _: size)
    private = keys.rsa_private(row, material)
    size = _bytes(private.key_size)
    _check_room(size, overhead)

    def open_sealed(sealed: Input) -> bytes:
        if len(sealed) != size:
            raise EncryptedDataLenRange(f"the input has {size} bytes with this key, not {len(sealed)}")
        try:
            return private.decrypt(bytes(sealed), padding)
        except ValueError:
            raise EncryptedDataInvalid("the input was not made for this key and padding") from None

    return OneShotCipher(open_sealed, lambda _: size - overhead)


def encrypted_size(row: MechanismRow, _parameter: AnyParameter, _n: int, key: Secret | None) -> int:
    """Return how long everything is once encrypted with this public key, or, without it, with the largest."""
    return _bytes(row.max_key if key is None else keys.rsa_public(row, key).key_size)


def _bytes(key_bits: int) -> int:
    return (key_bits + 7) // 8


def _padding(row: MechanismRow, parameter: AnyParameter) -> tuple[AsymmetricPadding, int]:
    if row.mode == "pkcs1":
        checks.no_parameter(parameter)
        return PKCS1v15(), PKCS1_OVERHEAD
    oaep = checks.structure(parameter, OAEPParams)
    # OpenSSL's engine and others leave the source at 0 when there is no label
    if oaep.source != CKZ.DATA_SPECIFIED and (oaep.source or oaep.label):
        raise MechanismParamInvalid("the encoding parameter is given as data, or not at all")
    name = hash_name(oaep.hash)
    if name not in ("sha1", "sha224", "sha256", "sha384", "sha512"):
        raise MechanismParamInvalid(f"the primitives have no OAEP with {name}")
    return OAEP(mask(oaep.mgf), algorithm(name), oaep.label or None), 2 * digests.SIZES[name] + 2


def _check_room(size: int, overhead: int) -> None:
    if size < overhead:
        raise MechanismParamInvalid("the key is too short for this hash")
