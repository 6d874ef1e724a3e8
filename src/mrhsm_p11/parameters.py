"""Mechanism parameters as values: each class names the C struct it is read from, each field the struct's members."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar


def member(*names: str) -> Any:  # dataclasses.field() is typed so: it stands where a value is declared
    """Declare a field read from one struct member, or from (pointer, length): it is then bytes, copied."""
    return field(metadata={"members": names})


class Parameter:
    """The base of all structured mechanism parameters."""

    __slots__ = ()

    struct: ClassVar[str]


@dataclass(frozen=True, slots=True)
class GCMParams(Parameter):
    """CKM_AES_GCM; ulIvBits is left unread, as the standard tells applications not to use it."""

    struct: ClassVar[str] = "CK_GCM_PARAMS"

    iv: bytes = member("pIv", "ulIvLen")
    aad: bytes = member("pAAD", "ulAADLen")
    tag_bits: int = member("ulTagBits")


@dataclass(frozen=True, slots=True)
class CTRParams(Parameter):
    """CKM_AES_CTR: the low `counter_bits` of the 16-byte `counter` block count, the rest is a nonce."""

    struct: ClassVar[str] = "CK_AES_CTR_PARAMS"

    counter_bits: int = member("ulCounterBits")
    counter: bytes = member("cb")


@dataclass(frozen=True, slots=True)
class PSSParams(Parameter):
    """CKM_RSA_PKCS_PSS and its relatives: `hash` is a CKM, `mgf` a CKG, `salt_len` in bytes."""

    struct: ClassVar[str] = "CK_RSA_PKCS_PSS_PARAMS"

    hash: int = member("hashAlg")
    mgf: int = member("mgf")
    salt_len: int = member("sLen")


@dataclass(frozen=True, slots=True)
class OAEPParams(Parameter):
    """CKM_RSA_PKCS_OAEP: `hash` is a CKM, `mgf` a CKG, `source` a CKZ, `label` the encoding parameter."""

    struct: ClassVar[str] = "CK_RSA_PKCS_OAEP_PARAMS"

    hash: int = member("hashAlg")
    mgf: int = member("mgf")
    source: int = member("source")
    label: bytes = member("pSourceData", "ulSourceDataLen")


@dataclass(frozen=True, slots=True)
class Mechanism:
    """What a caller asked for: a CKM and its parameter (structured, raw bytes such as an IV, or none)."""

    type: int
    parameter: Parameter | bytes | None = None
