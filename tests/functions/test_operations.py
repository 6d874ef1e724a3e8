"""The state machine, generated from its table: every family, every step, every wrong order."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from fix_provider import create_secret, make_aes

from mrhsm_p11.abi._prototypes import PROTOTYPES
from mrhsm_p11.constants import CKF, CKK, CKM
from mrhsm_p11.errors import (
    ArgumentsBad,
    CryptokiError,
    EncryptedDataInvalid,
    KeyHandleInvalid,
    OperationActive,
    OperationNotInitialized,
    SessionHandleInvalid,
    SignatureInvalid,
)
from mrhsm_p11.functions import crypto, sessions, verify_signature
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.parameters.symmetric import GCMParams
from mrhsm_p11.token import provider
from mrhsm_p11.token.operations import DUALS, FAMILIES, Step

FAMILY_NAMES = sorted(name for name, family in FAMILIES.items() if len(family.steps) == len(Step))  # not recovery
IV = bytes(16)
ROOM = 4096
MESSAGE = b"attack at dawn, sixteen by sixteen, and a tail"

MECHANISMS = {
    "encrypt": Mechanism(CKM.AES_CBC_PAD, IV),
    "decrypt": Mechanism(CKM.AES_CBC_PAD, IV),
    "digest": Mechanism(CKM.SHA256),
    "sign": Mechanism(CKM.SHA256_HMAC),
    "verify": Mechanism(CKM.SHA256_HMAC),
    "verify_signature": Mechanism(CKM.SHA256_HMAC),
}


def function(name: str) -> Callable[..., bytes | int | None]:
    found: Callable[..., bytes | int | None] = getattr(verify_signature if "signature" in name else crypto, name)
    return found


class Bench:
    """A session with a key for each family; calls the functions of a family by step."""

    def __init__(self, session: int) -> None:
        self.session = session
        aes = make_aes(session)
        mac = create_secret(session, b"k" * 32, key_type=CKK.GENERIC_SECRET)
        self.keys = {"encrypt": aes, "decrypt": aes, "sign": mac, "verify": mac, "verify_signature": mac}
        self.encrypted = self.whole("encrypt", MESSAGE)
        self.signature = self.whole("sign", MESSAGE)

    def init(self, family: str, mechanism: Mechanism | None = None) -> None:
        key = [self.keys[family]] if family in self.keys else []
        signature = [self.signature] if family == "verify_signature" else []
        function(f"{family}_init")(self.session, mechanism or MECHANISMS[family], *key, *signature)

    def cancel(self, family: str) -> None:
        key = [0] if family in self.keys else []
        signature = [b""] if family == "verify_signature" else []
        function(f"{family}_init")(self.session, None, *key, *signature)

    def call(self, family: str, step: Step, room: int | None = ROOM) -> bytes | int | None:
        """Make a step's call with input that fits the family."""
        call = function(family + step.value)
        data = self.encrypted if family == "decrypt" else MESSAGE
        inputs = [] if step is Step.FINAL else [data]
        if family == "verify":
            inputs += [] if step is Step.UPDATE else [self.signature]
            return call(self.session, *inputs)
        if family == "verify_signature":
            return call(self.session, *inputs)
        takes_room = family in ("encrypt", "decrypt") or step is not Step.UPDATE
        return call(self.session, *inputs, *([room] if takes_room else []))

    def whole(self, family: str, data: bytes) -> bytes:
        self.init(family)
        return getattr(crypto, family)(self.session, data, ROOM)

    def active(self, family: str) -> bool:
        return provider.session(self.session).is_active(family)


@pytest.fixture
def bench(user_session: int) -> Bench:
    return Bench(user_session)


def test_every_function_of_the_standard_is_made_from_the_table() -> None:
    expected = {name + step.value for name, family in FAMILIES.items() for step in family.steps}
    expected |= {f"{family}_init" for family in FAMILIES} | set(DUALS)
    made = set(crypto.__all__ + verify_signature.__all__) - {"digest_key", "generate_random", "seed_random"}
    assert made == expected
    missing = {name for name in made if f"C_{camel(name)}" not in PROTOTYPES}
    assert not missing


def camel(name: str) -> str:
    return "".join(part.title() for part in name.split("_"))


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("step", Step)
def test_no_call_before_init(bench: Bench, family: str, step: Step) -> None:
    with pytest.raises(OperationNotInitialized):
        bench.call(family, step)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_no_second_init(bench: Bench, family: str) -> None:
    bench.init(family)
    with pytest.raises(OperationActive):
        bench.init(family)
    assert bench.active(family)
    bench.call(family, Step.ONCE)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("final", [Step.ONCE, Step.FINAL])
def test_nothing_after_the_end(bench: Bench, family: str, final: Step) -> None:
    for step in Step:
        bench.init(family)
        if final is Step.FINAL:
            bench.call(family, Step.UPDATE)
        bench.call(family, final)
        with pytest.raises(OperationNotInitialized):
            bench.call(family, step)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_one_call_does_not_follow_an_update(bench: Bench, family: str) -> None:
    bench.init(family)
    bench.call(family, Step.UPDATE)
    with pytest.raises(OperationNotInitialized):
        bench.call(family, Step.ONCE)
    assert not bench.active(family)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_parts_give_what_one_call_gives(bench: Bench, family: str) -> None:
    bench.init(family)
    whole = bench.call(family, Step.ONCE)
    bench.init(family)
    parts = (bench.call(family, Step.UPDATE) or b"", bench.call(family, Step.FINAL) or b"")
    assert b"".join(parts) == (whole or b"")


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_no_mechanism_cancels(bench: Bench, family: str) -> None:
    with pytest.raises(ArgumentsBad):
        bench.cancel(family)
    bench.init(family)
    bench.cancel(family)
    bench.init(family)


@pytest.mark.parametrize("family", [name for name in FAMILY_NAMES if "verify" not in name])
@pytest.mark.parametrize("step", [Step.ONCE, Step.FINAL])
def test_a_size_query_and_a_small_buffer_consume_nothing(bench: Bench, family: str, step: Step) -> None:
    bench.init(family)
    if step is Step.FINAL:
        bench.call(family, Step.UPDATE)
    for room in (None, 0, None, 1, 0):
        needed = bench.call(family, step, room)
        assert isinstance(needed, int)
        assert bench.active(family)
    output = bench.call(family, step, needed)
    assert isinstance(output, bytes)
    assert len(output) == needed
    if step is Step.ONCE:
        assert output == {"decrypt": MESSAGE, "encrypt": bench.encrypted, "sign": bench.signature}.get(family, output)


def test_the_size_of_an_update_is_never_told_as_nothing(bench: Bench) -> None:
    """PyKCS11 then passes no buffer, which asks for the size once more."""
    gcm = Mechanism(CKM.AES_GCM, GCMParams(bytes(12), b"", 128))
    bench.init("encrypt", gcm)
    sealed = crypto.encrypt(bench.session, MESSAGE, ROOM)
    assert isinstance(sealed, bytes)
    bench.init("decrypt", gcm)
    room = crypto.decrypt_update(bench.session, sealed[:5], None)
    assert isinstance(room, int)
    assert room > 0
    assert crypto.decrypt_update(bench.session, sealed[:5], room) == b""
    assert crypto.decrypt_update(bench.session, sealed[5:], 0) == b""
    assert crypto.decrypt_update(bench.session, b"", None) == 0
    assert crypto.decrypt_final(bench.session, ROOM) == MESSAGE


@pytest.mark.parametrize("family", ["encrypt", "decrypt"])
def test_an_update_into_a_small_buffer_consumes_nothing(bench: Bench, family: str) -> None:
    bench.init(family)
    needed = bench.call(family, Step.UPDATE, None)
    assert bench.call(family, Step.UPDATE, 1) == needed
    first = bench.call(family, Step.UPDATE, ROOM)
    last = bench.call(family, Step.FINAL)
    assert isinstance(first, bytes)
    assert isinstance(last, bytes)
    assert first + last == (MESSAGE if family == "decrypt" else bench.encrypted)


def test_other_input_than_the_parked_one_is_computed_anew(bench: Bench) -> None:
    other = bench.whole("encrypt", b"other")
    bench.init("decrypt")
    assert crypto.decrypt(bench.session, bench.encrypted, 0) == len(MESSAGE)
    assert crypto.decrypt(bench.session, other, 0) == len(b"other")
    assert crypto.decrypt(bench.session, other, 5) == b"other"


@pytest.mark.parametrize("room", [len(MESSAGE), len(MESSAGE) + 1])
def test_plaintext_needs_no_more_room_than_it_has(bench: Bench, room: int) -> None:
    bench.init("decrypt")
    assert crypto.decrypt(bench.session, bench.encrypted, room) == MESSAGE


@pytest.mark.parametrize("room", [None, 0, ROOM])
def test_a_call_that_fails_ends_the_operation(bench: Bench, room: int | None) -> None:
    damaged = bench.encrypted[:-1] + bytes([bench.encrypted[-1] ^ 1])
    bench.init("decrypt")
    if room is not None:
        with pytest.raises(EncryptedDataInvalid):
            crypto.decrypt(bench.session, damaged, room)
        assert not bench.active("decrypt")
    bench.cancel("decrypt") if room is None else bench.init("decrypt")


def test_a_false_signature_ends_the_operation(bench: Bench) -> None:
    bench.init("verify")
    with pytest.raises(SignatureInvalid):
        crypto.verify(bench.session, MESSAGE, bytes(32))
    bench.init("verify")


@pytest.mark.parametrize("final", [Step.ONCE, Step.FINAL])
def test_a_false_signature_that_came_first_ends_the_operation(bench: Bench, final: Step) -> None:
    bench.signature = bytes(32)
    bench.init("verify_signature")
    if final is Step.FINAL:
        bench.call("verify_signature", Step.UPDATE)
    with pytest.raises(SignatureInvalid):
        bench.call("verify_signature", final)
    assert not bench.active("verify_signature")


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_cancelling_ends_the_operations_of_its_flag_alone(bench: Bench, family: str) -> None:
    for each in FAMILY_NAMES:
        bench.init(each)
    flag = CKF.VERIFY if "verify" in family else getattr(CKF, family.upper())
    sessions.session_cancel(bench.session, CKF.FIND_OBJECTS | CKF.WRAP)
    sessions.session_cancel(bench.session, flag)
    ended = {"verify", "verify_signature"} if "verify" in family else {family}
    assert {each for each in FAMILY_NAMES if not bench.active(each)} == ended
    sessions.session_cancel(bench.session, flag)


def test_gcm_releases_nothing_before_the_tag_is_checked(bench: Bench) -> None:
    gcm = Mechanism(CKM.AES_GCM, GCMParams(b"n" * 12, b"aad", 128))
    bench.init("encrypt", gcm)
    sealed = crypto.encrypt(bench.session, MESSAGE, ROOM)
    assert isinstance(sealed, bytes)
    bench.init("decrypt", gcm)
    assert crypto.decrypt_update(bench.session, sealed[:-1] + bytes([sealed[-1] ^ 1]), ROOM) == b""
    with pytest.raises(EncryptedDataInvalid):
        crypto.decrypt_final(bench.session, ROOM)
    bench.init("decrypt", gcm)
    assert crypto.decrypt(bench.session, sealed, 3) == len(MESSAGE)
    assert crypto.decrypt(bench.session, sealed, ROOM) == MESSAGE


@pytest.mark.parametrize(
    ("dual", "second", "data"),
    [
        (crypto.digest_encrypt_update, "digest", MESSAGE),
        (crypto.sign_encrypt_update, "sign", MESSAGE),
        (crypto.decrypt_digest_update, "digest", None),
        (crypto.decrypt_verify_update, "verify", None),
    ],
)
def test_dual_updates_advance_both(bench: Bench, dual: Callable[..., bytes], second: str, data: bytes | None) -> None:
    first = "encrypt" if data else "decrypt"
    with pytest.raises(OperationNotInitialized):
        dual(bench.session, MESSAGE, ROOM)
    bench.init(second)
    with pytest.raises(OperationNotInitialized):
        dual(bench.session, MESSAGE, ROOM)
    assert bench.active(second)
    bench.init(first)
    aligned = MESSAGE[:32]
    given = aligned if data else bench.encrypted
    needed = dual(bench.session, given, None)
    assert dual(bench.session, given, 0) == needed
    output = dual(bench.session, given, needed)
    seen = aligned if data else output
    crypto_final: Callable[..., bytes] = getattr(crypto, f"{first}_final")
    crypto_final(bench.session, ROOM)
    if second == "verify":
        with pytest.raises(SignatureInvalid):  # it has seen the plain text but for its last block
            crypto.verify_final(bench.session, bench.signature)
        return
    result = getattr(crypto, f"{second}_final")(bench.session, ROOM)
    assert result == bench.whole(second, seen)


def test_families_do_not_disturb_each_other(bench: Bench) -> None:
    for family in FAMILY_NAMES:
        bench.init(family)
    for family in FAMILY_NAMES:
        bench.call(family, Step.UPDATE)
    for family in FAMILY_NAMES:
        bench.call(family, Step.FINAL)


@pytest.mark.parametrize("mechanism", [CKM.ECDSA, CKM.RSA_PKCS])
def test_what_takes_its_input_at_once_has_no_parts(user_session: int, mechanism: int) -> None:
    private = pair(user_session, mechanism)
    for call in (lambda: crypto.sign_update(user_session, b"x"), lambda: crypto.sign_final(user_session, ROOM)):
        crypto.sign_init(user_session, Mechanism(mechanism), private)
        with pytest.raises(OperationNotInitialized):
            call()


def pair(session: int, mechanism: int) -> int:
    from fix_provider import template

    from mrhsm_p11.constants import CKA
    from mrhsm_p11.functions import keys

    if mechanism == CKM.ECDSA:
        curve = bytes.fromhex("06082a8648ce3d030107")
        return keys.generate_key_pair(
            session, Mechanism(CKM.EC_KEY_PAIR_GEN), template({CKA.EC_PARAMS: curve}), template({})
        )[1]
    return keys.generate_key_pair(
        session, Mechanism(CKM.RSA_PKCS_KEY_PAIR_GEN), template({CKA.MODULUS_BITS: 2048}), template({})
    )[1]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_failed_init_begins_nothing(bench: Bench, family: str) -> None:
    with pytest.raises(CryptokiError):
        bench.init(family, Mechanism(0x80001234))
    assert not bench.active(family)
    if family in bench.keys:
        bench.keys[family] = 999_999
        with pytest.raises(KeyHandleInvalid):
            bench.init(family)
        assert not bench.active(family)


@pytest.mark.parametrize("function", [name for name in crypto.CONTINUES if not name.endswith("recover")])
def test_refused_arguments_end_the_operation(bench: Bench, function: str) -> None:
    for family in FAMILY_NAMES:
        bench.init(family)
    crypto.refused(function, bench.session)
    assert [family for family in FAMILY_NAMES if not bench.active(family)] == sorted(crypto.CONTINUES[function])
    named = crypto.__all__ + verify_signature.__all__
    assert crypto.CONTINUES.keys() == {name for name in named if "init" not in name and "random" not in name}


def test_sessions_share_no_operations(bench: Bench, library: object) -> None:
    from fix_provider import READ_ONLY

    other = sessions.open_session(provider.require().slots.slot_of(provider.session(bench.session).token), READ_ONLY)
    bench.init("digest")
    with pytest.raises(OperationNotInitialized):
        crypto.digest(other, MESSAGE, ROOM)
    sessions.close_session(other)
    with pytest.raises(SessionHandleInvalid):
        crypto.digest_init(other, MECHANISMS["digest"])


def test_modules_export_functions_only() -> None:
    for name in crypto.__all__:
        assert callable(getattr(crypto, name))
        assert not isinstance(getattr(crypto, name), ModuleType)
