"""SoftHSM2, which shares no code with the engine above OpenSSL, gives the same bytes and believes the signatures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from secret_samples import key_bytes

from mrhsm_p11.constants import CKA, CKF, CKG, CKK, CKM, CKO
from mrhsm_p11.crypto import engine
from mrhsm_p11.crypto.checks import AnyParameter
from mrhsm_p11.crypto.curves import CURVES
from mrhsm_p11.mapping.mechanisms import HASHES, ROWS, MechanismRow
from mrhsm_p11.parameters.rsa import PSSParams
from mrhsm_p11.parameters.symmetric import CTRParams, GCMParams
from mrhsm_p11.secret import Secret

LIBRARY = next(iter(Path("/usr/lib").glob("**/libsofthsm2.so")), None)
UTILITY = shutil.which("softhsm2-util")
pytestmark = pytest.mark.skipif(not LIBRARY or not UTILITY, reason="SoftHSM2 is not installed")

KEY, IV, TEXT = bytes(range(32)), bytes(range(7, 23)), bytes(range(200, 248))
THEIR_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
MASKS = {name: getattr(CKG, f"MGF1_{name.upper()}") for name in THEIR_HASHES if name != "md5"}
HASH_TYPES = {name: hash_type for hash_type, name in HASHES.items()}
Request = list[object]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    environment = {**os.environ, "SOFTHSM2_CONF": str(configuration)}
    assert UTILITY
    options = ["--init-token", "--free", "--label", "answers", "--so-pin", "1234", "--pin", "1234"]
    subprocess.run([UTILITY, *options], env=environment, check=True, capture_output=True, timeout=60)
    return environment


def ask(environment: dict[str, str], requests: list[Request]) -> list[str]:
    script = Path(__file__).with_name("softhsm_answers.py")
    done = subprocess.run(
        [sys.executable, str(script), str(LIBRARY)],
        input=json.dumps(requests),
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    answers: list[str] = json.loads(done.stdout)
    return answers


def test_ciphers(environment: dict[str, str]) -> None:
    cases: list[tuple[int, AnyParameter, object]] = [
        (CKM.AES_ECB, None, None),
        (CKM.AES_CBC, IV, IV.hex()),
        (CKM.AES_CBC_PAD, IV, IV.hex()),
        (CKM.AES_CTR, CTRParams(32, IV[:12] + b"\0\0\0\1"), ["ctr", IV[:12].hex()]),
        (CKM.AES_GCM, GCMParams(IV[:12], b"aad", 128), ["gcm", IV[:12].hex(), b"aad".hex(), 128]),
        (CKM.AES_GCM, GCMParams(IV[:11], b"", 96), ["gcm", IV[:11].hex(), "", 96]),
    ]
    check_ciphers(environment, CKK.AES, KEY, cases)


def test_triple_des(environment: dict[str, str]) -> None:
    vector = IV[:8]
    cases: list[tuple[int, AnyParameter, object]] = [
        (CKM.DES3_ECB, None, None),
        (CKM.DES3_CBC, vector, vector.hex()),
        (CKM.DES3_CBC_PAD, vector, vector.hex()),
    ]
    check_ciphers(environment, CKK.DES3, key_bytes(CKK.DES3), cases)


def check_ciphers(
    environment: dict[str, str], key_type: int, key: bytes, cases: list[tuple[int, AnyParameter, object]]
) -> None:
    """Compare encryptions, and decrypt theirs; a case is mechanism, our parameter, theirs."""
    requests: list[Request] = [
        ["encrypt", mechanism, theirs, CKO.SECRET_KEY, key_type, key.hex(), TEXT.hex(), None]
        for mechanism, _, theirs in cases
    ]
    for (mechanism, parameter, _), sealed in zip(cases, ask(environment, requests), strict=True):
        assert engine.cipher(ROWS[mechanism], parameter, Secret(key), encrypt=True).finish(TEXT).hex() == sealed
        opening = engine.cipher(ROWS[mechanism], parameter, Secret(key), encrypt=False)
        assert opening.finish(bytes.fromhex(sealed)) == TEXT


def test_cmac(environment: dict[str, str]) -> None:
    keys = ((CKM.AES_CMAC, CKK.AES, KEY), (CKM.DES3_CMAC, CKK.DES3, key_bytes(CKK.DES3)))
    requests: list[Request] = [
        ["sign", mechanism, None, CKO.SECRET_KEY, key_type, key.hex(), TEXT[:n].hex(), None]
        for mechanism, key_type, key in keys
        for n in (1, 16, 41)
    ]
    ours = []
    for mechanism, key_type, key in keys:
        for n in (1, 16, 41):
            signer = engine.signer(ROWS[mechanism], None, key_type, Secret(key))
            signer.update(TEXT[:n])
            ours.append(signer.finish().hex())
    assert ask(environment, requests) == ours


def test_macs(environment: dict[str, str]) -> None:
    rows = [row for row in ROWS.values() if row.mode == "hmac" and row.hash in THEIR_HASHES]
    key = KEY + KEY  # SoftHSM takes no HMAC key shorter than the hash
    requests: list[Request] = [
        ["sign", row.type, None, CKO.SECRET_KEY, CKK.GENERIC_SECRET, key.hex(), TEXT.hex(), None] for row in rows
    ]
    for row, mac in zip(rows, ask(environment, requests), strict=True):
        signer = engine.signer(row, None, CKK.GENERIC_SECRET, Secret(key))
        signer.update(TEXT)
        assert signer.finish().hex() == mac


def signed(row: MechanismRow, parameter: AnyParameter, pair: tuple[Secret, Secret], data: bytes) -> str:
    signer = engine.signer(row, parameter, row.key_types[0], pair[1])
    signer.update(data)
    return signer.finish().hex()


def test_rsa_signatures(environment: dict[str, str]) -> None:
    pair = engine.generate_pair(ROWS[CKM.RSA_PKCS_KEY_PAIR_GEN], {CKA.MODULUS_BITS: 2048}, {})
    public = load_der_public_key(pair[0].reveal())
    assert isinstance(public, rsa.RSAPublicKey)
    key = public.public_bytes(Encoding.DER, PublicFormat.PKCS1).hex()
    requests: list[Request] = []
    for row in ROWS.values():
        if row.family not in ("rsa", "rsa-raw") or not row.flags & CKF.SIGN or (row.hash or "").startswith("sha3_"):
            continue
        name = row.hash or "sha256"
        pss = PSSParams(HASH_TYPES[name], MASKS[name], 20) if row.mode == "pss" else None
        given = ["pss", pss.hash, pss.mgf, pss.salt_len] if pss else None
        data = TEXT if row.hash else TEXT[:32]
        if row.type == CKM.RSA_X_509:
            data = data.rjust(256, b"\0")  # which SoftHSM does not do
        signature = signed(row, pss, pair, data)
        requests.append(["verify", row.type, given, CKO.PUBLIC_KEY, CKK.RSA, key, data.hex(), signature])
        requests.append(["verify", row.type, given, CKO.PUBLIC_KEY, CKK.RSA, key, data[::-1].hex(), signature])
    assert ask(environment, requests) == ["True", "False"] * 13


def test_ecdsa_signatures(environment: dict[str, str]) -> None:
    requests: list[Request] = []
    for curve in (curve for curve in CURVES if curve.key_type == CKK.EC):
        pair = engine.generate_pair(ROWS[CKM.EC_KEY_PAIR_GEN], {CKA.EC_PARAMS: curve.oid}, {})
        for data in (TEXT[:20], TEXT[:32]):
            signature = signed(ROWS[CKM.ECDSA], None, pair, data)
            key = pair[0].reveal().hex()
            requests.append(["verify", CKM.ECDSA, None, CKO.PUBLIC_KEY, CKK.EC, key, data.hex(), signature])
    assert ask(environment, requests) == ["True"] * 18
