"""start_together.py LIBRARY: two threads of a Python host whose binding keeps the GIL start the library at once."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

WAIT_S = 60
library = ctypes.PyDLL(sys.argv[1])  # as PyKCS11's: the GIL is kept during calls
begun = threading.Event()
answers: list[int] = []


class SlowImport:
    def find_spec(self, name: str, *rest: object) -> None:
        if name == "mrhsm_p11.abi.entry":
            begun.set()
            time.sleep(0.2)  # a slow disk: the GIL is let go of, and wanted back


def start() -> None:
    answers.append(library.C_Initialize(None))


if __name__ == "__main__":
    sys.meta_path.insert(0, SlowImport())
    thread = threading.Thread(target=start)
    thread.start()
    assert begun.wait(WAIT_S)
    start()
    thread.join()
    print(sorted(answers), library.C_Finalize(None))
