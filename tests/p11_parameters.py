"""Structures that mechanisms take, made for p11.Cryptoki."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from mrhsm_p11.constants import CKG, CKM


class Parameters(ABC):
    """The part of a client that makes mechanism parameters; what they point to lives as long as the client."""

    ffi: Any

    @abstractmethod
    def encoded(self, value: Any) -> tuple[Any, int]:
        """Return a value as the ABI takes it, and its size in bytes."""

    @abstractmethod
    def _keep(self, value: Any) -> None:
        """Let a value live as long as the client."""

    def gcm(self, iv: bytes, aad: bytes = b"", tag_bits: int = 128, *, with_iv_bits: bool = True) -> Any:
        """Return CK_GCM_PARAMS, or its 40-byte form that lacks ulIvBits."""
        struct = self.ffi.new("CK_GCM_PARAMS *" if with_iv_bits else "CK_GCM_PARAMS_WITHOUT_IV_BITS *")
        struct.pIv, struct.ulIvLen = self._pointed(iv)
        struct.pAAD, struct.ulAADLen = self._pointed(aad)
        struct.ulTagBits = tag_bits
        if with_iv_bits:
            struct.ulIvBits = len(iv) * 8
        return struct

    def ctr(self, counter: bytes, counter_bits: int = 128) -> Any:
        return self.ffi.new("CK_AES_CTR_PARAMS *", [counter_bits, counter])

    def pss(self, hash: int = CKM.SHA256, mgf: int = CKG.MGF1_SHA256, salt_len: int = 32) -> Any:
        return self.ffi.new("CK_RSA_PKCS_PSS_PARAMS *", [hash, mgf, salt_len])

    def oaep(self, hash: int = CKM.SHA256, mgf: int = CKG.MGF1_SHA256, label: bytes = b"") -> Any:
        struct = self.ffi.new("CK_RSA_PKCS_OAEP_PARAMS *", [hash, mgf, 1, self.ffi.NULL, 0])
        struct.pSourceData, struct.ulSourceDataLen = self._pointed(label)
        return struct

    def _pointed(self, value: bytes) -> tuple[Any, int]:
        place, length = self.encoded(value)
        self._keep(place)
        return place, length
