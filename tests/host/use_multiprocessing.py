"""use_multiprocessing.py LIBRARY METHOD: use a token here, and in processes that multiprocessing starts meanwhile."""

from __future__ import annotations

import multiprocessing
import sys
import threading

from p11 import Cryptoki

from mrhsm_p11.constants import CKA, CKM, CKR

LABEL = "multi"
Key = tuple[int, int]


def use(p11: Cryptoki) -> bytes:
    """Encrypt with the token's key, made where there is none."""
    session = p11.open_session(p11.slots(token_present=True)[0])
    if p11.rv("C_Login", session, 1, None, 0) not in (CKR.OK, CKR.USER_ALREADY_LOGGED_IN):
        raise SystemExit("no login")
    found = p11.find(session, {CKA.LABEL: LABEL, CKA.TOKEN: True})
    wanted = {CKA.LABEL: LABEL, CKA.TOKEN: True, CKA.VALUE_LEN: 32, CKA.ENCRYPT: True}
    key = found[0] if found else p11.generate_key(session, CKM.AES_KEY_GEN, wanted)
    blob = p11.encrypt(session, (CKM.AES_CBC_PAD, bytes(16)), key, b"text")
    p11.close_session(session)
    return blob


def elsewhere(path: str) -> bytes:
    p11 = Cryptoki(path)
    p11.initialize()  # a forked child must, as one that was started anew
    blob = use(p11)
    p11.finalize()
    return blob


def main(path: str, method: str) -> None:
    p11, over = Cryptoki(path), threading.Event()
    p11.initialize()
    blob = use(p11)

    def keep_busy() -> None:
        busy = Cryptoki(path)
        while not over.is_set():
            if use(busy) != blob:
                raise SystemExit("another blob")

    threads = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    with multiprocessing.get_context(method).Pool(3, maxtasksperchild=1) as pool:
        blobs = pool.map(elsewhere, [path] * 3, chunksize=1)
    over.set()
    for thread in threads:
        thread.join()
    if blobs != [blob] * 3 or use(p11) != blob:
        raise SystemExit("another blob")
    p11.finalize()
    print("used by 3 processes, and here")


if __name__ == "__main__":
    main(*sys.argv[1:])
