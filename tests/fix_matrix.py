"""A token with a key of each kind, and a good case of each mechanism and function: what the matrix makes wrong.

Everything follows from the table of mechanisms; what a table cannot tell (a structure's sensible values, what a pair is
generated from) is one line in SAMPLES or PAIRS. A mechanism without one is skipped, saying so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fix_native import token_home
from matrix_rules import RULES
from matrix_sealing import TLS_SAMPLES
from p11 import CKError, Cryptoki, rv_of

from mrhsm_p11.constants import CK, CKA, CKD, CKF, CKG, CKK, CKM, CKO, CKP, CKR, CKU, CKZ
from mrhsm_p11.crypto.finite_generate import _safe_prime
from mrhsm_p11.mapping.mechanisms import HASHES, ROWS, MechanismRow

SO_PIN, PIN = "so pin 1234", "user pin 5678"
ODD = bytes(byte for byte in range(256) if bin(byte).count("1") % 2)  # as DES keys must be; others may
HASH_TYPES = {name: digest for digest, name in HASHES.items()}


@dataclass(frozen=True)
class Use:
    """A function family: C_<name>Init and C_<name>."""

    name: str
    flag: int
    attribute: int
    public: bool  # of a pair, the half that does it
    counterpart: str


USES = {
    use.name: use
    for use in (
        Use("Encrypt", CKF.ENCRYPT, CKA.ENCRYPT, True, "Decrypt"),
        Use("Decrypt", CKF.DECRYPT, CKA.DECRYPT, False, "Encrypt"),
        Use("Digest", CKF.DIGEST, 0, True, ""),
        Use("Sign", CKF.SIGN, CKA.SIGN, False, "Verify"),
        Use("Verify", CKF.VERIFY, CKA.VERIFY, True, "Sign"),
        Use("SignRecover", CKF.SIGN_RECOVER, CKA.SIGN_RECOVER, False, "VerifyRecover"),
        Use("VerifyRecover", CKF.VERIFY_RECOVER, CKA.VERIFY_RECOVER, True, "SignRecover"),
        Use("Wrap", CKF.WRAP, CKA.WRAP, True, "Unwrap"),
        Use("Unwrap", CKF.UNWRAP, CKA.UNWRAP, False, "Wrap"),
        Use("Derive", CKF.DERIVE, CKA.DERIVE, False, ""),
    )
}
PUBLIC_USES = (CKA.ENCRYPT, CKA.VERIFY, CKA.VERIFY_RECOVER, CKA.WRAP)
PRIVATE_USES = (CKA.DECRYPT, CKA.SIGN, CKA.SIGN_RECOVER, CKA.UNWRAP, CKA.DERIVE)
SECRET_USES = (CKA.ENCRYPT, CKA.DECRYPT, CKA.SIGN, CKA.VERIFY, CKA.WRAP, CKA.UNWRAP, CKA.DERIVE)


def dsa_domain() -> dict[int, Any]:
    from cryptography.hazmat.primitives.asymmetric import dsa

    numbers = dsa.generate_parameters(1024).parameter_numbers()
    values = {CKA.PRIME: numbers.p, CKA.SUBPRIME: numbers.q, CKA.BASE: numbers.g}
    return {cka: value.to_bytes((value.bit_length() + 7) // 8, "big") for cka, value in values.items()}


PAIRS: dict[int, Callable[[], dict[int, Any]]] = {
    CKK.RSA: lambda: {CKA.MODULUS_BITS: 1024},
    CKK.EC: lambda: {CKA.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")},
    CKK.EC_EDWARDS: lambda: {CKA.EC_PARAMS: bytes.fromhex("06032b6570")},
    CKK.EC_MONTGOMERY: lambda: {CKA.EC_PARAMS: bytes.fromhex("06032b656e")},
    CKK.DSA: dsa_domain,
    CKK.DH: lambda: {CKA.PRIME: _safe_prime(2048).to_bytes(256, "big"), CKA.BASE: b"\2"},
    CKK.ML_DSA: lambda: {CKA.PARAMETER_SET: 1},
    CKK.ML_KEM: lambda: {CKA.PARAMETER_SET: 2},
}


def _ccm(p11: Cryptoki, row: MechanismRow) -> Any:
    return p11.new("CK_CCM_PARAMS *", [32, _bytes(p11, 12), 12, p11.ffi.NULL, 0, 16])


def _chacha(p11: Cryptoki, row: MechanismRow) -> Any:
    return p11.new("CK_CHACHA20_PARAMS *", [_bytes(p11, 4), 32, _bytes(p11, 12), 96])


def _chacha_poly(p11: Cryptoki, row: MechanismRow) -> Any:
    return p11.new("CK_SALSA20_CHACHA20_POLY1305_PARAMS *", [_bytes(p11, 12), 12, p11.ffi.NULL, 0])


def _string_data(p11: Cryptoki, row: MechanismRow) -> Any:
    return p11.new("CK_KEY_DERIVATION_STRING_DATA *", [_bytes(p11, 16), 16])


def _cbc_data(p11: Cryptoki, row: MechanismRow) -> Any:
    return p11.new("CK_AES_CBC_ENCRYPT_DATA_PARAMS *", [bytes(16), _bytes(p11, 32), 32])


def _des_cbc_data(p11: Cryptoki, row: MechanismRow) -> Any:
    return p11.new("CK_DES_CBC_ENCRYPT_DATA_PARAMS *", [bytes(8), _bytes(p11, 32), 32])


def _counting(p11: Cryptoki, row: MechanismRow) -> list[Any]:
    """Return the members that all structures of SP 800-108 begin with: HMAC, and the iteration variable alone."""
    counts = row.mode == "counter"
    layout = p11.new("CK_SP800_108_COUNTER_FORMAT *", [0, 32])
    p11._keep(layout)
    place = p11.ffi.cast("void *", layout) if counts else p11.ffi.NULL
    size = p11.ffi.sizeof("CK_SP800_108_COUNTER_FORMAT") if counts else 0
    parts = p11.new("CK_PRF_DATA_PARAM[]", [(CK.SP800_108_ITERATION_VARIABLE, place, size)])
    p11._keep(parts)
    return [CKM.SHA256_HMAC, 1, parts]


def _sp800_108(p11: Cryptoki, row: MechanismRow) -> Any:
    return p11.new("CK_SP800_108_KDF_PARAMS *", [*_counting(p11, row), 0, p11.ffi.NULL])


def _sp800_108_feedback(p11: Cryptoki, row: MechanismRow) -> Any:
    null = p11.ffi.NULL
    return p11.new("CK_SP800_108_FEEDBACK_KDF_PARAMS *", [*_counting(p11, row), 0, null, 0, null])


def _tls_kdf(p11: Cryptoki, row: MechanismRow) -> Any:
    randoms = [_bytes(p11, 32), 32, _bytes(p11, 32), 32]
    return p11.new("CK_TLS_KDF_PARAMS *", [CKM.SHA256, _bytes(p11, 5), 5, randoms, p11.ffi.NULL, 0])


def _hkdf(p11: Cryptoki, row: MechanismRow) -> Any:
    null = p11.ffi.NULL
    return p11.new("CK_HKDF_PARAMS *", [1, 1, CKM.SHA256, CKF.HKDF_SALT_NULL, null, 0, 0, null, 0])


def _pbkd2(p11: Cryptoki, row: MechanismRow) -> Any:
    null, salt, password = p11.ffi.NULL, _bytes(p11, 16), p11.ffi.cast("CK_UTF8CHAR_PTR", _bytes(p11, 8))
    values = [CKZ.SALT_SPECIFIED, salt, 16, 1000, CKP.PKCS5_PBKD2_HMAC_SHA256, null, 0, password, 8]
    return p11.new("CK_PKCS5_PBKD2_PARAMS2 *", values)


def _ecdh(p11: Cryptoki, row: MechanismRow) -> Any:
    return p11.new("CK_ECDH1_DERIVE_PARAMS *", [CKD.NULL, 0, p11.ffi.NULL, 65, _bytes(p11, 65)])


def _bytes(p11: Cryptoki, length: int) -> Any:
    place, _ = p11.encoded(bytes(length))
    p11._keep(place)
    return place


def _passing_key(p11: Cryptoki, row: MechanismRow) -> Any:
    oaep = p11.oaep()
    p11._keep(oaep)
    return p11.new("CK_RSA_AES_KEY_WRAP_PARAMS *", [256, oaep])


SAMPLES: dict[str, Callable[[Cryptoki, MechanismRow], Any]] = {
    "CK_AES_CTR_PARAMS": lambda p11, row: p11.ctr(bytes(16)),
    "CK_CAMELLIA_CTR_PARAMS": lambda p11, row: p11.new("CK_CAMELLIA_CTR_PARAMS *", [128, bytes(16)]),
    "CK_GCM_PARAMS": lambda p11, row: p11.gcm(bytes(12), b"more"),
    "CK_CCM_PARAMS": _ccm,
    "CK_CHACHA20_PARAMS": _chacha,
    "CK_SALSA20_CHACHA20_POLY1305_PARAMS": _chacha_poly,
    "CK_RSA_PKCS_PSS_PARAMS": lambda p11, row: p11.pss(HASH_TYPES[row.hash or "sha256"], CKG.MGF1_SHA256, 20),
    "CK_RSA_PKCS_OAEP_PARAMS": lambda p11, row: p11.oaep(),
    "CK_RSA_AES_KEY_WRAP_PARAMS": _passing_key,
    "CK_KEY_DERIVATION_STRING_DATA": _string_data,
    "CK_AES_CBC_ENCRYPT_DATA_PARAMS": _cbc_data,
    "CK_DES_CBC_ENCRYPT_DATA_PARAMS": _des_cbc_data,
    "CK_HKDF_PARAMS": _hkdf,
    "CK_SP800_108_KDF_PARAMS": _sp800_108,
    "CK_SP800_108_FEEDBACK_KDF_PARAMS": _sp800_108_feedback,
    "CK_TLS_KDF_PARAMS": _tls_kdf,
    "CK_ECDH1_DERIVE_PARAMS": _ecdh,
    "CK_HASH_SIGN_ADDITIONAL_CONTEXT": lambda p11, row: p11.new(
        "CK_HASH_SIGN_ADDITIONAL_CONTEXT *", [0, p11.ffi.NULL, 0, CKM.SHA256]
    ),
    "CK_PKCS5_PBKD2_PARAMS2": _pbkd2,
    "CK_TLS_MAC_PARAMS": lambda p11, row: p11.new("CK_TLS_MAC_PARAMS *", [CKM.SHA256, 12, 1]),
    **TLS_SAMPLES,
}
# Raw parameters to try: a number such as a MAC's length, initialisation vectors, a version of TLS, none.
RAW = ((16).to_bytes(8, "little"), (8).to_bytes(8, "little"), bytes(16), bytes(8), bytes(12), b"\3\3", b"")
INPUTS = (bytes(range(32)), bytes(range(1, 33)), bytes(range(16)), bytes(20), bytes(28), bytes(48), bytes(64), b"x" * 8)


@dataclass
class Good:
    """A case that works: what to begin with, and the input and output of the whole operation."""

    row: MechanismRow
    use: Use
    key: int
    parameter: Any
    inputs: tuple[bytes, ...]
    output: bytes
    repeats: bool  # the same input gives the same output

    @property
    def mechanism(self) -> tuple[int, Any]:
        return self.row.type, self.parameter


@dataclass
class Matrix:
    """The library, a session with the user logged in, keys by kind; collects what answers otherwise than the rules."""

    p11: Cryptoki
    slot: int
    session: int = 0
    cases: int = 0
    failures: list[str] = field(default_factory=list)
    _keys: dict[Any, Any] = field(default_factory=dict)
    _good: dict[tuple[int, str], Good | None] = field(default_factory=dict)
    _pointed: list[Any] = field(default_factory=list)

    def check(self, fault: str, good: Good | None, function: str, rv: int, detail: object = "") -> None:
        """Compare an answer with the rule of a fault."""
        self.cases += 1
        if not RULES[fault].allows(function, rv):
            what = CKM.name(good.row.type) if good else ""
            self.failures.append(f"{what} {function}: {fault} {detail}: CKR_{CKR.name(rv)}")

    def expect(self, truth: bool, what: str) -> None:
        self.cases += 1
        if not truth:
            self.failures.append(what)

    def report(self) -> None:
        """Fail with everything that was collected."""
        found, self.failures = self.failures, []
        assert not found, f"{len(found)} wrong answers:\n" + "\n".join(found)

    # ---- keys

    def log_in(self) -> None:
        """Open the session and log in; keys are made anew, as those of the session before are gone."""
        self._keys.clear()
        self._good.clear()
        self.session = self.p11.open_session(self.slot)
        self.p11.login(self.session, PIN)

    def secret(self, row: MechanismRow, *, able: bool = True, key_type: int | None = None) -> int:
        """Return a secret key that this mechanism takes, with all uses or with none."""
        key_type = row.key_types[0] if key_type is None else key_type
        name = (key_type, able)
        if name not in self._keys:
            sizes = [n for n in (32, 24, 16, 64, 8) if row.allows(n * 8)] or [row.max_key * row.key_unit_bits // 8]
            self._keys[name] = self._made_secret(key_type, sizes, able=able)
        return int(self._keys[name])

    def _made_secret(self, key_type: int, sizes: list[int], *, able: bool) -> int:
        uses = dict.fromkeys(SECRET_USES, able)
        for size in sizes:
            value = (ODD * 8)[:size]
            template = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: key_type, CKA.VALUE: value, **uses}
            try:
                return self.p11.create_object(self.session, template)
            except CKError:
                continue
        pytest.skip(f"no key of type CKK_{CKK.name(key_type)} of {sizes} bytes can be created")

    def pair(self, key_type: int, *, able: bool = True) -> tuple[int, int]:
        """Return public and private key of a new pair, with all uses or with none."""
        name = ("pair", key_type, able)
        if name not in self._keys:
            maker = next(
                (r for r in ROWS.values() if r.flags & CKF.GENERATE_KEY_PAIR and key_type in r.key_types), None
            )
            given = pair_template(key_type)
            if given is None or maker is None:
                pytest.skip(f"nothing here says how to make a pair of CKK_{CKK.name(key_type)}")
            private = dict.fromkeys(PRIVATE_USES, able)
            public = dict.fromkeys(PUBLIC_USES, able) | given
            self._keys[name] = self.p11.generate_key_pair(self.session, maker.type, public, private)
        return self._keys[name][0], self._keys[name][1]

    def key(self, row: MechanismRow, use: Use, *, able: bool = True) -> int:
        """Return the key for this use of this mechanism; 0 where it takes none."""
        if not row.key_types:
            return 0
        if row.key_types[0] in _PAIR_TYPES:
            return self.pair(row.key_types[0], able=able)[not use.public]
        return self.secret(row, able=able)

    def victim(self, **attributes: bool) -> int:
        """Return a key that can be wrapped."""
        name = ("victim", tuple(attributes.items()))
        if name not in self._keys:
            named = {getattr(CKA, cka): value for cka, value in attributes.items()}
            template = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.VALUE: bytes(range(32)), **named}
            self._keys[name] = self.p11.create_object(self.session, template)
        return int(self._keys[name])

    # ---- calls

    def struct(self, kind: int, parameter: Any, length: int | None = None) -> Any:
        """Return a CK_MECHANISM; `length` overrides the parameter's own, None as parameter is NULL."""
        struct = self.p11.mechanism((kind, parameter))
        if length is not None:
            struct.ulParameterLen = length
        return struct

    def begin(self, use: Use, struct: Any, key: int, session: int | None = None) -> int:
        arguments = [] if use.name == "Digest" else [key]
        return self.p11.rv(f"C_{use.name}Init", self.session if session is None else session, struct, *arguments)

    def start(self, good: Good) -> None:
        """Begin the good case."""
        rv = self.begin(good.use, self.struct(*good.mechanism), good.key)
        if rv:
            raise CKError(f"C_{good.use.name}Init", rv)

    def whole(self, good: Good) -> bytes:
        """Run the good case. Raises CKError."""
        self.start(good)
        return self.finish(good, *good.inputs)

    def finish(self, good: Good, *inputs: bytes, room: int = 8192) -> bytes:
        """Make the one call that follows Init, with room enough. Raises CKError."""
        given = [part for each in inputs for part in self.p11.encoded(each)]
        if good.use.name == "Verify":
            self.p11.call("C_Verify", self.session, *given)
            return b""
        return self.p11.into_room(f"C_{good.use.name}", room, self.session, *given)

    def cancel(self, use: Use) -> int:
        return self.begin(use, None, 0)

    def good(self, row: MechanismRow, use: Use) -> Good:
        """Return a case that works. Skips where no sample is known."""
        at = (row.type, use.name)
        if at not in self._good:
            self._good[at] = self._found(row, use)
        found = self._good[at]
        if found is None:
            pytest.skip(f"no sample of a parameter for CKM_{CKM.name(row.type)}")
        return found

    def parameters(self, row: MechanismRow) -> list[Any]:
        if row.parameter is None:
            return [None]
        if row.type == CKM.CONCATENATE_BASE_AND_KEY:  # whose parameter is a handle
            return [self.secret(ROWS[CKM.SHA256_HMAC]).to_bytes(8, "little")]
        if row.parameter is bytes:
            return [*RAW]
        name = getattr(row.parameter, "struct", "")
        if name not in SAMPLES:
            return [None] if row.optional_parameter else []
        sample = SAMPLES[name](self.p11, row)
        self._pointed.append(self.p11._kept[-8:])  # what it points to, which the client keeps for a while only
        return [sample]

    def _found(self, row: MechanismRow, use: Use) -> Good | None:
        first = use if use.name in ("Encrypt", "Digest", "Sign", "SignRecover") else USES[use.counterpart]
        key, parameters = self.key(row, first), self.parameters(row)
        if not parameters:
            return None
        for parameter in parameters:
            for data in INPUTS:
                good = Good(row, first, key, parameter, (data,), b"", repeats=False)
                try:
                    good.output = self.whole(good)
                except CKError:
                    self.cancel(first)
                    continue
                good.repeats = self.whole(good) == good.output
                return good if first is use else self._answer(good, use)
        pytest.fail(f"CKM_{CKM.name(row.type)} does none of {len(INPUTS)} inputs: is a row of INPUTS or RAW missing?")

    def _answer(self, made: Good, use: Use) -> Good:
        """Return the counterpart of a case."""
        (data,), made_output = made.inputs, made.output
        inputs = (data, made_output) if use.name == "Verify" else (made_output,)
        good = Good(made.row, use, self.key(made.row, use), made.parameter, inputs, b"", repeats=True)
        good.output = self.whole(good)
        return good


_PAIR_TYPES = frozenset(kind for row in ROWS.values() if row.flags & CKF.GENERATE_KEY_PAIR for kind in row.key_types)


@cache
def pair_template(key_type: int) -> dict[int, Any] | None:
    """Return what a pair of this type is generated from, None where PAIRS does not say."""
    return PAIRS[key_type]() if key_type in PAIRS else None


@pytest.fixture(scope="module")
def matrix(library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """The library with a token of its own, the user logged in, for all cases of a module."""
    home = token_home(tmp_path_factory.mktemp("matrix"))
    (home / "logs").mkdir(mode=0o700)
    before = os.environ.get("MAPR_HOME")
    os.environ["MAPR_HOME"] = str(home)
    p11 = Cryptoki(library_path)
    try:
        p11.initialize()
        slot = p11.slots()[0]
        p11.init_token(slot, SO_PIN, "matrix")
        session = p11.open_session(slot)
        p11.login(session, SO_PIN, CKU.SO)
        p11.init_pin(session, PIN)
        p11.close_session(session)
        made = Matrix(p11, slot)
        made.log_in()
        yield made
        print(f"{made.cases} cases")  # shown with -s
    finally:
        rv_of(p11.finalize)
        del os.environ["MAPR_HOME"]
        if before is not None:
            os.environ["MAPR_HOME"] = before
