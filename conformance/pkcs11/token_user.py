"""What a Python inside another program does with a token: nothing but ctypes, from the function list to a cipher.

Runs in gdb, vim and uwsgi, whatever their Python. MODULE names the library, PIN is the user's, KEY the label of an AES
key. With LOAD_FIRST the token is used before any request; with ONCE, which names a file for the result, without one.
"""

import ctypes
import os
import threading

Number = ctypes.c_ulong
SESSION, CKU_USER, CKA_LABEL, CKM_AES_CBC_PAD = 4, 1, 3, 0x1085
VECTOR = b"initial vector 1"
# Where the functions used here stand in CK_FUNCTION_LIST.
INDEX = {
    "C_Initialize": 0,
    "C_Finalize": 1,
    "C_GetSlotList": 4,
    "C_OpenSession": 12,
    "C_Login": 18,
    "C_FindObjectsInit": 26,
    "C_FindObjects": 27,
    "C_FindObjectsFinal": 28,
    "C_EncryptInit": 29,
    "C_Encrypt": 30,
}
_ALREADY = {"C_Initialize": 0x191, "C_Login": 0x100}  # another thread was first


class FunctionList(ctypes.Structure):
    """CK_FUNCTION_LIST, as far as it is used here."""

    _fields_ = [("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * 68)]


class Attribute(ctypes.Structure):
    """CK_ATTRIBUTE."""

    _fields_ = [("type", Number), ("value", ctypes.c_char_p), ("length", Number)]


class Mechanism(ctypes.Structure):
    """CK_MECHANISM."""

    _fields_ = [("mechanism", Number), ("parameter", ctypes.c_char_p), ("length", Number)]


class Token:
    """The token as one process sees it; made anew in each child, as the standard demands."""

    def __init__(self):
        library = ctypes.CDLL(os.environ["MODULE"])
        listed = ctypes.POINTER(FunctionList)()
        assert library.C_GetFunctionList(ctypes.byref(listed)) == 0
        self.functions = listed.contents.functions
        self.pid = os.getpid()
        self.sessions = threading.local()
        self.call("C_Initialize", None)
        slots, count = (Number * 8)(), Number(8)
        self.call("C_GetSlotList", 1, slots, ctypes.byref(count))
        self.slot = slots[0]

    def call(self, name, *arguments):
        """Call a function by its place in the list; raise if it refuses."""
        given = [Number(one) if isinstance(one, int) else one for one in arguments]
        rv = ctypes.CFUNCTYPE(Number)(self.functions[INDEX[name]])(*given)
        if rv not in (0, _ALREADY.get(name, 0)):
            raise RuntimeError(f"{name}: {rv:#x}")

    def session(self):
        """Return this thread's session, logged in, and its key."""
        if not hasattr(self.sessions, "open"):
            session, key, found = Number(), Number(), Number()
            self.call("C_OpenSession", self.slot, SESSION, None, None, ctypes.byref(session))
            pin, label = os.environ["PIN"].encode(), os.environ["KEY"].encode()
            self.call("C_Login", session, CKU_USER, pin, len(pin))
            self.call("C_FindObjectsInit", session, ctypes.byref(Attribute(CKA_LABEL, label, len(label))), 1)
            self.call("C_FindObjects", session, ctypes.byref(key), 1, ctypes.byref(found))
            self.call("C_FindObjectsFinal", session)
            assert found.value == 1, "no such key"
            self.sessions.open = session, key
        return self.sessions.open

    def encrypt(self, data):
        """Return the ciphertext of AES-CBC with padding."""
        session, key = self.session()
        room, length = ctypes.create_string_buffer(len(data) + 16), Number(len(data) + 16)
        self.call("C_EncryptInit", session, ctypes.byref(Mechanism(CKM_AES_CBC_PAD, VECTOR, len(VECTOR))), key)
        self.call("C_Encrypt", session, data, len(data), room, ctypes.byref(length))
        return room.raw[: length.value]


_lock = threading.Lock()
_tokens = []


def token():
    """Return this process's own; a child does not use its parent's."""
    with _lock:
        if not _tokens or _tokens[0].pid != os.getpid():
            _tokens[:] = [Token()]
        return _tokens[0]


def application(_environ, start_response):
    """Answer a WSGI request with the process and what it encrypted."""
    text = f"{os.getpid()} {token().encrypt(b'what is sealed').hex()}\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]


def once(file):
    """Start, encrypt, end, start and encrypt again; write what was made."""
    with open(file, "w") as written:
        for _ in range(2):
            written.write(token().encrypt(b"what is sealed").hex() + "\n")
            token().call("C_Finalize", None)
            _tokens.clear()


if "LOAD_FIRST" in os.environ:
    token().encrypt(b"in the process that forks")
if "ONCE" in os.environ:
    once(os.environ["ONCE"])
