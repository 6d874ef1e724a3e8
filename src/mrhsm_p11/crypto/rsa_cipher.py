"""RSA encryption: PKCS #1 v1.5, OAEP, and OAEP of a passing AES key that wraps the rest."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, AsymmetricPadding, PKCS1v15

from mrhsm_p11.constants import CKM, CKZ
from mrhsm_p11.crypto import checks, digests, keys, keywrap
from mrhsm_p11.crypto.base import Cipher, Input, OneShotCipher
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.hashes import algorithm
from mrhsm_p11.crypto.rsa import PKCS1_OVERHEAD, hash_name, mask_name, oaep_overhead
from mrhsm_p11.errors import DataLenRange, EncryptedDataInvalid, EncryptedDataLenRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import ROWS, MechanismRow
from mrhsm_p11.parameters.rsa import OAEPParams, RSAAESKeyWrapParams
from mrhsm_p11.secret import Secret

_OAEP, _KWP = ROWS[CKM.RSA_PKCS_OAEP], ROWS[CKM.AES_KEY_WRAP_KWP]
_OAEP_HASHES = {"sha1", "sha224", "sha256", "sha384", "sha512"}  # of those the primitives take for signatures


def cipher(row: MechanismRow, parameter: AnyParameter, material: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation with a public (encrypt) or private key.

    A PKCS #1 v1.5 ciphertext with bad padding decrypts to random bytes of random length rather than to an error
    (implicit rejection), so that the answer gives nothing away: whoever asks must check what comes out.
    Raises KeyTypeInconsistent, KeySizeRange, MechanismParamInvalid.
    """
    if row.mode == "oaep-kwp":
        return _with_passing_key(row, checks.structure(parameter, RSAAESKeyWrapParams), material, encrypt=encrypt)
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


def encrypted_size(row: MechanismRow, _parameter: AnyParameter, n: int, key: Secret | None) -> int:
    """Return how long `n` bytes are once encrypted with this public key, or, without it, with the largest."""
    size = _bytes(row.max_key if key is None else keys.rsa_public(row, key).key_size)
    return size + keywrap.encrypted_size(_KWP, None, n, None) if row.mode == "oaep-kwp" else size


def _with_passing_key(row: MechanismRow, given: RSAAESKeyWrapParams, material: Secret, *, encrypt: bool) -> Cipher:
    """CKM_RSA_AES_KEY_WRAP: a random AES key under OAEP, then, by RFC 5649 under that key, the rest."""
    if given.aes_bits not in (128, 192, 256) or given.oaep is None:
        raise MechanismParamInvalid("the parameter names the bits of an AES key, and how OAEP encrypts it")
    outer = cipher(_OAEP, given.oaep, material, encrypt=encrypt)
    if encrypt:

        def seal(plain: Input) -> bytes:
            passing = Secret(os.urandom(given.aes_bits // 8))
            try:
                wrapped = keywrap.cipher(_KWP, None, passing, encrypt=True).finish(plain)
                return outer.finish(passing.view()) + wrapped
            finally:
                passing.wipe()

        return OneShotCipher(seal, lambda n: encrypted_size(row, None, n, material))
    size = _bytes(keys.rsa_private(row, material).key_size)

    def open_sealed(sealed: Input) -> bytes:
        if len(sealed) < size:
            raise EncryptedDataLenRange(f"the first {size} bytes are the AES key's, {len(sealed)} are there")
        passing = Secret(outer.finish(memoryview(sealed)[:size]))
        try:
            if len(passing) * 8 != given.aes_bits:
                raise EncryptedDataInvalid("the AES key has another length than the parameter says")
            return keywrap.cipher(_KWP, None, passing, encrypt=False).finish(memoryview(sealed)[size:])
        finally:
            passing.wipe()

    return OneShotCipher(open_sealed, lambda n: max(n - size - keywrap.SEMIBLOCK, 0))


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
    name, mask = hash_name(oaep.hash), mask_name(oaep.mgf)
    if not {name, mask} <= _OAEP_HASHES:
        raise MechanismParamInvalid("OAEP takes SHA-1 and SHA-2")
    return OAEP(MGF1(algorithm(mask)), algorithm(name), oaep.label or None), oaep_overhead(digests.SIZES[name])


def _check_room(size: int, overhead: int) -> None:
    if size < overhead:
        raise MechanismParamInvalid("the key is too short for this hash")
