"""The OpenSSL command line believes the signatures, and agrees on the secrets, of key pairs made here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mrhsm_p11.constants import CKA, CKK, CKM, CKO
from mrhsm_p11.crypto import agreement, engine, material
from mrhsm_p11.mapping.mechanisms import ROWS
from mrhsm_p11.parameters.signatures import EdDSAParams
from mrhsm_p11.secret import Secret

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="OpenSSL is not installed")
MESSAGE = b"a message"


def openssl(folder: Path, *arguments: str) -> str:
    asked = ["openssl", *arguments]
    return subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


def pair(generate: int, oid: str) -> tuple[Secret, Secret]:
    return engine.generate_pair(ROWS[generate], {CKA.EC_PARAMS: bytes.fromhex(oid)}, {})


@pytest.mark.parametrize("oid", ["06032b6570", "06032b6571"], ids=["Ed25519", "Ed448"])
def test_eddsa(tmp_path: Path, oid: str) -> None:
    public, private = pair(CKM.EC_EDWARDS_KEY_PAIR_GEN, oid)
    parameter = EdDSAParams(0, b"") if oid == "06032b6571" else None
    signer = engine.signer(ROWS[CKM.EDDSA], parameter, CKK.EC_EDWARDS, private)
    signer.update(MESSAGE)
    for name, content in (("key", public.reveal()), ("message", MESSAGE), ("signature", signer.finish())):
        (tmp_path / name).write_bytes(content)
    asked = ("pkeyutl", "-verify", "-pubin", "-inkey", "key", "-keyform", "DER", "-rawin", "-in", "message")
    assert "Verified Successfully" in openssl(tmp_path, *asked, "-sigfile", "signature")


@pytest.mark.parametrize(
    ("generate", "key_type", "oid"),
    [
        (CKM.EC_MONTGOMERY_KEY_PAIR_GEN, CKK.EC_MONTGOMERY, "06032b656e"),
        (CKM.EC_MONTGOMERY_KEY_PAIR_GEN, CKK.EC_MONTGOMERY, "06032b656f"),
        (CKM.EC_KEY_PAIR_GEN, CKK.EC, "06052b8104000a"),
        (CKM.EC_KEY_PAIR_GEN, CKK.EC, "06092b2403030208010107"),
    ],
    ids=["X25519", "X448", "secp256k1", "brainpoolP256r1"],
)
def test_agreement(tmp_path: Path, generate: int, key_type: int, oid: str) -> None:
    (theirs, _), (public, private) = pair(generate, oid), pair(generate, oid)
    (tmp_path / "peer").write_bytes(theirs.reveal())
    (tmp_path / "key").write_bytes(private.reveal())
    files = ("-inkey", "key", "-keyform", "DER", "-peerkey", "peer", "-peerform", "DER", "-out", "secret")
    openssl(tmp_path, "pkeyutl", "-derive", *files)
    point = material.derived(CKO.PUBLIC_KEY, key_type, theirs)[CKA.EC_POINT]
    assert isinstance(point, bytes)
    assert agreement.shared_secret(key_type, private, point).reveal() == (tmp_path / "secret").read_bytes()
    assert public != theirs
