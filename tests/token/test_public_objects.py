"""What a session without a login sees: the token's capabilities, and copies of objects that are public by nature."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fix_appliance import Appliance
from fix_provider import READ_ONLY, READ_WRITE, create_secret, find, get, template
from fix_tokens import TokenOnDisk

from mrhsm_p11.constants import CKA, CKC, CKM, CKO, CKP, CKR, CKU
from mrhsm_p11.crypto import certificates
from mrhsm_p11.errors import ActionProhibited, CryptokiError, ObjectHandleInvalid, UserNotLoggedIn
from mrhsm_p11.functions import crypto, general, keys, objects, sessions
from mrhsm_p11.mapping import mechanisms
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import public_objects

P256 = bytes.fromhex("06082a8648ce3d030107")
LABEL = "kept"


@pytest.fixture(params=["file", "kmip"])
def token(request: pytest.FixtureRequest, make_token: Callable[..., TokenOnDisk]) -> Iterator[TokenOnDisk]:
    """A token of each store, the library initialised."""
    if request.param == "file":
        made = make_token()
    else:
        made = make_token(store="kmip", connection=request.getfixturevalue("make_appliance")().connection())
    general.initialize(None)
    yield made
    general.finalize(False)


def public(token: TokenOnDisk, flags: int = READ_WRITE) -> int:
    return sessions.open_session(token.slot_id, flags)


def user(token: TokenOnDisk) -> int:
    session = public(token)
    sessions.login(session, CKU.USER, Secret(token.user_pin.view()))
    return session


def restart() -> None:
    """Be another process, as far as the library can tell."""
    general.finalize(False)
    general.initialize(None)


def make_pair(session: int, **more: Value) -> tuple[int, int]:
    values: dict[int, Value] = {CKA.TOKEN: True, CKA.LABEL: LABEL, **{getattr(CKA, k): v for k, v in more.items()}}
    public_values = template({**values, CKA.EC_PARAMS: P256})
    return keys.generate_key_pair(session, Mechanism(CKM.EC_KEY_PAIR_GEN), public_values, template(values))


@pytest.fixture
def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "public.example")])
    start = datetime.datetime(2026, 1, 1)
    built = x509.CertificateBuilder(name, name, key.public_key(), 7, start, start + datetime.timedelta(days=999))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def certificate_values(der: bytes) -> dict[int, Value]:
    subject = certificates.attributes(der)[CKA.SUBJECT]
    of_type: dict[int, Value] = {CKA.CLASS: CKO.CERTIFICATE, CKA.CERTIFICATE_TYPE: CKC.X_509, CKA.SUBJECT: subject}
    return {**of_type, CKA.VALUE: der, CKA.TOKEN: True, CKA.LABEL: LABEL}


# ---- copies


def test_certificates_and_public_keys_are_there_in_the_next_process(token: TokenOnDisk, certificate: bytes) -> None:
    session = user(token)
    make_pair(session)
    objects.create_object(session, template(certificate_values(certificate)))
    create_secret(session, b"0" * 16, {CKA.TOKEN: True, CKA.PRIVATE: False, CKA.LABEL: LABEL})
    data: dict[int, Value] = {CKA.CLASS: CKO.DATA, CKA.TOKEN: True, CKA.LABEL: LABEL, CKA.VALUE: b"not for the disk"}
    objects.create_object(session, template(data))
    before = {get(session, one, CKA.CLASS): get(session, one, CKA.UNIQUE_ID) for one in find(session, {})}
    restart()
    session = public(token, READ_ONLY)
    seen = {get(session, one, CKA.CLASS): one for one in find(session, {CKA.LABEL: LABEL})}
    assert seen.keys() == {CKO.CERTIFICATE, CKO.PUBLIC_KEY}
    assert {cls: get(session, one, CKA.UNIQUE_ID) for cls, one in seen.items()}.items() <= before.items()
    assert get(session, seen[CKO.CERTIFICATE], CKA.VALUE) == certificate
    assert find(session, {CKA.ID: get(session, seen[CKO.PUBLIC_KEY], CKA.ID)}) == [seen[CKO.PUBLIC_KEY]]
    kept = (token.folder / public_objects.FILE).read_bytes()
    assert b"not for" not in kept
    assert b"MDAwMDAwMDAw" not in kept


def test_a_public_key_verifies_without_a_login(token: TokenOnDisk) -> None:
    session = user(token)
    _, private = make_pair(session)
    crypto.sign_init(session, Mechanism(CKM.ECDSA_SHA256), private)
    signature = crypto.sign(session, b"text", 1000)
    assert isinstance(signature, bytes)
    sessions.logout(session)
    (key,) = find(session, {CKA.CLASS: CKO.PUBLIC_KEY})
    crypto.verify_init(session, Mechanism(CKM.ECDSA_SHA256), key)
    crypto.verify(session, b"text", signature)


def test_a_sealed_public_object_wants_a_login(token: TokenOnDisk) -> None:
    session = user(token)
    wanted = template({CKA.TOKEN: True, CKA.PRIVATE: False, CKA.VALUE_LEN: 16})
    key = keys.generate_key(session, Mechanism(CKM.AES_KEY_GEN), wanted)
    sessions.logout(session)
    with pytest.raises(UserNotLoggedIn):
        objects.copy_object(session, key, template({CKA.PRIVATE: True}))
    with pytest.raises(UserNotLoggedIn):
        crypto.encrypt_init(session, Mechanism(CKM.AES_ECB), key)
    sessions.login(session, CKU.USER, Secret(token.user_pin.view()))
    crypto.encrypt_init(session, Mechanism(CKM.AES_ECB), key)


def test_a_handle_stands_for_the_object_before_and_after_the_login(token: TokenOnDisk) -> None:
    make_pair(user(token))
    restart()
    session = public(token)
    (key,) = find(session, {CKA.LABEL: LABEL})
    sessions.login(session, CKU.USER, Secret(token.user_pin.view()))
    assert key in find(session, {CKA.LABEL: LABEL})
    objects.set_attribute_value(session, key, template({CKA.LABEL: "renamed"}))
    sessions.logout(session)
    assert get(session, key, CKA.LABEL) == "renamed"
    assert find(session, {CKA.LABEL: "renamed"}) == [key]


def test_a_process_that_may_log_in_by_itself_changes_public_objects(token: TokenOnDisk) -> None:
    make_pair(user(token))
    restart()
    session = public(token)
    (key,) = find(session, {CKA.LABEL: LABEL})
    objects.set_attribute_value(session, key, template({CKA.LABEL: "renamed"}))
    assert find(session, {CKA.LABEL: "renamed"}) == [key]
    objects.destroy_object(session, key)
    assert find(session, {}) == []
    sessions.login(session, CKU.USER, Secret(token.user_pin.view()))
    assert [get(session, one, CKA.CLASS) for one in find(session, {})] == [CKO.PRIVATE_KEY]


def test_nothing_is_changed_without_a_login(token: TokenOnDisk) -> None:
    make_pair(user(token))
    restart()
    (token.folder / "user.pin").unlink()
    session = public(token)
    (key,) = find(session, {CKA.LABEL: LABEL})
    for act in (
        lambda: objects.set_attribute_value(session, key, template({CKA.LABEL: "x"})),
        lambda: objects.destroy_object(session, key),
        lambda: objects.copy_object(session, key, {}),
    ):
        with pytest.raises(UserNotLoggedIn):
            act()
    copy = objects.copy_object(session, key, template({CKA.TOKEN: False}))
    assert get(session, copy, CKA.PUBLIC_KEY_INFO) == get(session, key, CKA.PUBLIC_KEY_INFO)


def test_what_was_destroyed_elsewhere_goes_with_the_next_search(token: TokenOnDisk) -> None:
    session = user(token)
    key, _ = make_pair(session)
    restart()
    kept = (token.folder / public_objects.FILE).read_bytes()
    session = user(token)
    (key,) = find(session, {CKA.CLASS: CKO.PUBLIC_KEY})
    objects.destroy_object(session, key)
    general.finalize(False)
    (token.folder / public_objects.FILE).write_bytes(kept)  # as if another host had destroyed it
    general.initialize(None)
    session = public(token)
    (held,) = find(session, {CKA.CLASS: CKO.PUBLIC_KEY})
    sessions.login(session, CKU.USER, Secret(token.user_pin.view()))
    with pytest.raises(ObjectHandleInvalid):
        get(session, held, CKA.LABEL)
    assert find(session, {CKA.LABEL: LABEL, CKA.CLASS: CKO.PUBLIC_KEY}) == []
    sessions.logout(session)
    assert find(session, {CKA.CLASS: CKO.PUBLIC_KEY}) == []


def test_a_search_of_something_else_forgets_nothing(token: TokenOnDisk) -> None:
    session = user(token)
    make_pair(session, ID=b"one")
    for wanted in ({CKA.LABEL: "other"}, {CKA.CLASS: CKO.SECRET_KEY}, {CKA.ID: b"two"}, {CKA.CLASS: CKO.CERTIFICATE}):
        assert find(session, wanted) == []
    restart()
    assert len(find(public(token), {CKA.ID: b"one"})) == 1


@pytest.mark.parametrize("damage", ["mac", "attributes", "garbage", "gone"])
def test_a_login_does_not_believe_copies_that_are_not_ours(token: TokenOnDisk, damage: str) -> None:
    make_pair(user(token))
    general.finalize(False)
    file = token.folder / public_objects.FILE
    content = json.loads(file.read_text())
    if damage == "mac":
        content["mac"] = "0" * 64
    elif damage == "attributes":
        content["objects"] = content["objects"].replace(LABEL, "evil")
    file.write_text("{" if damage == "garbage" else json.dumps(content))
    if damage == "gone":
        file.unlink()
    general.initialize(None)
    session = user(token)
    assert len(find(session, {CKA.LABEL: LABEL})) == 2
    assert find(session, {CKA.LABEL: "evil"}) == []
    sessions.logout(session)
    assert len(find(session, {CKA.LABEL: LABEL})) == 1
    if damage != "gone":
        assert "not believed" in (token.home / "logs" / "mrhsm.log").read_text()


def test_forged_copies_do_not_outlive_a_login(token: TokenOnDisk) -> None:
    session = user(token)
    make_pair(session)
    general.finalize(False)
    file = token.folder / public_objects.FILE
    forged = json.dumps({**json.loads(file.read_text()), "mac": "0" * 64})
    general.initialize(None)
    session = user(token)
    for one in find(session, {}):
        objects.destroy_object(session, one)
    general.finalize(False)
    file.write_text(forged)
    general.initialize(None)
    session = public(token)
    assert len(find(session, {})) == 1
    sessions.login(session, CKU.USER, Secret(token.user_pin.view()))
    assert find(session, {}) == []
    sessions.logout(session)
    assert find(session, {}) == []


def test_a_session_without_login_never_connects(make_token: Callable[..., TokenOnDisk], make_appliance: object) -> None:
    server: Appliance = make_appliance()  # type: ignore[operator]
    token = make_token(store="kmip", connection=server.connection())
    general.initialize(None)
    make_pair(user(token))
    restart()
    before = len(server.requests())
    session = public(token)
    (key,) = find(session, {})
    get(session, key, CKA.EC_POINT)
    assert len(server.requests()) == before
    general.finalize(False)


def test_live_public_objects_are_read_where_they_are(
    make_token: Callable[..., TokenOnDisk], make_appliance: object, mapr_home: Path
) -> None:
    server: Appliance = make_appliance()  # type: ignore[operator]
    token = make_token(store="kmip", connection=server.connection())
    (mapr_home / "conf" / "maprhsm.conf").write_text('[objects]\npublic = "live"\n')
    general.initialize(None)
    make_pair(user(token))
    restart()
    (token.folder / public_objects.FILE).unlink()
    session = public(token)
    (key,) = find(session, {})
    assert get(session, key, CKA.CLASS) == CKO.PUBLIC_KEY
    with pytest.raises(UserNotLoggedIn):
        objects.create_object(session, template({CKA.CLASS: CKO.DATA, CKA.TOKEN: True}))
    general.finalize(False)


def test_initialising_the_token_again_forgets_the_copies(token: TokenOnDisk) -> None:
    make_pair(user(token))
    restart()
    general.init_token(token.slot_id, Secret(token.so_pin.view()), b"again".ljust(32))
    assert find(public(token), {}) == []


# ---- capabilities


def test_the_profiles_are_shown_to_everybody(token: TokenOnDisk) -> None:
    for session in (public(token, READ_ONLY), user(token)):
        found = find(session, {CKA.CLASS: CKO.PROFILE})
        assert {get(session, one, CKA.PROFILE_ID) for one in found} == {
            CKP.BASELINE_PROVIDER,
            CKP.EXTENDED_PROVIDER,
            CKP.AUTHENTICATION_TOKEN,
            CKP.PUBLIC_CERTIFICATES_TOKEN,
        }
        assert {get(session, one, CKA.TOKEN) for one in found} == {True}
        assert len(find(session, {CKA.PROFILE_ID: CKP.BASELINE_PROVIDER})) == 1
        assert find(session, {}) == []
        assert find(session, {CKA.CLASS: CKO.PROFILE, CKA.TOKEN: False}) == []


def test_the_mechanisms_are_objects_too(token: TokenOnDisk) -> None:
    session = public(token)
    found = find(session, {CKA.CLASS: CKO.MECHANISM})
    assert {get(session, one, CKA.MECHANISM_TYPE) for one in found} == set(mechanisms.ROWS)
    assert len(find(session, {CKA.CLASS: CKO.MECHANISM, CKA.MECHANISM_TYPE: CKM.AES_GCM})) == 1


def test_there_is_no_hardware(token: TokenOnDisk) -> None:
    assert find(public(token), {CKA.CLASS: CKO.HW_FEATURE}) == []


def test_capabilities_cannot_be_changed(token: TokenOnDisk) -> None:
    session = user(token)
    for cls in (CKO.PROFILE, CKO.MECHANISM):
        one = find(session, {CKA.CLASS: cls})[0]
        for act in (
            lambda one=one: objects.destroy_object(session, one),
            lambda one=one: objects.set_attribute_value(session, one, template({CKA.LABEL: "x"})),
            lambda one=one: objects.copy_object(session, one, {}),
        ):
            with pytest.raises(ActionProhibited):
                act()
        with pytest.raises(CryptokiError) as refused:
            objects.create_object(session, template({CKA.CLASS: cls}))
        assert refused.value.ckr == CKR.ATTRIBUTE_VALUE_INVALID
