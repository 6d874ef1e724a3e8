"""Use the Core KEK of the token under MAPR_HOME through the C ABI: python use_kek.py wrap|unwrap CLUSTER CLDB-KEY."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from p11 import Cryptoki

import mrhsm_p11
from mrhsm_p11.constants import CKA, CKK, CKM, CKO

AES = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.TOKEN: False, CKA.EXTRACTABLE: True, CKA.SENSITIVE: False}


def main(what: str, cluster: str, cldb_key: str) -> None:
    p11 = Cryptoki(Path(mrhsm_p11.__file__).with_name("libmrhsm_p11.so"))
    p11.initialize()
    session = p11.open_session(p11.slots(token_present=True)[0])
    p11.login(session)
    (kek,) = p11.find(session, {CKA.LABEL: f"mrhsm/{cluster}/core-kek"})
    if what == "wrap":
        plain, iv = p11.random(session, 32), p11.random(session, 16)
        key = p11.create_object(session, {**AES, CKA.VALUE: plain})
        wrapped = p11.wrap_key(session, (CKM.AES_CBC_PAD, iv), kek, key)
        assert p11.decrypt(session, (CKM.AES_CBC_PAD, iv), kek, wrapped) == plain
    else:
        (blob,) = p11.find(session, {CKA.CLASS: CKO.DATA, CKA.LABEL: "cldb.key"})
        encrypted = p11.get(session, blob, CKA.VALUE)
        key = p11.unwrap_key(session, (CKM.AES_CBC_PAD, encrypted[:16]), kek, encrypted[16:], AES)
        assert p11.get(session, key, CKA.VALUE).hex() == cldb_key
    p11.finalize()
    print(f"{what} ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
