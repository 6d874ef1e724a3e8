"""AES-GCM."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import AEADEncryptionContext
from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from mrhsm_p11.crypto import checks
from mrhsm_p11.crypto.base import Cipher, Input, OneShotCipher
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.errors import EncryptedDataInvalid, EncryptedDataLenRange, MechanismParamInvalid
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.symmetric import GCMParams
from mrhsm_p11.secret import Secret

# SP 800-38D allows no others; 64 and 32 bits are for those who read its appendix C.
TAG_BITS = frozenset((32, 64, 96, 104, 112, 120, 128))


class GCMEncryption(Cipher):
    """Encryption in parts, or in one: ciphertext as it comes, the tag at the end."""

    __slots__ = ("_context", "_key", "_parameter", "_tag_bytes")

    def __init__(self, key: Secret, parameter: GCMParams) -> None:
        self._key = Secret(key.view())  # the caller's may be wiped between parts
        self._parameter = parameter
        self._tag_bytes = parameter.tag_bits // 8
        self._context: AEADEncryptionContext | None = None

    def size(self, n: int, *, final: bool) -> int:
        return n + self._tag_bytes if final else n

    def update(self, data: Input) -> bytes:
        return self._started().update(data)

    def finish(self, data: Input = b"") -> bytes:
        if self._context is None and self._tag_bytes == 16:
            # half the price of a context; the tag is whole and stands at the end, as here
            whole = AESGCM(self._key.view()).encrypt(self._parameter.iv, data, self._parameter.aad)
        else:
            context = self._started()
            whole = context.update(data) + context.finalize() + context.tag[: self._tag_bytes]
        self._key.wipe()
        return whole

    def _started(self) -> AEADEncryptionContext:
        if self._context is None:
            self._context = Primitive(AES(self._key.view()), GCM(self._parameter.iv)).encryptor()
            self._context.authenticate_additional_data(self._parameter.aad)
        return self._context


def cipher(row: MechanismRow, parameter: AnyParameter, key: Secret, *, encrypt: bool) -> Cipher:
    """Start an operation. Raises MechanismParamInvalid, KeySizeRange."""
    checks.key_size(row, len(key) * 8)
    checked = checked_gcm(parameter)
    if encrypt:
        return GCMEncryption(key, checked)
    own = Secret(key.view())
    tag_bytes = checked.tag_bits // 8
    return OneShotCipher(lambda data: _decrypt(own, checked, data), lambda n: max(n - tag_bytes, 0))


def encrypted_size(_row: MechanismRow, parameter: AnyParameter, n: int, _key: Secret | None) -> int:
    """Return how long `n` bytes are once encrypted. Raises MechanismParamInvalid."""
    return n + checked_gcm(parameter).tag_bits // 8


def checked_gcm(parameter: AnyParameter) -> GCMParams:
    """Return the parameter of GCM or GMAC. Raises MechanismParamInvalid."""
    checked = checks.structure(parameter, GCMParams)
    if not 8 <= len(checked.iv) <= 128:
        raise MechanismParamInvalid(f"an initialisation vector of {len(checked.iv)} bytes is not from 8 to 128")
    if checked.tag_bits not in TAG_BITS:
        raise MechanismParamInvalid(f"a tag of {checked.tag_bits} bits is not SP 800-38D's")
    return checked


def _decrypt(key: Secret, parameter: GCMParams, data: Input) -> bytes:
    tag_bytes = parameter.tag_bits // 8
    if len(data) < tag_bytes:
        raise EncryptedDataLenRange("the input is shorter than its tag")
    try:
        if tag_bytes == 16:
            return AESGCM(key.view()).decrypt(parameter.iv, data, parameter.aad)
        view = memoryview(data)
        mode = GCM(parameter.iv, bytes(view[-tag_bytes:]), min_tag_length=tag_bytes)
        context = Primitive(AES(key.view()), mode).decryptor()
        context.authenticate_additional_data(parameter.aad)
        plain = context.update(view[:-tag_bytes])
        return plain + context.finalize()
    except InvalidTag:
        raise EncryptedDataInvalid("the tag does not fit the data") from None
    finally:
        key.wipe()
