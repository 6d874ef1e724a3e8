"""General-purpose, slot and token management functions."""

from __future__ import annotations

from typing import Protocol

from mrhsm_p11 import __version__, hostcalls
from mrhsm_p11.constants import CK, CKF, CRYPTOKI
from mrhsm_p11.errors import (
    ArgumentsBad,
    CantLock,
    CryptokiNotInitialized,
    MechanismInvalid,
    NoEvent,
    SessionExists,
)
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import custody, login, provider, usage
from mrhsm_p11.token.slots import Slot
from mrhsm_p11.tokendir.sealing import PIN_MAX_BYTES, PIN_MIN_BYTES

__all__ = [
    "finalize",
    "get_info",
    "get_mechanism_info",
    "get_mechanism_list",
    "get_slot_info",
    "get_slot_list",
    "get_token_info",
    "init_token",
    "initialize",
    "wait_for_slot_event",
]

Version = tuple[int, int]

MANUFACTURER = "HPE MapR-HSM"
MODEL = "MapRHSM"
DESCRIPTION = "PKCS#11 on KMIP key managers"
CALLBACKS = 4
LOOK_AGAIN_S = 0.5  # for tokens that came or went


class InitializeArgs(Protocol):
    """CK_C_INITIALIZE_ARGS: its flags, how many of the four mutex functions it has, whether pReserved is set."""

    @property
    def flags(self) -> int: ...
    @property
    def callbacks(self) -> int: ...
    @property
    def reserved(self) -> bool: ...


def initialize(args: InitializeArgs | None) -> None:
    """Start the library; nothing connects. We lock with the system's own means only, and may do without threads."""
    if args is not None:
        if args.reserved or args.callbacks not in (0, CALLBACKS):
            raise ArgumentsBad("pReserved is set, or only some of the mutex functions are given")
        if args.callbacks and not args.flags & CKF.OS_LOCKING_OK:
            raise CantLock("the library locks with the system's mutexes, which CKF_OS_LOCKING_OK must allow")
    provider.start(threads=args is None or not args.flags & CKF.LIBRARY_CANT_CREATE_OS_THREADS)


def finalize(reserved: bool) -> None:
    provider.require()
    if reserved:
        raise ArgumentsBad("pReserved is set")
    provider.stop()


def get_info() -> tuple[Version, str, int, str, Version]:
    provider.require()
    return (CRYPTOKI.VERSION_MAJOR, CRYPTOKI.VERSION_MINOR), MANUFACTURER, 0, DESCRIPTION, _library_version()


def get_slot_list(token_present: bool) -> list[int]:
    """List every slot: all have a token, if only one that is not initialised."""
    slots = provider.require().slots
    slots.refresh()
    return list(slots.by_id)


def get_slot_info(slot_id: int) -> tuple[str, str, int, Version, Version]:
    current = provider.require()
    slot = current.slot(slot_id)
    flags = CKF.TOKEN_PRESENT | (CKF.HW_SLOT if current.config.hw_slot else 0)
    return f"{MODEL} slot ID 0x{slot.id:x}", MANUFACTURER, flags, _library_version(), _library_version()


def get_token_info(slot_id: int) -> tuple[str | int | Version, ...]:
    current = provider.require()
    current.slots.refresh()
    slot = current.slot(slot_id)
    sessions = list(slot.token.sessions.values()) if slot.token is not None else []
    unknown = CK.UNAVAILABLE_INFORMATION
    return (
        slot.token.entry.label if slot.token is not None else "",
        MANUFACTURER,
        MODEL,
        slot.token.serial if slot.token is not None else "",
        _token_flags(slot),
        CK.EFFECTIVELY_INFINITE,
        len(sessions),
        CK.EFFECTIVELY_INFINITE,
        sum(session.writable for session in sessions),
        PIN_MAX_BYTES,
        PIN_MIN_BYTES,
        *(unknown, unknown, unknown, unknown),  # total and free public, total and free private memory
        _library_version(),
        _library_version(),
        "",  # there is no CKF_CLOCK_ON_TOKEN
    )


def get_mechanism_list(slot_id: int) -> list[int]:
    current = provider.require()
    seen = custody.served(current.config, current.slot(slot_id))
    return [row.type for row in usage.offered(current.config) if custody.told_flags(row, seen)]


def get_mechanism_info(slot_id: int, type: int) -> tuple[int, int, int]:
    current = provider.require()
    seen = custody.served(current.config, current.slot(slot_id))
    row = usage.mechanism_row(current.config, type)
    flags = custody.told_flags(row, seen)
    if not flags:
        raise MechanismInvalid("the key manager does not do this with the keys that it keeps")
    return row.min_key, row.max_key, flags


def init_token(slot_id: int, pin: Secret | None, label: bytes) -> None:
    """Make the slot's token new; one that is initialised loses its own objects, and only those."""
    current = provider.require()
    current.slots.refresh()
    slot = current.slot(slot_id)
    if pin is None:
        raise ArgumentsBad("the SO has no protected authentication path")
    try:
        text = label.partition(b"\0")[0].decode().rstrip(" ")  # C strings come, with whatever is behind their end
    except UnicodeDecodeError:
        raise ArgumentsBad("the label is not UTF-8") from None
    if slot.token is not None and slot.token.sessions:
        raise SessionExists
    login.init_token(current.slots, slot, pin, text)


def wait_for_slot_event(flags: int, reserved: bool) -> int:
    """Return a slot whose token another process made or removed, waiting for one unless CKF_DONT_BLOCK is set.

    Of several that wait, one is told of an event. C_Finalize ends the wait.
    """
    current = provider.require()
    if reserved:
        raise ArgumentsBad("pReserved is set")
    while (slot := current.slots.take_event()) is None:
        if flags & CKF.DONT_BLOCK:
            raise NoEvent
        if hostcalls.wait(current.stopped.wait, LOOK_AGAIN_S) or hostcalls.ending():
            raise CryptokiNotInitialized
    return slot


def _token_flags(slot: Slot) -> int:
    flags = CKF.RNG | CKF.LOGIN_REQUIRED | CKF.DUAL_CRYPTO_OPERATIONS
    return flags | (login.token_flags(slot.token) if slot.token is not None else 0)


def _library_version() -> Version:
    major, minor, *_ = __version__.split(".")
    return int(major), int(minor)
