"""use_isolated.py LIBRARY: the life of a token in a Python of any version, with nothing but ctypes."""

import ctypes
import os
import sys
import threading
import traceback

library = ctypes.CDLL(sys.argv[1])
Number = ctypes.c_ulong
CKU_SO, CKU_USER, SESSION = 0, 1, 6
CKM_AES_KEY_GEN, CKM_AES_CBC_PAD = 0x1080, 0x1085
NOT_INITIALIZED, TOO_SMALL = 0x190, 0x150


class Attribute(ctypes.Structure):
    _fields_ = [("type", Number), ("value", ctypes.c_char_p), ("length", Number)]


class Mechanism(ctypes.Structure):
    _fields_ = [("mechanism", Number), ("parameter", ctypes.c_char_p), ("length", Number)]


def call(name, *arguments, answer=0):
    given = [Number(one) if isinstance(one, int) else one for one in arguments]
    rv = getattr(library, name)(*given)
    assert rv == answer, (name, hex(rv))


def number(name, *arguments):
    found = Number()
    call(name, *arguments, ctypes.byref(found))
    return found.value


def log_in(slot):
    session = number("C_OpenSession", slot, SESSION, None, None)
    call("C_Login", session, CKU_USER, b"user pin", 8)
    return session


def output(name, session, data):
    needed = Number()
    call(name, session, data, len(data), None, ctypes.byref(needed))
    room, short = ctypes.create_string_buffer(needed.value), Number(1)
    call(name, session, data, len(data), room, ctypes.byref(short), answer=TOO_SMALL)
    call(name, session, data, len(data), room, ctypes.byref(needed))
    return room.raw[: needed.value]


def round_trip(session, key, data):
    mechanism = Mechanism(CKM_AES_CBC_PAD, b"i" * 16, 16)
    call("C_EncryptInit", session, ctypes.byref(mechanism), key)
    encrypted = output("C_Encrypt", session, data)
    call("C_DecryptInit", session, ctypes.byref(mechanism), key)
    assert output("C_Decrypt", session, encrypted) == data != encrypted


def first_slot():
    slots, count = (Number * 8)(), Number(8)
    call("C_GetSlotList", 0, slots, ctypes.byref(count))
    return slots[0]


def make_token():
    slot = first_slot()
    call("C_InitToken", slot, b"so pin", 6, b"isolated".ljust(32))
    session = number("C_OpenSession", slot, SESSION, None, None)
    call("C_Login", session, CKU_SO, b"so pin", 6)
    call("C_InitPIN", session, b"user pin", 8)
    call("C_CloseSession", session)
    return slot


def make_key(session):
    template = (Attribute * 4)(
        (0x161, (32).to_bytes(8, "little"), 8), (1, b"\1", 1), (0x104, b"\1", 1), (0x105, b"\1", 1)
    )
    mechanism = Mechanism(CKM_AES_KEY_GEN, None, 0)
    return number("C_GenerateKey", session, ctypes.byref(mechanism), template, 4)


def child():
    call("C_GetInfo", ctypes.create_string_buffer(200), answer=NOT_INITIALIZED)
    call("C_Initialize", None)
    session = log_in(first_slot())
    call("C_FindObjectsInit", session, None, 0)
    handles, found = (Number * 4)(), Number()
    call("C_FindObjects", session, handles, 4, ctypes.byref(found))
    assert found.value == 1
    round_trip(session, handles[0], b"child")
    call("C_Finalize", None)


call("C_GetInfo", ctypes.create_string_buffer(200), answer=NOT_INITIALIZED)
call("C_Initialize", None)
call("C_Initialize", None, answer=0x191)
slot = make_token()
session = log_in(slot)
key = make_key(session)
round_trip(session, key, b"text")
round_trip(session, key, bytes(3_000_001))
failures = []


def work():
    try:
        mine = number("C_OpenSession", slot, SESSION, None, None)
        for size in range(2, 50):
            round_trip(mine, key, bytes(size))
        call("C_CloseSession", mine)
    except BaseException as error:
        failures.append(error)


threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
pid = os.fork()
if pid == 0:
    try:
        child()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
assert os.waitpid(-1, 0) == (pid, 0)
round_trip(session, key, b"after the fork")
call("C_Finalize", None)
call("C_GetInfo", ctypes.create_string_buffer(200), answer=NOT_INITIALIZED)
call("C_Initialize", None)
log_in(first_slot())
print("served", "mrhsm_p11" in sys.modules)
