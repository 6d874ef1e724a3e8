"""Message functions, through the C ABI: parameters are read and written where the caller keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from p11 import CKError, Cryptoki, rv_of

from mrhsm_p11.constants import CKA, CKF, CKG, CKK, CKM, CKO, CKR, CKU

KEY = bytes(range(32))
SO_PIN, PIN = "so pin 1234", "user pin 5678"


class Message:
    """One CK_GCM_MESSAGE_PARAMS with room for IV and tag."""

    def __init__(
        self,
        p11: Cryptoki,
        iv: bytes = bytes(12),
        generator: int = CKG.NO_GENERATE,
        fixed: int = 0,
        tag_bits: int = 128,
    ) -> None:
        self.ffi = p11.ffi
        self._iv, self._tag = p11.new("CK_BYTE[]", iv or b"\0"), p11.new("CK_BYTE[]", 16)
        self.struct = p11.new("CK_GCM_MESSAGE_PARAMS *", [self._iv, len(iv), fixed, generator, self._tag, tag_bits])
        self.arguments = p11.ffi.cast("void *", self.struct), p11.ffi.sizeof("CK_GCM_MESSAGE_PARAMS")

    @property
    def iv(self) -> bytes:
        return bytes(self.ffi.buffer(self._iv, self.struct.ulIvLen))

    @property
    def tag(self) -> bytes:
        return bytes(self.ffi.buffer(self._tag, self.struct.ulTagBits // 8))

    @tag.setter
    def tag(self, value: bytes) -> None:
        self.ffi.memmove(self._tag, value, len(value))


class Bench:
    """A session, a key and the calls of a message process."""

    def __init__(self, p11: Cryptoki) -> None:
        self.p11 = p11
        p11.initialize()
        slot = p11.slots()[0]
        p11.init_token(slot, SO_PIN, "messages")
        self.session = p11.open_session(slot)
        p11.login(self.session, SO_PIN, CKU.SO)
        p11.init_pin(self.session, PIN)
        p11.logout(self.session)
        p11.login(self.session, PIN)
        uses = dict.fromkeys((CKA.ENCRYPT, CKA.DECRYPT, CKA.WRAP, CKA.UNWRAP), True)
        secret = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.VALUE: KEY}
        self.key = p11.create_object(self.session, {**secret, **uses})

    def begin(self, kind: str) -> None:
        self.p11.init(f"Message{kind}", self.session, CKM.AES_GCM, self.key)

    def once(self, kind: str, message: Message, aad: bytes, data: bytes) -> bytes:
        p11 = self.p11
        return p11.two_calls(
            f"C_{kind}Message", self.session, *message.arguments, *p11.encoded(aad), *p11.encoded(data)
        )

    def parts(self, kind: str, message: Message, aad: bytes, parts: list[bytes]) -> bytes:
        p11 = self.p11
        p11.call(f"C_{kind}MessageBegin", self.session, *message.arguments, *p11.encoded(aad))
        return b"".join(
            self.next(kind, message, part, last=number == len(parts) - 1) for number, part in enumerate(parts)
        )

    def next(self, kind: str, message: Message, part: bytes, *, last: bool, room: int = 64) -> bytes:
        p11 = self.p11
        buffer, length = p11.new("CK_BYTE[]", room), p11.new("CK_ULONG *", room)
        flags = CKF.END_OF_MESSAGE if last else 0
        given = (*message.arguments, *p11.encoded(part), buffer, length, flags)
        p11.call(f"C_{kind}MessageNext", self.session, *given)
        return bytes(p11.ffi.buffer(buffer, length[0]))


@pytest.fixture
def bench(cryptoki: Cryptoki) -> Bench:
    return Bench(cryptoki)


def sealed(message: Message, aad: bytes, plain: bytes) -> tuple[bytes, bytes]:
    whole = AESGCM(KEY).encrypt(message.iv, plain, aad)
    return whole[:-16], whole[-16:][: message.struct.ulTagBits // 8]


@pytest.mark.parametrize("tag_bits", [128, 96])
@pytest.mark.parametrize("plain", [b"", b"text", b"x" * 33])
def test_a_message_is_encrypted_with_its_own_iv(bench: Bench, plain: bytes, tag_bits: int) -> None:
    bench.begin("Encrypt")
    for number in range(3):
        message = Message(bench.p11, iv=bytes([number]) * 12, tag_bits=tag_bits)
        encrypted = bench.once("Encrypt", message, b"aad", plain)
        assert (encrypted, message.tag) == sealed(message, b"aad", plain)
        assert bench.parts("Encrypt", message, b"aad", [plain[:5], plain[5:]]) == encrypted
    bench.p11.call("C_MessageEncryptFinal", bench.session)
    assert rv_of(bench.once, "Encrypt", message, b"", plain) == CKR.OPERATION_NOT_INITIALIZED
    bench.begin("Decrypt")
    assert bench.once("Decrypt", message, b"aad", encrypted) == plain
    assert bench.parts("Decrypt", message, b"aad", [encrypted[:5], encrypted[5:]]) == plain
    bench.p11.call("C_MessageDecryptFinal", bench.session)


def test_a_false_tag_ends_the_message_and_not_the_process(bench: Bench) -> None:
    message = Message(bench.p11)
    bench.begin("Encrypt")
    encrypted, good = bench.once("Encrypt", message, b"aad", b"text"), message.tag
    bench.begin("Decrypt")
    message.tag = bytes(16)
    assert rv_of(bench.once, "Decrypt", message, b"aad", encrypted) == CKR.AEAD_DECRYPT_FAILED
    assert rv_of(bench.parts, "Decrypt", message, b"aad", [encrypted, b""]) == CKR.AEAD_DECRYPT_FAILED
    assert rv_of(bench.next, "Decrypt", message, b"", last=True) == CKR.OPERATION_NOT_INITIALIZED
    message.tag = good
    assert rv_of(bench.once, "Decrypt", message, b"other", encrypted) == CKR.AEAD_DECRYPT_FAILED
    assert bench.once("Decrypt", message, b"aad", encrypted) == b"text"


def test_messages_do_not_overlap(bench: Bench) -> None:
    message, p11 = Message(bench.p11), bench.p11
    begin = ("C_EncryptMessageBegin", bench.session, *message.arguments, None, 0)
    assert p11.rv(*begin) == CKR.OPERATION_NOT_INITIALIZED
    bench.begin("Encrypt")
    assert rv_of(bench.begin, "Encrypt") == CKR.OPERATION_ACTIVE
    assert rv_of(bench.next, "Encrypt", message, b"x", last=False) == CKR.OPERATION_NOT_INITIALIZED
    p11.call(*begin)
    assert p11.rv(*begin) == CKR.OPERATION_ACTIVE
    assert rv_of(bench.once, "Encrypt", message, b"", b"x") == CKR.OPERATION_ACTIVE
    assert rv_of(bench.next, "Encrypt", message, b"long", last=False, room=3) == CKR.BUFFER_TOO_SMALL
    encrypted = bench.next("Encrypt", message, b"long", last=True, room=4)
    assert (encrypted, message.tag) == sealed(message, b"", b"long")


@pytest.mark.parametrize("end", ["cancel", "no mechanism", "logout"])
def test_a_process_ends(bench: Bench, end: str) -> None:
    bench.begin("Encrypt")
    if end == "cancel":
        bench.p11.call("C_SessionCancel", bench.session, CKF.MESSAGE_ENCRYPT)
    elif end == "logout":
        bench.p11.logout(bench.session)
    else:
        bench.p11.call("C_MessageEncryptInit", bench.session, None, 0)
        assert bench.p11.rv("C_MessageEncryptInit", bench.session, None, 0) == CKR.ARGUMENTS_BAD
    assert bench.p11.rv("C_MessageEncryptFinal", bench.session) == CKR.OPERATION_NOT_INITIALIZED


@pytest.mark.parametrize("generator", [CKG.GENERATE, CKG.GENERATE_RANDOM, CKG.GENERATE_COUNTER])
@pytest.mark.parametrize("fixed", [0, 32])
def test_generated_ivs_keep_their_fixed_part_and_never_repeat(bench: Bench, generator: int, fixed: int) -> None:
    bench.begin("Encrypt")
    made = []
    for number in range(20):
        message = Message(bench.p11, iv=b"fix!" + bytes(8), generator=generator, fixed=fixed)
        encrypted = bench.once("Encrypt", message, b"", b"text")
        assert (encrypted, message.tag) == sealed(message, b"", b"text")
        assert not fixed or message.iv[:4] == b"fix!"
        assert generator != CKG.GENERATE_COUNTER or int.from_bytes(message.iv[fixed // 8 :], "big") == number
        made.append(message.iv)
    assert len(set(made)) == len(made)


def test_a_counter_is_laid_over_the_iv(bench: Bench) -> None:
    bench.begin("Encrypt")
    base = b"fix!" + bytes(range(8))
    for number in range(3):
        message = Message(bench.p11, iv=base, generator=CKG.GENERATE_COUNTER_XOR, fixed=32)
        bench.parts("Encrypt", message, b"", [b"text"])
        assert int.from_bytes(message.iv, "big") == int.from_bytes(base, "big") ^ number
    assert rv_of(bench.once, "Encrypt", message, b"", b"text") == CKR.MECHANISM_PARAM_INVALID  # has the last IV in it


def test_a_counter_ends(bench: Bench) -> None:
    bench.begin("Encrypt")
    counting = {"generator": CKG.GENERATE_COUNTER, "fixed": 95}
    for number in range(2):
        message = Message(bench.p11, **counting)
        bench.once("Encrypt", message, b"", b"text")
        assert message.iv[-1] == number
    assert rv_of(bench.once, "Encrypt", message, b"", b"text") == CKR.TOKEN_RESOURCE_EXCEEDED
    other = Message(bench.p11, generator=CKG.GENERATE)
    assert rv_of(bench.once, "Encrypt", other, b"", b"text") == CKR.MECHANISM_PARAM_INVALID
    assert len(bench.once("Encrypt", Message(bench.p11, iv=b"n" * 12), b"", b"text")) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"iv": b""},
        {"iv": bytes(7)},
        {"tag_bits": 127},
        {"tag_bits": 0},
        {"generator": 5},
        {"generator": CKG.GENERATE, "fixed": 96},
        {"generator": CKG.GENERATE, "fixed": 2**63},
        {"generator": CKG.GENERATE_RANDOM, "fixed": 40},
    ],
)
def test_a_message_with_a_bad_parameter_is_refused(bench: Bench, wrong: dict[str, Any]) -> None:
    message = Message(bench.p11, **wrong)
    bench.begin("Encrypt")
    assert rv_of(bench.parts, "Encrypt", message, b"", [b"text"]) == CKR.MECHANISM_PARAM_INVALID
    room, length = bench.p11.new("CK_BYTE[64]"), bench.p11.new("CK_ULONG *", 64)
    text = bench.p11.encoded(b"text")
    given = (*message.arguments, None, 0, *text, room, length)
    assert bench.p11.rv("C_EncryptMessage", bench.session, *given) == CKR.MECHANISM_PARAM_INVALID
    assert message.tag == bytes(len(message.tag))


def test_a_parameter_without_room_is_refused(bench: Bench) -> None:
    bench.begin("Encrypt")
    for place in ("pIv", "pTag"):
        message = Message(bench.p11)
        setattr(message.struct, place, bench.p11.ffi.NULL)
        assert rv_of(bench.once, "Encrypt", message, b"", b"text") == CKR.MECHANISM_PARAM_INVALID
    message = Message(bench.p11)
    for arguments in ((None, 0), (message.arguments[0], 47), (None, 48)):
        message.arguments = arguments
        assert rv_of(bench.once, "Encrypt", message, b"", b"text") == CKR.MECHANISM_PARAM_INVALID


@pytest.mark.parametrize("mechanism", [CKM.AES_CBC_PAD, CKM.SHA256_HMAC, CKM.SHA256])
def test_other_mechanisms_encrypt_no_messages(bench: Bench, mechanism: int) -> None:
    assert rv_of(bench.p11.init, "MessageEncrypt", bench.session, mechanism, bench.key) == CKR.MECHANISM_INVALID


def other_message(bench: Bench, kind: int, length: int) -> tuple[Any, Any, Any]:
    """Return a structure of another mechanism, with 12 bytes of nonce, and room for 16 of tag."""
    new = bench.p11.new
    nonce, tag = new("CK_BYTE[]", b"n" * 12), new("CK_BYTE[16]")
    if kind == CKM.AES_CCM:
        return new("CK_CCM_MESSAGE_PARAMS *", [length, nonce, 12, 0, CKG.GENERATE, tag, 16]), nonce, tag
    return new("CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS *", [nonce, 96, tag]), nonce, tag


@pytest.mark.parametrize(("kind", "key_type"), [(CKM.AES_CCM, CKK.AES), (CKM.CHACHA20_POLY1305, CKK.CHACHA20)])
def test_other_mechanisms_seal_messages(bench: Bench, kind: int, key_type: int) -> None:
    p11, session, plain = bench.p11, bench.session, b"twenty bytes of text"
    uses = dict.fromkeys((CKA.ENCRYPT, CKA.DECRYPT), True)
    key = p11.create_object(session, {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: key_type, CKA.VALUE: KEY, **uses})
    struct, nonce, tag = other_message(bench, kind, len(plain))
    message = Message(p11)
    message.arguments = p11.ffi.cast("void *", struct), p11.ffi.sizeof(p11.ffi.typeof(struct).item)
    p11.init("MessageEncrypt", session, kind, key)
    encrypted = bench.once("Encrypt", message, b"aad", plain)
    used, made = bytes(p11.ffi.buffer(nonce, 12)), bytes(p11.ffi.buffer(tag))
    primitive = AESCCM(KEY) if kind == CKM.AES_CCM else ChaCha20Poly1305(KEY)
    assert encrypted + made == primitive.encrypt(used, plain, b"aad")
    assert (used == b"n" * 12) == (kind != CKM.AES_CCM)
    p11.init("MessageDecrypt", session, kind, key)
    assert bench.parts("Decrypt", message, b"aad", [encrypted[:7], encrypted[7:]]) == plain
    p11.ffi.memmove(tag, bytes(16), 16)
    assert rv_of(bench.once, "Decrypt", message, b"aad", encrypted) == CKR.AEAD_DECRYPT_FAILED
    assert bench.parts("Encrypt", message, b"aad", [plain[:7], plain[7:]]) != plain


# ---- signatures ----


@pytest.fixture
def mac(bench: Bench) -> int:
    uses = dict.fromkeys((CKA.SIGN, CKA.VERIFY), True)
    secret = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.VALUE: KEY}
    return bench.p11.create_object(bench.session, {**secret, **uses})


def test_messages_are_signed_and_verified(bench: Bench, mac: int) -> None:
    p11, session, nothing = bench.p11, bench.session, (None, 0)
    p11.init("MessageSign", session, CKM.SHA256_HMAC, mac)
    p11.init("MessageVerify", session, CKM.SHA256_HMAC, mac)
    for text in (b"one", b"two"):
        signature = p11.two_calls("C_SignMessage", session, *nothing, *p11.encoded(text))
        assert signature == p11.sign(session, CKM.SHA256_HMAC, mac, text)
        given = (*nothing, *p11.encoded(text), *p11.encoded(signature))
        p11.call("C_VerifyMessage", session, *given)
        p11.call("C_SignMessageBegin", session, *nothing)
        p11.call("C_SignMessageNext", session, *nothing, *p11.encoded(text[:1]), None, None)
        assert p11.two_calls("C_SignMessageNext", session, *nothing, *p11.encoded(text[1:])) == signature
        p11.call("C_VerifyMessageBegin", session, *nothing)
        p11.call("C_VerifyMessageNext", session, *nothing, *p11.encoded(text[:1]), None, 0)
        last = (*nothing, *p11.encoded(text[1:]))
        p11.call("C_VerifyMessageNext", session, *last, *p11.encoded(signature))
        assert p11.rv("C_VerifyMessageNext", session, *last, *p11.encoded(signature)) == CKR.OPERATION_NOT_INITIALIZED
        assert p11.rv("C_VerifyMessage", session, *last, *p11.encoded(signature)) == CKR.SIGNATURE_INVALID
    p11.call("C_MessageSignFinal", session)
    p11.call("C_MessageVerifyFinal", session)
    assert p11.rv("C_MessageVerifyFinal", session) == CKR.OPERATION_NOT_INITIALIZED


def test_a_part_that_cannot_be_read_ends_its_message_and_not_the_process(bench: Bench, mac: int) -> None:
    p11, session = bench.p11, bench.session
    for kind in ("Sign", "Verify"):
        last = (
            None,
            0,
            *p11.encoded(b"text"),
            p11.new("CK_BYTE[]", 32),
            {"Sign": p11.new("CK_ULONG *", 32)}.get(kind, 32),
        )
        p11.init(f"Message{kind}", session, CKM.SHA256_HMAC, mac)
        assert p11.rv(f"C_{kind}MessageNext", session, None, 0, None, 4, None, last[-1]) == CKR.ARGUMENTS_BAD
        p11.call(f"C_{kind}MessageBegin", session, None, 0)
        assert p11.rv(f"C_{kind}MessageNext", session, None, 0, None, 4, *last[-2:]) == CKR.ARGUMENTS_BAD
        assert p11.rv(f"C_{kind}MessageNext", session, *last) == CKR.OPERATION_NOT_INITIALIZED
        p11.call(f"C_{kind}MessageBegin", session, None, 0)
        p11.call(f"C_Message{kind}Final", session)


@pytest.mark.parametrize("function", ["MessageSign", "MessageVerify"])
def test_a_parameter_of_signatures_is_looked_at_in_the_beginning(bench: Bench, mac: int, function: str) -> None:
    with pytest.raises(CKError) as refused:
        bench.p11.init(function, bench.session, CKM.SHA256_HMAC_GENERAL, mac)
    assert refused.value.rv == CKR.MECHANISM_PARAM_INVALID
    bench.p11.init(function, bench.session, CKM.SHA256_HMAC, mac)


def test_no_signature_has_a_parameter_of_its_own(bench: Bench, mac: int) -> None:
    bench.p11.init("MessageSign", bench.session, CKM.SHA256_HMAC, mac)
    message = Message(bench.p11)
    assert bench.p11.rv("C_SignMessageBegin", bench.session, *message.arguments) == CKR.MECHANISM_PARAM_INVALID
    assert bench.p11.rv("C_SignMessageBegin", bench.session, None, 0) == CKR.OK


def test_what_signs_at_once_signs_no_message_in_parts(bench: Bench) -> None:
    curve = bytes.fromhex("06082a8648ce3d030107")
    pair = bench.p11.generate_key_pair(bench.session, CKM.EC_KEY_PAIR_GEN, {CKA.EC_PARAMS: curve}, {})
    bench.p11.init("MessageSign", bench.session, CKM.ECDSA, pair[1])
    bench.p11.init("MessageVerify", bench.session, CKM.ECDSA, pair[0])
    assert bench.p11.rv("C_SignMessageBegin", bench.session, None, 0) == CKR.OPERATION_NOT_INITIALIZED
    hashed = bench.p11.encoded(b"h" * 32)
    signature = bench.p11.two_calls("C_SignMessage", bench.session, None, 0, *hashed)
    bench.p11.call("C_VerifyMessage", bench.session, None, 0, *hashed, *bench.p11.encoded(signature))


def test_flags_tell_of_messages(bench: Bench) -> None:
    slot = bench.p11.slots()[0]
    sealing, signing = CKF.MESSAGE_ENCRYPT | CKF.MESSAGE_DECRYPT, CKF.MESSAGE_SIGN | CKF.MESSAGE_VERIFY
    told = {
        kind: bench.p11.mechanism_info(slot, kind)["flags"] & (sealing | signing | CKF.MULTI_MESSAGE)
        for kind in (CKM.AES_GCM, CKM.AES_CBC, CKM.SHA256_HMAC, CKM.ECDSA, CKM.SHA256)
    }
    assert told == {
        CKM.AES_GCM: sealing | CKF.MULTI_MESSAGE,
        CKM.AES_CBC: 0,
        CKM.SHA256_HMAC: signing | CKF.MULTI_MESSAGE,
        CKM.ECDSA: signing,
        CKM.SHA256: 0,
    }


# ---- authenticated wrapping ----


def wrap(bench: Bench, message: Message, key: int, aad: bytes = b"aad") -> bytes:
    mechanism = bench.p11.mechanism((CKM.AES_GCM, message.struct))
    return bench.p11.two_calls(
        "C_WrapKeyAuthenticated", bench.session, mechanism, bench.key, key, *bench.p11.encoded(aad)
    )


def unwrap(bench: Bench, message: Message, wrapped: bytes, aad: bytes = b"aad") -> int:
    p11 = bench.p11
    values = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.EXTRACTABLE: True, CKA.SENSITIVE: False}
    handle = p11.new("CK_ULONG *")
    mechanism = p11.mechanism((CKM.AES_GCM, message.struct))
    given = (mechanism, bench.key, *p11.encoded(wrapped), *p11.template(values), *p11.encoded(aad), handle)
    p11.call("C_UnwrapKeyAuthenticated", bench.session, *given)
    return int(handle[0])


@pytest.mark.parametrize("generator", [CKG.NO_GENERATE, CKG.GENERATE])
def test_a_key_is_wrapped_with_associated_data(bench: Bench, mac: int, generator: int) -> None:
    message = Message(bench.p11, generator=generator)
    wrapped = wrap(bench, message, mac)
    assert (wrapped, message.tag) == sealed(message, b"aad", KEY)
    assert (message.iv == bytes(12)) == (generator == CKG.NO_GENERATE)
    assert bench.p11.get(bench.session, unwrap(bench, message, wrapped), CKA.VALUE) == KEY
    assert rv_of(unwrap, bench, message, wrapped, b"other") == CKR.WRAPPED_KEY_INVALID
    message.tag = bytes(16)
    assert rv_of(unwrap, bench, message, wrapped) == CKR.WRAPPED_KEY_INVALID


@pytest.mark.parametrize("generator", [CKG.GENERATE_COUNTER, CKG.GENERATE_COUNTER_XOR])
def test_wrapping_counts_no_ivs(bench: Bench, mac: int, generator: int) -> None:
    with pytest.raises(CKError) as refused:
        wrap(bench, Message(bench.p11, generator=generator), mac)
    assert refused.value.rv == CKR.MECHANISM_PARAM_INVALID


def test_wrapping_has_the_rules_of_wrapping(bench: Bench, mac: int) -> None:
    message = Message(bench.p11)
    assert rv_of(wrap, bench, message, 999_999) == CKR.KEY_HANDLE_INVALID
    kept = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.GENERIC_SECRET, CKA.VALUE: KEY, CKA.EXTRACTABLE: False}
    assert rv_of(wrap, bench, message, bench.p11.create_object(bench.session, kept)) == CKR.KEY_UNEXTRACTABLE
    bench.key = mac
    assert rv_of(wrap, bench, message, mac) == CKR.WRAPPING_KEY_TYPE_INCONSISTENT
    mechanism = bench.p11.mechanism((CKM.AES_CBC_PAD, bytes(16)))
    length = bench.p11.new("CK_ULONG *")
    given = (mechanism, mac, mac, None, 0, None, length)
    assert bench.p11.rv("C_WrapKeyAuthenticated", bench.session, *given) == CKR.WRAPPING_KEY_TYPE_INCONSISTENT
