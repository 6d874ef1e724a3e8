"""use_forks.py LIBRARY FORKS: os.fork() by a Python whose four other threads use a token; each child uses it, too.

Prints how the children ended that did not end well, and what went wrong in the threads.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from p11 import Cryptoki
from use_multiprocessing import use

from mrhsm_p11.constants import CKR

CHILD_S = 60
THREADS = 4


def be_the_child(path: str, blob: bytes) -> int:
    p11 = Cryptoki(path)
    if p11.rv("C_GetSlotList", 0, None, p11.new("CK_ULONG *")) != CKR.CRYPTOKI_NOT_INITIALIZED:
        return 2
    p11.initialize()
    if use(p11) != blob:
        return 3
    p11.finalize()
    return 0


def fork(path: str, blob: bytes) -> int:
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            code = be_the_child(path, blob)
        except BaseException as error:
            print(repr(error), flush=True)
        finally:
            os._exit(code)
    return pid


def ending_of(pid: int) -> int:
    """Wait for a child; -9 where it had to be killed."""
    until = time.monotonic() + CHILD_S
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(path: str, forks: str) -> None:
    p11, over = Cryptoki(path), threading.Event()
    p11.initialize()
    blob, failures, took_ms = use(p11), [], []

    def keep_busy() -> None:
        busy = Cryptoki(path)
        while not over.is_set():
            try:
                if use(busy) != blob:
                    failures.append("another blob")
            except Exception as error:
                failures.append(repr(error))

    workers = [threading.Thread(target=keep_busy) for _ in range(THREADS)]
    for worker in workers:
        worker.start()
    endings = []
    for _ in range(int(forks)):
        before = time.perf_counter()
        pid = fork(path, blob)
        took_ms.append(1000 * (time.perf_counter() - before))
        endings.append(ending_of(pid))
    over.set()
    for worker in workers:
        worker.join()
    p11.finalize()
    print(f"bad {[ending for ending in endings if ending]} failures {failures[:5]}")
    print(f"os.fork() took {sum(took_ms) / len(took_ms):.1f} ms, at most {max(took_ms):.1f}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
