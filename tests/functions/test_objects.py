"""Objects: what templates may say, which attributes are shown and changed, what is found."""

from __future__ import annotations

import hashlib

import pytest
from fix_provider import READ_ONLY, create_secret, find, get, make_aes, template
from fix_tokens import TokenOnDisk

from mrhsm_p11.constants import CK, CKA, CKC, CKK, CKM, CKO, CKU
from mrhsm_p11.errors import (
    ActionProhibited,
    AttributeReadOnly,
    AttributeSensitive,
    AttributeTypeInvalid,
    AttributeValueInvalid,
    CryptokiError,
    ObjectHandleInvalid,
    OperationActive,
    OperationNotInitialized,
    SessionReadOnly,
    TemplateIncomplete,
    TemplateInconsistent,
    UserNotLoggedIn,
)
from mrhsm_p11.functions import keys, objects, sessions
from mrhsm_p11.mapping import attributes
from mrhsm_p11.mapping.codecs import Value
from mrhsm_p11.parameters import Mechanism
from mrhsm_p11.secret import Secret
from mrhsm_p11.token import provider

P256 = bytes.fromhex("06082a8648ce3d030107")
AES_TEMPLATE: dict[int, Value] = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, CKA.VALUE: b"0" * 16}
DATA_TEMPLATE: dict[int, Value] = {CKA.CLASS: CKO.DATA, CKA.LABEL: "text", CKA.VALUE: b"value"}

# What each class wants in C_CreateObject beside class and type; unwrapping and generation have their own tests.
EC_PUBLIC: dict[int, Value] = {CKA.CLASS: CKO.PUBLIC_KEY, CKA.KEY_TYPE: CKK.EC}
KINDS = {
    "aes": AES_TEMPLATE,
    "data": DATA_TEMPLATE,
}


def create(session: int, values: dict[int, Value], **more: Value) -> int:
    return objects.create_object(session, template(values))


@pytest.fixture
def ec_pair(user_session: int) -> tuple[int, int]:
    return keys.generate_key_pair(
        user_session, Mechanism(CKM.EC_KEY_PAIR_GEN), template({CKA.EC_PARAMS: P256}), template({})
    )


# ---- creating


def test_a_created_key_has_every_attribute_of_its_kind(user_session: int) -> None:
    handle = create(user_session, AES_TEMPLATE)
    shown = {cka: get(user_session, handle, cka) for cka in _shown(user_session, handle)}
    absent = {CKA.ALLOWED_MECHANISMS, CKA.WRAP_TEMPLATE, CKA.UNWRAP_TEMPLATE, CKA.DERIVE_TEMPLATE}
    assert shown.keys() == attributes.for_class(CKO.SECRET_KEY, CKK.AES).keys() - absent
    history = (CKA.LOCAL, CKA.ALWAYS_SENSITIVE, CKA.NEVER_EXTRACTABLE, CKA.KEY_GEN_MECHANISM)
    assert [shown[cka] for cka in history] == [False, False, False, CK.UNAVAILABLE_INFORMATION]
    assert (shown[CKA.VALUE], shown[CKA.VALUE_LEN]) == (b"0" * 16, 16)
    assert str(shown[CKA.UNIQUE_ID]).startswith("s-")
    assert shown[CKA.ID] == hashlib.sha256(str(shown[CKA.UNIQUE_ID]).encode()).digest()[:16]


def _shown(session: int, handle: int) -> list[int]:
    kinds = [get(session, handle, cka) for cka in (CKA.CLASS, CKA.KEY_TYPE)]
    asked = list(attributes.for_class(*kinds))  # type: ignore[arg-type]
    answers = objects.get_attribute_value(session, handle, asked)
    return [cka for cka, answer in zip(asked, answers, strict=True) if not isinstance(answer, CryptokiError)]


@pytest.mark.parametrize("missing", [CKA.CLASS, CKA.KEY_TYPE, CKA.VALUE])
def test_what_creation_needs(user_session: int, missing: int) -> None:
    with pytest.raises(TemplateIncomplete):
        create(user_session, {cka: value for cka, value in AES_TEMPLATE.items() if cka != missing})
    assert find(user_session, {}) == []


def _forbidden(origin: str, cls: int, kind: int) -> list[int]:
    return [cka for cka, use in attributes.for_class(cls, kind).items() if getattr(use, f"forbidden_on_{origin}")]


SAMPLES: dict[str, Value] = {"BOOL": False, "ULONG": 16, "TEXT": "x", "BYTES": b"x", "BIGINT": b"x"}


@pytest.mark.parametrize("cka", _forbidden("create", CKO.SECRET_KEY, CKK.AES), ids=CKA.name)
def test_what_creation_forbids(user_session: int, cka: int) -> None:
    with pytest.raises(AttributeReadOnly):
        create(user_session, {**AES_TEMPLATE, cka: SAMPLES[attributes.ROWS[cka].codec.name]})


@pytest.mark.parametrize("cka", _forbidden("generate", CKO.SECRET_KEY, CKK.AES), ids=CKA.name)
def test_what_generation_forbids(user_session: int, cka: int) -> None:
    with pytest.raises(AttributeReadOnly):
        make_aes(user_session, {cka: SAMPLES[attributes.ROWS[cka].codec.name]})


@pytest.mark.parametrize("cka", _forbidden("unwrap", CKO.SECRET_KEY, CKK.AES), ids=CKA.name)
def test_what_unwrapping_forbids(user_session: int, cka: int) -> None:
    kek = make_aes(user_session)
    wanted = {CKA.CLASS: CKO.SECRET_KEY, CKA.KEY_TYPE: CKK.AES, cka: SAMPLES[attributes.ROWS[cka].codec.name]}
    with pytest.raises(AttributeReadOnly):
        keys.unwrap_key(user_session, Mechanism(CKM.AES_KEY_WRAP), kek, bytes(24), template(wanted))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({CKA.MODULUS: b"x"}, AttributeTypeInvalid),
        ({CKA.CLASS: 0xDEADBEEF}, AttributeValueInvalid),
        ({CKA.KEY_TYPE: 0xDEADBEEF}, (AttributeValueInvalid, AttributeTypeInvalid)),
        ({CKA.VALUE: b"0" * 15}, AttributeValueInvalid),
        ({CKA.CHECK_VALUE: b"bad"}, AttributeValueInvalid),
        ({CKA.TRUSTED: True}, AttributeReadOnly),
    ],
)
def test_templates_that_cannot_be(user_session: int, wrong: dict[int, Value], error: type[CryptokiError]) -> None:
    with pytest.raises(error):
        create(user_session, {**AES_TEMPLATE, **wrong})
    assert find(user_session, {}) == []


def test_unknown_attributes_are_refused(user_session: int) -> None:
    for call in (
        lambda: objects.create_object(user_session, {**template(AES_TEMPLATE), 0x80001234: b""}),
        lambda: keys.generate_key(user_session, Mechanism(CKM.AES_KEY_GEN), {0x80001234: b""}),
    ):
        with pytest.raises(AttributeTypeInvalid):
            call()


@pytest.mark.parametrize(
    ("on_token", "logged_in", "private"), [(True, True, True), (False, True, True), (False, False, False)]
)
def test_keys_are_private_by_default_where_somebody_may_see_them(
    public_session: int, library: TokenOnDisk, on_token: bool, logged_in: bool, private: bool
) -> None:
    if logged_in:
        sessions.login(public_session, CKU.USER, Secret(library.user_pin.view()))
    handle = create(public_session, {**AES_TEMPLATE, CKA.TOKEN: on_token})
    assert get(public_session, handle, CKA.PRIVATE) is private
    assert get(public_session, create(public_session, DATA_TEMPLATE), CKA.PRIVATE) is False


def test_who_may_create_what(library: TokenOnDisk, public_session: int) -> None:
    read_only = sessions.open_session(library.slot_id, READ_ONLY)
    for session, values, error in (
        (public_session, {CKA.PRIVATE: True}, UserNotLoggedIn),
        (public_session, {CKA.TOKEN: True}, UserNotLoggedIn),
        (read_only, {CKA.TOKEN: True, CKA.PRIVATE: False}, SessionReadOnly),
    ):
        with pytest.raises(error):
            create(session, {**AES_TEMPLATE, **values})
    create(read_only, DATA_TEMPLATE)


def test_only_the_so_trusts(library: TokenOnDisk, public_session: int) -> None:
    sessions.login(public_session, CKU.SO, Secret(library.so_pin.view()))
    handle = create(public_session, {**AES_TEMPLATE, CKA.PRIVATE: False})
    objects.set_attribute_value(public_session, handle, template({CKA.TRUSTED: True}))
    sessions.logout(public_session)
    assert get(public_session, handle, CKA.TRUSTED) is True
    other = create(public_session, {**AES_TEMPLATE, CKA.PRIVATE: False})
    with pytest.raises(AttributeReadOnly):
        objects.set_attribute_value(public_session, other, template({CKA.TRUSTED: True}))


# ---- reading


@pytest.mark.parametrize(
    ("sensitive", "extractable", "shown"),
    [(False, True, True), (True, True, False), (False, False, False), (True, False, False)],
)
def test_the_value_is_shown_only_if_neither_rule_hides_it(
    user_session: int, sensitive: bool, extractable: bool, shown: bool
) -> None:
    handle = create_secret(user_session, b"0" * 16, {CKA.SENSITIVE: sensitive, CKA.EXTRACTABLE: extractable})
    answers = objects.get_attribute_value(user_session, handle, [CKA.VALUE, CKA.VALUE_LEN, CKA.MODULUS])
    assert isinstance(answers[0], bytes if shown else AttributeSensitive)
    assert isinstance(answers[1], bytes)
    assert isinstance(answers[2], AttributeTypeInvalid)
    assert bool(find(user_session, {CKA.VALUE: b"0" * 16})) is shown


def test_a_private_key_shows_what_is_public(user_session: int, ec_pair: tuple[int, int]) -> None:
    public, private = ec_pair
    assert get(user_session, private, CKA.EC_PARAMS) == P256
    assert get(user_session, private, CKA.PUBLIC_KEY_INFO) == get(user_session, public, CKA.PUBLIC_KEY_INFO)
    with pytest.raises(AttributeSensitive):
        get(user_session, private, CKA.VALUE)


def test_a_pair_has_one_id(user_session: int, ec_pair: tuple[int, int]) -> None:
    public, _private = ec_pair
    spki = get(user_session, public, CKA.PUBLIC_KEY_INFO)
    assert isinstance(spki, bytes)
    assert {get(user_session, handle, CKA.ID) for handle in ec_pair} == {hashlib.sha1(spki).digest()}
    assert sorted(find(user_session, {CKA.ID: hashlib.sha1(spki).digest()})) == sorted(ec_pair)


def test_generated_keys_remember_their_history(user_session: int, ec_pair: tuple[int, int]) -> None:
    for handle, mechanism in ((make_aes(user_session), CKM.AES_KEY_GEN), (ec_pair[1], CKM.EC_KEY_PAIR_GEN)):
        assert get(user_session, handle, CKA.LOCAL) is True
        assert get(user_session, handle, CKA.KEY_GEN_MECHANISM) == mechanism
        assert get(user_session, handle, CKA.ALWAYS_SENSITIVE) is get(user_session, handle, CKA.SENSITIVE)
        assert get(user_session, handle, CKA.NEVER_EXTRACTABLE) is (not get(user_session, handle, CKA.EXTRACTABLE))
    hidden = make_aes(user_session, {CKA.SENSITIVE: True, CKA.EXTRACTABLE: False})
    for cka in (CKA.ALWAYS_SENSITIVE, CKA.NEVER_EXTRACTABLE):
        assert get(user_session, hidden, cka) is True


def test_the_size_of_an_object(user_session: int) -> None:
    small, large = (create(user_session, {**DATA_TEMPLATE, CKA.VALUE: bytes(n)}) for n in (10, 1000))
    assert objects.get_object_size(user_session, large) - objects.get_object_size(user_session, small) == 990


# ---- changing

_AES_USES = attributes.for_class(CKO.SECRET_KEY, CKK.AES)
_FIXED = [cka for cka, use in _AES_USES.items() if not use.settable]


@pytest.mark.parametrize("cka", _FIXED, ids=CKA.name)
def test_what_cannot_be_set(user_session: int, cka: int) -> None:
    handle = create(user_session, AES_TEMPLATE)
    value = {CKA.ALLOWED_MECHANISMS: (CKM.AES_ECB,), CKA.CHECK_VALUE: b"abc"}.get(cka)
    codec = attributes.ROWS[cka].codec.name
    if codec == "TEMPLATE":
        value = {CKA.LABEL: "x"}
    with pytest.raises(AttributeReadOnly):
        objects.set_attribute_value(user_session, handle, template({cka: SAMPLES[codec] if value is None else value}))


@pytest.mark.parametrize(
    ("cka", "there", "back"),
    [
        (CKA.SENSITIVE, True, False),
        (CKA.EXTRACTABLE, False, True),
        (CKA.WRAP_WITH_TRUSTED, True, False),
        (CKA.COPYABLE, False, True),
    ],
)
@pytest.mark.parametrize("copying", [True, False])
def test_one_way_attributes(user_session: int, cka: int, there: bool, back: bool, copying: bool) -> None:
    handle = create(user_session, AES_TEMPLATE)

    def change(value: bool) -> int:
        if copying:
            return objects.copy_object(user_session, handle, template({cka: value}))
        objects.set_attribute_value(user_session, handle, template({cka: value}))
        return handle

    handle = change(there)
    assert get(user_session, handle, cka) is there
    expected = ActionProhibited if copying and cka == CKA.COPYABLE else AttributeReadOnly
    with pytest.raises(expected):
        change(back)


@pytest.mark.parametrize("on_token", [True, False])
def test_setting_is_all_or_nothing(user_session: int, on_token: bool) -> None:
    handle = create(user_session, {**AES_TEMPLATE, CKA.TOKEN: on_token, CKA.LABEL: "before"})
    for bad in ({CKA.LOCAL: True}, {CKA.MODULUS: b"x"}, {CKA.EXTRACTABLE: True, CKA.CLASS: CKO.DATA}):
        with pytest.raises(CryptokiError):
            objects.set_attribute_value(user_session, handle, template({CKA.LABEL: "after", CKA.ID: b"1", **bad}))
    assert get(user_session, handle, CKA.LABEL) == "before"
    objects.set_attribute_value(user_session, handle, template({CKA.LABEL: "after", CKA.ID: b"1"}))
    assert (get(user_session, handle, CKA.LABEL), get(user_session, handle, CKA.ID)) == ("after", b"1")
    assert find(user_session, {CKA.LABEL: "before"}) == []


@pytest.mark.parametrize(
    ("cka", "act"),
    [
        (CKA.MODIFIABLE, lambda s, h: objects.set_attribute_value(s, h, template({CKA.LABEL: "x"}))),
        (CKA.DESTROYABLE, objects.destroy_object),
        (CKA.COPYABLE, lambda s, h: objects.copy_object(s, h, {})),
    ],
)
def test_prohibited_actions(user_session: int, cka: int, act: object) -> None:
    handle = create(user_session, {**AES_TEMPLATE, cka: False})
    with pytest.raises(ActionProhibited):
        act(user_session, handle)  # type: ignore[operator]
    assert find(user_session, {}) == [handle]


def test_token_objects_are_not_changed_in_a_read_only_session(library: TokenOnDisk, user_session: int) -> None:
    handle = create(user_session, {**AES_TEMPLATE, CKA.TOKEN: True})
    read_only = sessions.open_session(library.slot_id, READ_ONLY)
    for call in (
        lambda: objects.set_attribute_value(read_only, handle, template({CKA.LABEL: "x"})),
        lambda: objects.destroy_object(read_only, handle),
        lambda: objects.copy_object(read_only, handle, {}),
    ):
        with pytest.raises(SessionReadOnly):
            call()
    objects.copy_object(read_only, handle, template({CKA.TOKEN: False}))


def test_a_copy_keeps_value_and_history(user_session: int) -> None:
    handle = make_aes(user_session, {CKA.LABEL: "original", CKA.ID: b"id"})
    copy = objects.copy_object(user_session, handle, template({CKA.TOKEN: True, CKA.LABEL: "copy"}))
    assert (get(user_session, copy, CKA.TOKEN), get(user_session, copy, CKA.LABEL)) == (True, "copy")
    for cka in (CKA.VALUE, CKA.ID, CKA.LOCAL, CKA.KEY_GEN_MECHANISM, CKA.ENCRYPT, CKA.PRIVATE, CKA.CLASS):
        assert get(user_session, copy, cka) == get(user_session, handle, cka)
    assert get(user_session, copy, CKA.UNIQUE_ID) != get(user_session, handle, CKA.UNIQUE_ID)
    objects.destroy_object(user_session, handle)
    assert get(user_session, copy, CKA.LABEL) == "copy"


def test_a_copy_of_a_private_object_is_private(user_session: int) -> None:
    with pytest.raises(TemplateInconsistent):
        objects.copy_object(user_session, make_aes(user_session), template({CKA.PRIVATE: False}))


def test_destroyed_objects_are_gone(user_session: int) -> None:
    for on_token in (True, False):
        handle = make_aes(user_session, {CKA.TOKEN: on_token})
        objects.destroy_object(user_session, handle)
        for call in (
            lambda handle=handle: objects.destroy_object(user_session, handle),
            lambda handle=handle: get(user_session, handle, CKA.LABEL),
            lambda handle=handle: objects.get_object_size(user_session, handle),
            lambda handle=handle: objects.copy_object(user_session, handle, {}),
            lambda handle=handle: objects.set_attribute_value(user_session, handle, {}),
        ):
            with pytest.raises(ObjectHandleInvalid):
                call()


# ---- finding


def test_finding_by_whatever_an_object_shows(user_session: int, ec_pair: tuple[int, int]) -> None:
    key = make_aes(user_session, {CKA.TOKEN: True, CKA.LABEL: "key"})
    data = create(user_session, DATA_TEMPLATE)
    shown: list[tuple[dict[int, Value], list[int]]] = [
        ({CKA.LABEL: "key"}, [key]),
        ({CKA.TOKEN: True}, [key]),
        ({CKA.TOKEN: False, CKA.CLASS: CKO.DATA}, [data]),
        ({CKA.VALUE: b"value"}, [data]),
        ({CKA.VALUE_LEN: 32}, [key]),
        ({CKA.VALUE_LEN: 16}, []),
        ({CKA.EC_PARAMS: P256}, sorted(ec_pair)),
        ({CKA.UNIQUE_ID: get(user_session, key, CKA.UNIQUE_ID)}, [key]),
        ({CKA.LOCAL: True, CKA.CLASS: CKO.SECRET_KEY}, [key]),
        ({CKA.LABEL: ""}, sorted(ec_pair)),
        ({CKA.CERTIFICATE_TYPE: CKC.X_509}, []),
    ]
    for wanted, expected in shown:
        assert sorted(find(user_session, wanted)) == expected, wanted
    assert len(find(user_session, {})) == 4


def test_attributes_of_other_vendors_match_nothing(user_session: int) -> None:
    make_aes(user_session)
    objects.find_objects_init(user_session, {0xCE534351: b"\1"})
    assert objects.find_objects(user_session, 10) == []
    objects.find_objects_final(user_session)
    with pytest.raises(AttributeValueInvalid):
        objects.find_objects_init(user_session, {CKA.CLASS: b"\1"})


def test_a_search_is_an_operation(user_session: int) -> None:
    made = {make_aes(user_session) for _ in range(5)}
    for call in (lambda: objects.find_objects(user_session, 1), lambda: objects.find_objects_final(user_session)):
        with pytest.raises(OperationNotInitialized):
            call()
    objects.find_objects_init(user_session, {})
    with pytest.raises(OperationActive):
        objects.find_objects_init(user_session, {})
    found = [*objects.find_objects(user_session, 2), *objects.find_objects(user_session, 2)]
    found += objects.find_objects(user_session, 2)
    assert set(found) == made
    assert len(found) == 5
    assert objects.find_objects(user_session, 2) == []
    objects.find_objects_final(user_session)


def test_public_sessions_find_no_private_objects(library: TokenOnDisk, public_session: int) -> None:
    public = create(public_session, DATA_TEMPLATE)
    sessions.login(public_session, CKU.USER, Secret(library.user_pin.view()))
    private = make_aes(public_session)
    assert sorted(find(public_session, {})) == sorted([public, private])
    sessions.logout(public_session)
    assert find(public_session, {}) == [public]


def test_an_object_deleted_by_another_process_is_gone(library: TokenOnDisk, user_session: int) -> None:
    handle = make_aes(user_session, {CKA.TOKEN: True})
    for file in library.folder.glob("*.object"):
        file.unlink()
    with pytest.raises(ObjectHandleInvalid):
        get(user_session, handle, CKA.LABEL)
    assert find(user_session, {}) == []


def test_objects_of_another_process_are_found(library: TokenOnDisk, user_session: int) -> None:
    from mrhsm_p11.store.file import FileStore

    opened = library.open()
    elsewhere = FileStore(opened.directory, library.serial, opened.token_key)
    record = elsewhere.insert({CKA.CLASS: CKO.DATA, CKA.LABEL: "theirs", CKA.TOKEN: True}, Secret(b"value"))
    (handle,) = find(user_session, {CKA.LABEL: "theirs"})
    assert get(user_session, handle, CKA.UNIQUE_ID) == record.uid
    elsewhere.update(record.uid, {CKA.LABEL: "changed"})
    assert get(user_session, handle, CKA.LABEL) == "changed"


def test_a_store_that_fails_fails_the_search(user_session: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mrhsm_p11.errors import DeviceError

    token = provider.session(user_session).token

    class Down(type(token.stores[0])):  # type: ignore[misc]
        def search(self, wanted: object) -> list[object]:
            raise DeviceError("down")

    monkeypatch.setattr(token.stores[0], "__class__", Down)
    with pytest.raises(DeviceError):
        find(user_session, {})
    assert provider.session(user_session).found is None
    assert find(user_session, {CKA.TOKEN: False}) == []
