"""Keys that stay at the key manager: each operation is one question to it, or two.

Parameters and lengths are checked here, by the local engine with a key of zeros, so that a wrong one gets the same
answer in either custody. Input that comes in parts is held until the last: one message carries it all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from mrhsm_p11 import deadline
from mrhsm_p11.constants import CKA, CKF, CKK, CKM, CKO
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.base import Cipher, Input, KeptKey, OneShotCipher, Signer, Verifier
from mrhsm_p11.crypto.mac import MACSigner, MACVerifier
from mrhsm_p11.errors import (
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    KeyFunctionNotPermitted,
    KeyNotWrappable,
    KeySizeRange,
)
from mrhsm_p11.kmip.attributes import CryptographicParameters
from mrhsm_p11.kmip.errors import OperationFailed
from mrhsm_p11.kmip.objects import EncryptionKeyInformation, KeyWrappingSpecification, SymmetricKey
from mrhsm_p11.kmip.vocabulary import BlockCipherMode, EncodingOption, PaddingMethod, ResultReason, WrappingMethod
from mrhsm_p11.mapping.kmip_mechanisms import WAYS, Kind, Way
from mrhsm_p11.mapping.results import Fault, ServerFault
from mrhsm_p11.parameters.symmetric import CTRParams, GCMParams
from mrhsm_p11.secret import Secret
from mrhsm_p11.store.kmip.connection import Servers, reported
from mrhsm_p11.tokendir.custody import NONE_WORKS, Served

if TYPE_CHECKING:
    from mrhsm_p11.crypto.checks import AnyParameter
    from mrhsm_p11.kmip.client import Client
    from mrhsm_p11.mapping.mechanisms import MechanismRow
    from mrhsm_p11.store.base import Record

T = TypeVar("T")

BLOCK_BYTES: Mapping[int, int] = {CKK.AES: 16, CKK.DES3: 8, CKK.DES2: 8}
KEY_WRAP_BYTES = 8  # that NIST's key wrap adds, and the unit that it wraps
# Refusals that say that the server does not do such a thing, not that it was asked wrongly.
UNSERVED = {
    reason.value
    for reason in (
        ResultReason.OPERATION_NOT_SUPPORTED,
        ResultReason.FEATURE_NOT_SUPPORTED,
        ResultReason.INVALID_FIELD,
        ResultReason.BAD_CRYPTOGRAPHIC_PARAMETERS,
        ResultReason.UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS,
        ResultReason.KEY_WRAP_TYPE_NOT_SUPPORTED,
        ResultReason.ENCODING_OPTION_ERROR,
    )
}
# What servers say of a tag or padding that is wrong: everything else about the request has been checked before.
_DAMAGED = {ResultReason.CRYPTOGRAPHIC_FAILURE.value, ResultReason.GENERAL_FAILURE.value}


class WrongOutput(ServerFault):
    """The server answered with something else than what was asked for."""


class RemoteKey(KeptKey):
    """A secret or private key of one token. `refused` is called when the server does not let it be used."""

    __slots__ = ("_record", "_refused", "_served", "_servers")

    def __init__(self, servers: Servers, record: Record, served: Served | None, refused: Callable[[], None]) -> None:
        self._servers = servers
        self._record = record
        self._served = served
        self._refused = refused
        length = record.attributes.get(CKA.VALUE_LEN)
        self.size = length if isinstance(length, int) else 0

    def cipher(self, row: MechanismRow, parameter: AnyParameter, *, encrypt: bool) -> Cipher:
        way = self._way(row, CKF.ENCRYPT if encrypt else CKF.DECRYPT)
        shape = engine.cipher(row, parameter, Secret(bytes(self.size)), encrypt=encrypt)
        ask = self._encrypt if encrypt else self._decrypt
        return OneShotCipher(
            lambda data: ask(way, row, parameter, shape, data), lambda length: shape.size(length, final=True)
        )

    def signer(self, row: MechanismRow, parameter: AnyParameter) -> Signer:
        way = self._way(row, CKF.SIGN)
        if way.kind is Kind.MAC:
            return MACSigner(_Mac(self, way), self._mac_size(row, parameter))
        public = self._record.attributes.get(CKA.PUBLIC_KEY_INFO)
        if not isinstance(public, bytes):
            raise KeyFunctionNotPermitted("the public half of the key is not known, which its signatures need")
        engine.verifier(row, parameter, CKK.RSA, Secret(public))  # refuses what the mechanism does not take
        modulus = self._record.attributes.get(CKA.MODULUS)
        return _RemoteSigner(self, way, len(modulus) if isinstance(modulus, bytes) else 0)

    def verifier(self, row: MechanismRow, parameter: AnyParameter) -> Verifier:
        way = self._way(row, CKF.VERIFY)
        return MACVerifier(_Mac(self, way), self._mac_size(row, parameter))

    def wrap(self, row: MechanismRow, parameter: AnyParameter, key: KeptKey) -> bytes:
        way = self._way(row, CKF.WRAP)
        engine.cipher(row, parameter, Secret(bytes(self.size)), encrypt=True)
        if not isinstance(key, RemoteKey) or key._record.attributes.get(CKA.CLASS) != CKO.SECRET_KEY:
            raise KeyNotWrappable("the key manager encodes private keys in its own way")
        if not key.size or key.size % KEY_WRAP_BYTES:
            raise KeySizeRange(f"a key of {key.size} bytes is no multiple of {KEY_WRAP_BYTES}")
        specification = KeyWrappingSpecification(
            wrapping_method=WrappingMethod.ENCRYPT,
            encryption_key_information=EncryptionKeyInformation(
                unique_identifier=self._record.uid,
                cryptographic_parameters=CryptographicParameters(block_cipher_mode=way.mode),
            ),
            encoding_option=EncodingOption.NO_ENCODING,
        )
        got = key.asked(
            lambda client: client.get(
                key._record.uid, key_wrapping_specification=specification, deadline=deadline.current()
            )
        ).managed_object
        block = got.key_block if isinstance(got, SymmetricKey) else None
        if block is None or block.key_wrapping_data is None:
            raise WrongOutput("the server gave the key unwrapped, though it was asked to wrap it", Fault.PROTOCOL)
        return _whole(_wrapped_bytes(block.key_value), key.size + KEY_WRAP_BYTES)

    def asked(self, ask: Callable[[Client], T], *, damaged: bool = False) -> T:
        """Ask the server. `damaged`: a failure without a reason of its own is for what is to be decrypted."""
        with reported():
            try:
                return ask(self._servers.client)
            except OperationFailed as error:
                if damaged and error.reason in _DAMAGED:
                    raise EncryptedDataInvalid(str(error)) from error
                if error.reason in UNSERVED:
                    raise KeyFunctionNotPermitted(f"the key manager does not do this: {error}") from error
                self._refused()
                raise

    def mac(self, way: Way, data: bytes) -> bytes:
        reply = self.asked(
            lambda client: client.mac(self._record.uid, data, _parameters(way), deadline=deadline.current())
        )
        return _whole(reply.mac_data)

    def sign(self, way: Way, data: bytes) -> bytes:
        reply = self.asked(
            lambda client: client.sign(self._record.uid, data, _parameters(way), deadline=deadline.current())
        )
        return _whole(reply.signature_data)

    def _way(self, row: MechanismRow, flag: int) -> Way:
        """Return how to ask for this. Raises KeyFunctionNotPermitted for what the last probe found not to work."""
        name = f"CKM_{CKM.name(row.type)}"
        if self._served is None:
            raise KeyFunctionNotPermitted(
                f"{name}: nothing is known of what the key manager does with the keys it keeps: run mrhsm doctor"
            )
        number = self._served.get((row.type, flag), NONE_WORKS)
        ways = WAYS.get(row.type, ())
        if not 0 <= number < len(ways):
            raise KeyFunctionNotPermitted(f"{name}: the key manager does not do this with the keys it keeps")
        return ways[number]

    def _mac_size(self, row: MechanismRow, parameter: AnyParameter) -> int:
        key_type = self._record.attributes.get(CKA.KEY_TYPE)
        assert isinstance(key_type, int)
        return engine.signer(row, parameter, key_type, Secret(bytes(self.size))).size

    def _encrypt(self, way: Way, row: MechanismRow, parameter: AnyParameter, shape: Cipher, data: Input) -> bytes:
        size = shape.size(len(data), final=True)
        if way.mode is not BlockCipherMode.GCM:
            shape.finish(data)
        if not size:
            return b""
        output = self._encrypted(way, parameter, bytes(data))
        surplus = BLOCK_BYTES[row.key_types[0]] if way.surplus else 0
        return _whole(output, size + surplus)[:size]

    def _encrypted(self, way: Way, parameter: AnyParameter, data: bytes) -> bytes:
        reply = self.asked(
            lambda client: client.encrypt(
                self._record.uid,
                data,
                _parameters(way, parameter),
                iv=_iv(parameter),
                aad=_aad(parameter),
                deadline=deadline.current(),
            )
        )
        return (reply.data or b"") + (reply.authenticated_encryption_tag or b"")

    def _decrypt(self, way: Way, row: MechanismRow, parameter: AnyParameter, shape: Cipher, data: Input) -> bytes:
        encrypted, tag = bytes(data), None
        if isinstance(parameter, GCMParams):
            tag_bytes = parameter.tag_bits // 8
            if len(encrypted) < tag_bytes:
                raise EncryptedDataLenRange("the input is shorter than its tag")
            encrypted, tag = encrypted[:-tag_bytes], encrypted[-tag_bytes:]
        elif way.padding is PaddingMethod.PKCS5 and not way.surplus:
            block = BLOCK_BYTES[row.key_types[0]]
            if not encrypted or len(encrypted) % block:
                raise EncryptedDataLenRange(f"the input is no multiple of {block} bytes, or empty")
        else:
            shape.finish(encrypted)
            if not encrypted:
                return b""
        if way.surplus:
            encrypted += self._padding_after(way, row, encrypted)
        reply = self.asked(
            lambda client: client.decrypt(
                self._record.uid,
                encrypted,
                _parameters(way, parameter),
                iv=_iv(parameter),
                aad=_aad(parameter),
                tag=tag,
                deadline=deadline.current(),
            ),
            damaged=tag is not None or way.padding is PaddingMethod.PKCS5,
        )
        return reply.data or b""

    def _padding_after(self, way: Way, row: MechanismRow, encrypted: bytes) -> bytes:
        """Return the block that the server would have added: nothing, encrypted after what is there, is just that."""
        last = encrypted[-BLOCK_BYTES[row.key_types[0]] :]
        return self._encrypted(way, last if way.mode is BlockCipherMode.CBC else None, b"")


class _Mac:
    """A MAC that the server computes once all of its input is here."""

    __slots__ = ("_input", "_key", "_way")

    def __init__(self, key: RemoteKey, way: Way) -> None:
        self._key = key
        self._way = way
        self._input = bytearray()

    def update(self, data: Input) -> None:
        self._input += data

    def finalize(self) -> bytes:
        return self._key.mac(self._way, bytes(self._input))


class _RemoteSigner(Signer):
    """A signature that the server makes once all of its input is here."""

    __slots__ = ("_input", "_key", "_way")

    def __init__(self, key: RemoteKey, way: Way, size: int) -> None:
        self._key = key
        self._way = way
        self.size = size
        self._input = bytearray()

    def update(self, data: Input) -> None:
        self._input += data

    def finish(self) -> bytes:
        return _whole(self._key.sign(self._way, bytes(self._input)), self.size)


def _parameters(way: Way, parameter: AnyParameter = None) -> CryptographicParameters:
    return CryptographicParameters(
        block_cipher_mode=way.mode,
        padding_method=way.padding,
        hashing_algorithm=way.hash,
        cryptographic_algorithm=way.algorithm,
        tag_length=parameter.tag_bits // 8 if isinstance(parameter, GCMParams) else None,
    )


def _iv(parameter: AnyParameter) -> bytes | None:
    if isinstance(parameter, GCMParams):
        return parameter.iv
    if isinstance(parameter, CTRParams):
        return parameter.counter
    return parameter if isinstance(parameter, bytes) and parameter else None


def _aad(parameter: AnyParameter) -> bytes | None:
    return (parameter.aad or None) if isinstance(parameter, GCMParams) else None


def _wrapped_bytes(value: object) -> bytes | None:
    material = getattr(value, "key_material", value)
    return material.reveal() if isinstance(material, Secret) else material if isinstance(material, bytes) else None


def _whole(output: bytes | None, size: int | None = None) -> bytes:
    """Return a server's output if it is what was asked for: the caller's buffer was measured for it."""
    if output is None or (size is not None and len(output) != size):
        given = "no" if output is None else str(len(output))
        raise WrongOutput(f"the server answered {given} bytes of output where {size} are due", Fault.PROTOCOL)
    return output
