"""MACs made of a block cipher: CMAC, CBC-MAC and GMAC."""

from __future__ import annotations

from typing import cast

from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM
from cryptography.hazmat.primitives.cmac import CMAC

from mrhsm_p11.crypto import blocks, checks
from mrhsm_p11.crypto.aead import checked_gcm
from mrhsm_p11.crypto.base import Input, Signer, Verifier
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.mac import Computation, MACSigner, MACVerifier, chosen_size
from mrhsm_p11.mapping.mechanisms import MechanismRow
from mrhsm_p11.parameters.symmetric import GCMParams
from mrhsm_p11.secret import Secret

GMAC_VECTOR_BYTES = 12


class CBCMAC:
    """FIPS 113 with any block cipher: the last block of CBC, the input filled up with zeros.

    An empty message is one block of zeros: CBC of nothing would be a MAC without a key.
    """

    __slots__ = ("_block", "_cbc", "_last", "_total")

    def __init__(self, block_cipher: BlockCipherAlgorithm) -> None:
        self._block = block_cipher.block_size // 8
        self._cbc = blocks.context(block_cipher, CBC(bytes(self._block)), encrypt=True)
        self._last = b""
        self._total = 0

    def update(self, data: Input) -> None:
        self._total += len(data)
        self._last = self._cbc.update(data)[-self._block :] or self._last

    def finalize(self) -> bytes:
        if self._total % self._block or not self._total:
            self.update(bytes(self._block - self._total % self._block))
        return self._last


class GMAC:
    """SP 800-38D: the tag of GCM over nothing but authenticated data."""

    __slots__ = ("_context",)

    def __init__(self, key: Secret, parameter: GCMParams) -> None:
        self._context = Cipher(AES(key.view()), GCM(parameter.iv)).encryptor()
        self.update(parameter.aad)

    def update(self, data: Input) -> None:
        self._context.authenticate_additional_data(data)

    def finalize(self) -> bytes:
        self._context.finalize()
        return self._context.tag


def signer(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Signer:
    """Start making a MAC. Raises MechanismParamInvalid, KeySizeRange."""
    return MACSigner(*_start(row, parameter, key))


def verifier(row: MechanismRow, parameter: AnyParameter, key: Secret) -> Verifier:
    """Start checking a MAC. Raises MechanismParamInvalid, KeySizeRange."""
    return MACVerifier(*_start(row, parameter, key))


def _start(row: MechanismRow, parameter: AnyParameter, key: Secret) -> tuple[Computation, int]:
    checks.key_size(row, len(key) * 8)
    if row.mode == "gmac":
        gcm = _gmac_parameter(parameter)
        return GMAC(key, gcm), gcm.tag_bits // 8
    block_cipher = blocks.algorithm(row.key_types[0], key)
    block = block_cipher.block_size // 8
    if row.mode.endswith("-general"):
        size = chosen_size(parameter, block)
    else:
        checks.no_parameter(parameter)
        size = block if row.mode == "cmac" else block // 2  # the standard cuts a CBC-MAC in half
    if row.mode.startswith("cmac"):
        return cast(Computation, CMAC(block_cipher)), size  # it takes more than its type says
    return CBCMAC(block_cipher), size


def _gmac_parameter(parameter: AnyParameter) -> GCMParams:
    """Up to 3.1 the parameter is an initialisation vector alone, in 3.2 it is GCM's."""
    if isinstance(parameter, bytes):
        parameter = GCMParams(checks.initial_vector(parameter, GMAC_VECTOR_BYTES), b"", 128)
    return checked_gcm(parameter)
