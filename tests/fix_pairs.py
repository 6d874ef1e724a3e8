"""Key pairs of a token, and calls at random that use them."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from fix_datapath import LoggedIn
from p11 import Cryptoki

from mrhsm_p11.constants import CKA, CKF, CKG, CKK, CKM, CKO, CKR, CKZ
from mrhsm_p11.mapping.mechanisms import HASHES, ROWS, MechanismRow
from mrhsm_p11.mapping.native import hash_of, native_pair

ROWS_OF_PAIRS = [row for row in ROWS.values() if native_pair(row, "sign") or native_pair(row, "encrypt")]
FAMILIES = {"Encrypt": CKF.ENCRYPT, "Decrypt": CKF.DECRYPT, "Sign": CKF.SIGN, "Verify": CKF.VERIFY}
ANSWERS = {"Sign": "Verify", "Encrypt": "Decrypt"}
HASH_NUMBERS = {name: number for number, name in HASHES.items()}
MASKS = {name: getattr(CKG, f"MGF1_{name.upper()}") for name in ("sha1", "sha256", "sha384", "sha3_256")}
ROOM = 600
E256, E384, E521 = "06082a8648ce3d030107", "06052b81040022", "06052b81040023"
KINDS: dict[str, tuple[int, int, dict[int, Any]]] = {  # name -> key type, mechanism that makes it, its template
    "RSA-1024": (CKK.RSA, CKM.RSA_PKCS_KEY_PAIR_GEN, {CKA.MODULUS_BITS: 1024, CKA.PUBLIC_EXPONENT: b"\1\0\1"}),
    "RSA-1536": (CKK.RSA, CKM.RSA_PKCS_KEY_PAIR_GEN, {CKA.MODULUS_BITS: 1536, CKA.PUBLIC_EXPONENT: b"\3"}),
    "P-256": (CKK.EC, CKM.EC_KEY_PAIR_GEN, {CKA.EC_PARAMS: bytes.fromhex(E256)}),
    "P-384": (CKK.EC, CKM.EC_KEY_PAIR_GEN, {CKA.EC_PARAMS: bytes.fromhex(E384)}),
    "P-521": (CKK.EC, CKM.EC_KEY_PAIR_GEN, {CKA.EC_PARAMS: bytes.fromhex(E521)}),
    "Ed25519": (CKK.EC_EDWARDS, CKM.EC_EDWARDS_KEY_PAIR_GEN, {CKA.EC_PARAMS: bytes.fromhex("06032b6570")}),
    "Ed448": (CKK.EC_EDWARDS, CKM.EC_EDWARDS_KEY_PAIR_GEN, {CKA.EC_PARAMS: bytes.fromhex("06032b6571")}),
}


class Pair(NamedTuple):
    """Two handles, by what they are for."""

    public: int
    private: int

    def half(self, name: str) -> int:
        return self.private if name in ("Sign", "Decrypt") else self.public


class PairBench(LoggedIn):
    """Pairs that the token keeps."""

    def pair(self, kind: str, differing: dict[int, Any] | None = None) -> Pair:
        """Return the token's pair of this name; it is made when it is first wanted."""
        found = [
            self.p11.find(self.session, {CKA.CLASS: cls, CKA.LABEL: kind}) for cls in (CKO.PUBLIC_KEY, CKO.PRIVATE_KEY)
        ]
        if all(found):
            return Pair(found[0][0], found[1][0])
        key_type, mechanism, template = KINDS[kind]
        kept = {CKA.TOKEN: True, CKA.LABEL: kind}
        public = {**kept, **template, CKA.VERIFY: True}
        private = {**kept, CKA.SIGN: True, CKA.SENSITIVE: True, **(differing or {})}
        if key_type == CKK.RSA:
            public[CKA.ENCRYPT] = private[CKA.DECRYPT] = True
        return Pair(*self.p11.generate_key_pair(self.session, mechanism, public, private))

    def begin(self, name: str, mechanism: Any, key: int) -> int:
        return self.p11.rv(f"C_{name}Init", self.session, self.p11.mechanism(mechanism), key)


def pss(p11: Cryptoki, hash: str, mask: str | None = None, salt: int | None = None) -> Any:
    size = hash_of(hash)[1]
    numbers = HASH_NUMBERS[hash], MASKS.get(mask or hash, CKG.MGF1_SHA512), size if salt is None else salt
    return p11.new("CK_RSA_PKCS_PSS_PARAMS *", numbers)


def oaep(
    p11: Cryptoki, hash: str, mask: str | None = None, source: int = CKZ.DATA_SPECIFIED, label: bytes = b""
) -> Any:
    place, length = p11.encoded(label) if label else (p11.ffi.NULL, 0)
    return p11.new("CK_RSA_PKCS_OAEP_PARAMS *", (HASH_NUMBERS[hash], MASKS[mask or hash], source, place, length))


class PairPlayer:
    """Plays calls at random, the same for the same seed, and keeps what was answered: of what is random, its length."""

    def __init__(self, bench: PairBench, seed: int) -> None:
        self.bench, self.random = bench, random.Random(seed)
        self.pairs = {kind: bench.pair(kind) for kind in KINDS}
        self.trace: list[tuple[object, ...]] = []
        self.made: list[tuple[str, Any, str, bytes, bytes]] = []  # what for, mechanism, pair, input, output
        self.last: dict[str, tuple[Any, str]] = dict.fromkeys(FAMILIES, (None, ""))
        self.parts = dict.fromkeys(FAMILIES, b"")

    def play(self, calls: int) -> list[tuple[object, ...]]:
        steps = self._init, self._whole, self._whole, self._once, self._once, self._update, self._final, self._odd
        for _ in range(calls):
            if self.made and self.random.random() < 0.25:
                self._answer()
            else:
                self.random.choice(steps)(self.random.choice(tuple(FAMILIES)))
        return self.trace

    def _row(self, name: str) -> MechanismRow:
        # decryption of PKCS #1 v1.5 is Python's alone, and what bad padding gives is random
        rows = [row for row in ROWS_OF_PAIRS if row.flags & FAMILIES[name]]
        return self.random.choice([row for row in rows if name != "Decrypt" or row.type != CKM.RSA_PKCS])

    def _parameter(self, row: MechanismRow) -> Any:
        p11, choice = self.bench.p11, self.random.choice
        odd = self.random.random()
        if odd < 0.05:
            return choice((b"", b"odd", bytes(24), bytes(40)))
        if row.mode == "pss":
            hashed = row.hash if row.hash and odd < 0.9 else choice(("sha256", "sha384", "sha3_256"))
            return pss(p11, hashed, choice((None, None, "sha1")), choice((None, None, None, 0, 20, 999)))
        if row.mode == "oaep":
            source, label = choice(((1, b""), (1, b""), (0, b""), (1, b"label"), (0, b"label"), (7, b"")))
            return oaep(p11, choice(("sha1", "sha1", "sha256")), choice((None, "sha384")), source, label)
        return p11.new("CK_EDDSA_PARAMS *") if row.mode == "eddsa" and odd < 0.3 else None

    def _init(self, name: str) -> None:
        row = self._row(name)
        kinds = [kind for kind in KINDS if KINDS[kind][0] in row.key_types]
        kind = self.random.choice(kinds if self.random.random() < 0.93 else tuple(KINDS))
        mechanism = None if self.random.random() < 0.1 else (row.type, self._parameter(row))
        self._begin(name, mechanism, kind, wrong_half=self.random.random() < 0.05)

    def _begin(self, name: str, mechanism: Any, kind: str, *, wrong_half: bool = False) -> None:
        pair = self.pairs[kind]
        key = pair.half("Verify" if wrong_half and name == "Sign" else name)
        rv = self.bench.begin(name, mechanism, key)
        if rv == CKR.OK and mechanism is not None:
            self.last[name], self.parts[name] = (mechanism, kind), b""
        self._note(name, "Init", mechanism and CKM.name(mechanism[0]), kind, rv)

    def _answer(self) -> None:
        """Verify or decrypt what was made, or something near it."""
        name, mechanism, kind, given, output = self.random.choice(self.made[-20:])
        self.bench.p11.rv("C_SessionCancel", self.bench.session, FAMILIES[name])
        self._begin(name, mechanism, kind)
        damaged = self._near(output)
        if name == "Decrypt":
            self._call(name, "", damaged)
        elif ROWS[mechanism[0]].multipart and self.random.random() < 0.3:
            self._call(name, "Update", given[:7])
            self._call(name, "Update", given[7:])
            self._call(name, "Final", None, damaged)
        else:
            self._call(name, "", given if self.random.random() < 0.9 else given + b"x", damaged)

    def _near(self, output: bytes) -> bytes:
        return self.random.choice(
            (
                *[output] * 4,
                *(output[:-1], output[:-2], b"\0" + output, output + b"\0", bytes(len(output)), b"\xff" * len(output)),
                *(output[:9] + bytes([output[9] ^ 1]) + output[10:], b"", output[: len(output) // 2]),
            )
        )

    def _input(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 20, 28, 32, 32, 48, 64, 100, 117, 118, 128, 192, 256)))

    def _once(self, name: str) -> None:
        self._call(name, "", self._input(), self.random.randbytes(self.random.choice((0, 64, 128))))

    def _whole(self, name: str) -> None:
        self._init(name)
        self._once(name)

    def _update(self, name: str) -> None:
        self._call(name, "Update", self._input())

    def _final(self, name: str) -> None:
        self._call(name, "Final", None, self.random.randbytes(64))

    def _call(self, name: str, step: str, data: bytes | None, signature: bytes = b"") -> None:
        p11, arguments = self.bench.p11, []
        if data is not None:
            arguments += p11.encoded(data)
        if name == "Verify" and step != "Update":
            arguments += p11.encoded(signature)
        if name == "Verify" or (name == "Sign" and step == "Update"):
            rv = p11.rv(f"C_{name}{step}", self.bench.session, *arguments)
            self.parts[name] += data or b""
            self._note(name, step, len(data or b""), len(signature), rv)
            return
        room = self.random.choice((0, 5, 64, 128, ROOM, ROOM, ROOM, ROOM))
        buffer = None if self.random.random() < 0.2 else p11.new(f"CK_BYTE[{ROOM}]")
        length = p11.new("CK_ULONG *", room)
        rv = p11.rv(f"C_{name}{step}", self.bench.session, *arguments, buffer, length)
        told = length[0] if rv in (CKR.OK, CKR.BUFFER_TOO_SMALL) else -1
        output = bytes(p11.ffi.buffer(buffer, told)) if buffer and rv == CKR.OK else b""
        self._note(name, step, len(data or b""), rv, told, self._known(name, data, output))

    def _known(self, name: str, data: bytes | None, output: bytes) -> bytes:
        """Keep what was made for an answer to it; return as much of it as is not random."""
        mechanism, kind = self.last[name]
        if not output or not mechanism:
            return b""
        if (name in ANSWERS and mechanism[0] != CKM.RSA_PKCS) or name == "Sign":
            self.made.append((ANSWERS[name], mechanism, kind, self.parts[name] + (data or b""), output))
        row = ROWS[mechanism[0]]
        return output if name == "Decrypt" or (name == "Sign" and row.mode in ("pkcs1", "eddsa")) else b""

    def _odd(self, name: str) -> None:
        """Arguments that are refused, functions that look at several operations, ends."""
        p11, session = self.bench.p11, self.bench.session
        room, length = p11.new(f"CK_BYTE[{ROOM}]"), p11.new("CK_ULONG *", ROOM)
        data = p11.encoded(bytes(20))
        odd = self.random.choice(
            (
                lambda: p11.rv("C_Encrypt", session, None, 5, room, length),
                lambda: p11.rv("C_Sign", session, *data, room, None),
                lambda: p11.rv("C_SignUpdate", session, data[0], 1 << 31),
                lambda: p11.rv("C_Verify", session, *data, None, 128),
                lambda: p11.rv("C_SessionCancel", session, FAMILIES[name]),
                lambda: p11.rv("C_SignEncryptUpdate", session, *data, room, length),
                lambda: p11.rv("C_DecryptVerifyUpdate", session, *data, room, length),
                lambda: p11.rv("C_GetOperationState", session, room, length),
            )
        )
        self._note(name, "odd", odd(), length[0])

    def _note(self, *what: object) -> None:
        self.trace.append(what)
