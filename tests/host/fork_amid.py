"""fork_amid.py LIBRARY SCENARIO: os.fork() by a Python host while a call is under way, of another thread or its own.

The call is C_GetSlotList; a doctored handler says when it is inside, and stays for as long as the scenario wants.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import threading
import time
from collections.abc import Callable

from mrhsm_p11.constants import CKR
from mrhsm_p11.functions import general

WAIT_S = 60
library = ctypes.CDLL(sys.argv[1])
holding_the_gil = ctypes.PyDLL(sys.argv[1])
quick = general.get_slot_list
under_way: list[int] = []  # what a child must not find
begun, forking, go_on = threading.Event(), threading.Event(), threading.Event()


def slots(of: ctypes.CDLL = library) -> int:
    return int(of.C_GetSlotList(0, None, ctypes.byref(ctypes.c_ulong())))


def meanwhile(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(WAIT_S)
    return thread


def till_a_fork() -> None:
    """Stay until a fork is about to wait, and some time more."""
    assert forking.wait(WAIT_S)
    time.sleep(0.2)


def child_says(say: Callable[[], object]) -> str:
    """Fork, and return what the child says."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, repr(say()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        text = said.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text


def anew() -> tuple[int, ...]:
    return slots(), library.C_Initialize(None), slots(), library.C_Finalize(None)


def stay(how: Callable[[], object]) -> None:
    under_way.append(1)
    begun.set()
    how()
    under_way.pop()


def doctor(how: Callable[[], object]) -> None:
    def handler(*arguments: object) -> object:
        stay(how)
        return quick(*arguments)  # type: ignore[arg-type]

    general.get_slot_list = handler  # type: ignore[assignment]


def waited_for() -> None:
    """The fork waits until the call has left."""
    doctor(till_a_fork)
    library.C_Initialize(None)
    os.register_at_fork(before=forking.set)  # runs before the library's
    thread = meanwhile(slots)
    print(child_says(lambda: len(under_way)))
    thread.join()


def too_late() -> None:
    """A call that would not leave is not waited for longer; its fork's child is refused, the parent goes on."""
    doctor(lambda: go_on.wait(WAIT_S))
    library.C_Initialize(None)
    thread = meanwhile(slots)
    print(child_says(lambda: (len(under_way), slots(), library.C_Initialize(None))))
    go_on.set()
    thread.join()
    print(slots(), child_says(anew))


def starting() -> None:
    """The fork waits for a start, whose imports would be broken off in the child."""
    sys.meta_path.insert(0, SlowImport())
    thread = meanwhile(lambda: library.C_Initialize(None))
    print(child_says(anew))
    thread.join()


class SlowImport:
    def find_spec(self, name: str, *rest: object) -> None:
        if name == "mrhsm_p11.abi.entry":
            os.register_at_fork(before=forking.set)
            stay(till_a_fork)


def failing() -> None:
    """A fork that fails leaves the gate open."""
    library.C_Initialize(None)
    if os.getuid() == 0:
        os.setresuid(65534, 65534, 65534)  # root has no limit
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    for _ in range(2):
        try:
            os.fork()
        except BlockingIOError:
            print(library.C_GetInfo(ctypes.create_string_buffer(200)))


def hooked() -> None:
    """Other hooks may call, before and after; and fork themselves."""
    said: list[int] = []
    depth: list[int] = []

    def before() -> None:
        said.append(slots())
        if not depth:
            depth.append(1)
            said.append(len(child_says(anew)) and slots())
            depth.pop()

    os.register_at_fork(before=before, after_in_parent=lambda: said.append(slots()))  # within ours
    library.C_Initialize(None)
    print(child_says(anew), said)
    os.register_at_fork(
        before=lambda: said.append(slots()), after_in_parent=lambda: said.append(slots())
    )  # around ours
    said.clear()
    print(child_says(anew), said)


def keeping() -> None:
    """Callers that keep the GIL do not keep it from the thread that forks."""
    over = threading.Event()
    library.C_Initialize(None)

    def busy() -> None:
        while not over.is_set():
            slots(holding_the_gil)
            begun.set()

    threads = [meanwhile(busy) for _ in range(3)]
    os.register_at_fork(before=lambda: time.sleep(0.05))  # runs before ours: the others come in
    print({child_says(anew) for _ in range(10)})
    over.set()
    for thread in threads:
        thread.join()


def amid_our_own() -> None:
    """A fork amid a call of its own thread waits for nothing, and both go on."""
    children: list[str] = []

    def fork_here() -> None:
        if children:
            return
        children.append(child_says(lambda: 1))
        pid = os.fork()
        if pid:
            children.append(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))

    parent = os.getpid()
    doctor(fork_here)
    library.C_Initialize(None)
    answer = slots()
    if os.getpid() != parent:
        os._exit(0 if (anew(), child_says(anew)) == ((400, 0, 0, 0), "(400, 0, 0, 0)") else 1)
    print(answer, children, child_says(anew))


if __name__ == "__main__":
    assert CKR.CRYPTOKI_NOT_INITIALIZED == 400
    globals()[sys.argv[2]]()
