"""A natural client of any PKCS #11 library, through the C ABI and nothing else: what the tests speak.

    p11 = Cryptoki(path)
    p11.initialize()
    session = p11.open_session(p11.slots(token_present=True)[0])
    p11.login(session, "1234")
    key = p11.generate_key(session, CKM.AES_KEY_GEN, {CKA.VALUE_LEN: 32, CKA.ENCRYPT: True})
    iv = p11.random(session, 16)
    blob = p11.encrypt(session, (CKM.AES_CBC_PAD, iv), key, b"text")

Templates are dictionaries: bool, int, str, bytes, a list of int, or another dictionary for a nested template. A
mechanism is a CKM or (CKM, parameter), the parameter being bytes or what gcm(), ctr(), pss(), oaep() return. Every
function raises CKError unless the answer is CKR_OK. `call` and `lib` reach the functions raw.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cffi

sys.path.append(str(Path(__file__).resolve().parent.parent))
from p11_parameters import Parameters

import build_ffi
from mrhsm_p11.constants import CK, CKF, CKR, CKU

Template = Mapping[int, Any]
Mechanism = Any  # int | tuple[int, bytes | cdata | None] | None

ULONG = 8


class CKError(Exception):
    """A function answered something else than CKR_OK; `rv` is it."""

    def __init__(self, function: str, rv: int) -> None:
        super().__init__(f"{function}: CKR_{CKR.name(rv)}")
        self.function, self.rv = function, rv


@cache
def declarations() -> Any:
    """Return an FFI that knows every type and function of cdef/."""
    ffi = cffi.FFI()
    ffi.cdef(build_ffi.declarations())
    ffi.cdef("\n".join(f"CK_RV {p.name}({p.declared});" for p in build_ffi.prototypes()))
    return ffi


class Cryptoki(Parameters):
    """One loaded library."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.ffi = declarations()
        self.lib = self.ffi.dlopen(str(path))
        self._kept: list[Any] = []  # C values that the call under way points to

    # ---- raw ----

    def rv(self, name: str, *arguments: Any) -> int:
        """Call a function by its C name and return its CKR; None stands for NULL."""
        null = self.ffi.NULL
        answer: int = getattr(self.lib, name)(*[null if argument is None else argument for argument in arguments])
        return answer

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function by its C name. Raises CKError."""
        if rv := self.rv(name, *arguments):
            raise CKError(name, rv)

    def new(self, kind: str, value: Any = None) -> Any:
        return self.ffi.new(kind, value)

    def encoded(self, value: Any) -> Any:
        """Return (C array, length in bytes) of an attribute value or input."""
        if isinstance(value, Mapping):
            array, count = self.template(value)
            return array, count * self.ffi.sizeof("CK_ATTRIBUTE")
        if isinstance(value, bool):
            raw = bytes([value])
        elif isinstance(value, int):
            raw = value.to_bytes(ULONG, sys.byteorder)
        elif isinstance(value, str):
            raw = value.encode()
        elif isinstance(value, bytes | bytearray | memoryview):
            raw = bytes(value)
        else:
            raw = b"".join(number.to_bytes(ULONG, sys.byteorder) for number in value)
        return self.ffi.new("CK_BYTE[]", raw or b"\0"), len(raw)

    def template(self, template: Template) -> tuple[Any, int]:
        """Return (CK_ATTRIBUTE array, count); it lives as long as this object."""
        array = self.ffi.new("CK_ATTRIBUTE[]", max(1, len(template)))
        self._keep(array)
        for entry, (kind, value) in zip(array, template.items(), strict=False):
            place, length = self.encoded(value)
            self._keep(place)
            entry.type, entry.pValue, entry.ulValueLen = kind, self.ffi.cast("void *", place), length
        return array, len(template)

    def mechanism(self, mechanism: Mechanism) -> Any:
        """Return a CK_MECHANISM pointer, NULL for None."""
        if mechanism is None:
            return self.ffi.NULL
        kind, parameter = mechanism if isinstance(mechanism, tuple) else (mechanism, None)
        struct = self.ffi.new("CK_MECHANISM *", [kind, self.ffi.NULL, 0])
        self._keep(struct)
        if parameter is not None:
            if isinstance(parameter, bytes):
                place, length = self.encoded(parameter)
            else:
                place, length = parameter, self.ffi.sizeof(self.ffi.typeof(parameter).item)
            self._keep(place)
            struct.pParameter, struct.ulParameterLen = self.ffi.cast("void *", place), length
        return struct

    def _keep(self, value: Any) -> None:
        self._kept.append(value)
        del self._kept[:-4096]

    def two_calls(self, name: str, *arguments: Any) -> bytes:
        """Call a function whose last two arguments are a buffer and its length: once for the size, once for it."""
        length = self.ffi.new("CK_ULONG *")
        self.call(name, *arguments, None, length)
        return self.into_room(name, length[0], *arguments)

    def into_room(self, name: str, room: int, *arguments: Any) -> bytes:
        """Call the same with a buffer of `room` bytes, and check that nothing behind it was written."""
        guard = b"\xa5" * 16
        buffer = self.ffi.new("CK_BYTE[]", room + len(guard))
        self.ffi.memmove(buffer + room, guard, len(guard))
        length = self.ffi.new("CK_ULONG *", room)
        try:
            self.call(name, *arguments, buffer, length)
        finally:
            assert bytes(self.ffi.buffer(buffer + room, len(guard))) == guard, f"{name} wrote past its buffer"
        assert length[0] <= room
        return bytes(self.ffi.buffer(buffer, length[0]))

    def _numbers(self, name: str, kind: str, *arguments: Any) -> list[int]:
        count = self.ffi.new("CK_ULONG *")
        self.call(name, *arguments, None, count)
        array = self.ffi.new(f"{kind}[]", max(1, count[0]))
        self.call(name, *arguments, array, count)
        return list(array[0 : count[0]])

    def _handle(self, name: str, *arguments: Any) -> int:
        handle = self.ffi.new("CK_ULONG *")
        self.call(name, *arguments, handle)
        return int(handle[0])

    def _info(self, name: str, kind: str, *arguments: Any) -> dict[str, Any]:
        struct = self.ffi.new(f"{kind} *")
        self.call(name, *arguments, struct)
        return {member: self._natural(getattr(struct, member)) for member, _ in self.ffi.typeof(kind).fields}

    def _natural(self, value: Any) -> Any:
        if isinstance(value, int):
            return value
        if self.ffi.typeof(value).kind == "array":
            return bytes(self.ffi.buffer(value)).rstrip(b" \0").decode()
        return value.major, value.minor

    def _bytes(self, value: bytes | str | None) -> tuple[Any, int]:
        return (self.ffi.NULL, 0) if value is None else self.encoded(value)

    # ---- general, slots, tokens ----

    def initialize(self, flags: int | None = CKF.OS_LOCKING_OK) -> None:
        arguments = None if flags is None else self.ffi.new("CK_C_INITIALIZE_ARGS *", {"flags": flags})
        self.call("C_Initialize", arguments)

    def finalize(self) -> None:
        self.call("C_Finalize", None)

    def info(self) -> dict[str, Any]:
        return self._info("C_GetInfo", "CK_INFO")

    def slots(self, *, token_present: bool = False) -> list[int]:
        return self._numbers("C_GetSlotList", "CK_SLOT_ID", int(token_present))

    def slot_info(self, slot: int) -> dict[str, Any]:
        return self._info("C_GetSlotInfo", "CK_SLOT_INFO", slot)

    def token_info(self, slot: int) -> dict[str, Any]:
        return self._info("C_GetTokenInfo", "CK_TOKEN_INFO", slot)

    def mechanisms(self, slot: int) -> list[int]:
        return self._numbers("C_GetMechanismList", "CK_MECHANISM_TYPE", slot)

    def mechanism_info(self, slot: int, kind: int) -> dict[str, Any]:
        return self._info("C_GetMechanismInfo", "CK_MECHANISM_INFO", slot, kind)

    def init_token(self, slot: int, so_pin: str | bytes | None, label: str) -> None:
        padded, _ = self.encoded(label.encode().ljust(32))
        self.call("C_InitToken", slot, *self._bytes(so_pin), padded)

    def init_pin(self, session: int, pin: str | bytes | None) -> None:
        self.call("C_InitPIN", session, *self._bytes(pin))

    def set_pin(self, session: int, old: str | bytes | None, new: str | bytes | None) -> None:
        self.call("C_SetPIN", session, *self._bytes(old), *self._bytes(new))

    def wait_for_slot_event(self, flags: int = CKF.DONT_BLOCK) -> int:
        slot = self.ffi.new("CK_SLOT_ID *")
        self.call("C_WaitForSlotEvent", flags, slot, None)
        return int(slot[0])

    # ---- sessions ----

    def open_session(self, slot: int, *, rw: bool = True) -> int:
        flags = CKF.SERIAL_SESSION | (CKF.RW_SESSION if rw else 0)
        return self._handle("C_OpenSession", slot, flags, None, None)

    def close_session(self, session: int) -> None:
        self.call("C_CloseSession", session)

    def close_all_sessions(self, slot: int) -> None:
        self.call("C_CloseAllSessions", slot)

    def session_info(self, session: int) -> dict[str, Any]:
        return self._info("C_GetSessionInfo", "CK_SESSION_INFO", session)

    def login(self, session: int, pin: str | bytes | None = None, user: int = CKU.USER) -> None:
        self.call("C_Login", session, user, *self._bytes(pin))

    def logout(self, session: int) -> None:
        self.call("C_Logout", session)

    # ---- objects ----

    def create_object(self, session: int, template: Template) -> int:
        return self._handle("C_CreateObject", session, *self.template(template))

    def copy_object(self, session: int, handle: int, template: Template) -> int:
        return self._handle("C_CopyObject", session, handle, *self.template(template))

    def destroy_object(self, session: int, handle: int) -> None:
        self.call("C_DestroyObject", session, handle)

    def object_size(self, session: int, handle: int) -> int:
        return self._handle("C_GetObjectSize", session, handle)

    def get(self, session: int, handle: int, kind: int) -> bytes:
        """Return one attribute's bytes. Raises CKError."""
        array = self.ffi.new("CK_ATTRIBUTE[1]", [[kind, self.ffi.NULL, 0]])
        self.call("C_GetAttributeValue", session, handle, array, 1)
        value = self.ffi.new("CK_BYTE[]", array[0].ulValueLen + 1)
        array[0].pValue = self.ffi.cast("void *", value)
        self.call("C_GetAttributeValue", session, handle, array, 1)
        return bytes(self.ffi.buffer(value, array[0].ulValueLen))

    def get_bool(self, session: int, handle: int, kind: int) -> bool:
        raw = self.get(session, handle, kind)
        assert raw in (b"\0", b"\1"), raw
        return raw == b"\1"

    def get_int(self, session: int, handle: int, kind: int) -> int:
        raw = self.get(session, handle, kind)
        assert len(raw) == ULONG, raw
        return int.from_bytes(raw, sys.byteorder)

    def get_many(self, session: int, handle: int, kinds: Iterable[int]) -> dict[int, bytes | None]:
        """Return several attributes' bytes in two calls, None for one that cannot be told."""
        wanted = list(kinds)
        array = self.ffi.new("CK_ATTRIBUTE[]", [[kind, self.ffi.NULL, 0] for kind in wanted])
        failures = (CKR.OK, CKR.ATTRIBUTE_SENSITIVE, CKR.ATTRIBUTE_TYPE_INVALID)
        values = []
        for step in (1, 2):
            rv = self.rv("C_GetAttributeValue", session, handle, array, len(wanted))
            if rv not in failures:
                raise CKError("C_GetAttributeValue", rv)
            for entry in array if step == 1 else ():
                known = entry.ulValueLen != CK.UNAVAILABLE_INFORMATION
                values.append(self.ffi.new("CK_BYTE[]", entry.ulValueLen + 1 if known else 1))
                entry.pValue = self.ffi.cast("void *", values[-1])
                entry.ulValueLen = entry.ulValueLen if known else 0
        return {
            kind: None
            if entry.ulValueLen == CK.UNAVAILABLE_INFORMATION
            else bytes(self.ffi.buffer(value, entry.ulValueLen))
            for kind, entry, value in zip(wanted, array, values, strict=True)
        }

    def set(self, session: int, handle: int, template: Template) -> None:
        self.call("C_SetAttributeValue", session, handle, *self.template(template))

    def find(self, session: int, template: Template | None = None, *, at_once: int = 10) -> list[int]:
        self.call("C_FindObjectsInit", session, *self.template(template or {}))
        found: list[int] = []
        array, count = self.ffi.new("CK_ULONG[]", at_once), self.ffi.new("CK_ULONG *")
        try:
            while True:
                self.call("C_FindObjects", session, array, at_once, count)
                found.extend(array[0 : count[0]])
                if count[0] < at_once:
                    return found
        finally:
            self.call("C_FindObjectsFinal", session)

    # ---- cryptography ----

    def init(self, operation: str, session: int, mechanism: Mechanism, *key: int) -> None:
        """Begin an operation: init("Encrypt", session, mechanism, key), init("Digest", session, mechanism)."""
        self.call(f"C_{operation}Init", session, self.mechanism(mechanism), *key)

    def once(self, operation: str, session: int, data: bytes) -> bytes:
        return self.two_calls(f"C_{operation}", session, *self.encoded(data))

    def update(self, operation: str, session: int, part: bytes) -> bytes:
        """Process a part: of "Encrypt", "Decrypt" with output; of "Digest", "Sign", "Verify" without."""
        if operation in ("Digest", "Sign", "Verify"):
            self.call(f"C_{operation}Update", session, *self.encoded(part))
            return b""
        return self.two_calls(f"C_{operation}Update", session, *self.encoded(part))

    def final(self, operation: str, session: int) -> bytes:
        return self.two_calls(f"C_{operation}Final", session)

    def parts(self, operation: str, session: int, mechanism: Mechanism, parts: Iterable[bytes], *key: int) -> bytes:
        """Run a whole multi-part operation that ends in output."""
        self.init(operation, session, mechanism, *key)
        return b"".join([*(self.update(operation, session, part) for part in parts), self.final(operation, session)])

    def encrypt(self, session: int, mechanism: Mechanism, key: int, data: bytes) -> bytes:
        self.init("Encrypt", session, mechanism, key)
        return self.once("Encrypt", session, data)

    def decrypt(self, session: int, mechanism: Mechanism, key: int, data: bytes) -> bytes:
        self.init("Decrypt", session, mechanism, key)
        return self.once("Decrypt", session, data)

    def digest(self, session: int, mechanism: Mechanism, data: bytes) -> bytes:
        self.init("Digest", session, mechanism)
        return self.once("Digest", session, data)

    def sign(self, session: int, mechanism: Mechanism, key: int, data: bytes) -> bytes:
        self.init("Sign", session, mechanism, key)
        return self.once("Sign", session, data)

    def verify(self, session: int, mechanism: Mechanism, key: int, data: bytes, signature: bytes) -> None:
        self.init("Verify", session, mechanism, key)
        self.call("C_Verify", session, *self.encoded(data), *self.encoded(signature))

    def verify_final(self, session: int, signature: bytes) -> None:
        self.call("C_VerifyFinal", session, *self.encoded(signature))

    def random(self, session: int, length: int) -> bytes:
        buffer = self.ffi.new("CK_BYTE[]", length + 1)
        self.call("C_GenerateRandom", session, buffer, length)
        return bytes(self.ffi.buffer(buffer, length))

    def seed_random(self, session: int, seed: bytes) -> None:
        self.call("C_SeedRandom", session, *self.encoded(seed))

    # ---- keys ----

    def generate_key(self, session: int, mechanism: Mechanism, template: Template) -> int:
        return self._handle("C_GenerateKey", session, self.mechanism(mechanism), *self.template(template))

    def generate_key_pair(
        self, session: int, mechanism: Mechanism, public: Template, private: Template
    ) -> tuple[int, int]:
        handles = self.ffi.new("CK_ULONG[2]")
        templates = (*self.template(public), *self.template(private))
        self.call("C_GenerateKeyPair", session, self.mechanism(mechanism), *templates, handles, handles + 1)
        return handles[0], handles[1]

    def wrap_key(self, session: int, mechanism: Mechanism, wrapping_key: int, key: int) -> bytes:
        return self.two_calls("C_WrapKey", session, self.mechanism(mechanism), wrapping_key, key)

    def unwrap_key(self, session: int, mechanism: Mechanism, key: int, wrapped: bytes, template: Template) -> int:
        return self._handle(
            "C_UnwrapKey", session, self.mechanism(mechanism), key, *self.encoded(wrapped), *self.template(template)
        )

    def derive_key(self, session: int, mechanism: Mechanism, key: int, template: Template) -> int:
        return self._handle("C_DeriveKey", session, self.mechanism(mechanism), key, *self.template(template))


def rv_of(function: Callable[..., Any], *arguments: Any, **named: Any) -> int:
    """Return the CKR that a method of Cryptoki ends with: rv_of(p11.login, session, "wrong") == CKR.PIN_INCORRECT."""
    try:
        function(*arguments, **named)
    except CKError as error:
        return error.rv
    return CKR.OK
